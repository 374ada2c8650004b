// Keys, the film's window, level and zoom, and claims that belong together. Everything else works without.
"use strict";

// A key does what the element that names it does: follow, press, check, or take the cursor.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, select");
  if (event.key === "Escape" && field) { field.blur(); return; }
  if (field) return;
  const wanted = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
  if (!wanted) return;
  event.preventDefault();
  if (wanted.matches("a, button, input[type=radio]")) wanted.click();
  else { wanted.focus(); if (wanted.select) wanted.select(); }
});

// Claims on the same point light up together; the line above says who agrees: by mouse, by touch, or by the
// tab key, which reaches one of them, and the arrows, which go on from there.
const tip = document.getElementById("tip");
const marks = [...document.querySelectorAll("mark[data-about], .heat[title]")];
const light = (mark) => {
  for (const other of marks) other.classList.toggle("same", other.dataset.about ? other.dataset.about === mark.dataset.about : other === mark);
  if (tip) tip.textContent = mark.title;
};
const dark = () => { for (const other of marks) other.classList.remove("same"); };
marks.forEach((mark, place) => {
  mark.tabIndex = place === 0 ? 0 : -1;
  mark.addEventListener("mouseenter", () => light(mark));
  mark.addEventListener("mouseleave", dark);
  mark.addEventListener("focus", () => { for (const other of marks) other.tabIndex = other === mark ? 0 : -1; light(mark); });
  mark.addEventListener("blur", dark);
  mark.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = marks[place + step];
    if (next) next.focus();
  });
});

// Window and level: grey values from level - window / 2 to level + window / 2 become black to white.
const SVG = "http://www.w3.org/2000/svg";
document.querySelectorAll(".film").forEach((film, number) => {
  const image = film.querySelector("img"), frame = film.querySelector(".frame");
  const tools = film.querySelector(".tools");
  const input = (name) => tools.querySelector(`[data-tool=${name}]`);
  const svg = document.createElementNS(SVG, "svg"), filter = document.createElementNS(SVG, "filter");
  const transfer = document.createElementNS(SVG, "feComponentTransfer");
  svg.setAttribute("width", "0"); svg.setAttribute("height", "0"); svg.setAttribute("aria-hidden", "true");
  filter.id = `window-${number}`;
  filter.setAttribute("color-interpolation-filters", "sRGB");
  const channels = ["R", "G", "B"].map((name) => document.createElementNS(SVG, `feFunc${name}`));
  for (const channel of channels) { channel.setAttribute("type", "linear"); transfer.append(channel); }
  filter.append(transfer); svg.append(filter); film.append(svg);
  let x = 0, y = 0, held = null;
  const draw = () => {
    const level = Number(input("level").value) / 255, width = Number(input("window").value) / 255;
    const zoom = Number(input("zoom").value);
    for (const channel of channels) {
      channel.setAttribute("slope", 1 / width);
      channel.setAttribute("intercept", 0.5 - level / width);
    }
    image.style.filter = level === 128 / 255 && width === 1 ? "none" : `url(#${filter.id})`;
    const most = (size) => size * (zoom - 1);
    x = Math.min(0, Math.max(-most(frame.clientWidth), x));
    y = Math.min(0, Math.max(-most(frame.clientHeight), y));
    image.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    frame.style.cursor = zoom > 1 ? "grab" : "default";
    frame.style.touchAction = zoom > 1 ? "none" : "pan-y";  // a finger on the whole film scrolls the page
  };
  tools.hidden = false;
  tools.addEventListener("input", draw);
  input("reset").addEventListener("click", () => {
    input("level").value = 128; input("window").value = 255; input("zoom").value = 1; x = y = 0; draw();
  });
  frame.addEventListener("pointerdown", (event) => {
    if (Number(input("zoom").value) === 1) return;
    held = [event.clientX - x, event.clientY - y]; frame.setPointerCapture(event.pointerId); event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (held) { x = event.clientX - held[0]; y = event.clientY - held[1]; draw(); }
  });
  for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => { held = null; });
  frame.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(zoom || (way && Number(input("zoom").value) > 1))) return;
    event.preventDefault();
    if (zoom) input("zoom").value *= zoom;
    else { x += way[0]; y += way[1]; }
    draw();
  });
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const zoom = input("zoom"), before = Number(zoom.value);
    zoom.value = before * (event.deltaY < 0 ? 1.15 : 1 / 1.15);
    const box = frame.getBoundingClientRect(), ratio = Number(zoom.value) / before;
    x = (event.clientX - box.left) - ratio * (event.clientX - box.left - x);
    y = (event.clientY - box.top) - ratio * (event.clientY - box.top - y);
    draw();
  }, { passive: false });
});

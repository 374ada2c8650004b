// Tables that sort by a column and can be taken out as CSV, and the numbers behind the plots. The page is whole without.
"use strict";

const said = (cell) => cell ? cell.firstChild && cell.querySelector("small") ? cell.childNodes[0].textContent.trim() : cell.textContent.trim() : "";
const value = (cell) => {
  const text = said(cell).replace(/−/g, "-").replace(/[,\s]/g, "");
  const number = parseFloat(text.replace(/^[^\d.+-]+/, ""));
  return Number.isFinite(number) ? number : text === "" || text === "–" ? NaN : text.toLowerCase();
};
// What has no number comes last, whichever way; equal ones keep their places.
const order = (way) => (one, other) => {
  const missing = (x) => typeof x === "number" && Number.isNaN(x);
  if (missing(one) || missing(other)) return missing(one) - missing(other);
  if (typeof one === typeof other) return way * (one < other ? -1 : one > other ? 1 : 0);
  return typeof one === "number" ? -1 : 1;
};
const download = (name, text, kind) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
// What a spreadsheet would take for a formula is taken for text; numbers stay numbers.
const quoted = (text) => /^[-+=@\t\r]/.test(text) && !/^-?[\d.]+(e[-+]?\d+)?$/.test(text) ? `"'${text.replace(/"/g, '""')}"` : /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
const save = (name, lines) => download(`${name.replace(/[^\p{L}\p{N}_]+/gu, "-")}.csv`, lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n", "text/csv");

// The words of a cell, its parts apart; its number as it is, where it stands rounded on the page.
const words = (cell) => [...cell.childNodes].map((node) => node.textContent.trim().replace(/\s+/g, " ")).filter(Boolean).join(" ");
const exact = (cell) => {
  if (cell.dataset.value !== undefined) return cell.dataset.value;
  const text = words(cell), plain = text.replace(/−/g, "-").replace(/(\d),(?=\d{3}\b)/g, "$1");
  return text === "–" ? "" : /^[+-]?\d+(\.\d+)?$/.test(plain) ? plain.replace(/^\+/, "") : text;
};
// A column with intervals becomes three; a heading over many columns stands in the first.
const lines = (table) => {
  const rows = [...table.rows], wide = [];
  for (const row of rows) [...row.cells].forEach((cell, column) => { wide[column] ||= "low" in cell.dataset; });
  return rows.map((row) => wide.flatMap((three, column) => {
    const cell = row.cells[column], head = cell && cell.closest("thead") && words(cell);
    if (!cell) return three ? ["", "", ""] : [""];
    if (!three) return [exact(cell)];
    return head ? [head, `${head} low`, `${head} high`] : [exact(cell), cell.dataset.low || "", cell.dataset.high || ""];
  }));
};

// Rows stay within their group: a line with a heading of its own begins a new one.
const groups = (body) => {
  const found = [];
  for (const row of body.rows) {
    if (row.classList.contains("group") || !found.length) found.push({ head: null, rows: [] });
    if (row.classList.contains("group")) found[found.length - 1].head = row;
    else found[found.length - 1].rows.push(row);
  }
  return found;
};

const taking = (label, take) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "take";
  button.textContent = "CSV";
  button.setAttribute("aria-label", `${label}, as CSV`);
  button.addEventListener("click", take);
  return button;
};

document.querySelectorAll(".scroll table").forEach((table, number) => {
  const heads = [...(table.tHead ? table.tHead.rows[table.tHead.rows.length - 1].cells : [])];
  heads.forEach((head, column) => {
    if (head.colSpan > 1) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      for (const body of table.tBodies)
        for (const group of groups(body)) {
          const keyed = group.rows.map((row) => [value(row.cells[column]), row]);
          keyed.sort((one, other) => order(way)(one[0], other[0]));
          if (group.head) body.append(group.head);
          body.append(...keyed.map(([, row]) => row));
        }
    });
  });
  const label = table.closest(".scroll").getAttribute("aria-label") || `table ${number + 1}`;
  table.closest(".scroll").after(taking(label, () => save(label, lines(table))));
});

// All numbers of the page, as they lie beside it in report.json.
const numbers = document.getElementById("numbers"), all = document.getElementById("take-all");
if (numbers && all) {
  all.hidden = false;
  all.addEventListener("click", () => download("report.json", numbers.textContent, "application/json"));
}
// The numbers behind each figure are among them.
const drawn = numbers ? JSON.parse(numbers.textContent).figures : {};
document.querySelectorAll("figure[data-figure]").forEach((figure) => {
  const own = drawn[figure.dataset.figure];
  if (!own) return;
  const rows = own.rows.map((row) => row.map((value) => value === null ? "" : String(value)));
  figure.append(taking(`Numbers of the figure: ${own.title}`, () => save(figure.dataset.figure, [own.columns, ...rows])));
});

// On paper nothing is folded away; afterwards it is as it was.
const folded = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("main details:not([open])")) folded.push(each), each.open = true;
});
addEventListener("afterprint", () => { for (const each of folded.splice(0)) each.open = false; });

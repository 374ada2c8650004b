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
const quoted = (text) => /^[=+@\t\r]/.test(text) || /^-\D/.test(text) ? `"'${text.replace(/"/g, '""')}"` : /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;

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
  const take = document.createElement("button");
  take.type = "button";
  take.className = "take";
  take.textContent = "CSV";
  const label = table.closest(".scroll").getAttribute("aria-label") || `table ${number + 1}`;
  take.setAttribute("aria-label", `${label}, as CSV`);
  take.addEventListener("click", () => {
    const lines = [...table.rows].map((row) => [...row.cells].map((cell) => quoted(cell.textContent.trim().replace(/\s+/g, " "))).join(","));
    download(`${label.replace(/[^\w]+/g, "-")}.csv`, lines.join("\r\n") + "\r\n", "text/csv");
  });
  table.closest(".scroll").after(take);
});

// All numbers of the page, as they lie beside it in report.json.
const numbers = document.getElementById("numbers"), all = document.getElementById("take-all");
if (numbers && all) {
  all.hidden = false;
  all.addEventListener("click", () => download("report.json", numbers.textContent, "application/json"));
}

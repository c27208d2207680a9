"use strict";
function sortTable(header) {
  const table = header.closest("table"), body = table.tBodies[0];
  const column = Array.from(header.parentNode.children).indexOf(header);
  const down = header.getAttribute("aria-sort") === "ascending";
  const key = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const x = key(a), y = key(b);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const numeric = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
    return (numeric ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
  };
  for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...Array.from(body.rows).sort(compare));
}
for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sortTable(button.parentNode));

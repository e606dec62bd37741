"use strict";

// A click on the head of a column sorts its table; the page is there without it.
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.textContent = cell.textContent;
    button.addEventListener("click", () => sort(table, column, cell));
    cell.replaceChildren(button);
  });
}

function sort(table, column, cell) {
  const order = cell.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  cell.setAttribute("aria-sort", order);
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (one, other) => value(one).localeCompare(value(other), undefined, { numeric: true });
  const rows = [...table.tBodies[0].rows].sort(compare);
  table.tBodies[0].append(...(order === "ascending" ? rows : rows.reverse()));
}

// It loads itself anew while that is wished and somebody looks.
const wish = document.getElementById("follow");
wish.checked = sessionStorage.getItem("follow") === "yes";
wish.addEventListener("change", () => sessionStorage.setItem("follow", wish.checked ? "yes" : "no"));
setInterval(() => { if (wish.checked && !document.hidden) location.reload(); }, 10_000);

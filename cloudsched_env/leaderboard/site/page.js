// Sorting and filtering. Without this script everything is on the page, in order of score.
"use strict";
document.documentElement.classList.remove("no-script");
const status = document.getElementById("status");
const say = (text) => { if (status) status.textContent = text; };

function sortBy(button) {
  const th = button.closest("th");
  const table = th.closest("table");
  const row = th.parentElement;
  const column = [...row.children].indexOf(th);
  const now = th.getAttribute("aria-sort");
  const wanted = now === "descending" ? "ascending" : now === "ascending" ? "descending" : th.dataset.first || "descending";
  for (const other of row.children) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", wanted);
  const sign = wanted === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const key = (tr) => tr.children[column] ? tr.children[column].dataset.value : undefined;
  const rows = [...body.rows].map((tr, place) => ({ tr, place, value: key(tr) }));
  rows.sort((a, b) => {
    // What has no number stays at the end, whichever way the rest is sorted.
    const missing = (a.value === undefined || a.value === "") - (b.value === undefined || b.value === "");
    if (missing || a.value === undefined || a.value === "") return missing || a.place - b.place;
    const [x, y] = [Number(a.value), Number(b.value)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.value.localeCompare(b.value) : x - y;
    return sign * order || a.place - b.place;
  });
  for (const { tr } of rows) body.append(tr);
  say(`Sorted by ${button.textContent.trim()}, ${wanted}.`);
}
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button));

for (const box of document.querySelectorAll(".columns input")) {
  const apply = () => {
    const table = document.getElementById(box.dataset.table);
    for (const cell of table.querySelectorAll(`[data-group="${box.value}"]`)) cell.classList.toggle("off", !box.checked);
  };
  box.addEventListener("change", apply);
  apply();
}

const controls = document.querySelector(".controls");
if (controls) {
  const fields = Object.fromEntries([...controls.elements].filter((e) => e.name).map((e) => [e.name, e]));
  const apply = () => {
    let shown = 0;
    for (const board of document.querySelectorAll(".board")) {
      const fits = (!fields.suite.value || board.dataset.suite === fields.suite.value)
        && (!fields.data.value || board.dataset.data === fields.data.value);
      board.hidden = !fits;
      for (const row of board.querySelectorAll("[data-agent]")) {
        const off = (fields.kind.value && row.dataset.kind !== fields.kind.value)
          || !row.dataset.agent.toLowerCase().includes(fields.agent.value.trim().toLowerCase());
        row.hidden = off;
        if (fits && !off && row.tagName === "TR") shown += 1;
      }
    }
    const state = new URLSearchParams();
    for (const [name, field] of Object.entries(fields)) if (field.value) state.set(name, field.value);
    history.replaceState(null, "", state.toString() ? `#${state}` : location.pathname + location.search);
    say(`${shown} rows shown.`);
  };
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [name, field] of Object.entries(fields)) if (state.has(name)) field.value = state.get(name);
  controls.addEventListener("input", apply);
  controls.addEventListener("submit", (event) => event.preventDefault());
  if (location.hash) apply();
}

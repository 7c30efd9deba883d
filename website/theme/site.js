// Search, filters and sorting of the catalogue; what scrolls can be reached by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll(".highlight pre, .table-wrapper, div.math")) {
    if (!part.hasAttribute("tabindex")) part.tabIndex = 0;
  }
  // The captions of the navigation have the role of a heading, which needs a level.
  for (const one of document.querySelectorAll(".sidebar-tree .caption[role=heading]")) one.ariaLevel = "2";
  const root = document.getElementById("catalogue");
  if (!root) return;
  const form = root.querySelector("form");
  const body = root.querySelector("tbody");
  const rows = [...body.rows];
  const words = JSON.parse(document.getElementById("catalogue-words").textContent);
  const state = root.querySelector("[data-state]");

  function show() {
    const chosen = Object.fromEntries(new FormData(form));
    const asked = chosen.search.toLowerCase().split(/\s+/).filter(Boolean);
    delete chosen.search;
    let count = 0;
    for (const row of rows) {
      const fits = Object.entries(chosen).every(([key, value]) => !value || row.dataset[key] === value);
      row.hidden = !(fits && asked.every((word) => words[row.dataset.name].includes(word)));
      count += !row.hidden;
    }
    state.textContent = `${count} of ${rows.length} models`;
  }

  function sort(head, index) {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    root.querySelectorAll("th[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const numeric = head.classList.contains("number");
    const value = (row) => numeric ? parseFloat(row.cells[index].dataset.value) : row.cells[index].textContent.trim();
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (numeric && (isNaN(x) || isNaN(y))) return isNaN(x) - isNaN(y); // models without a figure come last
      return (numeric ? x - y : x.localeCompare(y)) * (rising ? 1 : -1);
    };
    body.append(...rows.sort(order));
  }

  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  [...root.querySelectorAll("thead th")].forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => sort(head, index));
  });
  show(); // a browser may restore the form
});

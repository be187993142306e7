// Draws the charts, and shows of rows and charts those of the systems that are ticked.
const views = [];
const boxes = [...document.querySelectorAll(".filter input")];

function filter() {
  const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  for (const row of document.querySelectorAll("tr[data-systems], details[data-systems]")) {
    row.hidden = !row.dataset.systems.split(" ").every((system) => shown.has(system));
  }
  for (const chart of document.querySelectorAll("figure[data-systems]")) {
    chart.hidden = !chart.dataset.systems.split(" ").some((system) => shown.has(system));
  }
  for (const view of views.filter((view) => "shown" in view.getState().signals)) {
    view.signal("shown", [...shown]).runAsync();
  }
  window.dispatchEvent(new Event("resize")); // what was hidden had no width to draw at
}

function open() {
  // A link to a table or to records opens what it leads to, also after a reload.
  const target = document.getElementById(location.hash.slice(1));
  const details = target?.closest("details");
  if (details) {
    details.open = true;
    details.scrollIntoView();
  }
}

for (const box of boxes) box.addEventListener("change", filter);
window.addEventListener("hashchange", open);
window.addEventListener("pageshow", filter); // ticks come back with the page, after this has run
for (const node of document.querySelectorAll(".vega")) {
  const spec = JSON.parse(document.getElementById(node.dataset.spec).textContent);
  const { view } = await vegaEmbed(node, spec, { renderer: "svg", actions: false });
  views.push(view);
}
filter();
open();
document.documentElement.dataset.ready = "";

// What style sheets alone cannot do; without it a page loses colour, never content.
document.addEventListener("DOMContentLoaded", () => {
  // "> **Definition (ELBO).** ..." becomes a box of the kind "definition".
  for (const quote of document.querySelectorAll(".bd-article-container blockquote")) {
    const opening = quote.querySelector(":scope > p:first-child > strong:first-child");
    const word = opening && opening.textContent.match(/^[A-Za-z]+/);
    if (word) quote.dataset.kind = word[0].toLowerCase();
  }
  // A box that scrolls sideways can be reached by the keyboard, and has a name.
  const reachable = (box, name) => {
    if (box.scrollWidth <= box.clientWidth + 1 || box.hasAttribute("tabindex")) return;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", name);
  };
  for (const table of document.querySelectorAll(".bd-article-container table")) {
    if (table.closest(".pst-scrollable-table-container, .table-box, figure.explore")) continue;
    const box = document.createElement("div");
    box.className = "table-box";
    table.replaceWith(box);
    box.append(table);
  }
  const boxes = () => {
    for (const box of document.querySelectorAll(".pst-scrollable-table-container, .table-box")) reachable(box, "Table");
    for (const box of document.querySelectorAll("div.math")) reachable(box, "Equation");
    for (const box of document.querySelectorAll("div.highlight pre, .cell_output pre")) reachable(box, "Code or output");
    for (const box of document.querySelectorAll(".output.text_html")) reachable(box, "Output");
  };
  addEventListener("load", () => {
    const ready = window.MathJax && MathJax.startup && MathJax.startup.promise;
    Promise.resolve(ready).then(boxes);
  });
  addEventListener("resize", boxes);
});

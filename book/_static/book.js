// What style sheets alone cannot do; without it a page loses colour, never content.
document.addEventListener("DOMContentLoaded", () => {
  // "> **Definition (ELBO).** ..." becomes a box of the kind "definition".
  for (const quote of document.querySelectorAll(".bd-article-container blockquote")) {
    const opening = quote.querySelector("p")?.firstChild;
    const word = opening?.nodeName === "STRONG" && opening.textContent.match(/^[A-Za-z]+/);
    if (!word) continue;
    quote.dataset.kind = word[0].toLowerCase();
    opening.classList.add("kind");
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
  // Folded parts of the navigation have a picture for a name.
  for (const summary of document.querySelectorAll("nav summary")) {
    const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
    summary.setAttribute("aria-label", `Pages under ${page}`);
  }
  // A reference to an equation is a link inside a picture: let it be reached, and give it a name.
  const references = () => {
    for (const link of document.querySelectorAll("mjx-container svg a")) {
      const formula = link.closest("mjx-container");
      const spoken = formula.querySelector("mjx-assistive-mml");
      const name = `Equation ${spoken?.textContent.trim() ?? ""}`;
      const picture = formula.querySelector("svg");
      picture.removeAttribute("aria-hidden");
      picture.setAttribute("role", "group");
      picture.setAttribute("aria-label", name);
      link.setAttribute("aria-label", name);
      spoken?.setAttribute("aria-hidden", "true");
    }
  };
  const boxes = () => {
    for (const box of document.querySelectorAll(".pst-scrollable-table-container, .table-box")) reachable(box, "Table");
    for (const formula of document.querySelectorAll("span.math mjx-container")) {
      formula.classList.remove("wide");
      if (formula.getBoundingClientRect().width <= formula.closest("p, li, td, dd, div").clientWidth) continue;
      formula.classList.add("wide");
      reachable(formula, "Formula");
    }
    for (const box of document.querySelectorAll("div.math")) reachable(box, "Equation");
    for (const box of document.querySelectorAll("div.highlight pre, .cell_output pre")) reachable(box, "Code or output");
    for (const box of document.querySelectorAll(".output.text_html")) reachable(box, "Output");
  };
  addEventListener("load", () => {
    const ready = window.MathJax && MathJax.startup && MathJax.startup.promise;
    Promise.resolve(ready).then(references).then(boxes);
  });
  addEventListener("resize", boxes);
});

// What style sheets alone cannot do; without it a page loses comfort, never content.
(() => {
  // The switch for code, remembered where the browser remembers (a page opened from a file may not).
  const root = document.documentElement, KEY = "book-code";
  const remember = {
    get: () => { try { return localStorage.getItem(KEY); } catch { return null; } },
    set: (value) => { try { localStorage.setItem(KEY, value); } catch { /* this page only */ } },
  };
  root.dataset.code = remember.get() === "hidden" ? "hidden" : "shown";

  const codeSwitch = () => {
    const place = document.querySelector(".article-header-buttons");
    if (!place || !document.querySelector(".cell .cell_input")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-sm code-switch";
    button.innerHTML = '<span class="knob" aria-hidden="true"></span>Code';
    button.setAttribute("role", "switch");
    const show = () => {
      button.setAttribute("aria-checked", String(root.dataset.code === "shown"));
      button.title = root.dataset.code === "shown" ? "Hide the code" : "Show the code";
    };
    button.addEventListener("click", () => {
      // What the reader looks at stays where it is, however much code goes above it.
      const here = [...document.querySelectorAll(".bd-article :is(p, h2, h3, img, figure, blockquote)")]
        .find((node) => node.getBoundingClientRect().top > 60 && node.getClientRects().length && !node.closest(".cell_input, details"));
      const before = here?.getBoundingClientRect().top;
      root.dataset.code = root.dataset.code === "shown" ? "hidden" : "shown";
      remember.set(root.dataset.code);
      show();
      if (here) scrollBy({ top: here.getBoundingClientRect().top - before, behavior: "instant" });
    });
    show();
    place.prepend(button);
  };

  // "> **Definition (ELBO).** ..." becomes a box of the kind "definition".
  const boxKinds = () => {
    for (const quote of document.querySelectorAll(".bd-article-container blockquote")) {
      const opening = quote.querySelector("p")?.firstChild;
      const word = opening?.nodeName === "STRONG" && opening.textContent.match(/^[A-Za-z]+/);
      if (!word) continue;
      quote.dataset.kind = word[0].toLowerCase();
      opening.classList.add("kind");
    }
  };

  // A picture and the caption displayed after it become one figure.
  const captions = () => {
    for (const caption of document.querySelectorAll(".cell_output > p")) {
      const name = caption.querySelector(":scope > strong:first-child")?.textContent.match(/^Figure( (\d+)\.(\d+))?\.$/);
      const picture = caption.previousElementSibling;
      if (!name || !picture) continue;
      const figure = document.createElement("figure"), text = document.createElement("figcaption");
      figure.className = "numbered";
      if (name[1]) figure.id = `figure-${name[2]}-${name[3]}`;
      picture.replaceWith(figure);
      text.append(...caption.childNodes);
      figure.append(picture, text);
      caption.remove();
    }
  };

  // A box that scrolls sideways can be reached by the keyboard, and has a name of its own.
  const named = {};
  const reachable = (box, name) => {
    if (box.scrollWidth <= box.clientWidth + 1 || box.hasAttribute("tabindex")) return;
    named[name] = (named[name] ?? 0) + 1;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${name} ${named[name]}`);
  };
  const tables = () => {
    for (const table of document.querySelectorAll(".bd-article-container table")) {
      if (table.closest(".pst-scrollable-table-container, .table-box, figure.explore")) continue;
      const box = document.createElement("div");
      box.className = "table-box";
      table.replaceWith(box);
      box.append(table);
    }
    // The empty corner of a table is no heading.
    for (const corner of document.querySelectorAll(".bd-article-container thead th")) {
      if (!corner.textContent.trim()) corner.replaceWith(document.createElement("td"));
    }
  };

  // MathJax centres an equation between two margins for its number.  One that needs the left margin
  // takes it; one that is wider still breaks where its author wrote \hspace{0pt}; and if that is not
  // enough, its number moves below it.
  const BREAK = /\\hspace\{0pt\}\s*/g, TAG = /\\tag\{([^{}]*)\}/g;
  const broken = (tex, only) => {
    if (!tex.match(BREAK)) return tex;
    let place = 0;
    const lines = (part) => part.replace(BREAK, () => (only === undefined || only === place++ ? "\\\\ &\\quad {}" : ""));
    if (/\\begin\{(align|aligned|alignat|split)\*?\}/.test(tex)) return lines(tex);
    return tex.replace(/(\\begin\{equation\*?\})([^]*?)((?:\\tag\{[^{}]*\}\s*)?\\end\{equation\*?\})/, (all, open, body, close) =>
      `${open}\\begin{aligned}&${lines(body)}\\end{aligned}${close}`)
      .replace(/^(\s*\\\[)([^]*)(\\\]\s*)$/, (all, open, body, close) =>
        body.match(BREAK) ? `${open}\\begin{aligned}&${lines(body)}\\end{aligned}${close}` : all);
  };
  // Where there is room, one break is tried before all of them: the first line as long as it can be.
  const versions = (tex) => {
    const places = innerWidth > 640 ? [...Array((tex.match(BREAK) ?? []).length).keys()].reverse() : [];
    return new Set([tex, ...places.map((place) => broken(tex, place)), broken(tex)]);
  };
  const apart = (tex, box) => {
    const numbers = [...tex.matchAll(TAG)];
    if (numbers.length !== 1) return tex;
    box.dataset.number = `(${numbers[0][1]})`;
    box.dataset.fit = "beside";
    return tex.replace(TAG, "").replace("\\begin{equation}", "\\begin{equation*}").replace("\\end{equation}", "\\end{equation*}")
      .replace("\\begin{align}", "\\begin{align*}").replace("\\end{align}", "\\end{align*}");
  };
  const set = async (box, tex) => {
    MathJax.typesetClear([box]);
    box.textContent = tex;
    await MathJax.typesetPromise([box]);
  };
  const overflows = (box) => box.scrollWidth > box.clientWidth + 1;
  const sources = new Map();
  let fitted = 0;
  const fit = async () => {
    const width = document.querySelector(".bd-article")?.clientWidth ?? innerWidth;
    if (width === fitted || !window.MathJax?.typesetPromise) return;
    fitted = width;
    for (const box of document.querySelectorAll("div.math")) {
      if (!sources.has(box)) {
        const [formula] = MathJax.startup.document.getMathItemsWithin([box]);
        sources.set(box, formula ? `\\[${formula.math}\\]` : "");
      }
      const tex = sources.get(box);
      if (!tex) continue;
      if (box.dataset.fit) {
        delete box.dataset.fit;
        delete box.dataset.number;
        await set(box, tex);
      }
      for (const lines of versions(tex)) {
        if (lines !== tex) {
          delete box.dataset.number;
          box.dataset.fit = "broken";
          await set(box, lines);
        }
        if (!overflows(box)) break;
        const bare = apart(lines, box);
        if (bare !== lines) await set(box, bare);
        if (!overflows(box)) break;
      }
      if (overflows(box)) box.dataset.fit = "below";
    }
  };
  // A full stop stays with its formula: a browser would break the line between the two.
  const punctuation = () => {
    for (const formula of document.querySelectorAll("span.math")) {
      const after = formula.nextSibling;
      const mark = after?.nodeType === Node.TEXT_NODE && after.data.match(/^[.,;:!?)\]’”]+/);
      if (!mark || formula.classList.contains("kept")) continue;
      formula.classList.add("kept");
      after.data = after.data.slice(mark[0].length);
      formula.append(mark[0]);
    }
  };
  // On a phone a table that is wider than the page first gets smaller; if that is not enough, its
  // rows become cards, a line a cell, so that no column is off the screen.
  const narrow = () => {
    const tooWide = (box) => box.scrollWidth > box.clientWidth + 1;
    // Columns of one or two words a line fit, and nobody reads them.
    const tooThin = (table) => [...table.rows].some((row) => row.cells.length > 2 && row.offsetHeight > 240);
    for (const box of document.querySelectorAll(".pst-scrollable-table-container, .table-box")) {
      const table = box.querySelector("table");
      if (!table || table.classList.contains("dense")) continue;
      if (table.dataset.narrowed) {
        table.classList.remove("small", "stacks");
        delete table.dataset.narrowed;
      }
      if (innerWidth > 640 || !(tooWide(box) || tooThin(table))) continue;
      table.dataset.narrowed = "yes";
      table.classList.add("small");
      // A long table is for looking things up: it stays one, and scrolls.
      if (table.rows.length > 15 || !(tooWide(box) || tooThin(table))) continue;
      const names = [...(table.tHead?.rows[0]?.cells ?? [])].map(cell => cell.textContent.trim());
      for (const row of table.tBodies[0]?.rows ?? []) {
        [...row.cells].forEach((cell, k) => { cell.dataset.label = names[k] ?? ""; });
      }
      table.classList.add("stacks");
    }
  };
  const boxes = () => {
    punctuation();
    narrow();
    for (const box of document.querySelectorAll(".pst-scrollable-table-container, .table-box")) reachable(box, "Table");
    for (const formula of document.querySelectorAll("span.math mjx-container")) {
      formula.classList.remove("wide");
      formula.style.fontSize = "";
      // A table that scrolls shows its formulas whole; elsewhere the nearest block gives the room
      // (a paragraph in a card is inline, and has no width of its own).
      if (formula.closest("td") && !formula.closest("table.stacks")) continue;
      const blocks = "p, li, td, dd, div, figcaption";
      let room = formula.closest(blocks);
      while (getComputedStyle(room).display === "inline") room = room.parentElement.closest(blocks);
      const size = room.clientWidth / formula.getBoundingClientRect().width;
      if (size >= 1) continue;
      // A little too wide: a little smaller.  Much too wide: it scrolls.
      if (size > 0.7) formula.style.fontSize = `${Math.floor(98 * size)}%`;
      else formula.classList.add("wide");
      reachable(formula, "Formula");
    }
    for (const box of document.querySelectorAll("div.math")) reachable(box, "Equation");
    for (const box of document.querySelectorAll("div.highlight pre, .cell_output pre")) reachable(box, "Code or output");
    for (const box of document.querySelectorAll(".output.text_html")) reachable(box, "Output");
  };

  document.addEventListener("DOMContentLoaded", () => {
    codeSwitch();
    boxKinds();
    captions();
    tables();
    const sidebar = document.querySelector(".bd-sidebar-primary");
    sidebar?.setAttribute("role", "complementary");
    sidebar?.setAttribute("aria-label", "The book");
    // Folded parts of the navigation have a picture for a name.
    for (const summary of document.querySelectorAll("nav summary")) {
      const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
      summary.setAttribute("aria-label", `Pages under ${page}`);
    }
  });
  const settle = () => fit().then(boxes).then(() => { root.dataset.settled = "yes"; });
  addEventListener("load", () => {
    const ready = window.MathJax && MathJax.startup && MathJax.startup.promise;
    Promise.resolve(ready).then(settle);
  });
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(settle, 150); });
})();

// The ledger's filters: shown only where a script runs.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".ledger-filters");
  if (!form) return;
  const cards = [...document.querySelectorAll(".ledger-card")];
  const choices = [...form.querySelectorAll("select")];
  const apply = () => {
    let shown = 0;
    for (const card of cards) {
      card.hidden = choices.some(one => one.value && card.dataset[one.name] !== one.value);
      shown += !card.hidden;
    }
    for (const section of document.querySelectorAll("article section section")) {
      const own = section.querySelectorAll(".ledger-card");
      section.hidden = own.length > 0 && [...own].every(card => card.hidden);
    }
    form.querySelector("output").textContent = `${shown} of ${cards.length} claims`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", event => event.preventDefault());
  // A link to a row must find it, whatever was chosen before.
  addEventListener("hashchange", () => {
    if (!document.querySelector(`${location.hash || "#_"}.ledger-card`)?.hidden) return;
    form.reset();
    apply();
    document.querySelector(location.hash).scrollIntoView();
  });
  form.hidden = false;
  apply();
});

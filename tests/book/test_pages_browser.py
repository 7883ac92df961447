"""The pages as a reader meets them, in a headless browser with the network cut."""

import check
import pytest

PAGES = check.contents()
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
# One page of each kind; what the dark theme does to it, it does to the others.
DARK = ["book/index", "book/claims", "book/api/data", *CHAPTERS]
PHONE = 360

# book.js says so when formulas are typeset, and broken where they were too wide.
SETTLED = "document.documentElement.dataset.settled === 'yes'"
TOO_WIDE = """() => [...document.querySelectorAll("div.math")]
    .filter(box => box.scrollWidth > box.clientWidth + 1)
    .map(box => box.textContent.replace(/\\s+/g, " ").slice(0, 60))"""
# What reaches over the right edge without a box that scrolls around it.
OVERHANGING = """width => [...document.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || box.right <= width + 1 || box.left >= width) return false;
    for (let up = element; up; up = up.parentElement) {
        const style = getComputedStyle(up);
        if (["auto", "scroll", "hidden", "clip"].includes(style.overflowX)) return false;
        if (style.position === "fixed") return false;
    }
    return true;
}).slice(0, 5).map(element => element.tagName + "." + element.className)"""


@pytest.fixture
def open_typeset(html, open_page):
    """A function that opens a page of the book and waits for its mathematics."""

    def open_one(page, width=1280):
        path = html / f"{page}.html"
        if not path.exists():
            pytest.fail(f"{page} was not built.")
        opened = open_page(path, width=width)
        opened.wait_for_function(SETTLED)
        return opened

    return open_one


STRAY_STOPS = r"""() => [...document.querySelectorAll("span.math")]
    .map(formula => formula.nextSibling?.nodeType === 3 ? formula.nextSibling.data : "")
    .filter(after => /^[.,;:!?]/.test(after))"""
HIDDEN_COLUMNS = """() => [...document.querySelectorAll("article .table-box table:not(.dense), "
    + "article .pst-scrollable-table-container table:not(.dense)")]
    .filter(table => table.rows.length <= 15)
    .filter(({parentElement: box}) => box.scrollWidth > box.clientWidth + 1)
    .map(table => table.textContent.trim().slice(0, 60))"""


@pytest.mark.parametrize("page", PAGES)
def test_on_a_phone(open_typeset, violations, page):
    opened = open_typeset(page, width=PHONE)
    width = opened.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE, f"{width} pixels wide: {opened.evaluate(OVERHANGING, PHONE)}"
    written = opened.locator("article .math").count()
    assert opened.locator("article .math mjx-container").count() >= written
    assert opened.locator("mjx-merror, [data-mjx-error]").count() == 0
    wide = opened.evaluate(TOO_WIDE) if page in CHAPTERS else []  # docstrings scroll
    assert wide == [], "displayed equations do not fit a phone; put \\hspace{0pt} where they may"
    assert opened.evaluate(STRAY_STOPS) == [], "a line may break between a formula and its stop"
    assert opened.evaluate(HIDDEN_COLUMNS) == [], "a short table hides columns on a phone"
    assert violations(opened) == []


BREAKABLE = r"""<div class="math"><span class="eqno">(1)</span>\[\begin{equation}
a = bcdefghijklmnopqrst \hspace{0pt} + xyzabcdefghijklm \tag{5.1}
\end{equation}\]</div>
<div class="math">\[\begin{equation}
a = \rule{300px}{1ex} \tag{5.2}
\end{equation}\]</div>
<div class="math">\[\begin{equation} a = b \tag{5.3}\end{equation}\]</div>
<div class="math">\[\begin{equation}
a = \rule{240px}{1ex} \tag{5.4}
\end{equation}\]</div>"""


def test_equations_break_where_they_must_and_stand_unbroken_where_they_can(html, open_page):
    static = (html / "_static").as_uri()
    page = open_page(
        f'<link rel="stylesheet" href="{static}/book.css"><script src="{static}/book.js"></script>'
        f'<script defer src="{static}/mathjax/tex-svg.js"></script>'
        f'<div class="bd-article">{BREAKABLE}</div>',
        width=320,
    )
    heights = "[...document.querySelectorAll('div.math')].map(box => box.clientHeight)"
    state = "[...document.querySelectorAll('div.math')].map(box => box.dataset.fit ?? '')"
    page.wait_for_function(SETTLED)
    assert page.evaluate(TOO_WIDE) == []
    narrow = page.evaluate(heights)
    assert page.evaluate(state) == ["broken", "below", "", "beside"]
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(600)
    wide = page.evaluate(heights)
    assert wide[0] < narrow[0] and len(set(wide)) == 1  # all stand in one line
    assert page.evaluate(state) == ["", "", "", ""]
    assert page.locator("mjx-merror").count() == 0


def test_one_switch_hides_code_and_nothing_else(open_typeset):
    page = open_typeset("chapters/01_latent_variables")
    switch = page.get_by_role("switch", name="Code")
    code = page.locator(".cell_input:visible")
    kept = page.locator(
        "article :is(.claim, table, .cell_output img, figure.explore, p, mjx-container):visible"
    )
    assert switch.get_attribute("aria-checked") == "true"
    bars = page.locator(".cell.tag_hide-input > details.hide + .cell_output")
    for index in range(bars.count()):  # what folded code made comes first, then the word "Code"
        output, summary = bars.nth(index), bars.nth(index).locator("xpath=../details/summary")
        box, above = output.bounding_box(), summary.bounding_box()
        if box and above:
            assert above["y"] >= box["y"]
    before = kept.count()
    assert code.count() > 5
    switch.press("Enter")
    assert switch.get_attribute("aria-checked") == "false"
    assert code.count() == 0
    assert page.locator("details.hide:visible").count() == 0
    listings = page.locator("details.hide p").count()  # the word on a bar is a paragraph, too
    assert before - listings <= kept.count() <= before
    switch.press("Enter")
    assert code.count() > 5 and kept.count() == before


def test_the_switch_is_remembered(chromium, html):
    import http.server
    import threading
    from functools import partial

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = chromium.new_context()
    try:
        page = context.new_page()
        address = f"http://127.0.0.1:{server.server_port}"
        page.goto(f"{address}/{CHAPTERS[-1]}.html")
        page.get_by_role("switch", name="Code").click()
        page.goto(f"{address}/{CHAPTERS[0]}.html")
        assert page.locator(".cell_input:visible").count() == 0
        page.reload()
        assert page.locator(".cell_input:visible").count() == 0
        page.get_by_role("switch", name="Code").click()
        page.reload()
        assert page.locator(".cell_input:visible").count() > 5
    finally:
        context.close()
        server.shutdown()


@pytest.mark.parametrize("page", DARK)
def test_wide_and_dark(open_typeset, violations, page):
    opened = open_typeset(page)
    opened.evaluate(
        "document.documentElement.dataset.theme = 'dark';"
        "document.documentElement.dataset.mode = 'dark';"
    )
    opened.wait_for_timeout(400)  # colours fade
    assert violations(opened) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_explorable_figures_answer(open_typeset, page):
    opened = open_typeset(page)
    figures = opened.locator("figure.explore")
    assert figures.count() >= 1, "a chapter has at least one explorable figure"
    for index in range(figures.count()):
        figure = figures.nth(index)
        figure.scroll_into_view_if_needed()
        figure.locator("canvas").first.wait_for()
        drawn = "f => [...f.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"
        opened.wait_for_timeout(300)
        before = figure.evaluate(drawn)
        slider = figure.locator("input[type=range]").first
        others = "input:not(:checked), .control button, .handle"  # buttons, examples, a point
        if slider.count():
            slider.press("End" if slider.input_value() != slider.get_attribute("max") else "Home")
        elif (other := figure.locator(others).last).get_attribute("class") == "handle":
            other.press("ArrowRight")
        else:
            other.click(force=True)
        opened.wait_for_timeout(300)
        assert figure.evaluate(drawn) != before


@pytest.mark.parametrize("page", CHAPTERS)
def test_explorable_figures_fit_a_phones_screen(open_typeset, page):
    opened = open_typeset(page, width=PHONE)
    opened.wait_for_timeout(500)
    for figure in opened.locator("figure.explore").all():
        if figure.locator(".panel").count() <= 2 and figure.locator(".control").count() <= 3:
            whole = figure.evaluate("f => (f.closest('figure.numbered') ?? f).offsetHeight")
            assert whole <= 640, figure.locator("canvas").first.get_attribute("aria-label")

"""The pages as a reader meets them, in a headless browser with the network cut."""

import check
import pytest

PAGES = check.contents()
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
# One page of each kind; what the dark theme does to it, it does to the others.
DARK = ["book/index", "book/claims", "book/api/data", *CHAPTERS]
PHONE = 360

TYPESET = """async () => {
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
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
        opened.wait_for_load_state("load")
        opened.evaluate(TYPESET)
        return opened

    return open_one


@pytest.mark.parametrize("page", PAGES)
def test_on_a_phone(open_typeset, violations, page):
    opened = open_typeset(page, width=PHONE)
    width = opened.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE, f"{width} pixels wide: {opened.evaluate(OVERHANGING, PHONE)}"
    written = opened.locator("article .math").count()
    assert opened.locator("article .math mjx-container").count() >= written
    assert opened.locator("mjx-merror, [data-mjx-error]").count() == 0
    shown = "[...document.querySelectorAll('mjx-assistive-mml')].map(m => m.textContent).join(' ')"
    assert "???" not in opened.evaluate(shown), "a reference to an equation that has no \\label"
    assert violations(opened) == []


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
def test_sliders_move_the_picture(open_typeset, page):
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
        slider.focus()
        key = "End" if slider.input_value() != slider.get_attribute("max") else "Home"
        opened.keyboard.press(key)
        opened.wait_for_timeout(300)
        assert figure.evaluate(drawn) != before

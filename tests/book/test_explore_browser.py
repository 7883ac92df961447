"""Explorable figures in a headless browser, with the network cut."""

import numpy as np
import pytest

from vaelite.book.explore import Control, Curve, Panel, Points, draw, evaluate, to_html

CIRCLE = np.linspace(0, 2 * np.pi, 41)


def compute(angle, beta):
    ellipse = np.array([2 * np.cos(CIRCLE), beta / 5 * np.sin(CIRCLE)])
    turned = np.radians(angle)
    c, s = np.cos(turned), np.sin(turned)
    shade = np.linspace(0, 255, 6 * 4).reshape(6, 4)
    image = np.where(np.arange(4) == angle // 15 % 4, 255, shade).astype(np.uint8)
    return [
        Panel(
            curves=[Curve([0, 90], [0, beta], label="bound", dashed=True)],
            points=[Points(angle, beta * angle / 90)],
            xlabel="rotation angle",
            ylabel="nats",
            text=f"angle {angle}, beta {beta}",
        ),
        Panel(
            curves=[Curve(*(np.array([[c, -s], [s, c]]) @ ellipse), label="posterior")],
            equal_aspect=True,
        ),
        Panel(image=image, title="picture"),
    ]


@pytest.fixture(scope="module")
def figure():
    controls = {
        "angle": Control(range(0, 91, 15), "Rotation angle", start=30, unit="°"),
        "beta": Control([1, 5], "β"),
    }
    frames = evaluate(compute, controls)
    return to_html(frames, controls, "An ellipse turns.", 220, draw(frames[4], 220))


def page_of(*figures):
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "</head><body><main><h1>Figures</h1>" + "".join(figures) + "</main></body></html>"
    )


def pictures(page, figure=0):
    """What is on the canvases of one figure, once it has been drawn."""
    canvases = page.locator("figure.explore").nth(figure).locator("canvas")
    canvases.first.wait_for()
    page.wait_for_function(
        "n => [...document.querySelectorAll('figure.explore')[n].querySelectorAll('canvas')]"
        ".every(canvas => canvas.width === Math.round(canvas.clientWidth * devicePixelRatio))",
        arg=figure,
    )
    return canvases.evaluate_all("all => all.map(canvas => canvas.toDataURL())")


def test_the_keyboard_moves_every_picture(open_page, figure):
    page = open_page(page_of(figure))
    before = pictures(page)
    slider = page.get_by_label("Rotation angle")
    assert slider.get_attribute("aria-valuetext") == "30°"
    slider.focus()
    page.keyboard.press("ArrowRight")
    after = pictures(page)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert slider.get_attribute("aria-valuetext") == "45°"
    assert page.locator(".text").first.inner_text() == "angle 45, beta 1"
    page.keyboard.press("ArrowLeft")
    assert pictures(page) == before


def test_the_buttons_work_by_keyboard_and_pointer(open_page, figure):
    page = open_page(page_of(figure))
    before = pictures(page)
    page.get_by_label("1", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".text").first.inner_text() == "angle 30, beta 5"
    assert pictures(page)[1] != before[1]
    page.get_by_label("1", exact=True).check()
    assert pictures(page) == before


def test_dragging_on_a_picture_turns_the_first_control(open_page, figure):
    page = open_page(page_of(figure))
    before = pictures(page)
    box = page.locator("canvas").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    assert pictures(page) == before
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, middle, steps=4)
    page.mouse.up()
    assert page.get_by_label("Rotation angle").get_attribute("aria-valuetext") == "90°"


def test_the_pictures_show_the_numbers(open_page):
    def level(k):
        return Panel(image=np.full((2, 3), 40 * k, np.uint8))

    controls = {"k": Control(range(6), "level", start=3)}
    frames = evaluate(level, controls)
    page = open_page(page_of(to_html(frames, controls, "Grey.", 100, draw(frames[3], 100))))
    middle = (
        "canvas => [...canvas.getContext('2d')"
        ".getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data]"
    )
    pictures(page)
    assert page.locator("canvas").evaluate(middle) == [120, 120, 120, 255]
    page.get_by_label("level").press("End")
    assert page.locator("canvas").evaluate(middle) == [200, 200, 200, 255]


def test_equal_figures_on_a_page_are_independent(open_page, figure):
    page = open_page(page_of(figure, figure))
    first, second = pictures(page, 0), pictures(page, 1)
    assert first == second
    assert page.locator("input[type=range]").count() == 2
    page.get_by_label("Rotation angle").nth(1).press("Home")
    page.get_by_label("5", exact=True).nth(1).check()
    assert pictures(page, 0) == first
    assert all(old != new for old, new in zip(second, pictures(page, 1), strict=True))
    assert page.get_by_label("1", exact=True).nth(0).is_checked()


def test_html_inserted_later_works_and_running_twice_changes_nothing(open_page, figure):
    page = open_page(page_of())
    insert = """html => {
        const host = document.createElement("div");
        host.innerHTML = html;
        for (const old of host.querySelectorAll("script")) {
            const script = document.createElement("script");
            script.textContent = old.textContent;
            old.replaceWith(script);
        }
        document.querySelector("main").append(host);
    }"""
    page.evaluate(insert, figure)
    before = pictures(page)
    page.get_by_label("Rotation angle").press("End")
    moved = pictures(page)
    assert moved != before
    page.evaluate(insert, figure)
    assert pictures(page, 1) == before
    assert pictures(page, 0) == moved
    assert page.locator("form").count() == 2


@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_the_screen_and_is_accessible(open_page, violations, figure, width):
    page = open_page(page_of(figure), width=width)
    assert len(pictures(page)) == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tops = page.locator("canvas").evaluate_all("all => all.map(c => c.getBoundingClientRect().top)")
    assert len(set(tops)) == (1 if width == 1280 else 3)
    assert not page.locator("figure.explore img").is_visible()
    assert page.get_by_role("img", name="An ellipse turns.").is_visible()
    assert violations(page) == []


def test_a_figure_that_was_hidden_is_drawn_when_it_appears(open_page, figure):
    page = open_page(page_of(f"<details><summary>More</summary>{figure}</details>"))
    page.get_by_text("More").click()
    shown = pictures(page)
    assert len(set(shown)) == 3
    page.set_viewport_size({"width": 700, "height": 900})
    assert pictures(page) != shown


def test_without_scripts_the_poster_is_there(chromium, figure):
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.set_content(page_of(figure))
    assert page.get_by_role("img", name="An ellipse turns.").is_visible()
    context.close()

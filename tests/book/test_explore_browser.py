"""Explorable figures in a headless browser, with the network cut."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Locator
from sklearn.datasets import load_digits
from torch import nn

from vaelite.book import figures
from vaelite.book.explore import (
    Control,
    Curve,
    Drawing,
    Network,
    Panel,
    Point,
    Points,
    Slider,
    Switches,
    draw,
    ellipse,
    evaluate,
    live_html,
    pack_live,
    pick,
    product_of_experts,
    sigmoid,
    softmax,
    softplus,
    to_html,
    trace,
)
from vaelite.nets import MLP, ConvDecoder, ConvEncoder, GaussianEncoder

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


def test_a_point_that_follows_the_controls_is_dragged_to_the_nearest_frame(open_page, figure):
    page = open_page(page_of(figure))
    before = pictures(page)
    assert page.locator(".handle").count() == 1
    handle = page.locator(".handle")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    assert pictures(page) == before
    page.mouse.down()
    page.mouse.move(x + 200, y - 200, steps=4)
    page.mouse.up()
    assert page.locator(".text").first.inner_text() == "angle 90, beta 5"
    handle.press("ArrowLeft")
    assert page.locator(".text").first.inner_text() == "angle 75, beta 5"


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


def test_where_an_image_is_clear_the_page_shows_through(open_page):
    ground = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]"

    def half(k):
        return Panel(image=np.array([[[213, 94, 0, 255 * k]]], np.uint8))

    controls = {"k": Control([0, 1], "opacity", start=0)}
    frames = evaluate(half, controls)
    page = open_page(page_of(to_html(frames, controls, "Orange.", 100, draw(frames[0], 100))))
    middle = ground.replace("(0, 0,", "(canvas.width / 2, canvas.height / 2,")
    pictures(page)
    canvas = page.locator("canvas")
    assert canvas.evaluate(middle) == canvas.evaluate(ground)
    page.get_by_role("radio", name="1", exact=True).check()
    assert canvas.evaluate(middle) == [213, 94, 0, 255]


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
    assert len(set(tops)) == (1 if width == 1280 else 2)  # on a phone squares share a row
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


# Live figures


@pytest.fixture(scope="module")
def modules():
    torch.manual_seed(3)
    return {
        "encoder": GaussianEncoder(MLP(64, (24,), 4, nn.Tanh)),
        "mixed": nn.Sequential(nn.Linear(2, 20), nn.LeakyReLU(), nn.Linear(20, 15), nn.Softplus()),
        "decoder": ConvDecoder(2, (1, 28, 20), 16),
        "convolutions": ConvEncoder((1, 8, 8), 3, 5),
    }


def live(compute, **controls):
    """The page's block, and the node that each panel shows (its image, else its first mark)."""
    panels = trace(compute, controls)
    shown = [
        (panel["image"] or panel["marks"][0]["y"]).get("node")
        for panel in pack_live(panels, controls)["panels"]
    ]
    return live_html(panels, controls, "A live figure.", 220, b""), shown


def values(page, shown, figure=0):
    pictures(page, figure)
    script = "(f, shown) => shown.map(node => [...f.explorable.engine.value(node)])"
    found = page.locator("figure.explore").nth(figure).evaluate(script, shown)
    return [np.array(each) for each in found]


def test_networks_in_the_page_answer_as_torch_does(open_page, modules):
    networks = {name: Network(module) for name, module in modules.items()}

    def compute(z, scale, shade):
        image = sigmoid(networks["decoder"](scale * z))[0]
        small = pick([image[:8, :8], 1 - image[:8, 4:12]], shade)
        mean, log_var = networks["encoder"](small.reshape(-1))
        limits = {"xlim": (-1, 20), "ylim": (-5, 5)}
        return [
            Panel(image=image),
            Panel(curves=[Curve(range(15), networks["mixed"](z))], **limits),
            Panel(curves=[Curve(range(4), np.concatenate([mean, log_var]))], **limits),
            Panel(curves=[Curve(range(3), networks["convolutions"](small[None]))], **limits),
            Panel(points=[Points(z[0], z[1], label="z")], xlim=(-3, 3), ylim=(-2, 2)),
        ]

    html, shown = live(
        compute,
        z=Point("z", (0.5, -1.0)),
        scale=Slider(0.5, 4.5, "scale", start=1.0),
        shade=Control(["ink", "paper"], "shade"),
    )
    page = open_page(page_of(html))
    state = {"z": np.array([0.5, -1.0]), "scale": 1.0, "shade": 0}

    def agrees():
        panels = compute(**{name: np.asarray(value) for name, value in state.items()})
        truth = [panels[0].image.ravel() / 255, *(panel.marks[0].y for panel in panels[1:])]
        for ours, torchs in zip(values(page, shown), truth, strict=True):
            np.testing.assert_allclose(ours, torchs, atol=1e-2)

    agrees()
    page.get_by_label("paper").check()
    state["shade"] = 1
    agrees()
    page.get_by_label("scale").press("End")
    state["scale"] = 4.5
    agrees()
    page.get_by_role("slider", name="z").press("ArrowUp")
    state["z"] = np.array([0.5, -0.9])
    agrees()


def test_every_operation_in_the_page_is_numpys(open_page):
    table = np.arange(24.0).reshape(2, 3, 4) / 7

    def compute(z, k):
        a, b = z[0], z[1]
        grid = z.reshape(2, 1, 1) * table - b
        found = [
            *(f(z) for f in (np.cos, np.sin, np.exp, np.tanh, np.square, np.abs, np.negative)),
            *(np.log(np.abs(z)), np.sqrt(np.abs(z)), sigmoid(9 * z), softplus(9 * z)),
            *(z + a, 1 - z, z * b, z / (a + 9), np.abs(z) ** 1.5, z > a, z < 0.1),
            *(np.maximum(z, 0), np.minimum(z, b), np.clip(z, -0.5, 0.5), np.where(z > 0, z, 2.0)),
            *(grid.sum(axis=1), grid.max(axis=0), grid.mean(axis=2), np.moveaxis(grid, 0, 2)),
            *(grid[:, ::-1, 1:3], grid.T, np.stack([z, -z], axis=1), np.outer(z, table[0, 0])),
            *(table[0, :2].T @ z, grid[1] @ table[0].T, z @ table[0, :2], softmax(grid)),
            *(pick(table[0], k), pick([z, 2 * z], k), grid.sum(), *ellipse(z, -z)),
            *product_of_experts(table[0, :2], table[1, :2], z**2),
        ]
        flat = np.concatenate([part.reshape(-1) for part in found])
        return Panel(
            curves=[Curve(np.arange(len(flat)), flat)],
            points=[Points(a, b)],
            xlim=(0, 300),
            ylim=(-9, 9),
            text=f"{a:.2f} and {b:+.1%}, {len(found):d}",
        )

    html, shown = live(compute, z=Point("z", (0.3, -0.8)), k=Control([0, 1], "k", start=1))
    page = open_page(page_of(html))
    (ours,) = values(page, shown)
    truth = compute(np.array([0.3, -0.8]), np.array(1.0))
    np.testing.assert_allclose(ours, truth.curves[0].y, rtol=1e-6, atol=1e-6)
    assert page.locator(".text").inner_text() == truth.text.replace("-", "−")


def plane(z, shift, s):
    square = {"xlim": (-3, 3), "ylim": (-2, 2), "xlabel": "x", "ylabel": "y"}
    return [
        Panel(points=[Points(z[0], z[1], label="z")], text=f"{z[0]:.3f} {z[1]:.3f}", **square),
        Panel(
            points=[
                Points(2 * z[0] + 0.5 * shift[0], 1 - shift[1], label="moved"),
                Points(s, np.square(s) - 1, label="slid", colour=figures.ORANGE),
                Points(z[0] * z[1], 0, label="not linear"),
            ],
            text=f"{shift[0]:.3f} {shift[1]:.3f} {s:.3f}",
            **square,
        ),
    ]


@pytest.fixture
def open_plane(open_page):
    def open_one(width=1280):
        inputs = {"z": Point("z", (0.5, 0.25)), "shift": Point("shift"), "s": Slider(-2, 2, "s", 1)}
        html, _ = live(plane, **inputs)
        page = open_page(page_of(html), width=width)
        pictures(page)
        return page

    return open_one


def numbers(page):
    texts = page.locator(".text").all_inner_texts()
    return [[float(number.replace("−", "-")) for number in text.split()] for text in texts]


def middle(locator):
    box = locator.bounding_box()
    return np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def pixels_per_unit(page, handle):
    """By the keyboard: ten steps are a quarter of each axis, 6 and 4 units long."""
    before = middle(handle)
    for key in ("ArrowRight", "ArrowUp"):
        for _ in range(10):
            handle.press(key)
    scale = (middle(handle) - before) / [1.5, 1.0]
    for key in ("ArrowLeft", "ArrowDown"):
        for _ in range(10):
            handle.press(key)
    return scale


def test_a_drag_moves_the_point_under_the_finger_in_data_units(open_plane):
    page = open_plane()
    handle = page.get_by_role("slider", name="z", exact=True)
    scale = pixels_per_unit(page, handle)
    assert numbers(page)[0] == [0.5, 0.25]
    start = middle(handle)
    target = np.array([-2.3, 1.4])
    drag(page, start, start + (target - [0.5, 0.25]) * scale)
    np.testing.assert_allclose(numbers(page)[0], target, atol=0.02)
    np.testing.assert_allclose(middle(handle), start + (target - [0.5, 0.25]) * scale, atol=1)
    # A press beside the point brings it there; beyond the axes it stays at their ends.
    page.mouse.click(*(start + (np.array([1.5, -1.2]) - [0.5, 0.25]) * scale))
    np.testing.assert_allclose(numbers(page)[0], [1.5, -1.2], atol=0.02)
    assert handle.get_attribute("aria-valuetext").startswith("x 1.")
    drag(page, middle(handle), [5, 5])
    assert numbers(page)[0] == [-3, 2]


def test_points_that_follow_inputs_linearly_are_dragged_too(open_plane):
    page = open_plane()
    handles = page.locator(".panel").nth(1).locator(".handle")
    assert handles.evaluate_all("all => all.map(h => h.ariaLabel)") == ["moved", "slid"]
    moved = page.get_by_role("slider", name="moved")
    scale = pixels_per_unit(page, moved)
    start = middle(moved)  # at (2 * 0.5 + 0.5 * 0, 1 - 0) = (1, 1)
    drag(page, start, start + (np.array([2, -0.5]) - [1, 1]) * scale)
    np.testing.assert_allclose(numbers(page)[1], [2, 1.5, 1], atol=0.05)
    np.testing.assert_allclose(numbers(page)[0], [0.5, 0.25], atol=1e-9)
    slid = page.get_by_role("slider", name="slid")
    drag(page, middle(slid), middle(slid) + np.array([-1.6 * scale[0], 200]))
    np.testing.assert_allclose(numbers(page)[1][2], -0.6, atol=0.03)
    assert abs(float(page.locator("input[type=range]").input_value()) + 0.6) < 0.03


# Drawing


@pytest.fixture
def open_pad(open_page):
    """A page with a pad of some size; returns it with a function that reads what was drawn."""

    def open_one(size):
        blank, full = np.zeros((size, size)), np.tri(size)
        drawing = Drawing(size, "Draw", {"corner": full, "nothing": blank})
        html, shown = live(lambda ink: Panel(image=ink, title="ink"), ink=drawing)
        page = open_page(page_of(html))
        return page, lambda: values(page, shown)[0].reshape(size, size)

    return open_one


def stroke(page, points, scale=1.0, shift=(0.0, 0.0)):
    """Draw through points of the unit square on the pad, scaled and shifted."""
    box = page.locator("canvas.pad").bounding_box()
    places = [
        (
            box["x"] + (x * scale + shift[0]) * box["width"],
            box["y"] + (y * scale + shift[1]) * box["height"],
        )
        for x, y in points
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


SEVEN = [(0.2, 0.15), (0.75, 0.15), (0.4, 0.85)]


@pytest.mark.parametrize("size", [8, 28])
def test_what_is_drawn_takes_the_form_of_the_training_images(open_pad, size):
    page, ink = open_pad(size)
    np.testing.assert_allclose(ink(), np.tri(size), atol=1 / 255)
    page.get_by_role("button", name="Clear").click()
    assert not ink().any()
    stroke(page, SEVEN)
    large = ink()
    assert large.min() >= 0
    assert large.max() <= 1 + 1e-9
    rows, columns = (np.flatnonzero(large.max(axis) > 0.3) for axis in (1, 0))
    assert len(rows) == pytest.approx(8 if size == 8 else 20, abs=1)  # as tall as the data's box
    assert 0.4 < len(columns) / len(rows) < 1
    if size == 28:  # MNIST: the middle of the ink is the middle of the image
        middle = [(large.sum(axis) * (np.arange(28) + 0.5)).sum() / large.sum() for axis in (0, 1)]
        np.testing.assert_allclose(middle, [14, 14], atol=0.2)
    else:  # neither thinner nor fatter than the digits that scikit-learn ships
        digits = load_digits()
        thinnest, fattest = np.quantile(digits.data[digits.target == 7].sum(1) / 16, [0.02, 0.98])
        assert thinnest < large.sum() < fattest
    # Written small in a corner, it is the same digit.
    page.get_by_role("button", name="Clear").click()
    stroke(page, SEVEN, scale=0.4, shift=(0.55, 0.5))
    np.testing.assert_allclose(ink(), large, atol=0.12)
    page.get_by_role("button", name="corner").click()
    np.testing.assert_allclose(ink(), np.tri(size), atol=1 / 255)


def test_the_pad_can_be_used_by_keyboard(open_pad):
    page, ink = open_pad(8)
    pad = page.get_by_role("application", name="Draw")
    pad.press("Delete")
    assert not ink().any()
    pad.press("Space")
    for _ in range(5):
        pad.press("ArrowDown")
    drawn = ink()
    assert drawn[:, 3:5].sum() > 0.9 * drawn.sum() > 3  # a vertical line in the middle
    pad.press("Space")
    pad.press("ArrowRight")
    assert np.array_equal(ink(), drawn)  # the pen is up


def test_a_press_on_a_region_hides_it(open_page):
    region = np.add.outer(np.arange(6) // 3 * 2, np.arange(8) // 4)
    masks = np.stack([(region == g) * 1.0 for g in range(4)])

    def compute(hidden):
        image = 1 - np.sum(masks * hidden.reshape(4, 1, 1), axis=0)
        return Panel(image=image, regions=(hidden, region), text=f"{hidden.sum():d} hidden")

    html, shown = live(compute, hidden=Switches(["a", "b", "c", "d"], "hide"))
    page = open_page(page_of(html))
    (image,) = values(page, shown)
    assert image.all()
    x, y = middle(page.locator("canvas"))
    page.mouse.click(x + 40, y - 30)  # right above the middle
    (image,) = values(page, shown)
    np.testing.assert_array_equal(image.reshape(6, 8), region != 1)
    assert page.get_by_label("b", exact=True).is_checked()
    page.get_by_label("c", exact=True).check()
    assert page.locator(".text").inner_text() == "2 hidden"


# On a phone, in the dark, several on a page


def phone_figure(kind):
    grid = np.linspace(-3, 3, 31)

    def compute(z, s, k):
        square = {"xlim": (-3, 3), "ylim": (-3, 3), "xlabel": "z₁", "ylabel": "z₂"}
        plane = Panel(points=[Points(z[0], z[1], label="z")], equal_aspect=True, **square)
        curve = Panel(
            curves=[Curve(grid, s * grid, label="line"), Curve(grid, np.sin(grid), label="sine")],
            text=f"slope {s:.2f}, z = ({z[0]:.2f}, {z[1]:.2f}), and a few words more on it",
            **square,
        )
        picture = Panel(image=s * np.eye(8), title="picture")
        return {"squares": [plane, picture], "curves": [curve, curve], "mixed": [plane, curve]}[
            kind
        ]

    inputs = {
        "z": Point("z", (1, 1)),
        "s": Slider(0.1, 1, "slope of the line", unit="nats"),
        "k": Control(["first", "second", "third"], "which one"),
        "m": Control(range(9), "steps of the climb"),
    }
    html, _ = live(lambda z, s, k, m: compute(z, s, k), **inputs)
    caption = "<strong>Figure 1.1.</strong> " + "What one should see here, in a sentence. " * 3
    style = "margin:.3rem 0 0;font-size:15px;line-height:1.5"
    return (
        f'<figure class="numbered" style="margin:0">{html}'
        f'<figcaption style="{style}">{caption}</figcaption></figure>'
    )


@pytest.mark.parametrize("kind", ["squares", "curves", "mixed"])
def test_on_a_phone_picture_and_controls_share_the_screen(open_page, violations, kind):
    page = open_page(page_of(phone_figure(kind)), width=360, height=640)
    pictures(page)
    assert page.locator("figure.numbered").bounding_box()["height"] <= 640
    heights = [box["height"] for box in map(Locator.bounding_box, page.locator("canvas").all())]
    assert min(heights) >= 90
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    targets = page.locator(".choices label, input[type=range], button, .handle").all()
    for box in map(Locator.bounding_box, targets):
        assert min(box["width"], box["height"]) >= 44
    assert violations(page) == []


GROUND = """canvas => { const pen = canvas.getContext('2d');
    return [[...pen.getImageData(1, 1, 1, 1).data].slice(0, 3), canvas.width]; }"""


def test_figures_take_the_colours_of_a_dark_page(open_page, violations):
    figure = phone_figure("mixed")
    page = open_page(page_of(figure))
    light = pictures(page)
    (ground, _), *_ = page.locator("canvas").evaluate_all(f"all => all.map({GROUND})")
    assert min(ground) > 240
    page.evaluate(
        "document.documentElement.dataset.theme = 'dark';"
        "Object.assign(document.body.style, { background: '#121212', color: '#eee' });"
    )
    page.wait_for_function("document.querySelector('.explore').dataset.shade === 'dark'")
    assert all(old != new for old, new in zip(light, pictures(page), strict=True))
    (ground, _), *_ = page.locator("canvas").evaluate_all(f"all => all.map({GROUND})")
    assert max(ground) < 60
    assert violations(page) == []
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_function("document.querySelector('.explore').dataset.shade === 'light'")
    assert pictures(page) == light


def test_what_is_drawn_and_what_is_decoded_look_alike_in_the_dark(open_page):
    lower = Drawing(8, "Draw", {"lower half": np.tri(8)})
    html, _ = live(lambda ink: Panel(image=1 - ink, title="decoded"), ink=lower)
    page = open_page(page_of(html))
    pictures(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function("document.querySelector('.explore').dataset.shade === 'dark'")
    seen = []
    for canvas in page.locator("canvas").all():
        shot = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("L"), dtype=int)
        row, column = (side // 2 for side in shot.shape)
        seen.append((shot[row + 12, column - 12], shot[row - 12, column + 12]))
    np.testing.assert_array_equal(seen, [(0, 255), (0, 255)])  # ink is black, paper white


def test_without_a_theme_the_ground_or_the_system_decides(open_page):
    shade = "document.querySelector('.explore').dataset.shade"
    page = open_page(page_of(phone_figure("squares")))
    pictures(page)
    assert page.evaluate(shade) == "light"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{shade} === 'dark'")
    page.evaluate("document.body.style.background = '#fff'")
    page.wait_for_function(f"{shade} === 'light'")


def contrast(first, second):
    def luminance(colour):
        x = np.array(colour) / 255
        linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_the_colour_of_a_class_is_matplotlibs_in_the_light_and_seen_in_the_dark(open_page):
    chosen = [figures.class_colour(k) for k in range(10)]
    dots = [Points(k, 0, label=f"class {k}", colour=colour) for k, colour in enumerate(chosen)]
    panel = Panel(points=dots, xlim=(-1, 10), ylim=(-1, 1))
    page = open_page(page_of(to_html([[panel]], {}, "Dots.", 100, b"")))
    pictures(page)
    swatches = "all => all.map(one => getComputedStyle(one).color.match(/[0-9]+/g).map(Number))"
    drawn = """canvas => { const all = canvas.getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height).data, found = new Set();
        for (let i = 0; i < all.length; i += 4) found.add(all.slice(i, i + 3).join());
        return [...found]; }"""
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        page.wait_for_function(f"document.querySelector('.explore').dataset.shade === '{theme}'")
        seen = page.locator(".legend i").evaluate_all(swatches)
        assert {",".join(map(str, colour)) for colour in seen} <= set(
            page.locator("canvas").evaluate(drawn)
        )
        if theme == "light":
            assert ["#{:02X}{:02X}{:02X}".format(*colour) for colour in seen] == chosen
        else:
            ((ground, _),) = page.locator("canvas").evaluate_all(f"all => all.map({GROUND})")
            assert min(contrast(colour, ground) for colour in seen) >= 4.4
            assert len(set(map(tuple, seen))) == 10


def test_live_figures_on_one_page_are_independent(open_page):
    plane_figure, _ = live(
        plane, z=Point("z", (0.5, 0.25)), shift=Point("shift"), s=Slider(-2, 2, "s", 1)
    )
    page = open_page(page_of(plane_figure, phone_figure("squares"), plane_figure))
    for figure in range(3):
        pictures(page, figure)
    page.get_by_role("slider", name="z", exact=True).nth(2).press("ArrowRight")
    assert numbers_of(page, 0) == [0.5, 0.25]
    assert numbers_of(page, 2) == [0.65, 0.25]


def numbers_of(page, figure):
    text = page.locator("figure.explore").nth(figure).locator(".text").first.inner_text()
    return [float(number.replace("−", "-")) for number in text.split()]


def test_a_tap_brings_the_point_to_the_finger(chromium, tmp_path):
    html, _ = live(plane, z=Point("z"), shift=Point("shift"), s=Slider(-2, 2, "s", 1))
    path = tmp_path / "touch.html"
    path.write_text(page_of(html), encoding="utf-8")
    context = chromium.new_context(has_touch=True, viewport={"width": 360, "height": 640})
    page = context.new_page()
    page.goto(path.as_uri())
    pictures(page)
    handle = page.get_by_role("slider", name="z", exact=True)
    before = middle(handle)
    page.touchscreen.tap(*(before + np.array([40, -20])))
    page.wait_for_timeout(300)
    np.testing.assert_allclose(middle(handle), before + np.array([40, -20]), atol=1)
    context.close()


def test_a_step_takes_less_than_a_frame(open_page, modules, record_property):
    network = Network(modules["decoder"])  # the largest that is allowed
    clouds = [Points(*np.random.default_rng(k).normal(size=(2, 40))) for k in range(9)]

    def compute(z):
        limits = {"xlim": (-3, 3), "ylim": (-3, 3)}
        here = Points(z[0], z[1], label="z")
        return [Panel(points=[*clouds, here], **limits), Panel(image=sigmoid(network(z))[0])]

    html, _ = live(compute, z=Point("z"))
    page = open_page(page_of(html))
    pictures(page)
    steps = page.locator(".handle").evaluate(
        """handle => Array.from({ length: 60 }, (_, i) => {
            const key = i % 2 ? 'ArrowLeft' : 'ArrowRight', start = performance.now();
            handle.dispatchEvent(new KeyboardEvent('keydown', { key }));
            return performance.now() - start;
        })"""
    )
    record_property("milliseconds a step", float(np.median(steps)))
    assert np.quantile(steps, 0.1) < 16  # what it takes when nothing else runs

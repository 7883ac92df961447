import base64
import io
import json
import math
import re
import zlib
from html.parser import HTMLParser

import matplotlib as mpl
import nbformat
import notebooks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgb
from nbclient import NotebookClient
from PIL import Image
from torch import nn

from vaelite.book import explore as module
from vaelite.book import figures
from vaelite.book.explore import (
    Bars,
    Control,
    Curve,
    Drawing,
    Network,
    Panel,
    Point,
    Points,
    Slider,
    Switches,
    colours,
    draw,
    ellipse,
    evaluate,
    explore,
    live_html,
    live_widget,
    pack,
    pick,
    product_of_experts,
    to_html,
    trace,
    widget,
)
from vaelite.book.live import MAX_NETWORK_BYTES, Expression, recompute
from vaelite.book.panels import figure_of
from vaelite.nets import MLP, ConvDecoder, ConvEncoder, GaussianEncoder

GRID = np.linspace(-1, 2, 31)


def wave(phase, power):
    """Two panels: a curve with a gap and a moving marker; an image."""
    y = np.sin(GRID + phase) ** power
    y = np.where(np.abs(GRID - 0.5) < 0.2, np.nan, y)
    image = np.outer(np.arange(5), np.arange(7) + int(10 * phase)).astype(np.uint8)
    return [
        Panel(
            curves=[Curve(GRID, y, label="wave"), Curve(GRID, 0 * GRID)],
            points=[Points(phase, power)],
            xlabel="x",
            ylabel="y",
            text=f"phase {phase:.1f}",
        ),
        Panel(image=image, title="picture"),
    ]


def wave_controls():
    return {
        "phase": Control(np.linspace(0, 1, 6), "phase", start=0.4, unit="rad"),
        "power": Control([1, 2, 3], "power"),
    }


def page(compute=wave, controls=None, alt="A wave.", height=200):
    controls = controls or wave_controls()
    frames = evaluate(compute, controls)
    return to_html(frames, controls, alt, height, draw(frames[0], height))


def unpacked(packed):
    """Undo ``pack`` as the script in the page does: one dict of arrays a panel, frames first."""
    content = zlib.decompress(base64.b64decode(packed["bytes"]))

    def rows(table, dtype, shape):
        count = max(table["rows"] or [0]) + 1
        length = int(np.prod(shape))
        flat = np.frombuffer(content, dtype, count * length, table["offset"])
        return flat.reshape(count, *shape)[table["rows"] or 0]

    def reals(table):
        codes = rows(table, "<u2", (table["length"],))
        return np.where(codes == 65535, np.nan, table["low"] + table["step"] * codes)

    def image(table):
        channels = (table["channels"],) if table["channels"] > 1 else ()
        return rows(table, "u1", (table["height"], table["width"], *channels))

    return [
        {
            "marks": [(reals(mark["x"]), reals(mark["y"])) for mark in panel["marks"]],
            "image": panel["image"] and image(panel["image"]),
        }
        for panel in packed["panels"]
    ]


# Packing


numbers = st.floats(-1e100, 1e100) | st.floats(-3, 3) | st.just(float("nan"))


@settings(deadline=None)
@given(
    arrays(float, st.tuples(st.integers(2, 5), st.integers(1, 9)), elements=numbers),
    st.data(),
)
def test_real_numbers_survive_packing_up_to_quantisation(table, data):
    # Repeated frames, so that shared rows are exercised.
    order = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=2, max_size=8))
    frames = [[Panel(curves=[Curve(np.arange(table.shape[1]), table[i])])] for i in order]
    (panel,) = unpacked(pack(frames))
    ((x, y),) = panel["marks"]
    y = np.broadcast_to(y, (len(order), table.shape[1]))
    truth = table[order]
    assert np.array_equal(np.isnan(y), np.isnan(truth))
    finite = truth[np.isfinite(truth)]
    if finite.size:
        error = np.nanmax(np.abs(y - truth), initial=0)
        assert error <= 0.5001 * np.ptp(finite) / 65534 + 1e-13 * np.abs(finite).max()
    np.testing.assert_allclose(x, np.arange(table.shape[1]), atol=table.shape[1] / 65534)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 3), (5, 2, 4)])
def test_images_survive_packing_exactly(shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
    (panel,) = unpacked(pack([[Panel(image=image)] for image in images]))
    assert np.array_equal(panel["image"], images)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("ELBO -3.245, at best -.5", "ELBO −3.245, at best −.5"),
        ("between [-2, -inf]", "between [−2, −inf]"),
        ("ISA-VAE, p-2, x) -1, seeds 1-3", "ISA-VAE, p-2, x) −1, seeds 1-3"),
    ],
)
def test_a_hyphen_before_a_number_becomes_a_minus(typed, shown):
    assert Panel(image=np.zeros((1, 2)), text=typed).text == shown


def test_frames_are_numbered_with_the_last_control_fastest():
    frames = evaluate(wave, wave_controls())
    curve, _ = unpacked(pack(frames))
    _, y = curve["marks"][0]
    phases, powers = wave_controls()["phase"].values, wave_controls()["power"].values
    expected = wave(phases[4], powers[2])[0].curves[0].y
    np.testing.assert_allclose(y[4 * 3 + 2], expected, atol=1e-4)
    assert pack(frames)["panels"][0]["text"][4 * 3 + 2] == "phase 0.8"


def test_what_does_not_change_is_stored_once():
    still = np.random.default_rng(1).normal(size=500)

    def compute(turn):
        return Panel(points=[Points(still, -still), Points(turn, 0)], text="still")

    def content(count):
        packed = pack(evaluate(compute, {"turn": Control(range(count), "turn")}))
        return len(zlib.decompress(base64.b64decode(packed["bytes"]))), packed["panels"][0]

    (few, _), (many, panel) = content(2), content(40)
    assert few < 2 * 2 * 500 + 50
    assert many - few <= 2 * 38
    assert panel["text"] == ["still"]
    assert panel["marks"][0]["x"]["rows"] is None


def test_equal_arrays_of_different_quantities_share_their_bytes():
    def content(labels):
        curves = [Curve(GRID, GRID**2, label) for label in labels]
        return len(zlib.decompress(base64.b64decode(pack([[Panel(curves=curves)]])["bytes"])))

    assert content("a") == content("abc")


# Limits and colours


def test_limits_enclose_all_frames_and_given_limits_stay():
    def compute(scale):
        return Panel(curves=[Curve(GRID, scale * GRID)], ylim=None, xlim=(-5, 6))

    for (panel,) in evaluate(compute, {"scale": Control([1, -10, 3], "scale")}):
        assert panel.xlim == (-5, 6)
        assert panel.ylim[0] < -20
        assert panel.ylim[1] > 10


@pytest.mark.parametrize("value", [3.0, 0.0, -1e100, float("nan")])
def test_limits_of_degenerate_data_are_an_interval(value):
    compute = {"k": Control([0, 1], "k")}
    for (panel,) in evaluate(lambda k: Panel(points=[Points(value, value)]), compute):
        for low, high in (panel.xlim, panel.ylim):
            assert np.isfinite([low, high]).all()
            assert low < high


def test_the_panels_of_the_caller_keep_their_limits():
    mine = Panel(curves=[Curve(GRID, GRID)])
    evaluate(lambda k: mine, {"k": Control([0, 1], "k")})
    assert mine.xlim is None


def test_clouds_lie_below_curves_and_keep_their_colours():
    cloud = Points(np.arange(50), np.arange(50))
    marker, curve = Points(1, 1, colour="red"), Curve(GRID, GRID)
    panel = Panel(curves=[curve], points=[marker, cloud])
    assert panel.marks == [cloud, curve, marker]
    palette = module.figures.COLOURS
    assert colours(panel) == [palette[1].lower(), palette[0].lower(), "#ff0000"]


# The page


class Balance(HTMLParser):
    """Checks that elements are closed in order, and collects the text of scripts."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.script = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("img", "input", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.script += data


def test_the_page_is_one_valid_small_self_contained_block():
    alt = 'A <b>wave</b> & "more"'
    text = page(alt=alt)
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert [tag for tag, _ in parser.tags] == ["figure", "img", "script"]
    assert parser.tags[1][1]["alt"] == alt
    assert "src=" not in parser.script
    assert not re.search(r"https?://", text)
    assert len(text) < 45_000


def test_a_label_cannot_end_the_script():
    hostile = "</script><!-- <script>"
    controls = {"k": Control([0, 1], hostile)}
    text = page(lambda k: Panel(points=[Points(k, k, label=hostile)], text=hostile), controls)
    assert text.count("</script>") == 1
    assert "<!--" not in text


def test_the_same_figure_gives_the_same_page_and_another_one_another_id():
    def digest(text):
        return re.search(r'data-explore="(\w+)"', text).group(1)

    assert page() == page()
    assert digest(page()) != digest(page(alt="Another wave."))


def test_values_are_shown_with_their_units():
    assert Control([0.0, -22.5, 1 / 3], "angle", unit="°").texts == ["0°", "−22.5°", "0.3333°"]
    assert Control([1, 20000], "steps", unit="nats").texts == ["1\u00a0nats", "20000\u00a0nats"]
    assert Control(["mean-field", "exact"], "q").texts == ["mean-field", "exact"]


def test_a_start_is_found_up_to_rounding():
    assert Control(np.arange(0, 1, 0.1), "x", start=0.3).start_index == 3
    assert Control(["a", "b"], "x", start="b").start_index == 1


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [], "label": "k"}, "no values"),
        ({"values": [1, 2, 1.0], "label": "k"}, "same value twice"),
        ({"values": [1, 2], "label": "k", "start": 1.5}, "not among its values"),
        ({"values": [1, 2], "label": " "}, "label is empty"),
    ],
)
def test_bad_controls(options, message):
    with pytest.raises(ValueError, match=message):
        Control(**options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Curve([1, 2], [1, 2, 3]), ValueError, r"\(2,\) and \(3,\)"),
        (lambda: Curve([], []), ValueError, "N > 0"),
        (lambda: Points(np.ones((2, 2)), np.ones((2, 2))), ValueError, r"\(2, 2\)"),
        (lambda: Curve([1, 2], [1, np.inf]), ValueError, "infinity"),
        (lambda: Panel(), ValueError, "got none"),
        (lambda: Panel(image=np.ones((3, 4), int)), TypeError, "uint8 or floating"),
        (lambda: Panel(image=np.full((3, 4), np.nan)), ValueError, "NaN"),
        (lambda: Panel(bars=Bars([1, 2], names="abc")), ValueError, "2 heights need 2 names"),
        (lambda: Panel(image=np.ones((3, 4, 2), np.uint8)), ValueError, r"\(3, 4, 2\)"),
        (lambda: Panel(points=[Points(0, 0)], xlim=(1, 1)), ValueError, "xlim"),
        (lambda: Panel(points=[Points(0, 0)], ylim=(0, np.nan)), ValueError, "ylim"),
    ],
)
def test_bad_panels(make, error, message):
    with pytest.raises(error, match=message):
        make()


def panel_of(length=3, **options):
    return Panel(curves=[Curve(range(length), range(length))], **options)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda k: [panel_of()] * (1 + (k == 2)), "number of panels is 2, not 1"),
        (lambda k: panel_of(3 + (k == 2)), "panel 1, curve 1, length is 4, not 3"),
        (lambda k: panel_of(xlim=(0, k)), r"xlim is \(0.0, 2.0\), not \(0.0, 1.0\)"),
        (lambda k: panel_of(title="ab"[k // 2]), "title is 'b', not 'a'"),
        (lambda k: Panel(image=np.zeros((k, 3), np.uint8)), r"image shape is \(2, 3\)"),
    ],
)
def test_panels_that_differ_between_frames_are_named(compute, message):
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(compute, {"k": Control([1, 2, 3], "k")})
    assert "compute(k=2)" in str(caught.value)


def test_arguments_of_the_wrong_type_are_named():
    curve = Curve([0, 1], [0, 1])
    with pytest.raises(TypeError, match="curves must be a list of Curve; got Curve"):
        Panel(curves=curve)
    with pytest.raises(TypeError, match="points must be a list of Points; got"):
        Panel(points=[curve])
    with pytest.raises(ValueError, match=r"xlim must be .low, high.*; got 3"):
        Panel(curves=[curve], xlim=3)
    assert Panel(curves=[curve], text=3.5).text == "3.5"
    for values in ([float("nan")], [None, 1]):
        with pytest.raises(ValueError, match="'k' takes finite numbers and strings; got"):
            Control(values, "k")
    with pytest.raises(ValueError, match="'k' needs a list of values; got 5"):
        Control(5, "k")


def test_other_bad_calls():
    control = {"k": Control([1, 2], "k")}
    with pytest.raises(ValueError, match="alt is empty"):
        explore(lambda k: panel_of(), alt=" \n", **control)
    with pytest.raises(ValueError, match=r"at least 80 pixels; got 2\.5"):
        explore(lambda k: panel_of(), alt="in inches", height=2.5, **control)
    with pytest.raises(ValueError, match="at least one control"):
        explore(lambda: panel_of(), alt="nothing to turn")
    with pytest.raises(TypeError, match="k must be a Control; got list"):
        explore(lambda k: panel_of(), alt="a list", k=[1, 2])
    with pytest.raises(TypeError, match=r"compute\(k=1\) must return a Panel"):
        evaluate(lambda k: None, control)
    with pytest.raises(ValueError, match="no panels"):
        evaluate(lambda k: [], control)
    with pytest.raises(ValueError, match="1600 combinations"):
        many = {"k": Control(range(40), "k"), "m": Control(range(40), "m")}
        evaluate(lambda k, m: pytest.fail("evaluated nevertheless"), many)


def test_a_figure_too_large_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"takes \d+ kB for 9 frames, the limit is 400 kB"):
        page(
            lambda k: Panel(image=rng.integers(0, 256, (200, 200), dtype=np.uint8)),
            {"k": Control(range(9), "k")},
        )


# Live


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_widget_draws_the_chosen_frame():
    controls = wave_controls()
    frames = evaluate(wave, controls)
    box = widget(frames, controls, "A wave.", 200, draw(frames[2 * 3], 200))
    slider, buttons, image = box.children
    assert (slider.value, buttons.value) == (2, 0)
    before = pixels(image.value)
    slider.value = 5
    moved = pixels(image.value)
    assert np.abs(moved - before).max() > 50
    buttons.value = 2
    assert np.abs(pixels(image.value) - moved).max() > 50
    assert image.value == draw(frames[5 * 3 + 2], 200)


@pytest.mark.parametrize("count", [1, 2])
def test_no_text_of_a_poster_is_cut_off(count):
    panel = Panel(
        curves=[Curve([0, 1], [-1000, 1])],
        title="drawn by the first latent above and by the second below",
        xlabel="the four densities, in the order of the legend",
        ylabel="first mean of q (dashed: the best one)",
        text="after 10,000 draws 0.99 of the truth; the luckiest draw alone gave 12% of it",
        xlim=(0, 1),
        ylim=(-1000, 1),
    )
    with mpl.rc_context(figures.STYLE):
        poster = figure_of([panel] * count, 260)
        poster.savefig(io.BytesIO(), format="png")
    for axes in poster.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, axes._left_title):
            box = text.get_window_extent()
            assert poster.bbox.x0 <= box.x0 < box.x1 <= poster.bbox.x1, text.get_text()
            assert poster.bbox.y0 <= box.y0 < box.y1 <= poster.bbox.y1, text.get_text()


def test_outside_a_notebook_one_line_is_printed(capsys):
    explore(lambda k: panel_of(), alt="A\n  line.", k=Control([1, 2], "k"))
    assert capsys.readouterr().out.strip() == "Explorable figure: A line."


@pytest.mark.parametrize("control", ["Control([1, 2, 3, 4, 5], 'slope')", "Slider(1, 5, 'slope')"])
def test_a_kernel_displays_page_widget_and_caption(control):
    cell = nbformat.v4.new_code_cell(
        "import numpy as np\n"
        "from vaelite.book.explore import Control, Curve, Panel, Slider, explore\n"
        "def line(k):\n"
        "    return Panel(curves=[Curve([0, 1], np.stack([0 * k, k]))], ylim=(0, 5))\n"
        f"explore(line, alt='A line.', caption='It turns.', k={control})"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    output, caption = notebook.cells[0].outputs
    assert output.data["text/plain"] == "Explorable figure: A line."
    assert output.data["text/html"].startswith('<figure class="explore"')
    model = output.data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert model in json.dumps(notebook.metadata["widgets"])
    assert caption.metadata["vaelite_caption"] == {"text": "It turns."}


# Live figures


@pytest.fixture
def modules():
    torch.manual_seed(1)
    return [
        (GaussianEncoder(MLP(6, (7, 5), 4, nn.Tanh)), (6,)),
        (MLP(3, (), 4), (5, 3)),
        (ConvDecoder(3, (1, 28, 20), 8), (3,)),
        (ConvDecoder(3, (2, 8, 12), 4), (5, 3)),
        (ConvEncoder((1, 8, 12), 5, 4), (1, 8, 12)),
        (
            nn.Sequential(
                nn.Linear(3, 12, bias=False),
                nn.LeakyReLU(0.2),
                nn.Unflatten(1, (3, 2, 2)),
                nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, bias=False),
                nn.Softplus(beta=2),
                nn.Identity(),
                nn.Sigmoid(),
                nn.Flatten(),
            ),
            (3,),
        ),
    ]


def symbol(value, number=0):
    return Expression("input", (), value, number=number)


def test_a_network_laid_out_as_operations_is_torchs(modules):
    rng = np.random.default_rng(2)
    for layers, shape in modules:
        x, other = rng.normal(size=(2, *shape))
        network = Network(layers)
        laid_out = network(symbol(x))
        pairs = isinstance(laid_out, tuple)
        for at in (x, other):  # the value at the start, and the operations repeated elsewhere
            truth = network(at)
            with torch.no_grad():
                direct = layers(torch.as_tensor(at, dtype=torch.float32)[None])
            for ours, torchs, layer in zip(
                laid_out if pairs else [laid_out],
                truth if pairs else [truth],
                direct if pairs else [direct],
                strict=True,
            ):
                np.testing.assert_allclose(torchs, layer[0].numpy(), atol=1e-6)
                np.testing.assert_allclose(recompute(ours, {0: at}), torchs, atol=1e-5)


def test_the_product_of_experts_is_the_product_of_densities():
    mean, log_var = (
        np.array([[0.5, 2.0], [-1.0, 0.3], [4.0, 4.0]]),
        np.log([[2, 0.3], [0.7, 1], [1, 2]]),
    )
    present = np.array([1.0, 1.0, 0.0])
    grid = np.linspace(-12, 12, 4801)
    ours_mean, ours_log_var = product_of_experts(mean, log_var, present)
    for d in range(2):
        log = -(grid**2) / 2
        for g in (0, 1):
            log = log - (grid - mean[g, d]) ** 2 / (2 * np.exp(log_var[g, d]))
        weights = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
        truth = weights @ grid
        assert ours_mean[d] == pytest.approx(truth, abs=1e-6)
        assert np.exp(ours_log_var[d]) == pytest.approx(weights @ (grid - truth) ** 2, abs=1e-6)


def test_the_ellipse_lies_two_deviations_from_the_mean():
    mean, log_var = np.array([1.0, -2.0]), np.log([4.0, 0.25])
    x, y = ellipse(mean, log_var)
    np.testing.assert_allclose(((x - 1) / 2) ** 2 + ((y + 2) / 0.5) ** 2, 4)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda z: 1 if z[0] > 0 else 2, "no fixed value"),
        (lambda z: float(z[0]), "no fixed value"),
        (lambda z: torch.as_tensor(z), "no fixed value"),
        (lambda z: [1, 2, 3][z[0]], "no fixed value"),
        (lambda z: np.arctan(z), "cannot repeat np.arctan"),
        (lambda z: np.linalg.norm(z), "cannot repeat np.norm"),
        (lambda z: np.add.reduce(z), "cannot repeat np.add with reduce"),
        (lambda z: f"{z:.2f}", "one number"),
    ],
)
def test_what_a_page_cannot_repeat_is_named(use, message):
    with pytest.raises(TypeError, match=message):
        trace(lambda z: Panel(points=[Points(use(z), 0)]), {"z": Point("z")})


def test_a_format_that_a_page_does_not_know_is_named():
    with pytest.raises(ValueError, match=r"written with .2f.*; got >8"):
        trace(lambda z: Panel(points=[Points(z[0], 0)], text=f"{z[0]:>8}"), {"z": Point("z")})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Network(nn.GRU(2, 3)), TypeError, "cannot run a GRU"),
        (lambda: Network(nn.Linear(150, 150)), ValueError, "22,650 weights.*at most 22,500"),
        (lambda: Network(nn.Conv2d(2, 2, 3, dilation=2)), ValueError, "no dilation"),
        (lambda: Network(nn.Conv2d(2, 2, 3, stride=(1, 2))), ValueError, "one stride"),
        (lambda: Slider(1, 0, "s"), ValueError, "low <= start <= high"),
        (lambda: Slider(0, 1, "s", start=2), ValueError, "low <= start <= high"),
        (lambda: Slider(0, 1, ""), ValueError, "label is empty"),
        (lambda: Point("z", (1, 2, 3)), ValueError, "two finite numbers"),
        (lambda: Switches([], "s"), ValueError, "one to eight names"),
        (lambda: Switches(["a"], "s", [1, 0]), ValueError, "2 numbers for 1 names"),
        (lambda: Drawing(8, "d", {}), ValueError, "one to six examples"),
        (lambda: Drawing(8, "d", {"a": np.ones((8, 7))}), ValueError, r"got \(8, 7\)"),
        (lambda: Drawing(2, "d", {"a": 16 * np.eye(2)}), ValueError, "from 0 to 16"),
        (lambda: Drawing(2, "d", {"a": np.eye(2)}, start="b"), ValueError, "no example 'b'"),
        (lambda: Drawing(2, "d", {"a": np.eye(2)}, box=3), ValueError, "between 0 and 2"),
        (lambda: figures.class_colour(10), ValueError, "from 0 to 9; got 10"),
    ],
)
def test_bad_networks_and_inputs(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_live_figure_needs_limits_where_something_moves():
    def compute(z, limits):
        here = Points(z[0], z[1])
        return Panel(points=[here], curves=[Curve([0, 1], np.stack([z[0], 2 * z[0]]))], **limits)

    controls = {"z": Point("z")}
    with pytest.raises(ValueError, match="panel 1 needs ylim: what it shows moves along y"):
        trace(lambda z: compute(z, {}), controls)
    (panel,) = trace(lambda z: compute(z, {"ylim": (-2, 3)}), controls)
    assert panel.xlim[0] <= 0 < 1 <= panel.xlim[1]
    assert panel.ylim == (-2, 3)


def test_networks_beyond_two_of_full_size_are_refused():
    networks = [Network(nn.Linear(120, 120)) for _ in range(4)]  # 38.7 kB each

    def figure(count):
        def compute(shade):
            x = shade * np.ones(120)
            return [Panel(image=network(x).reshape(10, 12)) for network in networks[:count]]

        controls = {"shade": Slider(0, 1, "shade")}
        return live_html(trace(compute, controls), controls, "Noise.", 100, b"")

    assert len(figure(3)) < 200_000
    with pytest.raises(ValueError, match="networks take 154 kB; at most 120 kB"):
        figure(4)


def test_a_network_that_is_asked_twice_travels_once():
    network = Network(nn.Linear(100, 100))

    def length(count):
        def compute(shade):
            return [
                Panel(image=network(shade * k * np.ones(100)).reshape(10, 10))
                for k in range(1, count + 1)
            ]

        controls = {"shade": Slider(0, 1, "shade")}
        return len(live_html(trace(compute, controls), controls, "Noise.", 100, b""))

    assert length(3) - length(1) < 3_000 < length(1)


def test_regions_belong_to_switches():
    places = np.array([[0, 1], [1, -1]])
    controls = {"hidden": Switches(["a", "b"], "hide"), "z": Point("z")}
    for regions, message in [
        (lambda hidden, z: (hidden, places + 1), "-1 to 1; got 0 to 2"),
        (lambda hidden, z: (z, places), "belongs to Switches"),
        (lambda hidden, z: (np.ones(2), places), "belongs to Switches"),
        (lambda hidden, z: (hidden, places[:1]), "one integer for each pixel"),
    ]:
        with pytest.raises(ValueError, match=message):
            trace(
                lambda hidden, z, r=regions: Panel(image=np.eye(2), regions=r(hidden, z)), controls
            )


def live_wave(z, scale, shade, on):
    image = pick([scale * np.eye(6), 1 - np.eye(6)], shade) * on[1]
    return [
        Panel(points=[Points(z[0], z[1])], xlim=(-2, 2), ylim=(-3, 3), text=f"{z[0]:+.2f}"),
        Panel(image=image),
    ]


def test_with_a_kernel_the_same_function_is_called_with_numbers():
    controls = {
        "z": Point("z", (0.5, -1)),
        "scale": Slider(0, 1, "scale", start=0.25),
        "shade": Control(["ink", "paper"], "shade"),
        "on": Switches(["a", "b"], "on", [0, 1]),
    }
    panels = [panel.at_start() for panel in trace(live_wave, controls)]
    assert panels[0].text == "+0.50"
    poster = draw(panels, 200)
    box = live_widget(live_wave, panels, controls, "A wave.", 200, poster)
    *inputs, image = box.children
    assert [each.description for each in inputs] == ["z →", "z ↑", "scale", "shade", "a", "b"]
    inputs[0].value, inputs[2].value, inputs[3].value = -1.5, 0.75, 1
    truth = live_wave(np.array([-1.5, -1]), np.float64(0.75), np.int64(1), np.array([0.0, 1.0]))
    assert image.value == draw(truth, 200)
    assert image.value != poster


def test_with_a_kernel_torch_is_asked():
    class Counted(nn.Linear):
        calls = 0

        def forward(self, x):
            Counted.calls += 1
            return super().forward(x)

    network = Network(Counted(2, 12))
    compute = lambda z: Panel(image=network(z).reshape(3, 4))  # noqa: E731
    controls = {"z": Point("z")}
    panels = [panel.at_start() for panel in trace(compute, controls)]
    assert Counted.calls == 0
    box = live_widget(compute, panels, controls, "Noise.", 100, draw(panels, 100))
    box.children[0].value = 1.0
    assert Counted.calls == 1


def test_class_colours_differ_for_colour_blind_eyes_too():
    """CIELAB distances after Machado, Oliveira and Fernandes (2009), full severity."""
    views = np.array(
        [
            np.eye(3),
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ]
    )
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    rgb = np.array([to_rgb(figures.class_colour(k)) for k in range(10)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for view in views:
        xyz = np.clip(linear @ view.T, 0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack(
            [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1
        )
        distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e3 * np.eye(10)
        assert distances.min() > 16


@pytest.mark.parametrize("chapter", sorted((notebooks.ROOT / "chapters").glob("*.ipynb"), key=str))
def test_the_networks_of_every_stored_figure_are_small(chapter):
    """At most two networks of full size travel with a figure: 60 kB each as base64."""
    for cell in nbformat.read(chapter, as_version=4).cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            for found in re.finditer(r'"graph":\s*(?=\[)', page):
                graph, _ = json.JSONDecoder().raw_decode(page, found.end())
                halves = [math.prod(node["shape"]) for node in graph if node.get("half")]
                assert sum(halves) * 2 * 4 / 3 <= 2 * MAX_NETWORK_BYTES

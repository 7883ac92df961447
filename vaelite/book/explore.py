"""Explorable figures: pictures that follow what a reader turns, drags, presses or draws.

One call, :func:`explore`, displays two things at once.  A live notebook shows ipywidgets.
Everything else, the stored notebook and the page, shows one self-contained block of HTML: numbers,
quantised and compressed, and the script ``explore.js`` that draws them.  It needs no kernel and no
network.  There are two kinds of figures.

**Frames.**  With only :class:`~vaelite.book.controls.Control` inputs, the function is evaluated at
every combination of their values, and the page picks from what was computed::

    def walk(z1, z2):
        return [Panel(points=[cloud, Points(z1, z2, label="you")], equal_aspect=True),
                Panel(image=sheet[z1, z2], title="decoded")]

    explore(walk, alt="...", caption="...", z1=Control(ticks, "z₁"), z2=Control(ticks, "z₂"))

**Live.**  As soon as one input is a :class:`~vaelite.book.controls.Slider`, a
:class:`~vaelite.book.controls.Point`, :class:`~vaelite.book.controls.Switches` or a
:class:`~vaelite.book.controls.Drawing`, the page computes: the function, in NumPy and with
:class:`~vaelite.book.live.Network` round trained networks, is traced once, and the page repeats it
whenever the reader moves something (:mod:`vaelite.book.live` lists what it can repeat).  A digit is
drawn, the encoder answers with q, z is dragged, the decoder answers::

    encoder, decoder = Network(model.encoder), Network(model.decoder)

    def answer(digit, noise):
        mean, log_var = encoder(digit.reshape(-1))                   # (2,), (2,)
        z = mean + np.exp(0.5 * log_var) * noise                     # (2,)
        q = Curve(*ellipse(mean, log_var), label="q(z | x)", colour=figures.ORANGE)
        ink = sigmoid(decoder(z)).reshape(8, 8)
        return [Panel(points=[cloud, Points(z[0], z[1], label="z", colour=figures.BLACK)],
                      curves=[q], xlim=(-4, 4), ylim=(-4, 4), equal_aspect=True,
                      text=f"z = ({z[0]:.1f}, {z[1]:.1f})"),
                Panel(image=1 - ink, title="decoded")]

    explore(answer, alt="...", caption="...", digit=Drawing(8, "Draw a digit", examples),
            noise=Point("z"))

The packed format, which ``explore.js`` reads: all arrays lie one after the other in one run of
bytes (zlib, then base64).  A quantity that changes from frame to frame is a table with one row
per *distinct* value; ``rows`` says which row belongs to which frame (None: always the first).
Real numbers are little-endian uint16 codes, ``value = low + step * code``, and the code 65535 is
NaN; images are uint8 as they are.  Frames are numbered with the last control running fastest.  In a
live figure ``graph`` lists the operations, arguments before results, and a quantity that moves is
the number of its operation, ``node``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vaelite.book import figures, live
from vaelite.book.chapter import in_notebook
from vaelite.book.controls import (
    Control,
    Drawing,
    Input,
    Point,
    Slider,
    Switches,
    gap,
)
from vaelite.book.live import (
    Expression,
    Network,
    ellipse,
    pick,
    product_of_experts,
    sigmoid,
    softmax,
    softplus,
)
from vaelite.book.panels import Bars, Curve, Panel, Points, colours, draw, share_limits

__all__ = [
    "Bars",
    "Control",
    "Curve",
    "Drawing",
    "Network",
    "Panel",
    "Point",
    "Points",
    "Slider",
    "Switches",
    "ellipse",
    "evaluate",
    "explore",
    "pick",
    "product_of_experts",
    "sigmoid",
    "softmax",
    "softplus",
    "trace",
]

NAN_CODE = 65535
MAX_BYTES = 400_000
MAX_FRAMES = 1_000


def explore(
    compute: Callable[..., Panel | Sequence[Panel]],
    *,
    alt: str,
    caption: str = "",
    height: int = 260,
    **controls: Input,
) -> None:
    """Display a figure that follows what the reader turns, drags, presses or draws.

    Args:
        compute: gets the inputs by keyword and returns one panel or a list of panels.  Between
            calls only numbers, images and ``text`` may change.  With only ``Control`` inputs it is
            called for each combination of their values; in a live figure it is traced (see above).
        alt: what a reader who cannot see the figure needs to know.
        caption: what to see, in a sentence; Markdown.  It is displayed below the figure, and
            numbered when the chapter is executed.
        height: height of a panel's drawing in CSS pixels; a phone's screen may ask for less.
        **controls: one for each argument of ``compute``; the last runs fastest.

    Raises:
        ValueError: if ``alt`` is empty, ``height`` is below 80, there are no controls or too many
            combinations, the panels differ in more than their numbers, the limits of an axis on
            which something moves in a live figure are missing, the networks of a live figure take
            more than 120 kB, or the figure would exceed 400 kB.
        TypeError: if a control is none of the five kinds, ``compute`` returns no panels, or it does
            with a live figure's inputs what a page cannot repeat.
    """
    alt = " ".join(alt.split())
    if not alt:
        raise ValueError("alt is empty; say in a sentence or two what the figure shows.")
    if height < 80:
        raise ValueError(f"height must be at least 80 pixels; got {height}.")
    check_controls(controls)
    if is_live(controls):
        panels = trace(compute, controls)
        poster = draw([panel.at_start() for panel in panels], height)
        page = live_html(panels, controls, alt, height, poster)
    else:
        frames = evaluate(compute, controls)
        poster = draw(frames[_start(controls)], height)
        page = to_html(frames, controls, alt, height, poster)
    text = f"Explorable figure: {alt}"
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    bundle = {"text/html": page, "text/plain": text}
    if not any(isinstance(control, Drawing) for control in controls.values()):
        if is_live(controls):
            panels = [panel.at_start() for panel in panels]
            view = live_widget(compute, panels, controls, alt, height, poster)
        else:
            view = widget(frames, controls, alt, height, poster)
        bundle = view._repr_mimebundle_() | bundle
    display(bundle, raw=True)
    if caption:
        figures.show_caption(caption)


def check_controls(controls: dict[str, Input]) -> None:
    """Raise ValueError if there are none, TypeError if one is none of the five kinds."""
    if not controls:
        raise ValueError("explore needs at least one control.")
    for name, control in controls.items():
        if not isinstance(control, Input):
            raise TypeError(f"{name} must be a Control; got {type(control).__name__}.")


def is_live(controls: dict[str, Input]) -> bool:
    """Tell whether the page computes, because an input is more than a choice among values."""
    return any(not isinstance(control, Control) for control in controls.values())


def evaluate(compute: Callable, controls: dict[str, Control]) -> list[list[Panel]]:
    """Return the panels of every frame, with the axis limits filled in and shared by all frames.

    Raises:
        ValueError, TypeError: see :func:`explore`.
    """
    check_controls(controls)
    count = math.prod(len(control.values) for control in controls.values())
    if count > MAX_FRAMES:
        raise ValueError(
            f"the controls have {count} combinations; at most {MAX_FRAMES} can be kept."
        )
    frames, first = [], None
    for values in itertools.product(*(control.values for control in controls.values())):
        arguments = dict(zip(controls, values, strict=True))
        panels = compute(**arguments)
        call = f"compute({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
        panels = _panels(panels, call)
        structure = _structure(panels)
        first = first or structure
        for name in {**first, **structure}:
            if first.get(name) != structure.get(name):
                raise ValueError(
                    f"{call} returns another structure than the calls before it: {name} is "
                    f"{structure.get(name)!r}, not {first.get(name)!r}."
                )
        frames.append([replace(panel) for panel in panels])  # copies, to be given limits
    for panels in zip(*frames, strict=True):
        share_limits(panels)
    return frames


def trace(compute: Callable, controls: dict[str, Input]) -> list[Panel]:
    """Return the panels of a live figure, whose moving parts are expressions of the inputs.

    Raises:
        ValueError, TypeError: see :func:`explore`.
    """
    check_controls(controls)
    live.forget()
    inputs = {
        name: Expression("input", (), control.start_value, number=number)
        for number, (name, control) in enumerate(controls.items())
    }
    panels = _panels(compute(**inputs), "compute")
    panels = [replace(panel) for panel in panels]  # copies, to be given limits
    for number, panel in enumerate(panels, 1):
        for name, axis in (("xlim", "x"), ("ylim", "y")):
            moving = any(
                isinstance(getattr(mark, axis), Expression) and not handle(mark, controls)
                for mark in panel.marks
            )
            if moving and getattr(panel, name) is None:
                raise ValueError(f"panel {number} needs {name}: what it shows moves along {axis}.")
        still = panel.at_start()
        share_limits([still])
        panel.xlim, panel.ylim = still.xlim, still.ylim
        if panel.regions is not None:
            _check_regions(panel, controls)
    return panels


def handle(mark: Curve | Points | Bars, controls: dict[str, Input]) -> dict[str, Any] | None:
    """Find which inputs of a live figure a single point's place follows, for dragging it.

    A coordinate c follows an input u if ``c(u)`` is linear.  The page then solves for u from c at
    two ``probes``.

    Returns:
        For ``x`` and ``y`` None, or ``input``, ``component`` (None for a slider) and ``probes``.
    """
    if not isinstance(mark, Points) or not mark.drag or len(mark.x) > 1:
        return None

    def follows(place: Any, number: int, component: int | None) -> dict[str, Any] | None:
        control = list(controls.values())[number]
        match control:
            case Point():
                probes = [0.0, 1.0]
            case Slider():
                probes = [control.low, control.high]
            case _:
                probes = [min(control.numbers), max(control.numbers)]
        steps = np.array([0.0, 1.0, 0.37, 0.81])
        places = []
        for probe in probes[0] + steps * (probes[1] - probes[0]):
            value = control.start_value.copy()
            value[() if component is None else component] = probe
            places.append(float(live.recompute(place, {number: value})[0]))
        slope = places[1] - places[0]
        linear = np.allclose(places, places[0] + steps * slope, rtol=1e-6, atol=1e-9)
        if not (linear and abs(slope) > 1e-9):
            return None
        return {"input": number, "component": component, "probes": probes}

    places = {axis: getattr(mark, axis) for axis in "xy"}
    moving = {axis: p for axis, p in places.items() if isinstance(p, Expression)}
    numbered = list(enumerate(controls.values()))[::-1]  # the last input first
    if len(moving) == 2:
        for number, control in numbered:
            if isinstance(control, Point):
                found = {axis: follows(moving[axis], number, i) for i, axis in enumerate("xy")}
                if all(found.values()):
                    return found
    found, taken = {"x": None, "y": None}, set()
    for axis, place in moving.items():
        for number, control in numbered:
            slides = isinstance(control, Slider) or (
                isinstance(control, Control) and not isinstance(control.values[0], str)
            )
            if slides and number not in taken and found[axis] is None:
                found[axis] = follows(place, number, None)
                taken |= {number} if found[axis] else set()
    return found if any(found.values()) else None


def _check_regions(panel: Panel, controls: dict[str, Input]) -> None:
    switches, regions = panel.regions
    number = getattr(switches, "options", {}).get("number")
    control = None if number is None else list(controls.values())[number]
    if not isinstance(control, Switches):
        raise ValueError("regions need the argument of compute that belongs to Switches, first.")
    if regions.min() < -1 or regions.max() >= len(control.names):
        raise ValueError(
            f"regions must hold -1 to {len(control.names) - 1}; got {regions.min()} to "
            f"{regions.max()}."
        )


def _panels(panels: Any, call: str) -> Sequence[Panel]:
    panels = [panels] if isinstance(panels, Panel) else panels
    if not isinstance(panels, Sequence) or not all(isinstance(p, Panel) for p in panels):
        raise TypeError(f"{call} must return a Panel or a list of Panels.")
    if not panels:
        raise ValueError(f"{call} returns no panels.")
    return panels


class _Packer:
    """Collects arrays; equal arrays share their bytes."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.offsets: dict[bytes, int] = {}

    def store(self, content: bytes) -> int:
        """Return where the bytes lie."""
        if content not in self.offsets:
            self.offsets[content] = len(self.bytes)
            self.bytes += content
        return self.offsets[content]

    def table(self, frames: np.ndarray) -> dict[str, Any]:
        """Store the distinct rows of a ``(frames, ...)`` table of codes."""
        numbers: dict[bytes, int] = {}
        rows = [numbers.setdefault(frame.tobytes(), len(numbers)) for frame in frames]
        offset = self.store(b"".join(numbers))
        return {"offset": offset, "rows": rows if len(numbers) > 1 else None}

    def reals(self, frames: Sequence[np.ndarray]) -> dict[str, Any]:
        table = np.stack(frames)  # (frames, N)
        finite = table[np.isfinite(table)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        step = (high - low) / (NAN_CODE - 1) or 1.0
        codes = np.where(np.isnan(table), NAN_CODE, np.rint((table - low) / step))
        return {
            "length": table.shape[1],
            "low": low,
            "step": step,
            **self.table(codes.astype("<u2")),
        }

    def images(self, frames: Sequence[np.ndarray]) -> dict[str, Any]:
        height, width, *channels = frames[0].shape
        return {
            "height": height,
            "width": width,
            "channels": channels[0] if channels else 1,
            **self.table(np.stack(frames)),
        }

    def compressed(self) -> str:
        return base64.b64encode(zlib.compress(bytes(self.bytes), 9)).decode()


class _Graph:
    """Collects the operations behind expressions; what no input reaches is a constant."""

    def __init__(self, packer: _Packer) -> None:
        self.packer = packer
        self.nodes: list[dict[str, Any]] = []
        self.numbers: dict[int, int] = {}
        self.moving: dict[int, bool] = {}
        self.kept: list[Expression] = []  # so that no id is used twice
        self.weights: dict[int, int] = {}  # half floats by their offset

    def node(self, expression: Expression) -> int:
        """Return the number of an expression's node."""
        if id(expression) not in self.numbers:
            node = self._describe(expression) | {"shape": list(expression.shape)}
            self.kept.append(expression)
            self.numbers[id(expression)] = len(self.nodes)
            self.nodes.append(node)
        return self.numbers[id(expression)]

    def moves(self, expression: Expression) -> bool:
        if id(expression) not in self.moving:
            self.kept.append(expression)
            self.moving[id(expression)] = expression.name == "input" or any(
                self.moves(argument) for argument in expression.of
            )
        return self.moving[id(expression)]

    def _describe(self, expression: Expression) -> dict[str, Any]:
        options = expression.options
        if expression.name == "input":
            return {"name": "input", "input": options["number"]}
        if not self.moves(expression):
            half = options.get("half", False)
            values = expression.value.astype("<f2" if half else "<f4")
            if half and not np.isfinite(values).all():
                raise ValueError("a weight is too large for a half float, or no finite number.")
            offset = self.packer.store(values.tobytes())
            if half:
                self.weights[offset] = values.nbytes
            return {"name": "constant", "half": half, "offset": offset}
        node = {"name": expression.name, "of": [self.node(each) for each in expression.of]}
        if expression.name == "gather":
            node["offset"] = self.packer.store(options["index"].astype("<u4").tobytes())
        return node | {name: options[name] for name in ("stride", "padding") if name in options}


_AXES = ("title", "xlabel", "ylabel", "xlim", "ylim", "equal_aspect")


def pack(frames: list[list[Panel]], controls: dict[str, Control] | None = None) -> dict[str, Any]:
    """Quantise all frames into what ``explore.js`` reads (the module's docstring has the format).

    Args:
        frames: from :func:`evaluate`.
        controls: the controls, if single points that follow them are to be dragged.

    Returns:
        ``panels``, which describes them, and ``bytes``, the compressed arrays.
    """
    packer = _Packer()
    panels = []
    for versions in zip(*frames, strict=True):  # one panel in all frames
        panel = versions[0]
        marks = []
        for mark, colour, *same in zip(
            panel.marks, colours(panel), *(v.marks for v in versions), strict=True
        ):
            x, y = ([getattr(version, axis) for version in same] for axis in "xy")
            marks.append(
                _described(mark, colour)
                | {"x": packer.reals(x), "y": packer.reals(y)}
                | {"frames": _moved_by(mark, x, y, controls or {})}
            )
        texts = [version.text for version in versions]
        panels.append(
            {name: getattr(panel, name) for name in _AXES}
            | {
                "text": texts if len(set(texts)) > 1 else texts[:1],
                "marks": marks,
                "image": None
                if panel.image is None
                else packer.images([version.image for version in versions]),
            }
        )
    return {"panels": panels, "bytes": packer.compressed()}


def pack_live(panels: list[Panel], controls: dict[str, Input]) -> dict[str, Any]:
    """Describe a live figure for ``explore.js``.

    Args:
        panels: from :func:`trace`.
        controls: the inputs.

    Returns:
        ``panels``, ``graph`` and ``bytes``.

    Raises:
        ValueError: if the networks take more than 120 kB.
    """
    packer = _Packer()
    graph = _Graph(packer)

    def reals(values: Any) -> dict[str, Any]:
        if isinstance(values, Expression):
            return {"node": graph.node(values), "length": len(values)}
        return packer.reals([values])

    described = []
    for panel in panels:
        marks = [
            _described(mark, colour)
            | {"x": reals(mark.x), "y": reals(mark.y), "handle": handle(mark, controls)}
            for mark, colour in zip(panel.marks, colours(panel), strict=True)
        ]
        image = panel.image
        if isinstance(image, Expression):
            height, width, *channels = image.shape
            image = {
                "node": graph.node(image),
                "height": height,
                "width": width,
                "channels": channels[0] if channels else 1,
            }
        elif image is not None:
            image = packer.images([image])
        text = [
            piece if isinstance(piece, str) else {"node": graph.node(piece[0]), "form": piece[1]}
            for piece in live.written(panel.text)
        ]
        regions = None
        if panel.regions is not None:
            switches, places = panel.regions
            regions = {"input": switches.options["number"], "places": places.ravel().tolist()}
        described.append(
            {name: getattr(panel, name) for name in _AXES}
            | {"template": text, "marks": marks, "image": image, "regions": regions}
        )
    size = sum(graph.weights.values()) * 4 // 3
    if size > 2 * live.MAX_NETWORK_BYTES:
        raise ValueError(
            f"the figure's networks take {size // 1000} kB; at most "
            f"{2 * live.MAX_NETWORK_BYTES // 1000} kB, two networks of full size, fit."
        )
    return {"panels": described, "graph": graph.nodes, "bytes": packer.compressed()}


def _described(mark: Curve | Points | Bars, colour: str) -> dict[str, Any]:
    return {
        "kind": mark.kind,
        "label": mark.label,
        "colour": colour,
        "dashed": getattr(mark, "dashed", False),
        "names": getattr(mark, "names", None),
    }


def _moved_by(
    mark: Curve | Points | Bars, x: list, y: list, controls: dict[str, Control]
) -> list[int]:
    """Return the numbers of the controls that move a single point."""
    if not isinstance(mark, Points) or not mark.drag or len(mark.x) > 1 or not controls:
        return []
    counts = [len(control.values) for control in controls.values()]
    places = np.nan_to_num(np.hstack([np.stack(x), np.stack(y)])).reshape(*counts, 2)
    return [axis for axis in range(len(counts)) if np.ptp(places, axis=axis).any()]


def to_html(
    frames: list[list[Panel]], controls: dict[str, Control], alt: str, height: int, poster: bytes
) -> str:
    """Return the self-contained figure of frames: poster, data and script.

    Raises:
        ValueError: if it would exceed 400 kB.
    """
    return _block(pack(frames, controls), controls, alt, height, poster, len(frames))


def live_html(
    panels: list[Panel], controls: dict[str, Input], alt: str, height: int, poster: bytes
) -> str:
    """Return the self-contained live figure: poster, data, networks and script.

    Raises:
        ValueError: if it would exceed 400 kB, or its networks 120 kB.
    """
    return _block(pack_live(panels, controls), controls, alt, height, poster, 1)


def _block(
    data: dict[str, Any],
    controls: dict[str, Input],
    alt: str,
    height: int,
    poster: bytes,
    count: int,
) -> str:
    data |= {
        "alt": alt,
        "height": height,
        "controls": [_described_input(control) for control in controls.values()],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    script, style = _asset("explore.js"), json.dumps(_asset("explore.css"))
    compute = _asset("live.js") if "graph" in data else "null"
    page = (
        f'<figure class="explore" data-explore="{digest}" style="margin:1em 0">\n'
        f'<img alt="{html.escape(alt)}" style="max-width:100%" '
        f'src="data:image/png;base64,{base64.b64encode(poster).decode()}">\n'
        f'<script>\n{script}("{digest}", {text}, {style}, {compute});\n</script>\n</figure>'
    )
    size = len(page.encode())
    if size > MAX_BYTES:
        raise ValueError(
            f"the figure takes {size // 1000} kB for {count} frames, the limit is "
            f"{MAX_BYTES // 1000} kB; use fewer control values, or fewer points or pixels."
        )
    return page


def _described_input(control: Input) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": type(control).__name__.lower(), "label": control.label}
    match control:
        case Control():
            start = {"texts": control.texts, "start": control.start_index}
            return described | start | {"numbers": control.numbers}
        case Slider():
            limits = {"low": control.low, "high": control.high, "start": control.start}
            return described | limits | {"unit": f"{gap(control.unit)}{control.unit}"}
        case Point():
            return described | {"start": control.start}
        case Switches():
            return described | {"texts": control.names, "start": control.start}
        case Drawing():
            examples = {
                name: base64.b64encode(np.rint(255 * image).astype(np.uint8).tobytes()).decode()
                for name, image in control.examples.items()
            }
            names = ("size", "box", "stroke", "start")
            return (
                described
                | {name: getattr(control, name) for name in names}
                | {"examples": examples}
            )


def widget(
    frames: list[list[Panel]], controls: dict[str, Control], alt: str, height: int, poster: bytes
):
    """Return the figure of frames as ipywidgets, for a live kernel: controls above an image."""
    inputs = [_choice(control) for control in controls.values()]

    def picture() -> bytes:
        return draw(frames[_frame(controls, [each.value for each in inputs])], height)

    return _box(inputs, picture, alt, poster)


def live_widget(
    compute: Callable,
    panels: Sequence[Panel],
    controls: dict[str, Input],
    alt: str,
    height: int,
    poster: bytes,
):
    """Return a live figure as ipywidgets: the kernel calls the function, and asks torch.

    Args:
        compute: as in :func:`explore`.
        panels: the panels at the start, whose limits stay.
        controls: the inputs, without a drawing, for which ipywidgets have no pad.
        alt: alternative text.
        height: of a panel's drawing.
        poster: the picture at the start.
    """
    import ipywidgets

    limits = [(panel.xlim, panel.ylim) for panel in panels]
    reach = max((abs(end) for pair in limits for ends in pair if ends for end in ends), default=3.0)
    inputs, read = [], {}

    def slider(label: str, start: float, low: float, high: float) -> Any:
        options = {"min": low, "max": high, "step": (high - low) / 200, "value": start}
        return ipywidgets.FloatSlider(description=label, **options, **_layout())

    for name, control in controls.items():
        match control:
            case Control():
                new = [_choice(control)]
                read[name] = lambda new=new, control=control: control.numbers[new[0].value]
            case Slider():
                new = [slider(control.label, control.start, control.low, control.high)]
                read[name] = lambda new=new: new[0].value
            case Point():
                axes = zip((" →", " ↑"), control.start, strict=True)
                new = [slider(control.label + axis, x, -reach, reach) for axis, x in axes]
                read[name] = lambda new=new: [each.value for each in new]
            case Switches():
                pairs = zip(control.names, control.start, strict=True)
                new = [ipywidgets.Checkbox(bool(on), description=text) for text, on in pairs]
                read[name] = lambda new=new: [each.value for each in new]
        inputs += new

    def picture() -> bytes:
        values = {name: np.asarray(value(), dtype=float) for name, value in read.items()}
        drawn = [replace(panel) for panel in _panels(compute(**values), "compute")]
        for panel, (xlim, ylim) in zip(drawn, limits, strict=True):
            panel.xlim, panel.ylim = xlim, ylim
        return draw(drawn, height)

    return _box(inputs, picture, alt, poster)


def _layout() -> dict[str, Any]:
    return {
        "style": {"description_width": "initial"},
        "layout": {"width": "auto", "max_width": "32em"},
    }


def _choice(control: Control):
    import ipywidgets

    options = list(zip(control.texts, range(len(control.texts)), strict=True))
    kind = ipywidgets.ToggleButtons if len(options) <= 4 else ipywidgets.SelectionSlider
    return kind(options=options, value=control.start_index, description=control.label, **_layout())


def _box(inputs: Sequence, picture: Callable[[], bytes], alt: str, poster: bytes):
    """Return the inputs above an image that follows them."""
    import ipywidgets

    image = ipywidgets.Image(value=poster, format="png", layout={"max_width": "100%"})
    image.alt = alt

    def redraw(_change: object) -> None:
        image.value = picture()

    for each in inputs:
        each.observe(redraw, names="value")
    return ipywidgets.VBox([*inputs, image])


def _structure(panels: Sequence[Panel]) -> dict[str, Any]:
    """Return what must not change between frames, under names for an error message."""
    found: dict[str, Any] = {"number of panels": len(panels)}
    for i, panel in enumerate(panels, 1):
        for name in ("title", "xlabel", "ylabel", "xlim", "ylim", "equal_aspect"):
            found[f"panel {i}, {name}"] = getattr(panel, name)
        found[f"panel {i}, image shape"] = None if panel.image is None else panel.image.shape
        found[f"panel {i}, number of curves"] = len(panel.curves)
        found[f"panel {i}, number of points"] = len(panel.points)
        found[f"panel {i}, bars"] = panel.bars and tuple(panel.bars.names)
        for j, (mark, colour) in enumerate(zip(panel.marks, colours(panel), strict=True), 1):
            found[f"panel {i}, kind of mark {j}"] = mark.kind
            found[f"panel {i}, {mark.kind} {j}, label"] = mark.label
            found[f"panel {i}, {mark.kind} {j}, colour"] = colour
            found[f"panel {i}, {mark.kind} {j}, dashed"] = getattr(mark, "dashed", False)
            found[f"panel {i}, {mark.kind} {j}, length"] = len(mark.x)
    return found


def _frame(controls: dict[str, Control], indices: Sequence[int]) -> int:
    frame = 0
    for control, index in zip(controls.values(), indices, strict=True):
        frame = frame * len(control.values) + index
    return frame


def _start(controls: dict[str, Control]) -> int:
    return _frame(controls, [control.start_index for control in controls.values()])


@cache
def _asset(name: str) -> str:
    """Return a file beside this one, without the indentation and comments of its lines."""
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if not line.strip().startswith("//")]
    return "\n".join(filter(None, lines))

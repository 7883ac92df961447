"""Explorable figures: a function of controls that a reader can turn, with or without a kernel.

:func:`explore` evaluates a function at every combination of its controls and displays two things
at once.  A live notebook shows ipywidgets.  Everything else, the stored notebook and the page,
shows one self-contained block of HTML: the numbers, quantised and compressed, and the script
``explore.js`` that draws them.  It needs no kernel and no network.

The packed format, which ``explore.js`` reads: all arrays lie one after the other in one run of
bytes (zlib, then base64).  A quantity that changes from frame to frame is a table with one row
per *distinct* value; ``rows`` says which row belongs to which frame (None: always the first).
Real numbers are little-endian uint16 codes, ``value = low + step * code``, and the code 65535 is
NaN; images are uint8 as they are.  Frames are numbered with the last control running fastest.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from vaelite.book import figures
from vaelite.book.chapter import in_notebook

NAN_CODE = 65535
MAX_BYTES = 400_000
MAX_FRAMES = 1_000


@dataclass(eq=False)
class Curve:
    """A line through points of the plane.

    Attributes:
        x: ``(N,)``.
        y: ``(N,)``; a NaN leaves a gap.
        label: its name in the legend; without one it is left out of the legend.
        colour: any matplotlib colour; by default the palette's next one.
        dashed: drawn dashed, so that colour is not the only difference.

    Raises:
        ValueError: if the arrays are not vectors of one length, or hold an infinity.
    """

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    colour: str | None = None
    dashed: bool = False
    kind = "curve"

    def __post_init__(self) -> None:  # noqa: D105
        self.x, self.y = _coordinates(self, self.x, self.y)


@dataclass(eq=False)
class Points:
    """Dots: one marker, or the points of a data set.

    Attributes:
        x: ``(N,)``, or one number.
        y: ``(N,)``, or one number; a point with a NaN is not drawn.
        label: its name in the legend; without one it is left out of the legend.
        colour: any matplotlib colour; by default the palette's next one.

    Raises:
        ValueError: if the arrays are not vectors of one length, or hold an infinity.
    """

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    colour: str | None = None

    def __post_init__(self) -> None:  # noqa: D105
        self.x, self.y = _coordinates(self, self.x, self.y)

    @property
    def kind(self) -> str:
        """``marker`` for a few points, drawn large and on top; else ``cloud``."""
        return "marker" if len(self.x) <= 12 else "cloud"


@dataclass(eq=False)
class Panel:
    """One set of axes, or one image.

    Attributes:
        curves: lines.
        points: dots; up to 12 are drawn large and above the curves, more of them small and below.
        image: ``(H, W)`` grey or ``(H, W, 3)`` colour, uint8, row 0 at the top.  Alone it fills
            the panel; under curves or points it fills the axes from limit to limit.
        title: a line above the panel.
        text: a line below it that may change from frame to frame: the place for numbers.
        xlabel: what the horizontal axis shows.
        ylabel: what the vertical axis shows.
        xlim: ends of the horizontal axis; by default they enclose all frames.
        ylim: ends of the vertical axis; by default they enclose all frames.
        equal_aspect: one unit is equally long on both axes; where a panel is not square, more of
            the plane is shown than the limits say (with an image, the axes shrink instead).

    Raises:
        TypeError: if the image is not uint8.
        ValueError: if the image has another shape, an axis is empty, or nothing is drawn.
    """

    curves: Sequence[Curve] = ()
    points: Sequence[Points] = ()
    image: np.ndarray | None = None
    title: str = ""
    text: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    equal_aspect: bool = False

    def __post_init__(self) -> None:  # noqa: D105
        for name, kind in (("curves", Curve), ("points", Points)):
            marks = getattr(self, name)
            if not isinstance(marks, Sequence) or not all(isinstance(m, kind) for m in marks):
                raise TypeError(f"{name} must be a list of {kind.__name__}; got {marks!r}.")
        self.text = str(self.text)
        if self.image is not None:
            self.image = np.asarray(self.image)
            if self.image.dtype != np.uint8:
                raise TypeError(f"image must be uint8; got {self.image.dtype}.")
            if not (self.image.ndim == 2 or (self.image.ndim == 3 and self.image.shape[2] == 3)):
                raise ValueError(f"image must be (H, W) or (H, W, 3); got {self.image.shape}.")
        if self.image is None and not self.curves and not self.points:
            raise ValueError("a panel needs curves, points or an image; it got none.")
        for name in ("xlim", "ylim"):
            limits = getattr(self, name)
            if limits is None:
                continue
            low, high = (float(limit) for limit in limits) if np.size(limits) == 2 else (0, 0)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{name} must be (low, high) with low < high; got {limits}.")
            setattr(self, name, (low, high))

    @property
    def marks(self) -> list[Curve | Points]:
        """What is drawn on the axes, from the bottom up: clouds of points, curves, markers."""
        order = ("cloud", "curve", "marker")
        return sorted([*self.curves, *self.points], key=lambda mark: order.index(mark.kind))


@dataclass(eq=False)
class Control:
    """What the reader turns: a slider, or up to four buttons.

    Attributes:
        values: numbers or strings, in the order of the slider.
        label: its name beside the slider.
        start: the value at which the figure opens; by default the first.
        unit: written behind each value, such as ``"°"``.

    Raises:
        ValueError: if the label is empty, there are no values, two equal ones, or ``start`` is not
            among them.
    """

    values: Sequence[float | str]
    label: str
    start: float | str | None = None
    unit: str = ""
    start_index: int = field(init=False, default=0)

    def __post_init__(self) -> None:  # noqa: D105
        if not isinstance(self.values, Iterable):
            raise ValueError(f"control {self.label!r} needs a list of values; got {self.values!r}.")
        self.values = [v.item() if hasattr(v, "item") else v for v in self.values]
        if not self.label.strip():
            raise ValueError("a control's label is empty; a reader needs to know what it turns.")
        for value in self.values:
            number = isinstance(value, Real) and math.isfinite(value)
            if not (number or isinstance(value, str)):
                raise ValueError(
                    f"control {self.label!r} takes finite numbers and strings; got {value!r}."
                )
        if not self.values:
            raise ValueError(f"control {self.label!r} has no values.")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"control {self.label!r} has the same value twice: {self.values}.")
        if self.start is None:
            return
        found = [i for i, value in enumerate(self.values) if _same(value, self.start)]
        if not found:
            raise ValueError(
                f"control {self.label!r} starts at {self.start!r}, which is not among its values."
            )
        self.start_index = found[0]

    @property
    def texts(self) -> list[str]:
        """The values as a reader sees them, with their unit."""
        gap = "" if self.unit in ("", "°", "%", "′", "″") else "\u00a0"
        return [f"{_shown(value)}{gap}{self.unit}" for value in self.values]


def explore(
    compute: Callable[..., Panel | Sequence[Panel]],
    *,
    alt: str,
    height: int = 260,
    **controls: Control,
) -> None:
    """Display a figure whose controls the reader can turn.

    Args:
        compute: called once for each combination of control values, by keyword; returns one panel
            or a list of panels.  Between calls only numbers, images and ``text`` may change.
        alt: what a reader who cannot see the figure needs to know.
        height: height of a panel's drawing in CSS pixels.
        **controls: one for each argument of ``compute``; the last runs fastest.

    Raises:
        ValueError: if ``alt`` is empty, ``height`` is below 80, there are no controls or too many
            combinations, the panels differ in more than their numbers, or the figure would exceed
            400 kB.
        TypeError: if a control is not a :class:`Control`, or ``compute`` returns no panels.
    """
    alt = " ".join(alt.split())
    if not alt:
        raise ValueError("alt is empty; say in a sentence or two what the figure shows.")
    if height < 80:
        raise ValueError(f"height must be at least 80 pixels; got {height}.")
    frames = evaluate(compute, controls)
    start = _start(controls)
    poster = draw(frames[start], height)
    page = to_html(frames, controls, alt, height, poster)
    text = f"Explorable figure: {alt}"
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    bundle = widget(frames, controls, alt, height, poster)._repr_mimebundle_()
    display(bundle | {"text/html": page, "text/plain": text}, raw=True)


def evaluate(compute: Callable, controls: dict[str, Control]) -> list[list[Panel]]:
    """Return the panels of every frame, with the axis limits filled in and shared by all frames.

    Raises:
        ValueError, TypeError: see :func:`explore`.
    """
    if not controls:
        raise ValueError("explore needs at least one control.")
    for name, control in controls.items():
        if not isinstance(control, Control):
            raise TypeError(f"{name} must be a Control; got {type(control).__name__}.")
    count = math.prod(len(control.values) for control in controls.values())
    if count > MAX_FRAMES:
        raise ValueError(
            f"the controls have {count} combinations; at most {MAX_FRAMES} can be kept."
        )
    frames, first = [], None
    for values in itertools.product(*(control.values for control in controls.values())):
        arguments = dict(zip(controls, values, strict=True))
        panels = compute(**arguments)
        panels = [panels] if isinstance(panels, Panel) else panels
        call = f"compute({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
        if not isinstance(panels, Sequence) or not all(isinstance(p, Panel) for p in panels):
            raise TypeError(f"{call} must return a Panel or a list of Panels.")
        if not panels:
            raise ValueError(f"{call} returns no panels.")
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
        _share_limits(panels)
    return frames


class _Packer:
    """Collects arrays; equal arrays share their bytes."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.offsets: dict[bytes, int] = {}

    def _table(self, frames: np.ndarray) -> dict[str, Any]:
        """Store the distinct rows of a ``(frames, ...)`` table of codes."""
        numbers: dict[bytes, int] = {}
        rows = [numbers.setdefault(frame.tobytes(), len(numbers)) for frame in frames]
        content = b"".join(numbers)
        if content not in self.offsets:
            self.offsets[content] = len(self.bytes)
            self.bytes += content
        return {"offset": self.offsets[content], "rows": rows if len(numbers) > 1 else None}

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
            **self._table(codes.astype("<u2")),
        }

    def images(self, frames: Sequence[np.ndarray]) -> dict[str, Any]:
        height, width, *channels = frames[0].shape
        return {
            "height": height,
            "width": width,
            "channels": channels[0] if channels else 1,
            **self._table(np.stack(frames)),
        }


def pack(frames: list[list[Panel]]) -> dict[str, Any]:
    """Quantise all frames into what ``explore.js`` reads (the module's docstring has the format).

    Args:
        frames: from :func:`evaluate`.

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
            marks.append(
                {
                    "kind": mark.kind,
                    "label": mark.label,
                    "colour": colour,
                    "dashed": getattr(mark, "dashed", False),
                    "x": packer.reals([version.x for version in same]),
                    "y": packer.reals([version.y for version in same]),
                }
            )
        texts = [version.text for version in versions]
        names = ("title", "xlabel", "ylabel", "xlim", "ylim", "equal_aspect")
        panels.append(
            {name: getattr(panel, name) for name in names}
            | {
                "text": texts if len(set(texts)) > 1 else texts[:1],
                "marks": marks,
                "image": None
                if panel.image is None
                else packer.images([version.image for version in versions]),
            }
        )
    compressed = base64.b64encode(zlib.compress(bytes(packer.bytes), 9)).decode()
    return {"panels": panels, "bytes": compressed}


def to_html(
    frames: list[list[Panel]], controls: dict[str, Control], alt: str, height: int, poster: bytes
) -> str:
    """Return the self-contained figure: poster, data and script.

    Raises:
        ValueError: if it would exceed 400 kB.
    """
    data = pack(frames) | {
        "alt": alt,
        "height": height,
        "controls": [
            {"label": control.label, "texts": control.texts, "start": control.start_index}
            for control in controls.values()
        ],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    script, style = _asset("explore.js"), json.dumps(_asset("explore.css"))
    page = (
        f'<figure class="explore" data-explore="{digest}" style="margin:1em 0">\n'
        f'<img alt="{html.escape(alt)}" style="max-width:100%" '
        f'src="data:image/png;base64,{base64.b64encode(poster).decode()}">\n'
        f'<script>\n{script}("{digest}", {text}, {style});\n</script>\n</figure>'
    )
    size = len(page.encode())
    if size > MAX_BYTES:
        raise ValueError(
            f"the figure takes {size // 1000} kB for {len(frames)} frames, the limit is "
            f"{MAX_BYTES // 1000} kB; use fewer control values, or fewer points or pixels."
        )
    return page


def widget(
    frames: list[list[Panel]], controls: dict[str, Control], alt: str, height: int, poster: bytes
):
    """Return the figure as ipywidgets, for a live kernel: the controls above an image."""
    import ipywidgets

    image = ipywidgets.Image(value=poster, format="png", layout={"max_width": "100%"})
    image.alt = alt
    inputs = []
    for control in controls.values():
        options = list(zip(control.texts, range(len(control.texts)), strict=True))
        kind = ipywidgets.ToggleButtons if len(options) <= 4 else ipywidgets.SelectionSlider
        inputs.append(
            kind(
                options=options,
                value=control.start_index,
                description=control.label,
                style={"description_width": "initial"},
                layout={"width": "auto", "max_width": "32em"},
            )
        )

    def redraw(_change: object) -> None:
        image.value = draw(frames[_frame(controls, [each.value for each in inputs])], height)

    for each in inputs:
        each.observe(redraw, names="value")
    return ipywidgets.VBox([*inputs, image])


def draw(panels: Sequence[Panel], height: int) -> bytes:
    """Draw one frame with matplotlib, as PNG: the poster, and the picture of the live widget."""
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(4.0 * len(panels), height / 75), dpi=110)
        (row,) = figure.subplots(1, len(panels), squeeze=False)
        for axes, panel in zip(row, panels, strict=True):
            _draw_panel(axes, panel)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def _draw_panel(axes: mpl.axes.Axes, panel: Panel) -> None:
    if panel.marks:
        axes.set(xlim=panel.xlim, ylim=panel.ylim, ylabel=panel.ylabel)
        axes.set_aspect("equal" if panel.equal_aspect else "auto")
    else:
        axes.set(xticks=[], yticks=[], frame_on=False)
    axes.set_xlabel("\n".join(filter(None, [panel.xlabel, panel.text])))
    if panel.image is not None:
        extent = (*panel.xlim, *panel.ylim) if panel.marks else None
        aspect = axes.get_aspect() if panel.marks else "equal"
        axes.imshow(panel.image, cmap="gray", vmin=0, vmax=255, extent=extent, aspect=aspect)
    for mark, colour in zip(panel.marks, colours(panel), strict=True):
        label = mark.label or None
        style = {"curve": "--" if mark.kind == "curve" and mark.dashed else "-"}.get(mark.kind, "o")
        size = 7 if mark.kind == "marker" else 3
        axes.plot(mark.x, mark.y, style, color=colour, label=label, markersize=size)
    if any(mark.label for mark in panel.marks):  # above the axes, where it hides no data
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0, "ncols": 2}
        axes.legend(title=panel.title, alignment="left", fontsize=10, **place)
    else:
        axes.set_title(panel.title, loc="left", fontsize=12)


def colours(panel: Panel) -> list[str]:
    """Return one hexadecimal colour for each of ``panel.marks``: its own, or the palette's next.

    The palette runs through the curves first, then through the points.
    """
    palette = itertools.cycle(figures.COLOURS)
    marks = [*panel.curves, *panel.points]
    chosen = {id(mark): to_hex(mark.colour or next(palette)) for mark in marks}
    return [chosen[id(mark)] for mark in panel.marks]


def _coordinates(mark: Curve | Points, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    kind = type(mark).__name__
    x, y = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (x, y))
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"{kind}: x and y must be (N,), N > 0; got {x.shape} and {y.shape}.")
    if np.isinf(x).any() or np.isinf(y).any():
        raise ValueError(f"{kind} {mark.label!r} holds an infinity; use NaN for a gap.")
    return x, y


def _structure(panels: Sequence[Panel]) -> dict[str, Any]:
    """Return what must not change between frames, under names for an error message."""
    found: dict[str, Any] = {"number of panels": len(panels)}
    for i, panel in enumerate(panels, 1):
        for name in ("title", "xlabel", "ylabel", "xlim", "ylim", "equal_aspect"):
            found[f"panel {i}, {name}"] = getattr(panel, name)
        found[f"panel {i}, image shape"] = None if panel.image is None else panel.image.shape
        found[f"panel {i}, number of curves"] = len(panel.curves)
        found[f"panel {i}, number of points"] = len(panel.points)
        for j, (mark, colour) in enumerate(zip(panel.marks, colours(panel), strict=True), 1):
            found[f"panel {i}, kind of mark {j}"] = mark.kind
            found[f"panel {i}, {mark.kind} {j}, label"] = mark.label
            found[f"panel {i}, {mark.kind} {j}, colour"] = colour
            found[f"panel {i}, {mark.kind} {j}, dashed"] = getattr(mark, "dashed", False)
            found[f"panel {i}, {mark.kind} {j}, length"] = len(mark.x)
    return found


def _share_limits(panels: Sequence[Panel]) -> None:
    """Give one panel's versions in all frames the same limits, those that enclose all of them."""
    panel = panels[0]
    if not panel.marks:
        return
    tight = panel.curves and not panel.equal_aspect  # a curve over x runs from edge to edge
    for name, values, margin in (
        ("xlim", [mark.x for version in panels for mark in version.marks], 0 if tight else 0.06),
        ("ylim", [mark.y for version in panels for mark in version.marks], 0.06),
    ):
        limits = getattr(panel, name)
        if limits is None:
            drawn = np.concatenate(values)
            drawn = drawn[np.isfinite(drawn)]
            low, high = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
            if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: give it an interval
                spread = max(0.5, 1e-3 * abs(low))
                low, high = low - spread, high + spread
            limits = (low - margin * (high - low), high + margin * (high - low))
        for version in panels:
            setattr(version, name, limits)


def _frame(controls: dict[str, Control], indices: Sequence[int]) -> int:
    frame = 0
    for control, index in zip(controls.values(), indices, strict=True):
        frame = frame * len(control.values) + index
    return frame


def _start(controls: dict[str, Control]) -> int:
    return _frame(controls, [control.start_index for control in controls.values()])


def _same(value: float | str, start: float | str) -> bool:
    if isinstance(value, str) or isinstance(start, str):
        return value == start
    return math.isclose(value, start, rel_tol=1e-9, abs_tol=1e-12)


def _shown(value: float | str) -> str:
    text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
    return text if isinstance(value, str) else text.replace("-", "\u2212")


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").strip()

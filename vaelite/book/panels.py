"""What an explorable figure shows: curves, points, bars and images, and how matplotlib draws them.

Coordinates, heights and images may be arrays or, in a live figure, expressions
(:mod:`vaelite.book.live`).
"""

from __future__ import annotations

import io
import itertools
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from vaelite.book import figures
from vaelite.book.live import Expression, value_of, written

# A hyphen that stands for a minus, as Python's formats write it.
_HYPHEN = re.compile(r"(?<![\w.)\]])-(?=\d|\.\d|inf\b)")


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

    A single point whose place follows the controls can be dragged.  In a live figure it moves the
    last :class:`~vaelite.book.controls.Point`, or the last sliders, on which its coordinates
    depend linearly.  Elsewhere it goes to the combination of controls that brings it nearest to
    the finger.

    Attributes:
        x: ``(N,)``, or one number.
        y: ``(N,)``, or one number; a point with a NaN is not drawn.
        label: its name in the legend; without one it is left out of the legend.
        colour: any matplotlib colour, such as :func:`vaelite.book.figures.class_colour`'s; by
            default the palette's next one.
        drag: False keeps a single point from being dragged.

    Raises:
        ValueError: if the arrays are not vectors of one length, or hold an infinity.
    """

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    colour: str | None = None
    drag: bool = True

    def __post_init__(self) -> None:  # noqa: D105
        self.x, self.y = _coordinates(self, self.x, self.y)

    @property
    def kind(self) -> str:
        """``marker`` for a few points, drawn large and on top; else ``cloud``."""
        return "marker" if len(self.x) <= 12 else "cloud"


@dataclass(eq=False)
class Bars:
    """Bars from zero, at 0, 1, 2 and so on.

    Attributes:
        heights: ``(N,)``.
        names: one name a bar, written below it; by default its number.
        label: the name in the legend; without one they are left out of the legend.
        colour: any matplotlib colour; by default the palette's next one.

    Raises:
        ValueError: if the heights are no vector, hold an infinity, or the names have another
            length.
    """

    heights: np.ndarray
    names: Sequence[str] = ()
    label: str = ""
    colour: str | None = None
    kind = "bars"

    def __post_init__(self) -> None:  # noqa: D105
        count = np.size(value_of(self.heights))
        self.x, self.y = _coordinates(self, np.arange(count), self.heights)
        self.names = [str(name) for name in (self.names or range(count))]
        if len(self.names) != count:
            raise ValueError(f"Bars: {count} heights need {count} names; got {self.names}.")


@dataclass(eq=False)
class Panel:
    """One set of axes, or one image.

    Attributes:
        curves: lines.
        points: dots; up to 12 are drawn large and above the curves, more of them small and below.
        bars: bars, below everything else.
        image: ``(H, W)`` grey, ``(H, W, 3)`` colour or ``(H, W, 4)`` colour with opacity, row 0 at
            the top: uint8, or floating point from 0 (black) to 1 (white), clipped.  Alone it fills
            the panel; under curves or points it fills the axes from limit to limit.
        title: a line above the panel.
        text: a line below it that may change with the controls: the place for numbers.
        xlabel: what the horizontal axis shows.
        ylabel: what the vertical axis shows.
        xlim: ends of the horizontal axis; by default they enclose all frames.  A live figure needs
            them where something else than a draggable point moves.
        ylim: ends of the vertical axis, likewise.
        equal_aspect: one unit is equally long on both axes; where a panel is not square, more of
            the plane is shown than the limits say (with an image, the axes shrink instead).
        regions: in a live figure, a pair of the :class:`~vaelite.book.controls.Switches`' argument
            and integers ``(H, W)``: pressing pixel (i, j) of the image flips that switch; -1 none.

    Raises:
        TypeError: if the image holds neither uint8 nor floating-point numbers.
        ValueError: if the image has another shape or a NaN, an axis is empty, the regions do not
            fit, or nothing is drawn.
    """

    curves: Sequence[Curve] = ()
    points: Sequence[Points] = ()
    bars: Bars | None = None
    image: np.ndarray | None = None
    title: str = ""
    text: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    equal_aspect: bool = False
    regions: tuple[Any, np.ndarray] | None = None

    def __post_init__(self) -> None:  # noqa: D105
        for name, kind in (("curves", Curve), ("points", Points)):
            marks = getattr(self, name)
            if not isinstance(marks, Sequence) or not all(isinstance(m, kind) for m in marks):
                raise TypeError(f"{name} must be a list of {kind.__name__}; got {marks!r}.")
        if not isinstance(self.bars, Bars | None):
            raise TypeError(f"bars must be Bars; got {self.bars!r}.")
        self.text = _HYPHEN.sub("\u2212", str(self.text))
        if self.image is not None:
            self.image = _intensities(self.image)
        if self.image is None and not self.marks:
            raise ValueError("a panel needs curves, points, bars or an image; it got none.")
        for name in ("xlim", "ylim"):
            limits = getattr(self, name)
            if limits is None:
                continue
            low, high = (float(limit) for limit in limits) if np.size(limits) == 2 else (0, 0)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{name} must be (low, high) with low < high; got {limits}.")
            setattr(self, name, (low, high))
        if self.regions is not None:
            self.regions = (self.regions[0], np.asarray(self.regions[1]))
            if self.image is None or self.regions[1].shape != self.image.shape[:2]:
                raise ValueError("regions need one integer for each pixel of the panel's image.")

    @property
    def marks(self) -> list[Curve | Points | Bars]:
        """What is drawn on the axes, from the bottom up: bars, clouds, curves, markers."""
        order = ("bars", "cloud", "curve", "marker")
        bars = [self.bars] if self.bars else []
        marks = [*bars, *self.curves, *self.points]
        return sorted(marks, key=lambda mark: order.index(mark.kind))

    def at_start(self) -> Panel:
        """Return the panel with the value of each expression in its place."""

        def fixed(mark: Curve | Points | Bars) -> Any:
            if isinstance(mark, Bars):
                return replace(mark, heights=value_of(mark.heights))
            return replace(mark, x=value_of(mark.x), y=value_of(mark.y))

        return replace(
            self,
            curves=[fixed(mark) for mark in self.curves],
            points=[fixed(mark) for mark in self.points],
            bars=self.bars and fixed(self.bars),
            image=value_of(self.image),
            text="".join(map(str, written(self.text, at_start=True))),
            regions=None,
        )


def colours(panel: Panel) -> list[str]:
    """Return one hexadecimal colour for each of ``panel.marks``: its own, or the palette's next.

    The palette runs through the bars first, then the curves, then the points.
    """
    palette = itertools.cycle(figures.COLOURS)
    marks = [*([panel.bars] if panel.bars else []), *panel.curves, *panel.points]
    chosen = {id(mark): to_hex(mark.colour or next(palette)) for mark in marks}
    return [chosen[id(mark)] for mark in panel.marks]


def share_limits(panels: Sequence[Panel]) -> None:
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
            if panel.bars:  # they have a width, and stand on zero
                drawn = np.append(drawn, [-0.6, len(panel.bars.x) - 0.4] if name == "xlim" else 0.0)
            low, high = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
            if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: give it an interval
                spread = max(0.5, 1e-3 * abs(low))
                low, high = low - spread, high + spread
            limits = (low - margin * (high - low), high + margin * (high - low))
        for version in panels:
            setattr(version, name, limits)


def draw(panels: Sequence[Panel], height: int) -> bytes:
    """Draw one frame with matplotlib, as PNG: the poster, and the picture of the live widget."""
    with mpl.rc_context(figures.STYLE):
        buffer = io.BytesIO()
        figure_of(panels, height).savefig(buffer, format="png", metadata={"Software": None})
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def figure_of(panels: Sequence[Panel], height: int) -> Figure:
    """Draw one frame with matplotlib, the panels side by side."""
    figure = Figure(figsize=(4.0 * len(panels), height / 75), dpi=110)
    (row,) = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(row, panels, strict=True):
        _draw_panel(axes, panel)
    return figure


def _folded(text: str, width: int = 36) -> str:
    """Break a text into lines of at most ``width`` letters, so that no panel cuts it off."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=False))


def _draw_panel(axes: mpl.axes.Axes, panel: Panel) -> None:
    if panel.marks:
        axes.set(xlim=panel.xlim, ylim=panel.ylim, ylabel=_folded(panel.ylabel, 24))
        axes.set_aspect("equal" if panel.equal_aspect else "auto")
    else:
        axes.set(xticks=[], yticks=[], frame_on=False)
    below = [_folded(text) for text in (panel.xlabel, panel.text) if text]
    axes.set_xlabel("\n".join(below))
    if panel.image is not None:
        extent = (*panel.xlim, *panel.ylim) if panel.marks else None
        aspect = axes.get_aspect() if panel.marks else "equal"
        axes.imshow(panel.image, cmap="gray", vmin=0, vmax=255, extent=extent, aspect=aspect)
    for mark, colour in zip(panel.marks, colours(panel), strict=True):
        label = mark.label or None
        if mark.kind == "bars":
            axes.bar(mark.x, mark.y, color=colour, label=label)
            axes.set_xticks(mark.x, mark.names)
            continue
        style = {"curve": "--" if mark.kind == "curve" and mark.dashed else "-"}.get(mark.kind, "o")
        size = 7 if mark.kind == "marker" else 3
        axes.plot(mark.x, mark.y, style, color=colour, label=label, markersize=size)
    if any(mark.label for mark in panel.marks):  # above the axes, where it hides no data
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0, "ncols": 2}
        axes.legend(title=_folded(panel.title, 30), alignment="left", fontsize=10, **place)
    else:
        axes.set_title(_folded(panel.title, 30), loc="left", fontsize=12)


def _intensities(image: Any) -> np.ndarray | Expression:
    """Check an image; return uint8 or an expression from 0 to 1."""
    image = image if isinstance(image, Expression) else np.asarray(image)
    floating = isinstance(image, Expression) or np.issubdtype(image.dtype, np.floating)
    if not floating and image.dtype != np.uint8:
        raise TypeError(f"image must be uint8 or floating point; got {image.dtype}.")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ValueError(f"image must be (H, W), (H, W, 3) or (H, W, 4); got {image.shape}.")
    if isinstance(image, Expression) or not floating:
        return image
    if np.isnan(image).any():
        raise ValueError("image holds a NaN; intensities go from 0 to 1.")
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _coordinates(mark: Curve | Points | Bars, x: Any, y: Any) -> tuple[Any, Any]:
    kind = type(mark).__name__
    x, y = (_vector(values) for values in (x, y))
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"{kind}: x and y must be (N,), N > 0; got {x.shape} and {y.shape}.")
    if any(np.isinf(value_of(values)).any() for values in (x, y)):
        raise ValueError(f"{kind} {mark.label!r} holds an infinity; use NaN for a gap.")
    return x, y


def _vector(values: Any) -> Any:
    if isinstance(values, Expression):
        return values.reshape(1) if values.ndim == 0 else values
    if isinstance(values, Sequence) and any(isinstance(value, Expression) for value in values):
        return np.stack(list(values))
    return np.atleast_1d(np.asarray(values, dtype=float))

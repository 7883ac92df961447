"""What a reader can turn, press, drag or draw in an explorable figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from vaelite._validation import check_count


@dataclass(eq=False)
class Control:
    """A choice among values: a slider, or up to four buttons.

    In a live figure, the function gets the number, or a string's index (for
    :func:`vaelite.book.live.pick`); elsewhere it gets the value itself.

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
        _check_label(self.label)
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
        return [f"{shown(value)}{gap(self.unit)}{self.unit}" for value in self.values]

    @property
    def numbers(self) -> list[float]:
        """What a live figure's function gets for each value."""
        return [
            i if isinstance(value, str) else float(value) for i, value in enumerate(self.values)
        ]

    @property
    def start_value(self) -> np.ndarray:
        """What a live figure's function gets at the start, ``()``."""
        return np.asarray(self.numbers[self.start_index], dtype=float)


@dataclass(eq=False)
class Slider:
    """A number that the reader slides without steps; for live figures.

    Attributes:
        low: the left end.
        high: the right end.
        label: its name beside the slider.
        start: where it opens; by default in the middle.
        unit: written behind the number.

    Raises:
        ValueError: if the label is empty, or the numbers are not ``low <= start <= high``.
    """

    low: float
    high: float
    label: str
    start: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:  # noqa: D105
        _check_label(self.label)
        self.low, self.high = float(self.low), float(self.high)
        middle = (self.low + self.high) / 2
        self.start = middle if self.start is None else float(self.start)
        if not (self.low < self.high and self.low <= self.start <= self.high):
            raise ValueError(
                f"slider {self.label!r} needs low <= start <= high, low < high; "
                f"got {self.low}, {self.start}, {self.high}."
            )

    @property
    def start_value(self) -> np.ndarray:
        """What the function gets at the start, ``()``."""
        return np.asarray(self.start)


@dataclass(eq=False)
class Point:
    """A point of the plane that the reader drags; for live figures.

    The function gets its two coordinates, ``(2,)``, and draws it where it likes:
    ``Points(z[0], z[1], label="z")``, or relative to something else,
    ``Points(mean[0] + shift[0], mean[1] + shift[1])``.

    Attributes:
        label: its name for a screen reader.
        start: where it opens.

    Raises:
        ValueError: if the label is empty or the start is no pair of finite numbers.
    """

    label: str
    start: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:  # noqa: D105
        _check_label(self.label)
        if np.shape(self.start) != (2,) or not np.isfinite(self.start).all():
            raise ValueError(
                f"point {self.label!r} starts at two finite numbers; got {self.start}."
            )
        self.start = tuple(float(number) for number in self.start)

    @property
    def start_value(self) -> np.ndarray:
        """What the function gets at the start, ``(2,)``."""
        return np.asarray(self.start)


@dataclass(eq=False)
class Switches:
    """Several things that are on or off; for live figures.

    The function gets ones and zeros, ``(K,)``.  A picture whose regions flip the switches:
    ``Panel(image=..., regions=(hidden, region_of_each_pixel))``.

    Attributes:
        names: one name a switch, at most eight.
        label: the name of all.
        start: 0 or 1 for each; by default all are off.

    Raises:
        ValueError: if a name or the label is empty, or ``start`` has another length.
    """

    names: Sequence[str]
    label: str
    start: Sequence[int] | None = None

    def __post_init__(self) -> None:  # noqa: D105
        _check_label(self.label)
        self.names = [str(name) for name in self.names]
        if not 1 <= len(self.names) <= 8 or not all(name.strip() for name in self.names):
            raise ValueError(f"switches {self.label!r} need one to eight names; got {self.names}.")
        self.start = [int(bool(on)) for on in (self.start or [0] * len(self.names))]
        if len(self.start) != len(self.names):
            raise ValueError(
                f"switches {self.label!r}: start has {len(self.start)} numbers for "
                f"{len(self.names)} names."
            )

    @property
    def start_value(self) -> np.ndarray:
        """What the function gets at the start, ``(K,)``."""
        return np.asarray(self.start, dtype=float)


@dataclass(eq=False)
class Drawing:
    """A pad on which the reader draws; for live figures.

    The function gets ink from 0 to 1, ``(size, size)``, row 0 at the top.  What is drawn is
    brought to the form of the training images: scaled until its longer side is ``box`` pixels,
    centred (on the middle of its ink from 20 pixels up, as in MNIST; else on the middle of its
    extent, as in scikit-learn's digits), drawn with a pen ``stroke`` pixels wide, and averaged over
    each pixel.  Without a pointer, one chooses an example or steers the pen with the arrow keys.

    Attributes:
        size: pixels a side: 8 for scikit-learn's digits, 28 for MNIST.
        label: what to draw.
        examples: images to begin with, ``(size, size)`` from 0 to 1, by name; at most six.
        start: the example at which the figure opens; by default the first.
        box: the longer side of a drawing, in pixels; by default 8 of 8, 20 of 28.
        stroke: width of the pen, in pixels; by default 1.2 of 8, 2.6 of 28.

    Raises:
        ValueError: if the label is empty, there is no example, an example has another shape or
            numbers beyond 0 to 1, ``start`` is none of them, or a size is not positive.
    """

    size: int
    label: str
    examples: Mapping[str, np.ndarray]
    start: str | None = None
    box: float | None = None
    stroke: float | None = None

    def __post_init__(self) -> None:  # noqa: D105
        _check_label(self.label)
        check_count("size", self.size)
        self.examples = {name: np.asarray(x, dtype=float) for name, x in self.examples.items()}
        if not 1 <= len(self.examples) <= 6:
            raise ValueError(
                f"drawing {self.label!r} needs one to six examples; got {len(self.examples)}."
            )
        for name, image in self.examples.items():
            inside = image.shape == (self.size, self.size) and image.min() >= 0 and image.max() <= 1
            if not inside:
                raise ValueError(
                    f"example {name!r} must be ({self.size}, {self.size}) with numbers from 0 to "
                    f"1; got {image.shape} from {image.min():.3g} to {image.max():.3g}."
                )
        self.start = next(iter(self.examples)) if self.start is None else self.start
        if self.start not in self.examples:
            raise ValueError(f"drawing {self.label!r} has no example {self.start!r}.")
        large = self.size >= 20
        self.box = (self.size * 20 / 28 if large else self.size) if self.box is None else self.box
        if self.stroke is None:
            self.stroke = 2.6 * self.size / 28 if large else 1.2 * self.size / 8
        if not (0 < self.box <= self.size and 0 < self.stroke < self.size):
            raise ValueError(f"box and stroke must lie between 0 and {self.size} pixels.")

    @property
    def start_value(self) -> np.ndarray:
        """What the function gets at the start, ``(size, size)``."""
        return self.examples[self.start]


Input = Control | Slider | Point | Switches | Drawing


def _check_label(label: str) -> None:
    if not label.strip():
        raise ValueError("a control's label is empty; a reader needs to know what it turns.")


def _same(value: float | str, start: float | str) -> bool:
    if isinstance(value, str) or isinstance(start, str):
        return value == start
    return math.isclose(value, start, rel_tol=1e-9, abs_tol=1e-12)


def gap(unit: str) -> str:
    """What stands between a number and its unit."""
    return "" if unit in ("", "°", "%", "′", "″") else "\u00a0"


def shown(value: float | str) -> str:
    """A control's value as a reader sees it."""
    text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
    return text if isinstance(value, str) else text.replace("-", "\u2212")

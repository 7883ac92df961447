r"""Flowers: made-up pictures of five species in colour, drawn by a formula.

A stand-in for the five tasks among the 17 Category Flowers (Nilsback and Zisserman, 2006) on which
CPVAE learns continually: one species a task, on grounds of leaves and earth that all species share.

A flower is a stack of layers, each with some equal petals around its centre.  A point at distance r
and angle a from the axis of the nearest petal has coordinates :math:`u = r \cos a` along the petal
and :math:`v = r \sin a` across it, and lies on the petal if

.. math::
    |v| < w \, \sin\bigl(\pi \, (u / l)^s\bigr)^b,  \qquad  0 < u < l,

for its length l and width w; s > 1 puts its widest place towards the tip, and a small b makes it
blunt.  Every picture has its own centre, size, turn, tilt, colours, light and ground, and every
petal its own length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data.dataset import Dataset

CLASSES = ("sunflower", "daisy", "iris", "daffodil", "pansy")  # the order of the paper's tasks
COUNTS = {"train": 60, "test": 20}  # pictures a class, as the 17 Flowers are split here

_SAMPLES = 2  # a pixel, along each side
_CHUNK = 64  # pictures drawn at once


def load(
    split: str = "train",
    classes: Sequence[str] | None = None,
    size: int = 64,
    count: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Draw flowers.

    Args:
        split: ``train`` or ``test``: pictures drawn independently of each other.
        classes: names among ``CLASSES``; by default all five.
        size: pixels a side.
        count: pictures a class; by default 60 for training and 20 for testing.
        seed: of the pictures.  A class's first pictures do not depend on how many there are, nor on
            the other classes.

    Returns:
        ``(N, 3, size, size)`` uint8, one class after the other, the same pictures at any size.  The
        label is the place of the class in ``classes``.

    Raises:
        ValueError: if there is no such split or class, a class is asked for twice, ``size`` or
            ``count`` is not a positive integer, or ``seed`` is not an integer from 0.
    """
    check_choice("split", split, COUNTS)
    chosen = check_classes(classes, CLASSES)
    size = check_count("size", size)
    count = COUNTS[split] if count is None else check_count("count", count)
    check_seed(seed)
    stream = [seed, list(COUNTS).index(split)]
    return Dataset(
        name="flowers",
        x=torch.cat([_draw(CLASSES[place], count, size, [*stream, place]) for place in chosen]),
        labels=torch.arange(len(chosen)).repeat_interleave(count),
        source="stand-in",
        citation=(
            "Drawn by a formula, in the place of: M.-E. Nilsback and A. Zisserman. "
            "A visual vocabulary for flower classification. CVPR 2006."
        ),
    )


def check_classes(classes: Sequence[str] | None, known: Sequence[str]) -> list[int]:
    """Return the places of ``classes`` in ``known``; None means all.

    Raises:
        ValueError: if a class is unknown or asked for twice, or there is none.
    """
    classes = known if classes is None else classes
    if isinstance(classes, str) or not len(classes):
        raise ValueError(f"classes must be a sequence of names; got {classes!r}.")
    for name in classes:
        if name not in known:
            raise ValueError(f"there is no class {name!r}; there are: {', '.join(known)}.")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must differ from each other; got {list(classes)}.")
    return [known.index(name) for name in classes]


def _draw(name: str, count: int, size: int, stream: Sequence[int]) -> Tensor:
    """Draw ``count`` flowers of one species, ``(count, 3, size, size)`` uint8."""
    pictures = []
    for start in range(0, count, _CHUNK):
        # Whole chunks are drawn, so that pictures do not depend on how many there are.
        brush = _Brush(size, np.random.default_rng([*stream, start]))
        brush.ground()
        _SPECIES[name](brush)
        pictures.append(brush.picture()[: count - start])
    return torch.cat(pictures)


class _Brush:
    """Paints one chunk of pictures, all of one species, from the ground up.

    The canvas is ``(B, 3, P, P)``, P points a side, colours in [0, 1].
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng = size, rng
        self.points = size * _SAMPLES
        side = (torch.arange(self.points) + 0.5) * (2 / self.points) - 1
        y, x = torch.meshgrid(side, side, indexing="ij")
        # Where the flower is, how large, how turned, and how much it leans away.
        self.radius = self.uniform(0.55, 0.95)
        x0, y0 = self.uniform(-0.18, 0.18), self.uniform(-0.2, 0.12)
        self.x, self.y = (x - x0) / self.radius, (y - y0) / self.radius  # (B, P, P)
        self.turn = self.uniform(-0.25, 0.25)
        lean, towards = self.uniform(1.0, 1.3), self.uniform(0, math.pi)
        along = self.x * towards.cos() + self.y * towards.sin()
        self.u = self.x + (lean - 1) * along * towards.cos()
        self.v = self.y + (lean - 1) * along * towards.sin()
        self.r, self.angle = torch.hypot(self.u, self.v), torch.atan2(self.v, self.u)
        self.soft = 1.5 * 2 / (size * self.radius)  # an edge of about a pixel
        self.canvas = torch.zeros(_CHUNK, 3, self.points, self.points)

    def uniform(self, low: float, high: float) -> Tensor:
        """Return one number a picture, ``(B, 1, 1)``."""
        return torch.tensor(self.rng.uniform(low, high, (_CHUNK, 1, 1)), dtype=torch.float32)

    def colour(self, *choices: tuple[float, float, float], spread: float = 0.04) -> Tensor:
        """Return one of the colours for each picture, a little varied, ``(B, 3, 1, 1)``."""
        chosen = np.array(choices)[self.rng.integers(len(choices), size=_CHUNK)]
        varied = chosen + self.rng.uniform(-spread, spread, (_CHUNK, 3))
        return torch.tensor(varied.clip(0, 1), dtype=torch.float32)[:, :, None, None]

    def noise(self, cells: int) -> Tensor:
        """Return smooth noise in [0, 1], about ``cells`` hills along a side, ``(B, P, P)``."""
        grid = torch.tensor(self.rng.random((_CHUNK, 1, cells, cells)), dtype=torch.float32)
        shape = (self.points, self.points)
        return torch.nn.functional.interpolate(grid, shape, mode="bicubic")[:, 0].clamp(0, 1)

    def inside(self, distance: Tensor) -> Tensor:
        """Return how much of a point is covered, from its signed distance, positive inside."""
        return (0.5 + distance / self.soft).clamp(0, 1)

    def paint(self, colour: Tensor, where: Tensor) -> None:
        """Lay a colour ``(B, 3, 1, 1)`` or ``(B, 3, P, P)`` over the canvas."""
        self.canvas = torch.lerp(self.canvas, colour.expand_as(self.canvas), where[:, None])

    def ground(self) -> None:
        """Paint leaves, earth or shade, out of focus, and a stem."""
        greens = (0.16, 0.32, 0.10), (0.30, 0.46, 0.16), (0.36, 0.30, 0.18), (0.10, 0.16, 0.10)
        self.canvas = self.colour(*greens).expand_as(self.canvas)
        for cells, share in ((3, 0.9), (7, 0.7)):
            self.paint(self.colour(*greens, (0.48, 0.6, 0.3)), share * self.noise(cells))
        way, bend = self.uniform(-0.5, 0.5), self.uniform(-0.2, 0.2)
        stem = 0.06 - (self.x - way * self.y - bend * self.y**2).abs()
        self.paint(self.colour((0.33, 0.5, 0.2)), self.inside(stem) * (self.y > 0))

    def petals(
        self,
        number: int,
        length: float,
        width: float,
        colour: Tensor,
        base: Tensor | None = None,
        turn: float = 0.0,
        widest: float = 1.0,
        blunt: float = 0.7,
        shade: float = 0.35,
    ) -> None:
        """Paint a ring of petals.

        Args:
            number: of petals.
            length: from the centre to the tip, in radii of the flower.
            width: half the width of a petal at its widest place.
            colour: of the outer part.
            base: colour of the inner part; by default the same.
            turn: of the first petal from the top, in petals.
            widest: s, over 1 for petals whose widest place lies towards the tip.
            blunt: b, below 1 for blunt petals.
            shade: how much darker a petal is at its edges.
        """
        step = 2 * math.pi / number
        angle = self.angle + math.pi / 2 - self.turn - turn * step
        petal = (angle / step).round()
        local = angle - petal * step
        lengths = torch.tensor(
            length * self.rng.uniform(0.9, 1.06, (_CHUNK, number)), dtype=torch.float32
        )
        petal = (petal.long() % number).flatten(1)
        reach = lengths.gather(1, petal).view_as(local)
        along, across = self.r * local.cos(), self.r * local.sin()
        part = (along / reach).clamp(1e-4, 1 - 1e-4)
        half = width * torch.sin(math.pi * part**widest).clamp(min=1e-4) ** blunt
        beyond = torch.maximum(along - reach, -along).clamp(min=0)
        where = self.inside(half - across.abs() - 4 * beyond)
        middle = (across / half.clamp(min=0.02)).clamp(-1, 1)
        light = 1 - shade * middle**2 - 0.5 * shade * (1 - part)
        light = light - 0.5 * shade * torch.exp(-((middle / 0.12) ** 2))  # the vein
        outer = colour.expand_as(self.canvas)
        if base is not None:
            outer = torch.lerp(
                outer, base.expand_as(outer), (1.7 - 3.4 * part).clamp(0, 1)[:, None]
            )
        self.paint(outer * light.clamp(0, 1)[:, None], where)

    def disc(self, radius: float, colour: Tensor, dome: float = 0.5, frill: float = 0.0) -> None:
        """Paint a disc, brighter in its upper left by ``dome``, its edge frilled."""
        edge = radius * (1 + frill * torch.sin(11 * self.angle + 9 * self.turn))
        light = 1 - dome * (0.5 + 0.5 * (self.u + self.v) / radius).clamp(0, 1)
        self.paint(colour * light[:, None], self.inside(edge - self.r))

    def picture(self) -> Tensor:
        """Light the whole, and return it, ``(B, 3, size, size)`` uint8."""
        towards = self.uniform(0, 2 * math.pi)
        slope = self.uniform(0.0, 0.18) * (self.x * towards.cos() + self.y * towards.sin())
        lit = self.canvas * (self.uniform(0.85, 1.2) + slope * self.radius)[:, None]
        pixels = torch.nn.functional.avg_pool2d(lit, _SAMPLES)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _sunflower(brush: _Brush) -> None:
    yellow = brush.colour((0.98, 0.78, 0.08), (0.95, 0.66, 0.08))
    brush.petals(17, 1.05, 0.13, yellow * 0.85, turn=0.5, blunt=0.9)
    brush.petals(17, 0.98, 0.13, yellow, base=yellow * 0.8, blunt=0.9)
    brown = brush.colour((0.30, 0.17, 0.07), (0.20, 0.12, 0.06), (0.42, 0.28, 0.10), spread=0.03)
    brush.disc(0.48, brown, dome=0.3, frill=0.02)
    # Seeds lie on two families of spirals.
    swirl = torch.log(brush.r.clamp(min=0.02))
    seeds = torch.sin(13 * brush.angle + 14 * swirl) * torch.sin(13 * brush.angle - 14 * swirl)
    brush.paint(brown * 1.8, (0.6 * seeds.clamp(min=0)) * brush.inside(0.45 - brush.r))
    brush.paint(brown * 0.6, brush.inside(0.2 - brush.r) * 0.6)


def _daisy(brush: _Brush) -> None:
    white = brush.colour((0.97, 0.97, 0.95), spread=0.03)
    tinge = brush.colour((0.86, 0.88, 0.84), (0.92, 0.78, 0.84), spread=0.03)
    brush.petals(13, 0.95, 0.11, tinge * 0.88, turn=0.5, widest=1.3, blunt=0.5)
    brush.petals(13, 1.0, 0.12, white, base=tinge, widest=1.3, blunt=0.5, shade=0.22)
    brush.disc(0.28, brush.colour((0.98, 0.78, 0.10), (0.93, 0.68, 0.08)), dome=0.45, frill=0.03)


def _iris(brush: _Brush) -> None:
    violet = brush.colour((0.40, 0.26, 0.72), (0.56, 0.50, 0.86), (0.62, 0.34, 0.66))
    pale = torch.lerp(violet, torch.ones(1), 0.45)
    brush.petals(3, 0.9, 0.30, pale, base=violet, turn=0.0, widest=0.9, blunt=0.6)
    brush.petals(3, 1.05, 0.36, violet * 0.9, base=pale, turn=0.5, widest=1.7, blunt=0.6)
    beard = brush.colour((0.98, 0.80, 0.16))
    brush.petals(3, 0.55, 0.06, beard, turn=0.5, shade=0.2)
    brush.petals(3, 0.5, 0.15, pale * 0.92, turn=0.0, widest=0.8)


def _daffodil(brush: _Brush) -> None:
    cream = brush.colour((0.98, 0.92, 0.42), (0.97, 0.95, 0.78), (0.97, 0.86, 0.16))
    brush.petals(3, 1.05, 0.34, cream * 0.9, turn=0.5, widest=0.95, blunt=0.85)
    brush.petals(3, 1.05, 0.34, cream, turn=0.0, widest=0.95, blunt=0.85)
    orange = brush.colour((0.98, 0.66, 0.08), (0.97, 0.52, 0.08), (0.98, 0.78, 0.12))
    brush.disc(0.42, orange, dome=0.15, frill=0.06)
    brush.disc(0.30, orange * 0.75, dome=-0.25)
    brush.disc(0.09, brush.colour((0.95, 0.86, 0.3)), dome=0.2)


def _pansy(brush: _Brush) -> None:
    upper = brush.colour((0.42, 0.12, 0.52), (0.26, 0.12, 0.46), (0.62, 0.26, 0.60))
    lower = brush.colour((0.95, 0.84, 0.24), (0.68, 0.44, 0.80), (0.94, 0.92, 0.86))
    dark = brush.colour((0.16, 0.04, 0.20), spread=0.03)
    for turn in (0.11, -0.11):
        brush.petals(1, 1.05, 0.52, upper, base=upper * 0.8, turn=turn, widest=1.8, blunt=0.5)
    for turn in (0.27, -0.27):
        brush.petals(1, 0.95, 0.46, lower, base=dark, turn=turn, widest=1.8, blunt=0.5)
    brush.petals(1, 0.95, 0.58, lower, base=dark, turn=0.5, widest=1.9, blunt=0.5)
    brush.disc(0.10, brush.colour((0.98, 0.82, 0.16)), dome=0.3)


_SPECIES = {
    "sunflower": _sunflower,
    "daisy": _daisy,
    "iris": _iris,
    "daffodil": _daffodil,
    "pansy": _pansy,
}

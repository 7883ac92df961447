r"""Font digits: printed digits from matplotlib's own fonts, jittered, and cluttered if asked for.

A second style of the ten classes that scikit-learn's handwritten digits show; with clutter, a
stand-in for photographs of house numbers (SVHN; Netzer et al., 2011).

Each glyph is drawn once and kept as the signed distance d to its outline, positive inside, in units
of half its height.  A pixel p of an image looks it up at :math:`A^{-1}(p - b)`, where A turns,
shears and scales and b moves, all at random; its ink is

.. math::
    \min(1, \max(0, \tfrac12 + (d + t) / s)),

averaged over the pixel.  So a pen that is thicker by t and an edge that is blurred over the width s
cost nothing.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data.dataset import Dataset

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
SPLITS = ("train", "test")

_TALL = 96  # pixels of a glyph's height, as it is drawn
_EXTENT = 1.25  # half the side of the square it is drawn in, in halves of its height
_FINE = 32  # rays a side, at least
_AT_ONCE = 1 << 21  # rays
_THICKER = (0.0, 0.07)  # how far a pen goes beyond the outline, in halves of the height


def load(
    size: int = 8,
    count: int = 2000,
    split: str = "train",
    binary: bool = False,
    clutter: bool = False,
    seed: int = 0,
) -> Dataset:
    """Draw digits in 21 fonts.

    Args:
        size: pixels a side.
        count: how many images.  The first ones do not depend on it.
        split: ``train`` or ``test``: independent draws of the same fonts.
        binary: make each pixel 0 or 255, whichever is nearer.
        clutter: a smaller digit in colour, blurred a little, before a ground whose colour changes
            from one side to the other, and often with a part of another digit on its left or right.
        seed: of the fonts, the jitter and the clutter.

    Returns:
        ``(count, size, size)`` uint8, where 255 is full ink and a digit fills the height as
        scikit-learn's digits do, or with clutter ``(count, 3, size, size)``.  The label is the
        digit.  Every ten images in a row are the ten digits, in random order.

    Raises:
        ValueError: if ``size`` or ``count`` is not a positive integer, there is no such split,
            ``seed`` is not an integer from 0, or ``binary`` is asked for with ``clutter``.
    """
    size, count = check_count("size", size), check_count("count", count)
    check_choice("split", split, SPLITS)
    check_seed(seed)
    if binary and clutter:
        raise ValueError("binary is for digits without clutter: colours have no nearer of 0 and 1.")
    draw = _Draws([seed, SPLITS.index(split), int(clutter)], count)
    labels = draw.digits()
    x = _cluttered(draw, labels, size) if clutter else _plain(draw, labels, size)
    if binary:
        x = (x >= 0.5).float()
    return Dataset(
        name="font_digits",
        x=(x * 255).round().clamp(0, 255).to(torch.uint8),
        labels=labels,
        source="stand-in",
        citation="Drawn from the fonts that matplotlib ships: DejaVu, STIX and Computer Modern.",
    )


class _Draws:
    """Random numbers, one row an image, so that the first images do not depend on the count."""

    def __init__(self, stream: list[int], count: int) -> None:
        self.stream, self.count, self.used = stream, count, 0

    def _random(self, rows: int, columns: int) -> Tensor:
        self.used += 1
        rng = np.random.default_rng([*self.stream, self.used])
        return torch.from_numpy(rng.random((rows, columns), dtype=np.float32))

    def digits(self) -> Tensor:
        """Return ``(count,)``: the ten digits in random order, again and again."""
        return self._random(-(-self.count // 10), 10).argsort(1).flatten()[: self.count]

    def integers(self, end: int) -> Tensor:
        """Return ``(count,)`` integers from 0 to below ``end``."""
        return (self._random(self.count, 1)[:, 0] * end).long().clamp(max=end - 1)

    def uniform(self, low: float, high: float, columns: int | None = None) -> Tensor:
        """Return ``(count,)`` numbers, or ``(count, columns)``."""
        drawn = low + (high - low) * self._random(self.count, columns or 1)
        return drawn[:, 0] if columns is None else drawn


def _plain(draw: _Draws, digit: Tensor, size: int) -> Tensor:
    """Return ink in [0, 1], ``(N, size, size)``, white on black, filling the height."""
    glyph = len(FONTS) * digit + draw.integers(len(FONTS))
    pose = _pose(draw, glyph, (0.88, 1.0), (-0.05, 0.05))
    alone = [(glyph, torch.zeros(len(glyph)))]
    return _ink(alone, pose, draw.uniform(*_THICKER), torch.zeros(len(glyph)), size)


def _cluttered(draw: _Draws, digit: Tensor, size: int) -> Tensor:
    """Return colours in [0, 1], ``(N, 3, size, size)``."""
    font = draw.integers(len(FONTS))
    glyph = len(FONTS) * digit + font
    pose = _pose(draw, glyph, (0.65, 0.92), (-0.1, 0.1))
    half_width = _glyphs()[1]
    seen = [(glyph, torch.zeros(len(glyph)))]
    for side in (-1, 1):
        other = len(FONTS) * draw.integers(10) + font
        gap = draw.uniform(0.15, 0.45) + half_width[glyph] + half_width[other]
        gap = gap + 99 * (draw.uniform(0, 1) < 0.4)  # out of sight
        seen.append((other, side * gap))
    ink = _ink(seen, pose, draw.uniform(*_THICKER), draw.uniform(0.05, 0.5), size)
    # Two colours of the ground and one of the digit, which is darker or brighter than both.
    ground, digits = draw.uniform(0, 1, 3), draw.uniform(0, 1, 3)
    contrast = draw.uniform(0.25, 0.8)
    low = draw.uniform(0, 1) * (1 - contrast)
    bright = draw.uniform(0, 1) < 0.5
    ground = _at_level(ground, torch.where(bright, low, low + contrast))
    digits = _at_level(digits, torch.where(bright, low + contrast, low))
    across = (torch.arange(size) + 0.5) / size * 2 - 1
    angle = draw.uniform(0, 2 * math.pi)[:, None, None]
    slope = angle.cos() * across + angle.sin() * across[:, None]
    light = (0.15 * slope * draw.uniform(0, 1)[:, None, None])[:, None]
    tint = slope[:, None] * draw.uniform(-0.1, 0.1, 3)[:, :, None, None]
    ground, digits = ground[:, :, None, None] + tint, digits[:, :, None, None]
    return (torch.lerp(ground, digits, ink[:, None]) + light).clamp(0, 1)


def _at_level(colour: Tensor, level: Tensor) -> Tensor:
    """Move colours ``(N, 3)`` half-way to grey, and to a mean brightness ``(N,)``."""
    return level[:, None] + 0.5 * (colour - colour.mean(1, keepdim=True))


def _pose(
    draw: _Draws, glyph: Tensor, heights: tuple[float, float], moves: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return the matrix from image to glyph ``(N, 2, 2)`` and the middle of the glyph ``(N, 2)``.

    Both count from the middle of the image, x to the right and y down, in halves of its side.
    """
    height = draw.uniform(*heights)
    # No digit is wider than the frame before it is turned and sheared.
    width = height * torch.minimum(draw.uniform(0.8, 1.1), 0.85 / _glyphs()[1][glyph])
    angle, shear = draw.uniform(-0.15, 0.15), draw.uniform(-0.2, 0.2)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    zero = torch.zeros_like(width)
    shape = torch.stack([width, shear * width, zero, height], 1).view(-1, 2, 2)
    return torch.linalg.inv(turn @ shape), draw.uniform(*moves, columns=2)


def _ink(
    seen: list[tuple[Tensor, Tensor]],
    pose: tuple[Tensor, Tensor],
    thicker: Tensor,
    blur: Tensor,
    size: int,
) -> Tensor:
    """Return the ink ``(N, size, size)`` of glyphs, each so far to the right of the middle one."""
    rays = max(2, -(-_FINE // size))
    steps = (torch.arange(size * rays) + 0.5) / (size * rays) * 2 - 1
    points = torch.cartesian_prod(steps, steps).flip(1)  # row by row, x first
    fields, _ = _glyphs()
    ink = torch.empty(len(thicker), size, size)
    for rows in torch.arange(len(ink)).split(max(1, _AT_ONCE // len(points))):
        matrix, middle = pose[0][rows], pose[1][rows]
        at = (points - middle[:, None]) @ matrix.transpose(1, 2)
        distance = torch.full(at.shape[:2], -1.0)
        for glyph, right in seen:
            where = torch.stack([at[..., 0] - right[rows, None], at[..., 1]], -1) / _EXTENT
            field = torch.nn.functional.grid_sample(
                fields[glyph[rows], None],
                where[:, None],
                padding_mode="border",
                align_corners=False,
            )
            distance = torch.maximum(distance, field[:, 0, 0])
        edge = blur[rows, None].clamp(min=2 / len(steps))  # no sharper than the rays are dense
        inside = (0.5 + (distance + thicker[rows, None]) / edge).clamp(0, 1)
        ink[rows] = inside.view(-1, size, rays, size, rays).mean((2, 4))
    return ink


@functools.lru_cache(maxsize=1)
def _glyphs() -> tuple[Tensor, Tensor]:
    """Return all glyphs' distances ``(10 fonts, side, side)`` and half widths, digit by digit."""
    from matplotlib import get_data_path
    from PIL import ImageFont
    from scipy.ndimage import distance_transform_edt

    folder = f"{get_data_path()}/fonts/ttf"
    fonts = [
        ImageFont.truetype(f"{folder}/{name}.ttf", 2 * _TALL, layout_engine=ImageFont.Layout.BASIC)
        for name in FONTS
    ]
    side = round(_TALL * _EXTENT)
    fields, half_widths = [], []
    for digit in "0123456789":
        for font in fonts:
            mask = _mask(font, digit)
            height, width = mask.shape
            canvas = np.zeros((side, side), bool)
            top, left = (side - height) // 2, (side - width) // 2
            canvas[top : top + height, left : left + width] = mask
            distance = distance_transform_edt(canvas) - distance_transform_edt(~canvas)
            # The outline lies between two pixels, each half a pixel away from it.
            distance -= 0.5 * np.sign(distance)
            fields.append(distance.astype(np.float32) / (_TALL / 2))
            half_widths.append(width / height)
    fields = torch.nn.functional.avg_pool2d(torch.from_numpy(np.stack(fields)), 2)
    return fields, torch.tensor(half_widths)


def _mask(font, digit: str) -> np.ndarray:
    """Draw a digit, cut to its own box, as ``(_TALL, width)`` booleans."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(digit)
    picture = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(picture).text((-left, -top), digit, fill=255, font=font)
    picture = picture.crop(picture.getbbox())
    width = round(picture.width * _TALL / picture.height)
    return np.asarray(picture.resize((width, _TALL))) >= 128

r"""Sprites: the images of dSprites, drawn by a formula.

A square, an ellipse or a heart, in one of six sizes, 40 orientations and 32 x 32 positions: the
generative factors of dSprites (Matthey, Higgins, Hassabis and Lerchner, 2017).  The geometry was
measured from the original images, of which fewer than one pixel in ten thousand differs from the
picture drawn here.  At 64 x 64 pixels this is a re-rendering of dSprites, at any other resolution a
stand-in with the same factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vaelite.data.dataset import Dataset
from vaelite.packed import PackedImages

FACTORS = ("shape", "scale", "orientation", "x", "y")
SHAPES = ("square", "ellipse", "heart")
CLASSES = (3, 6, 40, 32, 32)

# All lengths are in pixels of the original 64 x 64 canvas, for a sprite of scale 1.
CANVAS = 64
SQUARE_HALF_SIDE = 9.6
ELLIPSE_SEMI_AXES = (12.77, 7.22)
ELLIPSE_SIDES = 100  # the ellipse is an inscribed polygon, with a vertex on its long axis
# Distance of the heart's outline from its centre, as a Chebyshev series in 2 angle / pi, where the
# angle runs from -pi/2 (the notch) over the side to pi/2 (the tip); the heart is symmetric.
HEART_OUTLINE = (
    *(8.0056, -0.4982, -0.6150, 2.5452, -0.2989, 0.0748, 0.1391, 0.1660, -0.0027),
    *(0.0204, 0.0347, 0.0391, -0.0063, 0.0166, 0.0073, 0.0083, -0.0012),
)

_REACH = 14  # no point of a sprite is farther than this from its centre


def load(
    size: int = 32,
    steps: Sequence[int] = (1, 1, 4, 4, 4),
    packed: bool = False,
    device: torch.device | str | None = None,
) -> Dataset:
    """Draw a regular grid of sprites.

    Args:
        size: pixels a side; 64 is the size of the original images.
        steps: of shape, scale, orientation, x and y take every first, second, third ... class.
            ``(1, 1, 4, 4, 4)`` gives 11,520 images, ``(1, 1, 4, 2, 2)`` 46,080 and
            ``(1, 1, 1, 1, 1)`` all 737,280.
        packed: keep one bit a pixel (:class:`vaelite.packed.PackedImages`).  All images at 64 x 64
            then take 377 MB instead of 3 GB.
        device: where the images are drawn, and stay.

    Returns:
        Images 0 or 255, with the five classes of dSprites as factors.  The last factor, y, changes
        fastest.  Orientation 39 is a full turn, the same picture as 0, as in the original.

    Raises:
        ValueError: if there are not five positive steps, or ``size`` is not positive.
    """
    factors = grid(steps, device)
    if packed:
        x = PackedImages.pack(render(chunk, size) for chunk in factors.split(2**14))
    else:
        x = render(factors, size).mul_(255)
    return Dataset(
        name="sprites",
        x=x,
        labels=factors[:, 0],
        factors=factors,
        factor_names=FACTORS,
        source="re-rendering" if size == CANVAS else "stand-in",
        citation=(
            "L. Matthey, I. Higgins, D. Hassabis and A. Lerchner. "
            "dSprites: Disentanglement testing Sprites dataset, 2017. Drawn here by a formula."
        ),
    )


def grid(steps: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """Return the classes ``(N, 5)`` of a regular grid, the last one changing fastest.

    Args:
        steps: of shape, scale, orientation, x and y take every first, second, third ... class.
        device: where to put them.

    Raises:
        ValueError: if there are not five positive steps.
    """
    if len(steps) != len(CLASSES) or any(type(step) is not int or step < 1 for step in steps):
        raise ValueError(f"steps must be five positive integers; got {steps!r}.")
    ranges = [
        torch.arange(0, count, step, device=device)
        for count, step in zip(CLASSES, steps, strict=True)
    ]
    return torch.cartesian_prod(*ranges)


def render(
    classes: Tensor | Sequence[Sequence[int]],
    size: int = CANVAS,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""Draw sprites.

    The centre of the pixel in row r and column c, :math:`(c + 1/2, r + 1/2)` in units of the
    original canvas, belongs to the sprite if it lies inside the outline after it has been moved
    by :math:`-(16 + 32 X / 31, 16 + 32 Y / 31)`, turned by :math:`2 \pi k / 39` and divided by the
    scale :math:`(5 + s) / 10`, for the classes :math:`s, k, X, Y` of scale, orientation and
    position.  So x moves a sprite along the columns to the right, y along the rows down, and a
    larger k turns it anticlockwise.

    Args:
        classes: ``(B, 5)`` integers: shape (square, ellipse, heart), scale (0..5), orientation
            (0..39), x (0..31) and y (0..31).
        size: pixels a side.
        device: where to draw; by default where ``classes`` are.

    Returns:
        ``(B, size, size)`` uint8 of zeros and ones.

    Raises:
        TypeError: if ``classes`` or ``size`` are not integers.
        ValueError: if ``classes`` has another shape, a class is out of range, or ``size`` is not
            positive.
    """
    classes = _checked(torch.as_tensor(classes, device=device))
    if type(size) is not int:
        raise TypeError(f"size must be an integer; got {size!r}.")
    if size < 1:
        raise ValueError(f"size must be positive; got {size}.")
    images = torch.zeros(len(classes), size, size, dtype=torch.uint8, device=classes.device)
    pixels_at_once = 2**17 if classes.device.type == "cpu" else 2**22  # what a CPU's cache holds
    window = min(size, math.ceil(2 * _REACH * size / CANVAS) + 1)  # pixels a side
    for shape, inside in enumerate((_in_square, _in_ellipse, _in_heart)):
        members = torch.nonzero(classes[:, 0] == shape).squeeze(1)
        for chunk in members.split(max(1, pixels_at_once // window**2)):
            u, v, rows, columns = _sprite_coordinates(classes[chunk], size, window)
            images[chunk[:, None, None], rows, columns] = inside(u, v).to(torch.uint8)
    return images


def _checked(classes: Tensor) -> Tensor:
    if classes.ndim != 2 or classes.shape[1] != len(CLASSES):
        raise ValueError(f"classes must be (B, {len(CLASSES)}); got {tuple(classes.shape)}.")
    if classes.dtype.is_floating_point or classes.dtype.is_complex or classes.dtype == torch.bool:
        raise TypeError(f"classes must be integers; got {classes.dtype}.")
    for name, count, column in zip(FACTORS, CLASSES, classes.unbind(1), strict=True):
        if len(column) and not (0 <= column.min() and column.max() < count):
            low, high = int(column.min()), int(column.max())
            raise ValueError(f"{name} must lie in 0..{count - 1}; got {low} to {high}.")
    return classes.long()


def _sprite_coordinates(classes: Tensor, size: int, window: int) -> tuple[Tensor, ...]:
    """Return the pixels around each sprite, and where they lie as the sprite sees them.

    Returns:
        u and v ``(B, window, window)``, rows ``(B, window, 1)`` and columns ``(B, 1, window)``.
    """
    # Apple's GPUs have no double precision.
    dtype = torch.float32 if classes.device.type == "mps" else torch.float64
    _, scale, orientation, x, y = classes.to(dtype)[:, :, None].unbind(1)  # (B, 1) each
    columns, dx = _around(16 + 32 * x / 31, size, window)
    rows, dy = _around(16 + 32 * y / 31, size, window)
    rows, dy, columns, dx = rows[:, :, None], dy[:, :, None], columns[:, None, :], dx[:, None, :]
    angle, scale = -2 * math.pi * orientation / 39, (5 + scale) / 10
    cos, sin = (angle.cos() / scale)[:, :, None], (angle.sin() / scale)[:, :, None]
    return cos * dx + sin * dy, cos * dy - sin * dx, rows, columns


def _around(centre: Tensor, size: int, window: int) -> tuple[Tensor, Tensor]:
    """Return the pixels of a window around ``centre`` along one axis, and their distances."""
    pixel = CANVAS / size
    first = ((centre - _REACH) / pixel).floor().long().clamp(0, size - window)
    pixels = first + torch.arange(window, device=centre.device)  # (B, window)
    return pixels, (pixels + 0.5) * pixel - centre


def _in_square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) < SQUARE_HALF_SIDE


def _in_ellipse(u: Tensor, v: Tensor) -> Tensor:
    """On the unit circle, the polygon's distance from the centre is that of its nearest side."""
    u, v = u / ELLIPSE_SEMI_AXES[0], v / ELLIPSE_SEMI_AXES[1]
    side = 2 * math.pi / ELLIPSE_SIDES
    from_middle = torch.atan2(v, u).remainder(side) - side / 2
    return torch.hypot(u, v) * from_middle.cos() < math.cos(side / 2)


def _in_heart(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) < _heart_radius(torch.atan2(v, u.abs()) * (2 / math.pi))


def _heart_radius(t: Tensor) -> Tensor:
    """Sum the Chebyshev series of the outline by Clenshaw's recurrence."""
    last = before = torch.zeros_like(t)
    for coefficient in HEART_OUTLINE[:0:-1]:
        last, before = coefficient + 2 * t * last - before, last
    return HEART_OUTLINE[0] + t * last - before

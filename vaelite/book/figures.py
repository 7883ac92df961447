"""How the book's figures look, and how they reach the page with alternative text."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image

# Okabe and Ito's palette: distinguishable with every common form of colour blindness.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
PINK = "#CC79A7"
YELLOW = "#E69F00"
SKY = "#56B4E9"
BLACK = "#000000"
GREY = "#767676"
COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK)
# Four more, as far from the six and from each other as the six are, for colour-blind eyes too.
CLASS_COLOURS = (*COLOURS[:6], "#661100", "#444444", "#5940BF", "#A0522D")
# For numbers: ends and middle of like lightness.  A dark page inverts it, and all stays in sight.
BLUE_TO_ORANGE = LinearSegmentedColormap.from_list("blue to orange", (BLUE, "#8C8C8C", ORANGE))

# On the page: a figure of 5.2 inches is 572 CSS pixels wide, and its 12-point letters are 18 tall.
PIXELS_PER_INCH = 110

STYLE = {
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.size": 12,
    "image.cmap": "gray_r",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}


def class_colour(index: int) -> str:
    """Return the colour of a class, the same in every figure, drawn by matplotlib or explorable.

    Args:
        index: the class's number, such as the digit, from 0 to 9.

    Raises:
        ValueError: if ``index`` is not from 0 to 9.
    """
    if not 0 <= index < len(CLASS_COLOURS):
        raise ValueError(f"index must be from 0 to {len(CLASS_COLOURS) - 1}; got {index}.")
    return CLASS_COLOURS[int(index)]


def subplots(rows: int = 1, columns: int = 1, *, height: float = 3.2, **options):
    """``plt.subplots`` in the book's style, 5.2 inches wide: legible at 360 pixels.

    Args:
        rows: rows of panels.
        columns: columns of panels; with more than two, a phone shows no readable label.
        height: height of one row in inches.
        **options: passed on to ``plt.subplots``.

    Returns:
        The figure and its axes, as ``plt.subplots`` returns them.
    """
    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=(5.2, height * rows), **options)


def show(figure: Figure, alt: str, caption: str = "") -> None:
    """Display a figure as a PNG that carries alternative text, with its caption, and close it.

    The picture is twice as fine as it is wide on the page, so that it is sharp on every screen.

    Args:
        figure: the figure.
        alt: what a reader who cannot see the figure needs to know: what it shows, then what
            follows from it.
        caption: what to see, in a sentence; see :func:`caption`.

    Raises:
        ValueError: if ``alt`` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence or two what the figure shows.")
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * PIXELS_PER_INCH)
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    # A dark page may turn black on white into white on black, but never a photograph.
    kind = "picture" if any(axes.images for axes in figure.axes) else "plot"
    plt.close(figure)
    content = _with_palette(buffer) if kind == "plot" else buffer.getvalue()
    alt = " ".join(alt.split())
    about = {"alt": alt, "width": width, "height": height, "kind": kind}
    data = {"image/png": content, "text/plain": f"Figure: {alt}"}
    display(data, raw=True, metadata={"image/png": about})
    if caption:
        show_caption(caption)


def _with_palette(png: io.BytesIO) -> bytes:
    """Return a PNG of at most 256 colours: a third of the size, and lines look the same."""
    small = io.BytesIO()
    image = Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def show_caption(text: str) -> None:
    """Display the caption of the figure above it; ``make execute`` gives it a number.

    Args:
        text: what to see, in a sentence; Markdown and mathematics are welcome.

    Raises:
        ValueError: if the text is empty.
    """
    text = " ".join(text.split())
    if not text:
        raise ValueError("caption is empty; say in a sentence what a reader should see.")
    from IPython.display import display

    data = {"text/markdown": f"**Figure.** {text}", "text/plain": f"Figure. {text}"}
    display(data, raw=True, metadata={"vaelite_caption": {"text": text}})


def covariance_ellipse(
    axes: Axes, mean: np.ndarray, covariance: np.ndarray, *, deviations: float = 2.0, **options
) -> Ellipse:
    """Draw the contour of a two-dimensional Gaussian.

    Args:
        axes: where to draw.
        mean: ``(2,)``.
        covariance: ``(2, 2)``, symmetric and positive semi-definite.
        deviations: how many standard deviations from the mean the contour lies.
        **options: passed on to ``matplotlib.patches.Ellipse``.

    Returns:
        The ellipse, already added to ``axes``.

    Raises:
        ValueError: if ``covariance`` has another shape or is not finite.
    """
    covariance = np.asarray(covariance)
    if covariance.shape != (2, 2) or not np.isfinite(covariance).all():
        raise ValueError(f"covariance must be (2, 2) and finite; got {covariance.tolist()}.")
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(variances, 0))
    angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
    ellipse = Ellipse(np.asarray(mean), width, height, angle=angle, **{"fill": False, **options})
    return axes.add_patch(ellipse)


def image_grid(images: np.ndarray, columns: int, *, gap: int = 1, fill: float = 0.0) -> np.ndarray:
    """Lay images out in rows, so that one ``imshow`` draws them all.

    Args:
        images: ``(N, H, W)`` or ``(N, H, W, 3)``.
        columns: images per row; the last row is padded with ``fill``.
        gap: pixels between neighbours.
        fill: value of the gaps and of the padding.

    Returns:
        ``(rows * (H + gap) - gap, columns * (W + gap) - gap[, 3])``.

    Raises:
        ValueError: if ``images`` is empty or has another number of dimensions, or ``columns`` is
            not positive.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or not images.size:
        raise ValueError(
            f"images must be (N, H, W) or (N, H, W, 3), not empty; got {images.shape}."
        )
    if columns < 1:
        raise ValueError(f"columns must be positive; got {columns}.")
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    grid = np.full(shape, fill, dtype=images.dtype)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid

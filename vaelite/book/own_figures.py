"""The pictures of the template notebook: learning, latents, data of any form, and walks."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from vaelite.book import figures
from vaelite.book.figures import BLUE, GREEN, GREY, ORANGE
from vaelite.book.own_data import Chosen, Curve

HOLE = to_rgb(GREEN)


def learning(curve: Curve) -> Figure:
    """Draw the likelihood of both parts over the steps, from a quarter of the looks on."""
    figure, axes = figures.subplots(height=2.8)
    shown = slice(min(len(curve.steps) // 4, int(curve.stopping.argmax())), None)
    axes.plot(curve.steps[shown], curve.training[shown], color=BLUE, label="trained on")
    axes.plot(curve.steps[shown], curve.stopping[shown], color=ORANGE, label="to stop by")
    axes.axvline(curve.best, color=GREY, ls="--", lw=1, label="best")
    axes.set(xscale="log", xlabel="step", ylabel="ln p(x), nats a datum")
    axes.legend(fontsize=10)
    return figure


def signals(mean: Tensor, log_var: Tensor) -> Figure:
    """Draw the share of each latent's variance that its mean carries, and the line of a tenth."""
    signal = mean.var(0)
    share = (signal / (signal + log_var.exp().mean(0))).sort(descending=True)
    figure, axes = figures.subplots(height=2.6)
    axes.bar(range(len(share.values)), share.values.numpy(), color=BLUE)
    axes.axhline(0.1, color=GREY, ls="--")
    axes.set_xticks(range(len(share.values)), [str(int(d)) for d in share.indices])
    axes.set(xlabel="latent", ylabel="share of signal", ylim=(0, 1))
    return figure


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether data of a shape are drawn as images: ``(H, W)`` or ``(3, H, W)``."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)


def holes(x: Tensor) -> str:
    """Return what a caption says of missing values, where there are some."""
    return " Green: missing." if bool(x.isnan().any()) else ""


def rows_of(
    blocks: Sequence[Tensor],
    shape: Sequence[int],
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Figure:
    """Draw data: images, a row for each block; or a table, a strip a datum.  Green is missing.

    Args:
        blocks: each ``(n, D)``; NaN where a value is missing.
        shape: of one datum: ``(H, W)``, ``(3, H, W)``, or another, drawn as strips.
        names: of the blocks.
        columns: names of the columns of a table.
    """
    shown = [block.numpy() for block in blocks]
    draw = _as_images if is_image(shape) else _as_strips
    figure, axes, heights = draw(shown, shape, columns)
    bottoms = np.cumsum(heights)
    if names:
        axes.set_yticks(bottoms - np.array(heights) / 2 - 0.5, names, fontsize=10)
        axes.tick_params(left=False)
    else:
        axes.set_yticks([])
    return figure


def _as_images(
    blocks: list[np.ndarray], shape: Sequence[int], _: Sequence[str]
) -> tuple[Figure, Axes, list[int]]:
    first = blocks[0]
    low, high = (0.0, 1.0) if np.nanmin(first) >= 0 else np.nanquantile(first, [0.02, 0.98])
    rows = []
    for block in blocks:
        images = ((block - low) / max(high - low, 1e-6)).clip(0, 1).reshape(-1, *shape)
        images = images[:, None].repeat(3, 1) if len(shape) == 2 else images
        images = np.moveaxis(images, 1, -1)
        images[np.isnan(images).any(-1)] = HOLE
        row = figures.image_grid(images, columns=max(map(len, blocks)), fill=1.0)
        rows += [row, np.ones((2, *row.shape[1:]), dtype=row.dtype)]
    picture = np.concatenate(rows[:-1])
    figure, axes = figures.subplots(height=5.2 * picture.shape[0] / picture.shape[1])
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return figure, axes, [len(row) + 2 for row in rows[::2]]


def _as_strips(
    blocks: list[np.ndarray], _: Sequence[int], columns: Sequence[str]
) -> tuple[Figure, Axes, list[int]]:
    top = max(1e-6, max(float(np.nanmax(np.abs(block))) for block in blocks))
    colours = plt.cm.ScalarMappable(Normalize(-top, top), "RdBu_r")
    rows = []
    for block in blocks:
        row = colours.to_rgba(np.nan_to_num(block))[..., :3]
        row[np.isnan(block)] = HOLE
        rows += [row, np.ones_like(row[:1])]
    picture = np.concatenate(rows[:-1])
    named = 0 < len(columns) <= 30
    figure, axes = figures.subplots(height=min(6.0, 0.8 + 0.16 * len(picture) + 0.8 * named))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    if named:
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=10)
    else:
        axes.set_xticks([])
        axes.set_xlabel("column")
    axes.spines[:].set_visible(False)
    standardised = any(np.nanmin(block) < 0 for block in blocks)
    figure.colorbar(colours, ax=axes, label="standard deviations" if standardised else "value")
    return figure, axes, [len(row) + 1 for row in rows[::2]]


def traversals(
    chosen: Chosen, mean: Tensor, latents: Sequence[int], label: int | None = None, steps: int = 7
) -> list[Tensor]:
    """Decode walks along single latents, from the mean code, over the range that codes take.

    Args:
        chosen: the model.
        mean: ``(N, latents)``, the codes of the data.
        latents: which to walk along.
        label: as which population or task to decode.
        steps: how many, between the fifth and the ninety-fifth percentile.

    Returns:
        ``(steps, D)`` for each latent.
    """
    walks = []
    for d in latents:
        z = mean.mean(0).repeat(steps, 1)
        low, high = mean[:, d].quantile(torch.tensor([0.05, 0.95]))
        z[:, d] = torch.linspace(float(low), float(high), steps)
        walks.append(chosen.decode(z, label))
    return walks

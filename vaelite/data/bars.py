r"""Bars: rows of pixels switched on at random, plus noise; groups are quadrants (factVAE, 4.1).

Row r of an image is on with probability p, across its whole width, so the left and the right half
of the image know of the same rows, and its upper and lower half of different ones:

.. math::
    x_{rc} = \tfrac12 a_r + \sigma \epsilon_{rc}, \qquad
    a_r \sim \mathrm{Bernoulli}(p), \quad \epsilon_{rc} \sim \mathrm{Normal}(0, 1).
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import torch

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data.dataset import Dataset
from vaelite.data.groups import Groups

BRIGHTNESS = 0.5  # of a bar; the ground is 0
SPLITS = ("train", "test")


def load(
    size: int = 8,
    count: int = 10_000,
    probability: float | None = None,
    noise: float = 0.05,
    split: str = "train",
    seed: int = 0,
) -> Dataset:
    """Draw images of horizontal bars.

    The paper gives no numbers; size, count, brightness, noise and probability are those of its
    authors' code (``ex_bars_quadrants_faceback.py`` in github.com/samuela/faceback).

    Args:
        size: pixels a side, even.
        count: how many images.  The first ones do not depend on it.
        probability: that a row is on, each on its own; by default 0.75 / ``size``, so that three
            quarters of a bar are expected in an image, and nearly half of them are empty.
        noise: standard deviation of a pixel's noise; bars are 0.5 bright on a ground of 0.
        split: ``train`` or ``test``: independent draws.
        seed: of the rows and the noise.

    Returns:
        ``(count, size, size)`` float32.  Not uint8, which would cut the noise off below 0, on the
        whole ground, and make a Gaussian likelihood wrong.  The factors are the rows that are on,
        ``(count, size)`` of 0 and 1, from the top.  :func:`quadrants` gives the four groups.

    Raises:
        ValueError: if ``size`` or ``count`` is not a positive integer, ``size`` is odd,
            ``probability`` is not between 0 and 1, ``noise`` is negative or not finite, there is no
            such split, or ``seed`` is not an integer from 0.
    """
    size, count = _check_size(size), check_count("count", count)
    probability = 0.75 / size if probability is None else probability
    if not isinstance(probability, Real) or not 0 <= probability <= 1:
        raise ValueError(f"probability must be a number from 0 to 1; got {probability!r}.")
    if not isinstance(noise, Real) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a number from 0, and finite; got {noise!r}.")
    check_choice("split", split, SPLITS)
    check_seed(seed)
    rows, pixels = (np.random.default_rng([seed, SPLITS.index(split), s]) for s in range(2))
    on = torch.from_numpy(rows.random((count, size)) < probability)
    drawn = torch.from_numpy(pixels.standard_normal((count, size, size), dtype=np.float32))
    return Dataset(
        name="bars",
        x=BRIGHTNESS * on[:, :, None] + noise * drawn,
        factors=on.long(),
        factor_names=tuple(f"row {row}" for row in range(size)),
        source="stand-in",
        citation="Made by a formula, after S. K. Ainsworth, N. J. Foti and E. B. Fox, 2018.",
    )


def quadrants(size: int = 8) -> Groups:
    """Return which pixels of a flattened image belong to which quadrant, row by row.

    The names are ``top left``, ``top right``, ``bottom left`` and ``bottom right``.

    Raises:
        ValueError: if ``size`` is not a positive even integer.
    """
    half = _check_size(size) // 2
    pixel = torch.arange(size * size).view(2, half, 2, half)
    return Groups(
        {
            f"{vertical} {horizontal}": pixel[i, :, j].flatten()
            for i, vertical in enumerate(("top", "bottom"))
            for j, horizontal in enumerate(("left", "right"))
        }
    )


def _check_size(size: int) -> int:
    if check_count("size", size) % 2:
        raise ValueError(f"size must be even, so that quadrants are alike; got {size}.")
    return int(size)

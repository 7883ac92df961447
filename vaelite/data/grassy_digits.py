r"""Grassy digits: handwritten digits laid over crops of a photograph of grass.

A stand-in for Grassy MNIST (Abid, Zhang, Bagaria and Zou, 2018), whose grass came from ImageNet.
Digits and grass are both real, but all grass comes from one photograph of 512 x 512 pixels, the
texture that scikit-image ships (by linolafett, CC0); so each crop is magnified, turned, mirrored
and lit at random.  Training and test crops come from two parts of the photograph that share no
pixel.  It has room for some 230 and 80 crops of 28 x 28 that do not overlap, so a large model may
learn the training grass by heart.

An image is the sum of two layers, without clipping:

.. math::
    x = w \, d + (1 - w) \, g,

with the ink d and the grass g in [0, 1].  Abid et al. added 0.25 d to g and let the sum exceed 1;
divided by 1.25, so that it does not, that is w = 0.2.  Here w is 0.3 unless you ask for another:
it makes this grass about as hard as the original seems to be.  Trained on 6,000 digits of MNIST, a
small convolutional classifier reaches 92 % (on scikit-learn's digits 87 %, at w = 0.2 79 %), and
clusters of 25 principal components have an adjusted Rand index of 0.19 with the digits (0.11, and
0.03 at w = 0.2).  With the original, CPVAE's authors report 86 % for a ResNet-50, and 0.19 for
clusters of a plain VAE's codes.

The two layers are known here.  They serve to measure how well a model separates what it was only
shown together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data import digits, mnist
from vaelite.data.dataset import Dataset

SPLITS = ("train", "test")
SOURCES = ("digits", "mnist")
MAGNIFICATIONS = (1.0, 1.5, 2.0)
LIGHT = (0.7, 1.0)  # each crop is multiplied by a number in this range

# Columns of the photograph.  Few blades of grass that begin in one part cross the gap to the other.
_COLUMNS = {"train": slice(0, 352), "test": slice(384, 512)}
_WITH_DIGITS, _ALONE = 0, 1  # streams of random numbers


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GrassyDigits(Dataset):
    """Grassy digits with their two layers, which no model sees.

    Attributes:
        digit: ``(N, H, W)`` uint8, w d; the labels say which digit it is.
        grass: ``(N, H, W)`` uint8, (1 - w) g; ``x`` is the sum of both.
    """

    digit: Tensor
    grass: Tensor


def load(
    split: str = "train",
    size: int = 28,
    source: str = "digits",
    count: int | None = None,
    weight: float = 0.3,
    seed: int = 0,
) -> GrassyDigits:
    """Return digits on grass, and both layers.

    Args:
        split: ``train`` or ``test``: other digits, and grass from another part of the photograph.
        size: pixels a side.
        source: ``digits``: scikit-learn's (1,437 and 360), drawn into the middle five sevenths of
            the picture, as MNIST's are; or ``mnist`` (60,000 and 10,000).
        count: how many images; by default one a digit, in the order of the source.  A smaller count
            draws digits at random, without replacement; a larger one goes through all of them
            again, on other grass.
        weight: w, what part of full brightness a digit's ink has.
        seed: of the digits drawn, and of their grass.

    Raises:
        ValueError: if ``split`` or ``source`` is unknown, ``size`` or ``count`` is not a positive
            integer, ``size`` exceeds 128, ``weight`` is not between 0 and 1, or ``seed`` is not an
            integer from 0.
        DataError: if MNIST is not in the cache and cannot be downloaded.
    """
    _check(split, size, weight, seed)
    check_choice("source", source, SOURCES)
    if count is not None:
        count = check_count("count", count)
    ink, labels = _ink(source, split, size)
    rng = _stream(seed, split, _WITH_DIGITS)
    if count is not None:
        passes = -(-count // len(ink))
        rows = np.concatenate([rng.permutation(len(ink)) for _ in range(passes)])[:count]
        ink, labels = ink[rows], labels[rows]
    full = round(255 * weight)
    digit = (ink * (full / 255)).round().to(torch.uint8)
    grass = _crops(len(ink), split, size, 255 - full, rng)
    return GrassyDigits(
        name="grassy_digits",
        x=digit + grass,
        labels=labels,
        digit=digit,
        grass=grass,
        source="stand-in",
        citation=(
            "A. Abid, M. J. Zhang, V. K. Bagaria and J. Zou. Exploring patterns enriched in a "
            "dataset with contrastive principal component analysis. Nature Communications, 2018. "
            "Made here from other grass: the texture of scikit-image."
        ),
    )


def grass(
    count: int, split: str = "train", size: int = 28, weight: float = 0.3, seed: int = 0
) -> Tensor:
    """Return crops of grass alone, as bright as under the digits of :func:`load`.

    They are the background set of a contrastive model.  They come from the same part of the
    photograph, but are drawn independently of those that :func:`load` draws with the same seed.

    Args:
        count: how many.
        split: ``train`` or ``test``.
        size: pixels a side.
        weight: w, what a digit would take of full brightness.
        seed: of the crops.

    Returns:
        ``(count, size, size)`` uint8.

    Raises:
        ValueError: if ``split`` is unknown, ``count`` or ``size`` is not a positive integer,
            ``size`` exceeds 128, ``weight`` is not between 0 and 1, or ``seed`` is not an integer
            from 0.
    """
    count = check_count("count", count)
    _check(split, size, weight, seed)
    return _crops(count, split, size, 255 - round(255 * weight), _stream(seed, split, _ALONE))


def _check(split: str, size: int, weight: float, seed: int) -> None:
    check_choice("split", split, SPLITS)
    check_count("size", size)
    narrow = _COLUMNS["test"].stop - _COLUMNS["test"].start
    if size > narrow:
        raise ValueError(f"size must not exceed {narrow}, the width of the test grass; got {size}.")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 and 1; got {weight}.")
    check_seed(seed)


def _stream(seed: int, split: str, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), purpose])


def _ink(source: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    """Return the ink of all digits, ``(N, size, size)`` floats in 0..255, and their labels."""
    if source == "mnist":
        original = mnist.load(split)
        ink = original.x.float()
        return (ink if size == ink.shape[-1] else _resize(ink, (size, size))), original.labels
    inner = max(1, round(size * 20 / 28))  # MNIST's digits have 20 of 28 pixels
    original = digits.load(inner, split=split)
    before = (size - inner) // 2
    after = size - inner - before
    ink = torch.nn.functional.pad(original.x.float(), (before, after, before, after))
    return ink, original.labels


def _resize(images: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(images[:, None], shape, mode="bilinear", antialias=True)[
        :, 0
    ]


def _crops(count: int, split: str, size: int, full: int, rng: np.random.Generator) -> Tensor:
    """Cut crops at random, ``(count, size, size)`` uint8 in 0..full."""
    textures = _textures(split)
    heights, widths = np.array([texture.shape for texture in textures]).T
    magnified = rng.integers(len(textures), size=count)
    top = rng.integers(heights[magnified] - size + 1)
    left = rng.integers(widths[magnified] - size + 1)
    turned, mirrored = rng.random((2, count)) < 0.5
    light = rng.uniform(*LIGHT, count).astype(np.float32)
    crops = np.empty((count, size, size), np.uint8)
    for level, texture in enumerate(textures):
        rows = np.flatnonzero(magnified == level)
        windows = np.lib.stride_tricks.sliding_window_view(texture, (size, size))
        lit = windows[top[rows], left[rows]] * (light[rows, None, None] * (full / 255))
        crops[rows] = np.rint(lit)
    crops[turned] = crops[turned].transpose(0, 2, 1)
    crops[mirrored] = crops[mirrored][:, :, ::-1]
    return torch.from_numpy(crops)


def _textures(split: str) -> list[np.ndarray]:
    """Return a part of the photograph, magnified: first cut, so that no other part shines in."""
    from skimage.data import grass as photograph  # in scikit-image's wheel: no download

    part = torch.from_numpy(photograph()[:, _COLUMNS[split]].astype(np.float32))[None]
    _, height, width = part.shape
    return [_resize(part, (round(height * m), round(width * m)))[0].numpy() for m in MAGNIFICATIONS]

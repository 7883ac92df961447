"""Binary MNIST: 70,000 digits in black and white (Salakhutdinov and Murray, 2008)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from vaelite._validation import check_choice
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset
from vaelite.packed import PackedImages

SIDE = 28
SPLITS = ("train", "valid", "test")


def load(split: str = "train") -> Dataset:
    """Return the training (50,000), validation (10,000) or test set (10,000), without labels.

    Salakhutdinov and Murray drew each pixel of MNIST once, white with a probability equal to its
    grey level, and published the draws.  Likelihoods of this fixed set compare with each other;
    with those of MNIST binarised by a threshold, or drawn afresh in every epoch, they do not.

    The test file is sorted by digit: its first 2,000 images are zeros and ones.  Draw subsets at
    random, never the first rows.  The other two files are mixed.

    Args:
        split: ``train``, ``valid`` or ``test``.

    Returns:
        ``(N, 28, 28)`` uint8 images of 0 and 255, in the order of the file.

    Raises:
        ValueError: if there is no such split.
        DataError: if it is not in the cache and cannot be downloaded.
    """
    check_choice("split", split, SPLITS)
    bits = torch.from_numpy(REAL.arrays()[split])
    return Dataset(
        name="binary_mnist",
        x=PackedImages(bits, SIDE, SIDE)[:],
        source="real",
        citation=(
            "R. Salakhutdinov and I. Murray. On the quantitative analysis of deep belief networks. "
            "ICML 2008."
        ),
    )


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Pack the text files: a line of 784 zeros and ones, with spaces between them, an image."""
    return {split: _packed(files[f"binarized_mnist_{split}.amat"]) for split in SPLITS}


def _packed(path: Path) -> np.ndarray:
    """Return an image a row, its first pixel in the highest bit."""
    try:
        text = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    line = np.full(2 * SIDE**2, ord(" "), np.uint8)  # what stands between the pixels
    line[-1] = ord("\n")
    if text.size % line.size:
        raise DataError(f"{path.name} does not hold lines of {SIDE**2} zeros and ones.")
    text = text.reshape(-1, line.size)
    pixels = text[:, ::2] - np.uint8(ord("0"))  # anything below wraps round, far above 1
    if (text[:, 1::2] != line[1::2]).any() or (pixels > 1).any():
        raise DataError(f"{path.name} does not hold lines of {SIDE**2} zeros and ones.")
    return np.packbits(pixels, axis=1)


REAL = RealSet(
    name="binary_mnist",
    megabytes=109.8,
    mirrors=lambda: ["http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"],
    files={
        "binarized_mnist_train.amat": (
            "sha256:ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
        ),
        "binarized_mnist_valid.amat": (
            "sha256:1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
        ),
        "binarized_mnist_test.amat": (
            "sha256:e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
        ),
    },
    convert=_convert,
    digest="b23c231c1d7ee7e79c821a79f6add6b4bc60227c6c4cdda38aaead0f7e355108",
    file="binarized_mnist_packbits.npz",
)

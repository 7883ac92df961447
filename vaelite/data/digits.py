"""Digits: 1,797 handwritten digits, 8 x 8 pixels, that scikit-learn ships."""

from __future__ import annotations

import numpy as np
import torch

from vaelite._validation import check_choice, check_count
from vaelite.data.dataset import Dataset
from vaelite.data.resize import to_uint8

_FULL_INK = 16  # each original pixel counts the inked pixels of a 4 x 4 block
_TEST_SIZE = 360


def load(size: int = 8, binary: bool = False, split: str = "all") -> Dataset:
    """Return the digits.

    Args:
        size: pixels a side; other sizes than 8 are interpolated bilinearly.
        binary: make each pixel 0 or 255, whichever is nearer.
        split: ``all``, or one of two fixed random parts: ``train`` (1,437) and ``test`` (360).

    Raises:
        ValueError: if ``size`` is not positive, or there is no such split.
    """
    from sklearn.datasets import load_digits

    size = check_count("size", size)
    original = load_digits()
    rows = torch.from_numpy(_rows(split, len(original.target)))
    ink = torch.from_numpy(original.images)[rows].float() / _FULL_INK
    return Dataset(
        name="digits",
        x=to_uint8(ink, (size, size), binary),
        labels=torch.from_numpy(original.target)[rows].long(),
        source="real",
        citation="E. Alpaydin and C. Kaynak. Optical Recognition of Handwritten Digits, UCI, 1998.",
    )


def _rows(split: str, count: int) -> np.ndarray:
    shuffled = np.random.default_rng(0).permutation(count)
    parts = {
        "all": np.arange(count),
        "train": np.sort(shuffled[_TEST_SIZE:]),
        "test": np.sort(shuffled[:_TEST_SIZE]),
    }
    check_choice("split", split, parts)
    return parts[split]

"""USPS: 9,298 digits from the envelopes of American post, 16 x 16 pixels (Hull, 1994)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaelite._validation import check_choice, check_count
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset
from vaelite.data.resize import to_uint8

SIDE = 16
SPLITS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}

_FILES = {"usps.bz2": "train", "usps.t.bz2": "test"}


def load(split: str = "train", size: int = SIDE, binary: bool = False) -> Dataset:
    """Return the official training set (7,291) or test set (2,007), with its labels.

    The original's grey levels are 0.0005 apart; the nearest of 256 is at most 0.002 away.  Other
    sizes are interpolated bilinearly: 28 puts these digits beside those of MNIST, but they still
    fill the whole frame, where MNIST's have a margin of 4 pixels.

    Args:
        split: ``train``, ``test``, or ``all``: first the one, then the other.
        size: pixels a side.
        binary: make each pixel 0 or 255, whichever is nearer.

    Raises:
        ValueError: if there is no such split, or ``size`` is not a positive integer.
        DataError: if it is not in the cache and cannot be downloaded.
    """
    check_choice("split", split, SPLITS)
    size = check_count("size", size)
    arrays = REAL.arrays()
    ink = np.concatenate([arrays[f"x_{part}"] for part in SPLITS[split]])
    labels = np.concatenate([arrays[f"y_{part}"] for part in SPLITS[split]])
    return Dataset(
        name="usps",
        x=to_uint8(torch.from_numpy(ink), (size, size), binary),
        labels=torch.from_numpy(labels).long(),
        source="real",
        citation=(
            "J. J. Hull. A database for handwritten text recognition research. IEEE Transactions "
            "on Pattern Analysis and Machine Intelligence, 1994."
        ),
    )


def _mirrors() -> Sequence[str]:
    from torchvision.datasets import USPS  # knows where USPS lives this year

    return sorted({url.removesuffix(name) for url, name, _ in USPS.split_list.values()})


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Read both files: a line ``label index:value ...`` a digit, values from -1 to 1."""
    from sklearn.datasets import load_svmlight_file

    arrays = {}
    for name, split in _FILES.items():
        try:
            values, labels = load_svmlight_file(
                str(files[name]), n_features=SIDE**2, dtype=np.float32
            )
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{name} cannot be read ({error}).") from error
        arrays[f"x_{split}"] = (values.toarray().reshape(-1, SIDE, SIDE) + 1) / 2
        arrays[f"y_{split}"] = (labels - 1).astype(np.uint8)  # the file counts from 1
    return arrays


REAL = RealSet(
    name="usps",
    megabytes=8.4,
    mirrors=_mirrors,
    files={
        "usps.bz2": "md5:ec16c51db3855ca6c91edd34d0e9b197",
        "usps.t.bz2": "md5:8ea070ee2aca1ac39742fdd1ef5ed118",
    },
    convert=_convert,
    digest="52f7d730eeded9543b84d4a2005b8edf543d28bf501ff0a100ab912ebacd0bdc",
)

"""MNIST: 70,000 handwritten digits, 28 x 28 pixels (LeCun, Cortes and Burges, 1998)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaelite.data.cache import RealSet
from vaelite.data.dataset import Dataset


def load(split: str = "train") -> Dataset:
    """Return the official training set (60,000) or test set (10,000), with its labels.

    Raises:
        ValueError: if ``split`` is neither ``train`` nor ``test``.
        DataError: if it is not in the cache and cannot be downloaded.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; it must be 'train' or 'test'.")
    arrays = REAL.arrays()
    return Dataset(
        name="mnist",
        x=torch.from_numpy(arrays[f"x_{split}"]),
        labels=torch.from_numpy(arrays[f"y_{split}"]).long(),
        source="real",
        citation="Y. LeCun, C. Cortes and C. J. C. Burges. The MNIST database, 1998.",
    )


def _mirrors() -> Sequence[str]:
    from torchvision.datasets import MNIST  # knows where MNIST lives this year

    return MNIST.mirrors


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    return {
        "x_train": _read_idx(files["train-images-idx3-ubyte.gz"]),
        "y_train": _read_idx(files["train-labels-idx1-ubyte.gz"]),
        "x_test": _read_idx(files["t10k-images-idx3-ubyte.gz"]),
        "y_test": _read_idx(files["t10k-labels-idx1-ubyte.gz"]),
    }


def _read_idx(path: Path) -> np.ndarray:
    """Read unsigned bytes in MNIST's own format: two zeros, a type, the rank, the shape, data."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


REAL = RealSet(
    name="mnist",
    megabytes=11.6,
    mirrors=_mirrors,
    files={
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
    convert=_convert,
    digest="399f6831a588b2df9458cab2fad1a8fc1666482fe032c8d0b1034801438b5ade",
)

"""CIFAR-10: 60,000 small photographs in ten classes, 32 x 32 pixels (Krizhevsky, 2009)."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaelite.data.cache import DataError, RealSet, arrays_digest, folder, read_arrays
from vaelite.data.dataset import Dataset

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
COUNTS = {"train": 50_000, "test": 10_000}
SAMPLE = {"train": 4_000, "test": 1_000}  # the first images of the first file of each split

_ARCHIVE = "cifar-10-binary.tar.gz"
_FILES = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
_SAMPLE_FILE = "cifar10_lossless_4000train_1000test.npz"
_SAMPLE_DIGEST = "52df47f07c7cc30d1a401d29f98d957393906e2a9388dbdc1ccd82383ac14700"


def load(split: str = "train", sample: bool = False) -> Dataset:
    """Return the official training set (50,000) or test set (10,000), with its labels.

    Args:
        split: ``train`` or ``test``.
        sample: give only the first 4,000 or 1,000 images.  They need no download where the cache
            holds ``cifar10_lossless_4000train_1000test.npz``.  That is a twelfth of the training
            images: results on them do not compare with published ones.

    Returns:
        ``(N, 3, 32, 32)`` uint8.

    Raises:
        ValueError: if ``split`` is neither ``train`` nor ``test``.
        DataError: if it is not in the cache and cannot be downloaded, or the cache is damaged.
    """
    if split not in COUNTS:
        raise ValueError(f"split is {split!r}; it must be 'train' or 'test'.")
    part = folder() / _SAMPLE_FILE
    arrays = _part(part) if sample and part.exists() else REAL.arrays()
    chosen = slice(SAMPLE[split] if sample else None)
    x = torch.from_numpy(arrays[f"x_{split}"][chosen])
    return Dataset(
        name="cifar10",
        x=x.permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(arrays[f"y_{split}"][chosen]).long(),
        source="real",
        citation="A. Krizhevsky. Learning multiple layers of features from tiny images. 2009.",
    )


def _part(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    if arrays_digest(arrays) != _SAMPLE_DIGEST:
        raise DataError(f"{path} is damaged or is another data set; remove it.")
    return arrays


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Read records of one byte for the label, and 3 x 32 x 32 for red, green and blue."""
    (path,) = files.values()
    contents = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".bin"):
                    content = archive.extractfile(member).read()
                    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
                    contents[PurePosixPath(member.name).name] = records
        splits = {
            split: np.concatenate([contents[name] for name in names])
            for split, names in _FILES.items()
        }
    except (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    arrays = {}
    for split, records in splits.items():
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"x_{split}"] = np.ascontiguousarray(images)
        arrays[f"y_{split}"] = records[:, 0].copy()
    return arrays


def _looks_right(arrays: Mapping[str, np.ndarray]) -> bool:
    """Compare the sizes, how many there are of each class, and every byte of the sample."""
    if set(arrays) != {f"{part}_{split}" for part in "xy" for split in COUNTS}:
        return False
    for split, count in COUNTS.items():
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.shape != (count, 32, 32, 3) or images.dtype != np.uint8:
            return False
        if labels.shape != (count,) or labels.dtype != np.uint8:
            return False
        if (np.bincount(labels, minlength=len(CLASSES)) != count // len(CLASSES)).any():
            return False
    first = {key: array[: SAMPLE[key[2:]]] for key, array in arrays.items()}
    return arrays_digest(first) == _SAMPLE_DIGEST


REAL = RealSet(
    name="cifar10",
    megabytes=170,
    mirrors=lambda: ["https://www.cs.toronto.edu/~kriz/"],
    files={_ARCHIVE: "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    convert=_convert,
    looks_right=_looks_right,
)

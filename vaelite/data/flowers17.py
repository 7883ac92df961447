"""17 Category Flowers: 80 photographs of each of 17 species (Nilsback and Zisserman, 2006)."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaelite._validation import check_choice, check_count
from vaelite.data import flowers
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset

CLASSES = (
    *("daffodil", "snowdrop", "lily of the valley", "bluebell", "crocus", "iris", "tigerlily"),
    *("tulip", "fritillary", "sunflower", "daisy", "colt's foot", "dandelion", "cowslip"),
    *("buttercup", "windflower", "pansy"),
)
EACH = 80  # photographs of a class
TRAIN = 60  # of them are for training
SIZE = 64

_ARCHIVE = "17flowers.tgz"


def load(split: str = "train", classes: Sequence[str] | None = None, size: int = SIZE) -> Dataset:
    """Return flowers, each cut to its middle square and made smaller.

    Args:
        split: ``train`` (60 of each class), ``test`` (the other 20) or ``all``.  The split is ours,
            random and fixed: the authors' three splits keep 40 of each class for training.
        classes: names among ``CLASSES``, such as those of :mod:`vaelite.data.flowers`; by default
            all 17.
        size: pixels a side, at most 64.

    Returns:
        ``(N, 3, size, size)`` uint8, one class after the other.  The label is the place of the
        class in ``classes``.

    Raises:
        ValueError: if there is no such split or class, a class is asked for twice, or ``size`` is
            not an integer from 1 to 64.
        DataError: if they are not in the cache and cannot be downloaded.
    """
    within = _rows(split)
    chosen = flowers.check_classes(classes, CLASSES)
    if check_count("size", size) > SIZE:
        raise ValueError(f"size must not exceed {SIZE}, that of the stored pictures; got {size}.")
    arrays = REAL.arrays()  # the classes may lie in any order
    rows = np.concatenate([np.flatnonzero(arrays["label"] == place)[within] for place in chosen])
    x = torch.from_numpy(arrays["imgs"][rows]).permute(0, 3, 1, 2).contiguous()
    if size != SIZE:
        smaller = torch.nn.functional.interpolate(
            x.float(), (size, size), mode="bilinear", antialias=True
        )
        x = smaller.round().to(torch.uint8)
    return Dataset(
        name="flowers17",
        x=x,
        labels=torch.arange(len(chosen)).repeat_interleave(len(within)),
        source="real",
        citation=(
            "M.-E. Nilsback and A. Zisserman. A visual vocabulary for flower classification. "
            "CVPR 2006."
        ),
    )


def _rows(split: str) -> np.ndarray:
    """Return which of a class's photographs are in a split."""
    shuffled = np.random.default_rng(2006).permutation(EACH)
    parts = {"train": shuffled[:TRAIN], "test": shuffled[TRAIN:], "all": shuffled}
    check_choice("split", split, parts)
    return np.sort(parts[split])


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    (path,) = files.values()
    pictures = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.match("jpg/image_*.jpg"):
                    pictures[name.name] = _small(archive.extractfile(member).read())
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    if len(pictures) != EACH * len(CLASSES):
        raise DataError(
            f"{path.name} holds {len(pictures)} pictures; it should hold {EACH * len(CLASSES)}."
        )
    return {
        "imgs": np.stack([pictures[name] for name in sorted(pictures)]),
        "label": np.arange(len(CLASSES), dtype=np.uint8).repeat(EACH),
    }


def _small(content: bytes) -> np.ndarray:
    """Turn a photograph into its middle square, ``(64, 64, 3)``."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(ImageOps.fit(picture.convert("RGB"), (SIZE, SIZE)))


def _looks_right(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether there are 80 pictures of each class, none of them empty."""
    if set(arrays) != {"imgs", "label"}:
        return False
    images, label = arrays["imgs"], arrays["label"]
    if images.dtype != np.uint8 or images.shape != (EACH * len(CLASSES), SIZE, SIZE, 3):
        return False
    if label.dtype != np.uint8 or np.bincount(label).tolist() != [EACH] * len(CLASSES):
        return False
    return bool((images.max((1, 2, 3)) > images.min((1, 2, 3))).all())


REAL = RealSet(
    name="flowers17",
    megabytes=60,
    mirrors=lambda: ["https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"],
    files={_ARCHIVE: "md5:b59a65d8d1a99cd66944d474e1289eab"},
    convert=_convert,
    looks_right=_looks_right,
    file="flowers17_64x64.npz",
)

"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al., 2015)."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaelite._validation import check_choice, check_count
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset
from vaelite.data.resize import to_uint8

SIDE = 28
ORIGINAL_SIDE = 105
SPLITS = ("background", "evaluation", "all")
FACTORS = ("alphabet", "drawer")


def load(split: str = "background", size: int = SIDE) -> Dataset:
    """Return the authors' background set (19,280) or evaluation set (13,180); ink is bright.

    Rows are ordered by split (background first), alphabet, character and drawer.  The label is the
    character, 0 to 1,622, counted over the alphabets of both splits in the order of
    :func:`alphabets`; so no two alphabets share a label, and a split has gaps between its labels.
    The factors are the alphabet, 0 to 49, and the drawer, 0 to 19, who is another person in another
    alphabet.

    The originals are 105 x 105 pixels, black on white; the cache keeps them inverted and averaged
    over boxes, 28 x 28.  **This is not the 28 x 28 file of the IWAE paper** (Burda, Grosse and
    Salakhutdinov, 2016), which was made smaller in another way and split at random into 24,345 and
    8,070 images: likelihoods do not compare with published ones.

    Args:
        split: ``background`` (30 alphabets), ``evaluation`` (the 20 others), or ``all``.
        size: pixels a side; other sizes than 28 are interpolated bilinearly.

    Raises:
        ValueError: if there is no such split, or ``size`` is not a positive integer.
        DataError: if it is not in the cache and cannot be downloaded.
    """
    check_choice("split", split, SPLITS)
    size = check_count("size", size)
    arrays = REAL.arrays()
    rows = np.flatnonzero((split == "all") | (arrays["split_eval"] == SPLITS.index(split)))
    factors = np.stack([arrays["alphabet"], arrays["drawer"] - 1], axis=1)  # drawers count from 1
    return Dataset(
        name="omniglot",
        x=to_uint8(torch.from_numpy(arrays["imgs"][rows]).float() / 255, (size, size)),
        labels=torch.from_numpy(arrays["character"][rows]).long(),
        factors=torch.from_numpy(factors[rows]).long(),
        factor_names=FACTORS,
        source="real",
        citation=(
            "B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum. Human-level concept learning "
            "through probabilistic program induction. Science, 2015."
        ),
    )


def alphabets() -> tuple[str, ...]:
    """Return the names of the 50 alphabets of both splits, in the order of their numbers.

    Raises:
        DataError: if they are not in the cache and cannot be downloaded.
    """
    return tuple(REAL.arrays()["alphabet_names"].tolist())


def _mirrors() -> Sequence[str]:
    from torchvision.datasets import Omniglot  # knows where Omniglot lives this year

    return [Omniglot.download_url_prefix + "/"]


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Make the drawings small, and number alphabets and characters by their sorted names."""
    drawings = {}
    for split in (0, 1):
        path = files[f"images_{SPLITS[split]}.zip"]
        drawings |= {(split, *place): small for place, small in _read(path).items()}
    places = sorted(drawings)  # by split, alphabet, character and drawer
    characters = sorted({place[1:3] for place in places})
    names = sorted({alphabet for alphabet, _ in characters})
    number = {character: i for i, character in enumerate(characters)}
    return {
        "imgs": np.stack([drawings[place] for place in places]),
        "split_eval": np.array([split for split, *_ in places], np.uint8),
        "alphabet": np.array([names.index(place[1]) for place in places], np.uint8),
        "character": np.array([number[place[1:3]] for place in places], np.int16),
        "drawer": np.array([place[3] for place in places], np.uint8),
        "alphabet_names": np.array(names),
    }


def _read(path: Path) -> dict[tuple[str, str, int], np.ndarray]:
    """Return small drawings by their place: ``SET/ALPHABET/characterNN/NUMBER_DRAWER.png``."""
    drawings = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = PurePosixPath(member)
                whole = len(name.parts) == 4  # match looks at the end alone
                if whole and name.match(f"{path.stem}/*/character*/*_*.png"):
                    _, alphabet, character, _ = name.parts
                    drawer = int(name.stem.rpartition("_")[2])
                    drawings[alphabet, character, drawer] = _small(archive.read(member))
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    if not drawings:
        raise DataError(f"{path.name} holds no drawings.")
    return drawings


def _small(content: bytes) -> np.ndarray:
    """Average the ink of a drawing over boxes.

    A box is not quite 4 pixels wide (105 / 28 = 3.75): it takes the 3 or 4 columns whose middles
    lie within it, and rows alike.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as drawing:
            ink = ImageOps.invert(drawing.convert("L"))
    except UnidentifiedImageError as error:
        raise ValueError("a drawing is no picture") from error
    width, height = ink.size
    if (height, width) != (ORIGINAL_SIDE, ORIGINAL_SIDE):
        raise ValueError(f"a drawing is {height} x {width}, not 105 x 105")
    return np.asarray(ink.resize((SIDE, SIDE), Image.Resampling.BOX))


REAL = RealSet(
    name="omniglot",
    megabytes=15.9,
    mirrors=_mirrors,
    files={
        "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
    },
    convert=_convert,
    digest="f6449063b41362569549e1b5694bf40127ea33718e973cb78b2b471cf4c8d5c3",
    file="omniglot_28x28.npz",
)

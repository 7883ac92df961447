"""UMIST faces: 575 views of 20 people, from profile to front (Graham and Allinson, 1998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaelite.data import faces
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset

SIDE = 32
EACH = (38, 35, 26, 24, 26, 23, 19, 22, 20, 32, 34, 34, 26, 30, 19, 26, 26, 33, 48, 34)


def load(size: Sequence[int] = faces.SIZE) -> Dataset:
    """Return the views, one person after the other; the label is the person.

    The originals are 112 x 92 pixels; the cache keeps them squeezed to 32 x 32.

    Args:
        size: height and width in pixels, to which the kept pictures are resized as
            :mod:`vaelite.data.faces` says.  Any with height 1.22 times the width has the
            original's proportions; (28, 20) makes faces narrower.

    Raises:
        ValueError: if ``size`` is not two positive integers.
        DataError: if they are not in the cache, and the original is not there either.
    """
    size = faces.check_size(size)
    arrays = REAL.arrays()
    return Dataset(
        name="umist_faces",
        x=faces.resized(arrays["imgs"], size),
        labels=torch.from_numpy(arrays["subject"]).long(),
        source="real",
        citation=(
            "D. B. Graham and N. M. Allinson. Characterising virtual eigensignatures for general "
            "purpose face recognition. In: Face Recognition: From Theory to Applications, 1998."
        ),
    )


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Make the original's pictures small: a cell ``(112, 92, views)`` of each person."""
    people = faces.read_original("umist_faces", "umist_cropped.mat", "facedat").ravel()
    if [np.shape(views)[2:] for views in people] != [(count,) for count in EACH]:
        raise DataError(
            f"umist_cropped.mat does not hold {sum(EACH)} pictures of {len(EACH)} people."
        )
    small = [faces.resized(np.moveaxis(views, 2, 0).copy(), (SIDE, SIDE)) for views in people]
    return {
        "imgs": torch.cat(small).numpy(),
        "subject": np.arange(len(EACH), dtype=np.uint8).repeat(EACH),
    }


def _looks_right(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether there are as many pictures of each person as there should be, none empty.

    There is no digest, because another way to make the originals small is as good.
    """
    if set(arrays) != {"imgs", "subject"}:
        return False
    images, subject = arrays["imgs"], arrays["subject"]
    if images.dtype != np.uint8 or images.shape != (sum(EACH), SIDE, SIDE):
        return False
    if subject.tolist() != np.arange(len(EACH)).repeat(EACH).tolist():
        return False
    return bool((images.max((1, 2)) > images.min((1, 2))).all())


REAL = RealSet(
    name="umist_faces",
    megabytes=5.9,
    mirrors=lambda: [],
    files={},
    convert=_convert,
    looks_right=_looks_right,
    file="umist_32x32.npz",
)

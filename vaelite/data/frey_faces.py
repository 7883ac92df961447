"""Frey faces: 1,965 frames of one man's face in a film, 28 x 20 pixels (Roweis and Saul, 2000)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vaelite.data import faces
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset

HEIGHT, WIDTH, COUNT = 28, 20, 1965


def load(size: Sequence[int] = faces.SIZE) -> Dataset:
    """Return the frames in the order of the film, so that neighbours are alike; without labels.

    Args:
        size: height and width in pixels; other sizes than (28, 20) are resized as
            :mod:`vaelite.data.faces` says.

    Raises:
        ValueError: if ``size`` is not two positive integers.
        DataError: if they are not in the cache, and the original is not there either.
    """
    size = faces.check_size(size)
    return Dataset(
        name="frey_faces",
        x=faces.resized(REAL.arrays()["imgs"], size),
        source="real",
        citation=(
            "S. T. Roweis and L. K. Saul. Nonlinear dimensionality reduction by locally linear "
            "embedding. Science, 2000. Film and data: B. J. Frey."
        ),
    )


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    pixels = faces.read_original("frey_faces", "frey_rawface.mat", "ff")  # a column a frame
    if pixels.shape != (HEIGHT * WIDTH, COUNT):
        raise DataError(
            f"frey_rawface.mat holds an array of shape {pixels.shape}; "
            f"it should be {(HEIGHT * WIDTH, COUNT)}."
        )
    return {"imgs": pixels.T.reshape(COUNT, HEIGHT, WIDTH)}


REAL = RealSet(
    name="frey_faces",
    megabytes=1.1,
    mirrors=lambda: [],
    files={},
    convert=_convert,
    digest="b2eb386a6bb14549136ec8eda6dfe0261a195da938949eb89fb1ccad9237e7ae",
)

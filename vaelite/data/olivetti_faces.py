"""Olivetti faces: ten pictures of each of 40 people, 64 x 64 pixels (Samaria and Harter, 1994)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaelite.data import faces
from vaelite.data.cache import DataError, RealSet, folder
from vaelite.data.dataset import Dataset

PEOPLE, EACH = 40, 10

_BRIGHTEST = 242  # grey level in the original, by which scikit-learn divides


def load(size: Sequence[int] = faces.SIZE) -> Dataset:
    """Return the pictures, one person after the other; the label is the person.

    Args:
        size: height and width in pixels; other sizes than (64, 64) are resized as
            :mod:`vaelite.data.faces` says, and (28, 20) makes faces narrower.

    Raises:
        ValueError: if ``size`` is not two positive integers.
        DataError: if they are not in the cache and cannot be downloaded.
    """
    size = faces.check_size(size)
    arrays = REAL.arrays()
    return Dataset(
        name="olivetti_faces",
        x=faces.resized(arrays["imgs"], size),
        labels=torch.from_numpy(arrays["subject"]).long(),
        source="real",
        citation=(
            "F. S. Samaria and A. C. Harter. Parameterisation of a stochastic model for human face "
            "identification. WACV 1994. Credit: AT&T Laboratories Cambridge."
        ),
    )


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Let scikit-learn download the faces and check them; take its scaling back."""
    from sklearn.datasets import fetch_olivetti_faces

    try:
        with tempfile.TemporaryDirectory() as downloads:
            original = fetch_olivetti_faces(data_home=downloads, n_retries=1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"olivetti_faces could not be downloaded ({error}); try again when the network is "
            f"there, or put olivetti_faces.npz from another machine's cache into {folder()}."
        ) from error
    return {
        "imgs": np.rint(original.images * _BRIGHTEST).astype(np.uint8),
        "subject": original.target.astype(np.uint8),
    }


REAL = RealSet(
    name="olivetti_faces",
    megabytes=4.2,
    mirrors=lambda: [],
    files={},
    convert=_convert,
    digest="109c65f140d4bedd7676743a0b2c45048b5d227b543fc3712098f36431517bdb",
)

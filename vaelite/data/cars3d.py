"""Cars3D: 183 cars, each seen from 24 azimuths and 4 elevations, in colour (Reed et al., 2015)."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset

FACTORS = ("identity", "azimuth", "elevation")
COUNTS = (183, 24, 4)
SIZE = 64  # the originals have 128 pixels a side

_ARCHIVE = "nips2015-analogy-data.tar.gz"


def load(grey: bool = False) -> Dataset:
    """Return the 17,568 images at 64 x 64, the last factor, elevation, changing fastest.

    Every pixel is the mean of four of the original.

    Args:
        grey: give ``(N, 64, 64)``, the luma of the colours, instead of ``(N, 3, 64, 64)``.

    Raises:
        DataError: if it is not in the cache and cannot be downloaded.
    """
    x = torch.from_numpy(REAL.arrays()["imgs"])
    if grey:
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601
        chunks = [(chunk * weights).sum(1).round().to(torch.uint8) for chunk in x.split(1024)]
        x = torch.cat(chunks)
    factors = torch.cartesian_prod(*map(torch.arange, COUNTS))
    return Dataset(
        name="cars3d",
        x=x,
        labels=factors[:, 0],
        factors=factors,
        factor_names=FACTORS,
        source="real",
        citation="S. Reed, Y. Zhang, Y. Zhang and H. Lee. Deep visual analogy-making. NIPS 2015.",
    )


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    (path,) = files.values()
    cars = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.match("cars/car_*.mat"):
                    cars[name.name] = _views(archive.extractfile(member).read())
    except (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    if len(cars) != COUNTS[0]:
        raise DataError(f"{path.name} holds {len(cars)} cars; it should hold {COUNTS[0]}.")
    return {"imgs": np.concatenate([cars[name] for name in sorted(cars)])}


def _views(content: bytes) -> np.ndarray:
    """Turn one car's MATLAB file into images ``(24 * 4, 3, 64, 64)``."""
    from scipy.io import loadmat

    images = loadmat(io.BytesIO(content), variable_names=["im"])["im"]
    expected = (2 * SIZE, 2 * SIZE, 3, *COUNTS[1:])
    if images.shape != expected or images.dtype != np.uint8:
        raise ValueError(f"a car's images are {images.dtype} {images.shape}, not {expected}")
    images = images.transpose(3, 4, 2, 0, 1).reshape(-1, 3, SIZE, 2, SIZE, 2)
    return np.rint(images.mean((3, 5))).astype(np.uint8)


def _looks_right(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether there are as many images as there should be, and none of a car is empty."""
    if set(arrays) != {"imgs"}:
        return False
    images = arrays["imgs"]
    if images.dtype != np.uint8 or images.shape != (np.prod(COUNTS), 3, SIZE, SIZE):
        return False
    return bool((images.max((1, 2, 3)) > images.min((1, 2, 3))).all())


REAL = RealSet(
    name="cars3d",
    megabytes=300,
    mirrors=lambda: ["http://www.scottreed.info/files/"],
    files={_ARCHIVE: "md5:4e866a7919c1beedf53964e6f7a23686"},
    convert=_convert,
    looks_right=_looks_right,
)

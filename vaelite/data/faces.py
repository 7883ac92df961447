"""What the three sets of faces share: their size, and originals that a reader lays into the cache.

Pictures of all three are resized to one shape, as bilinear interpolation without aliasing does it.
Height and width scale on their own: nothing is cut off or added, so a picture of other proportions
is squeezed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_count
from vaelite.data.cache import DataError, folder
from vaelite.data.resize import to_uint8

SIZE = (28, 20)  # height and width of the Frey faces


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """Return height and width.

    Raises:
        ValueError: if ``size`` is not two positive integers.
    """
    if isinstance(size, str) or not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size must be a pair (height, width); got {size!r}.")
    return check_count("height", size[0]), check_count("width", size[1])


def resized(images: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return grey levels ``(N, H, W)`` from 0 to 255 as uint8 images ``(N, *size)``."""
    return to_uint8(torch.from_numpy(images).float() / 255, size)


def read_original(name: str, original: str, variable: str) -> Any:
    """Return a variable of a MATLAB file that a reader has laid into the cache folder.

    Nobody published a checksum of these files, so they are not downloaded unseen.

    Raises:
        DataError: if it is not there, cannot be read, or holds no such variable.
    """
    from scipy.io import loadmat

    path: Path = folder() / original
    if not path.is_file():
        raise DataError(
            f"{name} is not fetched by itself: get https://cs.nyu.edu/~roweis/data/{original} and "
            f"put it, or {name}'s file from another machine's cache, into {path.parent}."
        )
    try:
        return loadmat(path)[variable]
    except KeyError as error:
        raise DataError(f"{path} holds no variable {variable}.") from error
    except Exception as error:  # bytes at random make the reader raise whatever it likes
        raise DataError(f"{path} cannot be read ({type(error).__name__}).") from error

"""dSprites: the 737,280 original images (Matthey, Higgins, Hassabis and Lerchner, 2017)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaelite.data import sprites
from vaelite.data.cache import DataError, RealSet, folder
from vaelite.data.dataset import Dataset
from vaelite.packed import PackedImages

# A part of the set that some caches hold: every fourth orientation, every second position.
PART_STEPS = (1, 1, 4, 2, 2)
_PART = "dsprites_real_grid.npz"
_ALL = (1, 1, 1, 1, 1)


def load(
    steps: Sequence[int] = (1, 1, 4, 4, 4),
    packed: bool = False,
    device: torch.device | str | None = None,
) -> Dataset:
    """Return a regular grid of the original images.

    What :mod:`vaelite.data.sprites` draws at 64 x 64 with the same steps stands in the same order.

    Args:
        steps: of shape, scale, orientation, x and y take every first, second, third ... class.
            ``(1, 1, 1, 1, 1)`` gives the whole set.  Steps that are multiples of
            ``(1, 1, 4, 2, 2)`` need no download where the cache holds ``dsprites_real_grid.npz``.
        packed: keep one bit a pixel (:class:`vaelite.packed.PackedImages`): 377 MB for the whole
            set, instead of 3 GB.
        device: where the images are put.

    Raises:
        ValueError: if there are not five positive steps.
        DataError: if it is not in the cache and cannot be downloaded, or the cache is damaged.
    """
    factors = sprites.grid(steps)
    part = folder() / _PART
    in_part = all(step % least == 0 for step, least in zip(steps, PART_STEPS, strict=True))
    if in_part and part.exists() and not REAL.path.exists():
        bits, stored = _part(part), PART_STEPS
    else:
        bits, stored = REAL.arrays()["imgs"], _ALL
    places = (factors // torch.tensor(stored)).T.numpy()
    rows = np.ravel_multi_index(tuple(places), _counts(stored))
    images = PackedImages(torch.from_numpy(bits[rows]), sprites.CANVAS, sprites.CANVAS).to(
        device or "cpu"
    )
    factors = factors.to(images.device)
    return Dataset(
        name="dsprites",
        x=images if packed else images[:],
        labels=factors[:, 0],
        factors=factors,
        factor_names=sprites.FACTORS,
        source="real",
        citation=(
            "L. Matthey, I. Higgins, D. Hassabis and A. Lerchner. "
            "dSprites: Disentanglement testing Sprites dataset, 2017."
        ),
    )


def _counts(steps: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-n // step) for n, step in zip(sprites.CLASSES, steps, strict=True))


def _part(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as file:
            bits = file["imgs"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged; remove it.") from error
    if not _looks_right(bits, PART_STEPS):
        raise DataError(f"{path} does not hold the grid that it should; remove it.")
    return bits


def _looks_right(bits: np.ndarray, steps: Sequence[int]) -> bool:
    """Compare up to a thousand images with our own drawings, of which few pixels differ."""
    classes = sprites.grid(steps)
    row_bytes = sprites.CANVAS**2 // 8
    if bits.dtype != np.uint8 or bits.shape != (len(classes), row_bytes):
        return False
    some = torch.arange(0, len(classes), max(1, len(classes) // 1000 - 1))
    drawn = PackedImages.pack(sprites.render(classes[some])).bits.numpy()
    wrong = np.unpackbits(drawn ^ bits[some.numpy()], axis=1).sum(1)
    return bool(wrong.mean() < 0.3)


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Pack the images, a piece at a time: unpacked they are 3 GB."""
    (path,) = files.values()
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("latents_classes.npy") as file:
                classes = np.lib.format.read_array(file, allow_pickle=False)
            with archive.open("imgs.npy") as file:
                np.lib.format.read_magic(file)
                shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
                pixels = sprites.CANVAS**2
                data = iter(lambda: file.read(4096 * pixels), b"")
                bits = [
                    np.packbits(np.frombuffer(piece, np.uint8).reshape(-1, pixels), axis=1)
                    for piece in data
                ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    expected = sprites.grid(_ALL).numpy()
    right = shape == (len(expected), sprites.CANVAS, sprites.CANVAS) and dtype == np.uint8
    # The first column is the colour, which never varies.
    if not right or by_columns or not np.array_equal(classes[:, 1:], expected):
        raise DataError(f"{path.name} does not hold the images of dSprites in their known order.")
    return {"imgs": np.concatenate(bits)}


REAL = RealSet(
    name="dsprites",
    megabytes=28,
    mirrors=lambda: ["https://github.com/google-deepmind/dsprites-dataset/raw/master/"],
    files={
        "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": "md5:7da33b31b13a06f4b04a70402ce90c2e"
    },
    convert=_convert,
    looks_right=lambda arrays: set(arrays) == {"imgs"} and _looks_right(arrays["imgs"], _ALL),
)

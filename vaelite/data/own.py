"""Your own data: an array, a folder of images, or a table of numbers, as a :class:`Dataset`.

======================  ==========================================================================
``.npy``                one array, ``(N, ...)``
``.npz``                the same under the name ``x`` (or alone), and ``labels`` if it is there
a folder                images, ``.png``, ``.jpg`` and so on; subfolders are classes
``.csv``, ``.tsv``      a table of numbers, one datum a row; passed over are a first row of names,
                        and a first column without a name, where some programs count the rows
======================  ==========================================================================

Nothing that could run code is read: arrays of Python objects are refused.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_count
from vaelite.data.cache import DataError
from vaelite.data.dataset import Dataset
from vaelite.data.resize import to_uint8
from vaelite.data.views import ENDINGS

TABLES = {".csv": ",", ".tsv": "\t"}


def load_own(
    path: str | os.PathLike,
    size: int | None = None,
    *,
    label: str | None = None,
    missing: bool = False,
) -> Dataset:
    """Read data of your own.

    Args:
        path: of a ``.npy`` or ``.npz`` file, a ``.csv`` or ``.tsv`` table, or a folder of images.
            Images in arrays are ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with C one or
            three, of integers from 0 to 255.  Subfolders of a folder become classes, counted
            from 0 in the order of their names; other files are passed over.
        size: pixels a side, for images: each is cut to its middle square and resized.  Without it,
            all images must have one size.
        label: the column of a table that holds the class, as text or a whole number; classes are
            counted from 0 in the order of their values, and an empty cell is -1, unknown.
        missing: keep empty cells and NaN as NaN, for a model that takes missing groups
            (:mod:`vaelite.factvae`); by default they are refused.

    Returns:
        ``x`` is uint8 ``(N, H, W)`` or ``(N, 3, H, W)`` for images, else float32; ``labels`` are
        integers, or None.

    Raises:
        ValueError: if ``size`` is not a positive integer or the data are no images, or ``label`` is
            given where there is no table, or names no column.
        DataError: if there is nothing at ``path``, or nothing of use: another kind of file, one
            that cannot be read, no or one datum, text among the numbers, NaN or infinite values,
            Python objects, rows of different lengths, images of different sizes.
    """
    path = Path(path).expanduser()
    if size is not None:
        size = check_count("size", size)
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if not path.exists():
        raise DataError(f"there is no file or folder {path}.")
    if label is not None and kind not in TABLES:
        raise ValueError(f"label names a column of a table; {path.name} is none.")
    if kind == "folder":
        x, labels = _folder(path, size)
    elif kind in TABLES:
        x, labels = _table(path, TABLES[kind], label)
    elif kind in (".npy", ".npz"):
        x, labels = _arrays(path)
    else:
        raise DataError(
            f"{path.name} is of a kind that is not read; give a .npy, .npz, .csv or .tsv file, or "
            "a folder of images."
        )
    x = _checked(x, path.name, missing)
    if size is not None:
        x = _resized(x, size)
    if labels is not None:
        labels = _checked_labels(labels, len(x), path.name)
    name = path.resolve().stem
    return Dataset(name, x, "real", f"Read from {path.resolve().name}.", labels=labels)


# Arrays.


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return loaded, None
        with loaded:
            names = loaded.files
            main = "x" if "x" in names else None
            if main is None and len(others := [n for n in names if n != "labels"]) == 1:
                main = others[0]
            if main is None:
                raise DataError(
                    f"{path.name} must hold the data under the name x; it holds "
                    f"{', '.join(names) or 'nothing'}."
                )
            return loaded[main], loaded["labels"] if "labels" in names else None
    except DataError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path.name} holds Python objects, which are not read since they could run code; "
                "save an array of numbers, all rows of one length."
            ) from None
        raise DataError(f"{path.name} cannot be read as an array ({error}).") from None
    except Exception as error:  # bytes at random make the reader raise whatever it likes
        raise DataError(f"{path.name} cannot be read ({type(error).__name__}).") from None


# Tables.


def _table(path: Path, delimiter: str, label: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                row for row in csv.reader(file, delimiter=delimiter) if any(map(str.strip, row))
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no table of text ({error}).") from None
    if not rows:
        raise DataError(f"{path.name} is empty.")
    header = all(_number(cell) is None for cell in rows[0])
    names = [cell.strip() for cell in rows[0]] if header else list(map(str, range(len(rows[0]))))
    if delimiter == "," and len(names) == 1 and ";" in rows[0][0]:
        raise DataError(f"the cells of {path.name} are separated by ;, where , is expected.")
    first = 2 if header else 1  # the line of the first datum, as an editor counts
    body = rows[header:]
    for line, row in enumerate(body, first):
        if len(row) != len(names):
            raise DataError(
                f"row {line} of {path.name} has {len(row)} cells, and the first {len(names)}."
            )
    if header and not names[0]:
        body, names = [row[1:] for row in body], names[1:]
    classes = None
    if label is not None:
        if label not in names:
            raise ValueError(f"label is {label!r}; the columns are {', '.join(names)}.")
        index = names.index(label)
        classes = _coded([row[index].strip() for row in body])
        body = [row[:index] + row[index + 1 :] for row in body]
        names = names[:index] + names[index + 1 :]
    values = np.empty((len(body), len(names)))
    for n, row in enumerate(body):
        for d, cell in enumerate(row):
            number = math.nan if not cell.strip() else _number(cell)
            if number is None:
                raise DataError(
                    f"column {names[d]} of {path.name} holds text ({cell.strip()[:20]!r} in row "
                    f"{first + n}); leave it out, or name it as the label."
                )
            values[n, d] = number
    return values, classes


def _number(cell: str) -> float | None:
    """Return the number in a cell, or None for text; ``1_000`` is text, as in a spreadsheet."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _coded(cells: Sequence[str]) -> np.ndarray:
    """Number classes in the order of their values; an empty cell is -1."""
    known = {cell for cell in cells if cell}
    numbers = {cell: _number(cell) for cell in known}
    by_value = all(number is not None for number in numbers.values())
    order = sorted(known, key=numbers.get) if by_value else sorted(known)
    codes = {cell: code for code, cell in enumerate(order)}
    return np.array([codes.get(cell, -1) for cell in cells])


# Images.


def _folder(path: Path, size: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    own = _images(path)
    inner = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    by_class = [found for folder in inner if (found := _images(folder))]
    if own and by_class:
        raise DataError(
            f"{path.name} has images beside subfolders with images; put every image into a "
            "subfolder, its class, or all into one folder."
        )
    files = own or [file for found in by_class for file in found]
    if not files:
        raise DataError(f"{path.name} has no image; images end in {', '.join(ENDINGS)}.")
    pictures = [_read(file, size) for file in files]
    colour = any(picture.ndim == 3 for picture in pictures)
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != pictures[0].shape[:2]:
            first, other = (f"{p.shape[1]} x {p.shape[0]}" for p in (pictures[0], picture))
            raise DataError(
                f"images must have one size; {files[0].name} has {first} pixels and {file.name} "
                f"{other}; give size, such as size=32."
            )
    if colour:  # grey ones among them get three equal channels
        pictures = [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in pictures]
    counts = [len(found) for found in by_class]
    return np.stack(pictures), None if own else np.repeat(np.arange(len(counts)), counts)


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    )


def _read(file: Path, size: int | None) -> np.ndarray:
    """Read an image as it stands upright: ``(H, W)`` where it is grey, else ``(H, W, 3)``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):  # Pillow would cut bright pixels off
                raise DataError(
                    f"{file.name} must have 8 bits a channel; its mode is {opened.mode}."
                )
            grey = opened.mode in ("1", "L", "LA")
            image = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
            return np.array(image if size is None else ImageOps.fit(image, (size, size)))
    except DataError:
        raise
    except Exception as error:  # bytes at random make the reader raise whatever it likes
        raise DataError(
            f"{file.name} cannot be read as an image ({type(error).__name__})."
        ) from None


def _resized(x: Tensor, size: int) -> Tensor:
    """Cut images to their middle square, and resize it."""
    if x.dtype != torch.uint8 or x.ndim not in (3, 4):
        raise ValueError(
            f"size is for images of integers from 0 to 255; the data are {tuple(x.shape)} "
            f"{str(x.dtype).removeprefix('torch.')}."
        )
    height, width = x.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = x[..., top : top + side, left : left + side]
    ink = square.reshape(-1, side, side).float() / 255
    return to_uint8(ink, (size, size)).reshape(*x.shape[:-2], size, size)


# What all kinds have in common.


def _checked(x: np.ndarray, name: str, missing: bool) -> Tensor:
    """Return numbers as a tensor, in the form that a :class:`Dataset` has."""
    if x.dtype.kind not in "buif":
        raise DataError(f"{name} must hold real numbers; it holds {x.dtype}.")
    if x.ndim < 2 or x.ndim > 4:
        raise DataError(
            f"{name} must be (N, D), (N, H, W), (N, H, W, C) or (N, C, H, W); its shape is "
            f"{x.shape}."
        )
    if not x.size:
        raise DataError(f"{name} is empty; its shape is {x.shape}.")
    if len(x) < 2:
        raise DataError(f"{name} has one row; nothing can be learned from a single datum.")
    if x.ndim == 4:
        x = _channels_first(x, name)
    if x.dtype == np.uint8 or x.dtype == bool:
        # Ones are black or white: intensities go to 255.
        return torch.from_numpy(x * np.uint8(255) if x.max() <= 1 else x.copy())
    if x.ndim > 2 and x.dtype.kind in "ui" and x.min() >= 0 and x.max() <= 255:
        return torch.from_numpy(x.astype(np.uint8))  # images that were stored in a wider type
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    bad = np.isinf(x) if missing else ~np.isfinite(x)
    if bad.any():
        rows = bad.reshape(len(x), -1).any(1)
        what = "infinite values" if missing else "empty cells, NaN or infinite values"
        raise DataError(
            f"{name} has {what} in {rows.sum()} of {len(x)} rows, the first in datum "
            f"{rows.argmax()}, counted from 0; fill them in, leave them out"
            + ("." if missing else ", or give missing=True.")
        )
    return torch.from_numpy(x)


def _channels_first(x: np.ndarray, name: str) -> np.ndarray:
    """Return images as ``(N, 3, H, W)``, or ``(N, H, W)`` where there is one channel."""
    if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = np.moveaxis(x, -1, 1)
    if x.shape[1] not in (1, 3):
        raise DataError(f"images of {name} must have one or three channels; got {x.shape}.")
    return np.ascontiguousarray(x[:, 0] if x.shape[1] == 1 else x)


def _checked_labels(labels: np.ndarray, rows: int, name: str) -> Tensor:
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels of {name} must be {rows} integers, one a datum; got {labels.shape} "
            f"{labels.dtype}."
        )
    return torch.from_numpy(labels.astype(np.int64))

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
from dataclasses import dataclass
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
# What other programs write into a cell without a number; letters of either case.
EMPTY = ("", "na", "n/a", "nan", "null", "none")
KEEP = 'keep them for a factVAE (missing=True; in the template, MODEL = "factvae")'


@dataclass(frozen=True, eq=False, repr=False)
class Table(Dataset):
    """A table of numbers.

    Attributes:
        columns: the names of its D columns; their numbers, from 0, where it has no names.
    """

    columns: tuple[str, ...] = ()


def load_own(
    path: str | os.PathLike,
    size: int | None = None,
    *,
    label: str | None = None,
    drop: Sequence[str] = (),
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
        drop: columns of a table to leave out.
        missing: keep empty cells, NA and NaN as NaN, for a model that takes missing groups
            (:mod:`vaelite.factvae`); by default they are refused.

    Returns:
        ``x`` is uint8 ``(N, H, W)`` or ``(N, 3, H, W)`` for images, else float32; ``labels`` are
        integers, or None.  A table is a :class:`Table`, which knows its columns' names.

    Raises:
        ValueError: if ``size`` is not a positive integer or the data are no images, or ``label`` or
            ``drop`` is given where there is no table, or names no column.
        DataError: if there is nothing at ``path``, or nothing of use: another kind of file, one
            that cannot be read, no or one datum, text among the numbers, NaN or infinite values,
            Python objects, rows of different lengths, images of different sizes.  What is wrong
            with the columns of a table is said of all at once.
    """
    given, path = path, Path(os.path.abspath(Path(path).expanduser()))  # "." has a name, too
    if size is not None:
        size = check_count("size", size)
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if not path.exists():
        raise DataError(f"there is no file or folder {given}.")
    for setting, value in {"label": label, "drop": drop or None}.items():
        if value is not None and kind not in TABLES:
            raise ValueError(f"{setting} names a column of a table; {path.name} is none.")
    if isinstance(drop, str):
        raise ValueError(f"drop must be a list of columns, such as [{drop!r}]; got {drop!r}.")
    columns = None
    if kind == "folder":
        x, labels = _folder(path, size)
    elif kind in TABLES:
        x, labels, columns = _table(path, TABLES[kind], label, drop, missing)
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
    said = path.stem, x, "real", f"Read from {path.name}."
    if columns is not None:
        return Table(*said, labels=labels, columns=columns)
    return Dataset(*said, labels=labels)


# Arrays.


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    kind = path.suffix.lower()
    with path.open("rb") as file:
        if not file.read(6).startswith(b"\x93NUMPY" if kind == ".npy" else b"PK"):
            raise DataError(f"{path.name} is no {kind} file, whatever its name.")
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


def _table(
    path: Path, delimiter: str, label: str | None, drop: Sequence[str], missing: bool
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    names, body, first = _rows(path, delimiter)
    for setting, wanted in {"label": [] if label is None else [label], "drop": drop}.items():
        for column in wanted:
            if column not in names:
                raise ValueError(f"{setting} is {column!r}; the columns are {', '.join(names)}.")
    cells = {name: [row[d].strip() for row in body] for d, name in enumerate(names)}
    kept = [name for name in names if name not in (label, *drop)]
    if not kept:
        raise DataError(f"{path.name} has no column left.")
    values = np.full((len(body), len(kept)), math.nan)
    text, holes = [], {}
    for d, name in enumerate(kept):
        numbers = [_number(cell) for cell in cells[name]]
        values[:, d] = [math.nan if number is None else number for number in numbers]
        wrong = [
            n
            for n, number in enumerate(numbers)
            if number is None and cells[name][n].casefold() not in EMPTY
        ]
        if wrong:
            cell = cells[name][wrong[0]][:20]
            text.append(f"column {name} holds text ({cell!r} in row {first + wrong[0]})")
        elif not missing and (count := int(np.isnan(values[:, d]).sum())):
            holes[name] = count
    if text or holes:
        problems = [*text]
        if holes:
            share = sum(holes.values()) / (len(body) * (len(kept) - len(text)))
            problems.append(
                f"there are empty cells in {', '.join(f'{n} ({c})' for n, c in holes.items())}, "
                f"{share:.0%} of all"
            )
        advice = ["leave columns out (drop)"]
        advice += ["name one of text as the class (label)"] if text and label is None else []
        advice += ["fill the empty cells in", KEEP] if holes else []
        *others, last = advice
        advice = f"{', '.join(others)}, or {last}" if others else last
        raise DataError(f"in {path.name}, {'; '.join(problems)}: {advice}.")
    classes = None if label is None else _coded(cells[label])
    return values, classes, tuple(kept)


def _rows(path: Path, delimiter: str) -> tuple[list[str], list[list[str]], int]:
    """Return the columns' names, the rows of data, and the line of the first of them."""
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
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path.name} has two columns named {twice!r}; give each its own name.")
    return names, body, first


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
            + ("." if missing else f", or {KEEP}.")
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

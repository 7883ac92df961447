"""Views: subjects whose heads are seen in seven views, of which some are missing (factVAE, 4.3).

A stand-in for the CVL face database: 114 subjects in seven poses, five of them turned and two
smiling, of whom not all have all seven.  A view is a group of pixels, a subject a datum.  Each
subject is one of the :mod:`vaelite.data.heads`, with a shape and with or without glasses in all
views; a pose and its light are never met exactly, so each picture is off by a few degrees of its
own.  :func:`load_folder` reads photographs by view.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data import heads
from vaelite.data.cache import DataError
from vaelite.data.dataset import Dataset
from vaelite.data.groups import Groups

# Azimuth in degrees and smile of each view; "right" shows the head's own right side.
VIEWS = {
    "far right": (-90.0, 0.0),
    "right": (-45.0, 0.0),
    "front": (0.0, 0.0),
    "left": (45.0, 0.0),
    "far left": (90.0, 0.0),
    "smile": (0.0, 0.4),  # as far as no teeth show
    "smile with teeth": (0.0, 1.0),
}
HELD_OUT = 14  # subjects, the last ones
SPLITS = ("all", "train", "test")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".gif")

_HEADS = 1000  # of whom the subjects are drawn
_GLASSES = 0.3  # chance of a subject to wear them
_JITTER = (5.0, 4.0, 10.0)  # most degrees by which azimuth, elevation and light are off
_OTHERS = 0.2  # how much rarer another view is missing than the smile with teeth


@dataclass(frozen=True, eq=False, repr=False)
class Views(Dataset):
    """Images of subjects, view by view: x is ``(N, G, H, W)`` uint8, in colour ``(N, G, 3, H, W)``.

    A missing image holds zeros, and nobody should look at it.

    Attributes:
        observed: ``(N, G)`` bool, which images there are.
        views: the names of the G views.
    """

    observed: Tensor | None = None
    views: tuple[str, ...] = ()

    @property
    def groups(self) -> Groups:
        """Which columns of :meth:`flat` belong to which view."""
        size = self.x[0, 0].numel()
        return Groups({name: range(g * size, (g + 1) * size) for g, name in enumerate(self.views)})

    def batch(self, index: Tensor | slice | None = None) -> tuple[Tensor, ...]:
        """Return all subjects, or some, as the models of :mod:`vaelite.factvae` take them.

        Returns:
            ``(x_1, ..., x_G, observed)``: for each view ``(N, P)`` floats in [0, 1], and the mask.
        """
        observed = self.observed[slice(None) if index is None else index]
        return *self.images(index).flatten(2).unbind(1), observed


def load(
    subjects: int = 114,
    size: int = 64,
    missing: float = 0.3,
    split: str = "all",
    seed: int = 0,
) -> Views:
    """Draw subjects in seven views.

    What is missing is drawn by itself, so that ``missing=0.0`` shows the same pictures, and with
    them those that were missing.

    Args:
        subjects: how many, at most 1,000.  The first ones do not depend on it.
        size: pixels a side.
        missing: chance that a subject's smile with teeth is missing, below 1; for the front it is
            0, and for any other view a fifth of this.  It depends on nothing else.
        split: ``train`` for all but the last 14 subjects, ``test`` for those, or ``all``.
        seed: of everything: who the subjects are, how each picture is off, what is missing.

    Returns:
        Grey images; the factors are identity, glasses and shape.

    Raises:
        ValueError: if ``subjects`` or ``size`` is not a positive integer, there are more than 1,000
            subjects, or not more than 14 where some are held out, ``missing`` does not lie from 0
            to below 1, there is no such split, or ``seed`` is not an integer from 0.
    """
    subjects, size = check_count("subjects", subjects), check_count("size", size)
    if subjects > _HEADS:
        raise ValueError(f"subjects must be at most {_HEADS}; got {subjects}.")
    if not isinstance(missing, Real) or not 0 <= missing < 1:
        raise ValueError(f"missing must be a number from 0 to below 1; got {missing!r}.")
    check_choice("split", split, SPLITS)
    if split != "all" and subjects <= HELD_OUT:
        raise ValueError(f"subjects must be more than the {HELD_OUT} held out; got {subjects}.")
    check_seed(seed)
    who, look, place, absent = (np.random.default_rng([seed, stream]) for stream in range(4))
    # Rows of random numbers, so that the first subjects do not depend on how many there are.
    identity = torch.from_numpy(who.permutation(_HEADS)[:subjects])
    worn = torch.from_numpy(look.random((subjects, 2)) < [_GLASSES, 0.5]).long()
    angles = torch.from_numpy(place.uniform(-1, 1, (subjects, len(VIEWS), 3)) * _JITTER).float()
    pose, smile = torch.tensor(list(VIEWS.values())).unbind(1)
    angles[..., 0] += pose
    chance = [{"front": 0.0, "smile with teeth": 1.0}.get(name, _OTHERS) for name in VIEWS]
    drawn = torch.from_numpy(absent.random((subjects, len(VIEWS))))
    observed = drawn >= missing * torch.tensor(chance, dtype=drawn.dtype)

    first, last = {
        "all": (0, subjects),
        "train": (0, subjects - HELD_OUT),
        "test": (subjects - HELD_OUT, subjects),
    }[split]
    factors = torch.cat([identity[:, None], worn], 1)[first:last]
    observed = observed[first:last]
    row, view = observed.nonzero().unbind(1)
    x = torch.zeros(*observed.shape, size, size, dtype=torch.uint8)
    x[row, view] = heads.render(
        factors[row, 0],
        *angles[first:last][row, view].unbind(1),
        size=size,
        glasses=factors[row, 1],
        shape=factors[row, 2],
        smile=smile[view],
    )
    return Views(
        name="views",
        x=x,
        factors=factors,
        factor_names=("identity", "glasses", "shape"),
        source="stand-in",
        citation=(
            "Drawn by a formula, in the design of the CVL face database: F. Solina, P. Peer, "
            'B. Batagelj, S. Juvan and J. Kovac. Color-based face detection in the "15 seconds of '
            'fame" art installation. Mirage 2003.'
        ),
        observed=observed,
        views=tuple(VIEWS),
    )


def load_folder(path: str | os.PathLike, size: int = 64, colour: bool = False) -> Views:
    """Read photographs of faces: one subfolder for each view, and in it one file for each subject.

    Files of one subject have the same name, whatever their endings: ``front/ann.jpg`` and
    ``smile/ann.png`` are two views of ann.  Where a file is missing, the view is.  Views and
    subjects are in the order of their names.  Each image is cut to its middle square and resized.

    Args:
        path: of the folder.  Other files in it, and those in subfolders that do not end as images
            do (``.jpg``, ``.png``, ``.pgm``, ...), are passed over.
        size: pixels a side.
        colour: whether images are kept in red, green and blue, or turned to grey.

    Returns:
        The images; ``factors`` is None.

    Raises:
        ValueError: if ``size`` is not a positive integer.
        DataError: if there is no such folder; if it has no two subfolders, or one without an image;
            if two files of a view have one name, no subject has two views, or an image cannot be
            read or has more than 8 bits a channel.
    """
    size, path = check_count("size", size), Path(path)
    files = _files_by_view(path)
    subjects = sorted({stem for by_stem in files.values() for stem in by_stem})
    if all(sum(stem in by_stem for by_stem in files.values()) < 2 for stem in subjects):
        raise DataError(
            f"no subject in {path} has two views; one subject's files must have one name in all "
            "subfolders."
        )
    shape = (3, size, size) if colour else (size, size)
    x = torch.zeros(len(subjects), len(files), *shape, dtype=torch.uint8)
    observed = torch.zeros(len(subjects), len(files), dtype=torch.bool)
    for g, by_stem in enumerate(files.values()):
        for n, subject in enumerate(subjects):
            if subject in by_stem:
                x[n, g] = _read(by_stem[subject], size, colour)
                observed[n, g] = True
    return Views(
        name=path.resolve().name,
        x=x,
        source="real",
        citation=f"Read from the folder {path.resolve().name}.",
        observed=observed,
        views=tuple(files),
    )


def _files_by_view(path: Path) -> dict[str, dict[str, Path]]:
    """Return the images of each view by the subject's name."""
    if not path.is_dir():
        raise DataError(f"{path} is no folder.")
    views = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(views) < 2:
        raise DataError(
            f"{path} must have a subfolder for each of two views or more; it has {len(views)}."
        )
    found: dict[str, dict[str, Path]] = {}
    for view in views:
        by_stem = found[view.name] = {}
        for file in sorted(view.iterdir()):
            if file.suffix.lower() not in ENDINGS or file.name.startswith("."):
                continue
            if file.stem in by_stem:
                raise DataError(
                    f"{view} has two images of {file.stem}: {by_stem[file.stem].name} and "
                    f"{file.name}."
                )
            by_stem[file.stem] = file
        if not by_stem:
            raise DataError(f"{view} has no image; images end in {', '.join(ENDINGS)}.")
    return found


def _read(file: Path, size: int, colour: bool) -> Tensor:
    """Read an image, as it stands upright: ``(size, size)``, or in colour ``(3, size, size)``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):  # Pillow would cut bright pixels off
                raise DataError(f"{file} has mode {opened.mode}; save it with 8 bits a channel.")
            upright = ImageOps.exif_transpose(opened)
            image = ImageOps.fit(upright.convert("RGB" if colour else "L"), (size, size))
    except DataError:
        raise
    except Exception as error:  # bytes at random make the reader raise whatever it likes
        raise DataError(f"{file} cannot be read as an image ({type(error).__name__}).") from error
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1) if colour else pixels

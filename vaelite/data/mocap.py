"""CMU motion capture: the twelve walks of subject 07 as joint angles, 120 frames a second.

Acclaim's two text formats: an ``.asf`` file holds a skeleton, an ``.amc`` file what its joints do,
frame by frame, in degrees.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch

from vaelite.data.cache import DataError, RealSet, arrays_digest, folder
from vaelite.data.motion import Motion, check_trials, collect
from vaelite.data.skeleton import ANGLES, POSITIONS, Bone, Skeleton

TRIALS = tuple(range(1, 13))
LIMBS = {
    "core": ("root", "lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"),
    **{
        f"{side} arm": tuple(
            side[0] + bone
            for bone in ("clavicle", "humerus", "radius", "wrist", "hand", "fingers", "thumb")
        )
        for side in ("right", "left")
    },
    **{
        f"{side} leg": tuple(side[0] + bone for bone in ("femur", "tibia", "foot", "toes"))
        for side in ("right", "left")
    },
}
FREEDOM = {  # of the bones of every skeleton of the data base, left and right alike
    **{"root": POSITIONS + ANGLES, "lowerback": ANGLES, "upperback": ANGLES, "thorax": ANGLES},
    **{"lowerneck": ANGLES, "upperneck": ANGLES, "head": ANGLES},
    **{"clavicle": ("ry", "rz"), "humerus": ANGLES, "radius": ("rx",), "wrist": ("ry",)},
    **{"hand": ("rx", "rz"), "fingers": ("rx",), "thumb": ("rx", "rz")},
    **{"femur": ANGLES, "tibia": ("rx",), "foot": ("rx", "rz"), "toes": ("rx",)},
}
CHANNELS = tuple(
    f"{bone}_{axis}"
    for limb, bones in LIMBS.items()
    for bone in bones
    for axis in FREEDOM[bone if limb == "core" else bone[1:]]
)
CONSTANT = (
    *("rclavicle_ry", "rclavicle_rz", "rfingers_rx"),
    *("lclavicle_ry", "lclavicle_rz", "lfingers_rx"),
)

_ADDRESS = "http://mocap.cs.cmu.edu/subjects/07/"
_ARCHIVE = "cmu_mocap_07_asf_amc.zip"
_DIGEST = "0859837b7061c01381d5057869f57c455f43aad71f9e533f521d007bb87e2be1"


def load(
    trials: Sequence[int] = TRIALS,
    scale_by: Sequence[int] | None = None,
    drop_root_position: bool = True,
    drop_constant: bool = True,
) -> Motion:
    """Return the frames of some walks, one walk after the other, with five limbs as groups.

    Neighbouring frames are alike: hold out whole walks.

    Args:
        trials: which of the walks 1 to 12; trial 12 is a faster walk than the others.
        scale_by: the walks, those of the training, whose least and greatest angle of each channel
            become 0 and 1, as in the code of factVAE's authors; None leaves degrees.
        drop_root_position: leave the three channels out that say where the subject is.
        drop_constant: leave the six channels out that never change (both clavicles', both
            fingers'): they tell nothing, and a learned noise makes their likelihood unbounded.

    Returns:
        ``(frames, 53)`` float32, or up to 62 channels; the label is the trial.

    Raises:
        ValueError: if ``trials`` or ``scale_by`` are not different integers from 1 to 12.
        DataError: if it is not in the cache and cannot be downloaded.
    """
    trials = check_trials("trials", trials, len(TRIALS))
    scale_by = None if scale_by is None else check_trials("scale_by", scale_by, len(TRIALS))
    arrays = REAL.arrays()
    dropped = {f"root_{axis}" for axis in POSITIONS} if drop_root_position else set()
    dropped |= set(CONSTANT) if drop_constant else set()
    kept = [n for n, channel in enumerate(CHANNELS) if channel not in dropped]
    first = dict(zip(CHANNELS, arrays["trial_01"][0].tolist(), strict=True))
    return collect(
        {trial: arrays[f"trial_{trial:02d}"][:, kept] for trial in trials},
        None if scale_by is None else [arrays[f"trial_{trial:02d}"][:, kept] for trial in scale_by],
        channels=[CHANNELS[n] for n in kept],
        limbs=LIMBS,
        rest={channel: first[channel] for channel in CONSTANT} if drop_constant else None,
        name="mocap",
        source="real",
        citation=(
            "The data used in this project was obtained from mocap.cs.cmu.edu. The database was "
            "created with funding from NSF EIA-0196217."
        ),
    )


def skeleton() -> Skeleton:
    """Return the skeleton of subject 07.

    It is read from ``07.asf`` in the cache folder, or downloaded.

    Raises:
        DataError: if it is not there and cannot be downloaded, or cannot be read.
    """
    return _read_original("07.asf", _parse_asf)


def read_asf(path: str | os.PathLike) -> Skeleton:
    """Read a skeleton from an ``.asf`` file.

    A length of 1 there, in the files of CMU, is 2.54 / 0.45 = 5.64 centimetres.

    Raises:
        ValueError: if a line is not what it should be; the message names it.
        OSError: if there is no such file.
    """
    return _parse_asf(Path(path).read_text(errors="replace"), Path(path).name)


def read_amc(
    path: str | os.PathLike, skeleton: Skeleton | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the frames of an ``.amc`` file.

    Args:
        path: of the file.
        skeleton: whose bones move; it says what the numbers mean.

    Returns:
        ``(frames, channels)`` float64, and the channels' names in the order of the file.  With a
        skeleton they name the degree of freedom: ``rclavicle_ry``.  Without, they are numbered
        bone by bone, ``rclavicle_0``, for an ``.amc`` file does not say which it holds.

    Raises:
        ValueError: if a line is not what it should be; the message names it.
        OSError: if there is no such file.
    """
    return _parse_amc(Path(path).read_text(errors="replace"), Path(path).name, skeleton)


def _parse_amc(
    text: str, name: str, skeleton: Skeleton | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    freedom = None
    if skeleton is not None:
        freedom = {bone.name: bone.degrees_of_freedom for bone in skeleton.bones}
        freedom["root"] = skeleton.root_degrees_of_freedom
    counts: dict[str, int] = {}  # how many numbers each bone has, as the first frame tells
    frames: list[list[float]] = []
    bones: list[str] = []  # of the first frame in their order
    number, seen, line = None, 0, 0

    def complete() -> None:
        if number is not None and seen < len(bones):
            raise _wrong(name, line, f"frame {number} ends before {bones[seen]}")
        if number is not None and not bones:
            raise _wrong(name, line, f"frame {number} is empty")

    for line, words in _lines(text):
        if words[0].startswith(":"):
            if words[0].upper() == ":RADIANS":
                raise _wrong(name, line, "angles must be in degrees; these are in radians")
            continue
        if len(words) == 1:
            complete()
            if not words[0].isdigit() or number not in (None, int(words[0]) - 1):
                wanted = "a frame's number" if number is None else f"frame {number + 1}"
                raise _wrong(name, line, f"expected {wanted}; got {words[0]!r}")
            number, seen = int(words[0]), 0
            frames.append([])
            continue
        if number is None:
            raise _wrong(name, line, f"expected a frame's number; got {' '.join(words)!r}")
        bone, values = words[0], _numbers(name, line, words[1:])
        if len(frames) == 1:
            if bone in counts:
                raise _wrong(name, line, f"{bone} comes twice in frame {number}")
            if freedom is not None and len(freedom.get(bone, ())) != len(values):
                has = f"has {len(freedom[bone])}" if bone in freedom else "does not exist"
                raise _wrong(
                    name, line, f"{bone} has {len(values)} numbers; in the skeleton it {has}"
                )
            counts[bone] = len(values)
            bones.append(bone)
        elif seen == len(bones) or bone != bones[seen]:
            wanted = "a frame's number" if seen == len(bones) else bones[seen]
            raise _wrong(name, line, f"expected {wanted}; got {bone!r}")
        elif len(values) != counts[bone]:
            raise _wrong(name, line, f"{bone} has {len(values)} numbers instead of {counts[bone]}")
        frames[-1] += values
        seen += 1
    complete()
    if not frames:
        raise ValueError(f"{name} holds no frame.")
    channels = tuple(
        f"{bone}_{axis}"
        for bone, count in counts.items()
        for axis in (range(count) if freedom is None else freedom[bone])
    )
    return np.array(frames), channels


def _parse_asf(text: str, name: str) -> Skeleton:
    section, bone, begun = "", None, 0
    root: dict[str, tuple] = {}
    bones: dict[str, dict] = {}
    parents: dict[str, str] = {}
    line = 0
    for line, words in _lines(text):
        key, values = words[0], words[1:]
        if bone is not None and (key == "begin" or key.startswith(":")):
            raise _wrong(name, begun, "this bone has no end")
        if key.startswith(":"):
            section = key
        elif section == ":units" and key == "angle" and values != ["deg"]:
            raise _wrong(name, line, f"angles must be in degrees; got {' '.join(values)!r}")
        elif section == ":root":
            if key == "order":
                known = POSITIONS + ANGLES
                root["root_degrees_of_freedom"] = _freedom(name, line, values, known)
            elif key == "axis":
                root["root_axis_order"] = _order(name, line, values)
            elif key == "orientation":
                root["root_orientation"] = tuple(_numbers(name, line, values, 3))
        elif section == ":bonedata":
            if key == "begin":
                bone, begun = {}, line
            elif bone is None:
                raise _wrong(name, line, f"expected begin; got {key!r}")
            elif key == "end":
                missing = {"name", "direction", "length"} - bone.keys()
                if missing:
                    raise _wrong(name, begun, f"this bone has no {min(missing)}")
                bones[bone["name"]] = bone
                bone = None
            elif key == "name":
                bone["name"] = values[0] if len(values) == 1 else ""
                if not bone["name"] or bone["name"] in (*bones, "root"):
                    raise _wrong(name, line, f"expected a new name; got {' '.join(values)!r}")
            elif key == "direction":
                direction = np.array(_numbers(name, line, values, 3))
                if not direction.any():
                    raise _wrong(name, line, "the direction is zero")
                bone["direction"] = tuple((direction / np.linalg.norm(direction)).tolist())
            elif key == "length":
                (bone["length"],) = _numbers(name, line, values, 1)
            elif key == "axis":
                bone["axis"] = tuple(_numbers(name, line, values[:3], 3))
                bone["axis_order"] = _order(name, line, values[3:])
            elif key == "dof":
                bone["degrees_of_freedom"] = _freedom(name, line, values, ANGLES)
            elif key not in ("id", "limits", "bodymass", "cofmass") and key[0] != "(":
                raise _wrong(name, line, f"a bone has no {key!r}")
        elif section == ":hierarchy" and key not in ("begin", "end"):
            for word in words:
                if word not in (*bones, "root"):
                    raise _wrong(name, line, f"there is no bone {word!r}")
            for child in values:
                if child in parents or child == "root":
                    raise _wrong(name, line, f"{child} hangs on two bones")
                parents[child] = key
    if bone is not None:
        raise _wrong(name, begun, "this bone has no end")
    if not bones:
        raise ValueError(f"{name} holds no bone.")
    for loose in bones.keys() - parents.keys():
        raise _wrong(name, line, f"the file ends before {loose} hangs on anything")
    try:
        return Skeleton(tuple(Bone(parent=parents[b], **bones[b]) for b in bones), **root)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _lines(text: str):
    """Give the numbers and the words of all lines that say something."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            yield number, words


def _wrong(name: str, line: int, message: str) -> ValueError:
    return ValueError(f"{name} line {line}: {message}.")


def _numbers(name: str, line: int, words: Sequence[str], count: int | None = None) -> list[float]:
    if count is not None and len(words) != count:
        raise _wrong(name, line, f"expected {count} numbers; got {' '.join(words)!r}")
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise _wrong(name, line, f"expected numbers; got {' '.join(words)!r}")
    return values


def _freedom(name: str, line: int, words: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    axes = tuple(word.lower() for word in words)
    if not set(axes) <= set(known) or len(set(axes)) != len(axes):
        wanted = ", ".join(known)
        raise _wrong(name, line, f"expected some of {wanted}, each once; got {' '.join(words)!r}")
    return axes


def _order(name: str, line: int, words: Sequence[str]) -> str:
    order = "".join(words).upper()
    if sorted(order) != ["X", "Y", "Z"]:
        raise _wrong(name, line, f"expected an order of the axes, as XYZ; got {' '.join(words)!r}")
    return order


def _read_original(name: str, parse: Callable[[str, str], Any]) -> Any:
    """Return what an original file says: the reader's own in the cache folder, or downloaded."""
    try:
        return parse(_original(name), name)
    except (requests.RequestException, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name} of mocap cannot be had ({type(error).__name__}); get {_ADDRESS}{name} in "
            f"another way and put it, or {REAL.path.name} from another machine's cache, into "
            f"{folder()}."
        ) from error
    except ValueError as error:
        raise DataError(str(error)) from error


def _original(name: str) -> str:
    if (folder() / name).is_file():
        return (folder() / name).read_text(errors="replace")
    if (folder() / _ARCHIVE).is_file():
        with zipfile.ZipFile(folder() / _ARCHIVE) as archive:
            inside = "07-walk.asf" if name == "07.asf" else name
            if inside in archive.namelist():
                return archive.read(inside).decode(errors="replace")
    answer = requests.get(_ADDRESS + name, timeout=30)
    answer.raise_for_status()
    return answer.text


def _convert(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    bones = skeleton()
    arrays = {}
    for trial in TRIALS:
        angles, channels = _read_original(
            f"07_{trial:02d}.amc", lambda text, name: _parse_amc(text, name, bones)
        )
        still = torch.from_numpy(np.where(np.arange(angles.shape[1]) < 3, 0, angles))
        arrays[f"trial_{trial:02d}"] = angles
        arrays[f"xyz_{trial:02d}"] = (
            bones.positions(still, channels).flatten(1).numpy().astype(np.float32)
        )
    return arrays | _joints()


def _joints() -> dict[str, np.ndarray]:
    """Return the bones in the order of the channels, and how many channels each has."""
    bones = [channel.rpartition("_")[0] for channel in CHANNELS]
    starts = [n for n, (a, b) in enumerate(pairwise(["", *bones])) if a != b]
    return {
        "joint_names": np.array([bones[n] for n in starts]),
        "joint_dims": np.diff([*starts, len(bones)]),
    }


def _looks_right(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether the angles are the right ones; positions follow from them."""
    trials = {key: value for key, value in arrays.items() if key.startswith("trial_")}
    return arrays_digest(trials) == _DIGEST and all(
        f"xyz_{trial:02d}" in arrays
        and arrays[f"xyz_{trial:02d}"].shape == (len(arrays[f"trial_{trial:02d}"]), 93)
        for trial in TRIALS
    )


REAL = RealSet(
    name="mocap",
    megabytes=3,
    mirrors=lambda: [],
    files={},
    convert=_convert,
    looks_right=_looks_right,
    file="cmu_mocap_subject07.npz",
)

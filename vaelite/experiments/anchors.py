"""Anchors: the final weights of one trial of each method, kept beside the numbers they led to.

A stored number says nothing of how it was measured.  With the weights at hand it is measured again
in a second, by today's code: thresholds, metrics and data are held by it, and so is the number.
The weights of ``NAME.PROFILE.json`` lie in ``NAME.PROFILE.anchors.npz``; an array's name is the
anchor's place in ``results["anchors"]["trials"]``, a dot, and the parameter's name.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaelite.files import replacing

if TYPE_CHECKING:
    from torch import Tensor, nn

# Larger networks, those of the full profiles, keep no weights.
LARGEST = 320_000  # bytes

Weights = dict[str, np.ndarray]


def choose(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the first trial of each method, or of each setting where there are no methods."""
    first: dict[str, dict[str, Any]] = {}
    for trial in trials:
        key = trial["method"] if "method" in trial else str(setting(trial))
        first.setdefault(key, dict(trial))
    return list(first.values())


def setting(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial without its seed."""
    return {key: value for key, value in trial.items() if key != "seed"}


def weights_of(model: nn.Module) -> Weights | None:
    """Return a model's parameters and buffers by name, or None where they are too large to keep."""
    weights = {name: value.cpu().numpy() for name, value in _tensors(model).items()}
    return weights if sum(array.nbytes for array in weights.values()) <= LARGEST else None


def restore(model: nn.Module, weights: Weights) -> None:
    """Give a model stored weights, by their order: a parameter may have got another name.

    Raises:
        ValueError: if the model has parameters of other shapes.
    """
    import torch

    own = _tensors(model).values()
    shapes = [tuple(value.shape) for value in own]
    if shapes != (stored := [array.shape for array in weights.values()]):
        raise ValueError(f"the model has parameters of the shapes {shapes}; stored are {stored}.")
    with torch.no_grad():
        for value, array in zip(own, weights.values(), strict=True):
            value.copy_(torch.from_numpy(array))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what the state of a model refers to, less what is no tensor: an optimiser's state."""
    return {name: value for name, value in model.state_dict().items() if hasattr(value, "copy_")}


def path_beside(results_path: Path) -> Path:
    """Return where the weights that belong to a results file lie."""
    return results_path.with_suffix(".anchors.npz")


@contextmanager
def saving(path: Path, kept: Sequence[Weights]) -> Iterator[str]:
    """Write the weights of all anchors, and give the file's SHA-256 to a block.

    The file takes its place when the block ends; if the block raises, nothing was written.
    """
    arrays = {f"{k}.{name}": array for k, one in enumerate(kept) for name, array in one.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with replacing(path) as file:
        file.write(buffer.getvalue())
        file.flush()  # a full disk is to be noticed before the block
        yield hashlib.sha256(buffer.getvalue()).hexdigest()


def load(path: Path, sha256: str) -> list[Weights]:
    """Read the weights of all anchors.

    Raises:
        ValueError: if the file is not there, or is not the one that belongs to its results.
    """
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path.name} is missing, or is not the file that its results name; "
            "make it again with reproduce and --resume."
        )
    kept: dict[int, Weights] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        for name in file.files:
            place, _, parameter = name.partition(".")
            kept.setdefault(int(place), {})[parameter] = file[name]
    return [kept[place] for place in sorted(kept)]

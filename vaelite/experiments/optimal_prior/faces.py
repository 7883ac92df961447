"""Three tasks of faces at once: does the optimal prior model all of them better?

The last row of the slides' table on density estimation.  Frey, Olivetti and UMIST faces at 28 x 20
pixels, split as the slides do, at random: 1,565, 150 and 300 faces to train on, 200, 100 and 75 to
decide when to stop, 200, 150 and 200 to score.  Densities are those of intensities from 0 to 1
under a normal with one learned variance, nats a face.  All three tasks count alike.  The frames of
a film are no independent samples: Frey's test faces have neighbours among the training faces.

In the quick profile drawn heads stand in: one person in many poses and lights, many people in few
poses, and some people from all sides.  Methods and measures are those of
:mod:`vaelite.experiments.optimal_prior.common`, without the balanced ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite.experiments import networks
from vaelite.experiments.optimal_prior import common
from vaelite.experiments.optimal_prior.common import Part, Tasks
from vaelite.training import History

COMMON = {
    "methods": ["vae", "cvae", "cvae vamp", "cvae hsic", "proposed"],
    "noise": 0.02,
    "batch_size": 128,
    "lr": 2e-3,
    "ratio_hidden": [128, 128],
    "hsic_weight": 100.0,
    "codes": 50,
    "normalizer_samples": 100_000,
}
FACES = {
    "tasks": ["frey_faces", "olivetti_faces", "umist_faces"],
    "counts": [[1565, 200, 200], [150, 100, 150], [300, 75, 200]],
    "real_data": ["frey_faces", "olivetti_faces", "umist_faces"],
}

SETTINGS = {
    "quick": {
        **COMMON,
        "tasks": [[1, 21, 11, 3], [40, 5, 2, 1], [10, 21, 2, 1]],  # grids of heads
        "likelihood_data": 60,
        "counts": [[500, 60, 60], [150, 60, 60], [200, 60, 60]],
        "hidden": [64],
        "latent_dim": 6,
        "pseudo_inputs": 50,
        "steps": 600,
        "check_every": 100,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        **FACES,
        "likelihood_data": 150,
        "hidden": [256],
        "latent_dim": 10,
        "pseudo_inputs": 200,
        "steps": 2500,
        "check_every": 250,
        "seeds": 10,
    },
    "full": {
        **COMMON,
        **FACES,
        "likelihood_data": 150,
        "hidden": [500, 500],
        "latent_dim": 40,
        "pseudo_inputs": 500,
        "steps": 20_000,
        "check_every": 500,
        "seeds": 10,
    },
}

anchors, trials = networks.no_anchors, networks.trials


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    return common.make_model(trial["method"], dataset(trial["seed"], settings), settings)


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial."""
    (trial,) = group
    return common.train(trial, settings, dataset(trial["seed"], settings), checkpoint)


def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the common module's docstring lists."""
    data = dataset(trial["seed"], settings)
    return common.measure(model, trial["method"], data, settings, trial["seed"])


def dataset(seed: int, settings: Mapping[str, Any]) -> Tasks:
    """Split the faces of each task at random, by a trial's seed."""
    names, counts = (tuple(map(_frozen, settings[key])) for key in ("tasks", "counts"))
    return _dataset(seed, names, counts)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=2)
def _dataset(seed: int, names: tuple, counts: tuple[tuple[int, ...], ...]) -> Tasks:
    generator = torch.Generator().manual_seed(seed)
    tasks = []
    for name, sizes in zip(names, counts, strict=True):
        x = _images(name)
        rows = torch.randperm(len(x), generator=generator)[: sum(sizes)].split(list(sizes))
        tasks.append([(x[some], None) for some in rows])
    train, valid, test = (Part.of([task[i] for task in tasks]) for i in range(3))
    return Tasks(train, valid, test, targets=tuple(range(len(tasks))))


@lru_cache(maxsize=6)
def _images(name: Any) -> Tensor:
    if isinstance(name, str):
        return data_sets.load(name).x
    return data_sets.load("heads", counts=name, size=16).x

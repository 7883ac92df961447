"""From many USPS digits to few of MNIST's: what does the prior of a conditional VAE cost?

The first column of the slides' tables.  The source has 6,438 images, the target 100, both at 28 x
28 pixels, each pixel black or white at half ink: likelihoods are those of binary images.  Methods
and measures are those of :mod:`vaelite.experiments.optimal_prior.common`.  In the quick profile the
source is ``font_digits`` and the target scikit-learn's digits, at 8 x 8.

The slides do not state the networks, the number of latents, how long is trained, how a batch mixes
the tasks, what "VAE" sees, or how the classifier is trained.
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
from vaelite.experiments.optimal_prior.common import METHODS, Part, Tasks
from vaelite.training import History

COMMON = {
    "methods": METHODS,
    "noise": None,
    "target": 100,
    "batch_size": 128,
    "lr": 2e-3,
    "ratio_hidden": [128, 128],
    "hsic_weight": 100.0,
    "codes": 50,
    "normalizer_samples": 100_000,
}

SETTINGS = {
    "quick": {
        **COMMON,
        "tasks": ["font_digits", "digits"],
        "size": 8,
        "source": 1500,
        "valid": 300,
        "scored": 300,
        "likelihood_data": 300,
        "hidden": [64],
        "latent_dim": 6,
        "pseudo_inputs": 50,
        "steps": 600,
        "check_every": 100,
        "normalizer_samples": 20_000,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        "tasks": ["usps", "mnist"],
        "size": 28,
        "source": 6438,
        "valid": 1000,
        "scored": 1000,
        "likelihood_data": 500,
        "hidden": [256],
        "latent_dim": 10,
        "pseudo_inputs": 200,
        "steps": 2500,
        "check_every": 250,
        "seeds": 10,
        "real_data": ["mnist", "usps"],
    },
    "full": {
        **COMMON,
        "tasks": ["usps", "mnist"],
        "size": 28,
        "source": 6438,
        "valid": 1000,
        "scored": 1860,
        "likelihood_data": 1860,
        "hidden": [500, 500],
        "latent_dim": 40,
        "pseudo_inputs": 500,
        "steps": 20_000,
        "check_every": 500,
        "seeds": 10,
        "real_data": ["mnist", "usps"],
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
    """Draw the data of a seed: the source is task 0, the target task 1."""
    sizes = (settings["source"], settings["target"], settings["valid"], settings["scored"])
    return _dataset(seed, tuple(settings["tasks"]), settings["size"], sizes)


@lru_cache(maxsize=2)
def _dataset(seed: int, names: tuple[str, str], size: int, sizes: tuple[int, ...]) -> Tasks:
    generator = torch.Generator().manual_seed(seed)
    source, target, valid, scored = sizes
    parts = [
        _split(name, size, (count, valid, scored), generator)
        for name, count in zip(names, (source, target), strict=True)
    ]
    train, valid_part, test = (Part.of([task[i] for task in parts]) for i in range(3))
    return Tasks(train, valid_part, test, targets=(1,))


def _split(
    name: str, size: int, counts: Sequence[int], generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Draw training, validation and test data of a task, none of them twice."""
    pools = _pools(name, size)
    if len(pools) == 1:  # one pool for all three
        x, labels = pools[0]
        rows = torch.randperm(len(x), generator=generator)[: sum(counts)].split(list(counts))
        return [(x[some], labels[some]) for some in rows]
    (x, labels), (x_test, labels_test) = pools
    train, valid, test = counts
    rows = torch.randperm(len(x), generator=generator)[: train + valid].split([train, valid])
    chosen = torch.randperm(len(x_test), generator=generator)[:test]
    return [(x[some], labels[some]) for some in rows] + [(x_test[chosen], labels_test[chosen])]


@lru_cache(maxsize=4)
def _pools(name: str, size: int) -> list[tuple[Tensor, Tensor]]:
    """Return all data of a task, or its training and its test data, black or white."""
    options: list[dict[str, Any]] = {
        "usps": [{"split": "all", "size": size}],  # the slides pool its official halves
        "digits": [{"split": "all", "size": size}],
        "mnist": [{"split": "train"}, {"split": "test"}],
        "font_digits": [
            {"split": "train", "size": size, "count": 2000},
            {"split": "test", "size": size, "count": 600},
        ],
    }[name]
    loaded = [data_sets.load(name, **each) for each in options]
    return [((data.x >= 128).to(torch.uint8) * 255, data.labels) for data in loaded]

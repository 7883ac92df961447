"""Bars in quadrants: does the penalty find that rows cross the middle, and halves do not?

Figure 2 of the factVAE paper.  Images of 8 x 8 pixels in which whole rows are on; four groups, the
quadrants.  Upper and lower half know nothing of each other, so a latent should serve the two upper
quadrants, or the two lower ones.  A quarter of all quadrants is missing from the training data, at
random; beyond that training hides half of what is left from inference.

The methods, and what is said of the pattern of zeros, are those of
:mod:`vaelite.experiments.factvae.common`.  Also measured, on test images:

- ``exact``: whether the links are those that the data have: each latent with a link serves both
  upper quadrants and nothing else, or both lower ones and nothing else, and both kinds are there.
- ``exact_zeros``: the same with every norm that is not exactly zero as a link.
- ``apart``: the share of latents with a link that do not link the upper to the lower half.
- ``log_likelihood``: importance-sampled at 200 codes, all quadrants given, nats an image.
- ``right_from_left``: mean squared error a pixel of the right half, inferred from the left one;
  ``right_variance``, that of the best constant.

The size of the images, the number of latents, the networks and the length of training are not in
the paper; the brightness, the noise, the share of bars and 16 latents are those of its authors'
code.  Batches of 256, for a smaller batch's noise keeps columns from zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vaelite import metrics
from vaelite.data import bars
from vaelite.experiments import networks
from vaelite.experiments.factvae import common
from vaelite.experiments.factvae.common import Batch
from vaelite.experiments.networks import seeded
from vaelite.nets import evaluated
from vaelite.training import History

COMMON = {
    "methods": ["factvae", "factvae dense"],
    "size": 8,
    "available": 0.75,
    "latent_dim": 16,
    "hidden": [64],
    "noise": 0.05,
    "sparsity": 1.0,
    "step_size": 1e-3,
    "batch_size": 256,
    "lr": 2e-3,
    "codes": 200,
}

SETTINGS = {
    "quick": {**COMMON, "train": 2000, "test": 200, "steps": 1500, "seeds": 1},
    "standard": {**COMMON, "train": 10_000, "test": 1000, "steps": 4000, "seeds": 10},
    "full": {
        **COMMON,
        "size": 16,
        "latent_dim": 32,
        "train": 100_000,
        "test": 1000,
        "steps": 20_000,
        "seeds": 10,
    },
}

trials = networks.trials
TOP, BOTTOM = (True, True, False, False), (False, False, True, True)


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    return common.make_model(trial["method"], dataset(trial["seed"], settings)[0], settings)


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial."""
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings)
    data, _ = dataset(trial["seed"], settings)
    history = common.train_one(model, data, settings, trial["seed"], checkpoint=checkpoint)
    return [model], [history]


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    _, test = dataset(trial["seed"], settings)
    right = _right(test)
    linked = common.links(model.norms())
    with evaluated(model):
        likelihood = metrics.log_marginal_likelihood(model, test, settings["codes"])
        inferred = model.reconstruct(common.only(test, [0, 2]))
    return {
        **common.pattern(model),
        "exact": follows_the_bars(linked),
        "exact_zeros": follows_the_bars(model.norms() > 0),
        "apart": share_apart(linked),
        "log_likelihood": float(likelihood.mean()),
        "right_from_left": float((_right(inferred) - right).square().mean()),
        "right_variance": float((right - right.mean(0)).square().mean()),
    }


def _right(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([parts[1], parts[3]], 1)


def follows_the_bars(linked: Tensor) -> bool:
    """Return whether latents serve both upper or both lower quadrants, and both kinds exist."""
    kinds = {tuple(column.tolist()) for column in linked.T if column.any()}
    return kinds == {TOP, BOTTOM}


def share_apart(linked: Tensor) -> float:
    """Return the share of linked latents that link upper or lower quadrants only; NaN for none."""
    used = linked[:, linked.any(0)]
    both = used[:2].any(0) & used[2:].any(0)
    return float((~both).double().mean())


def dataset(seed: int, settings: Mapping[str, Any]) -> tuple[Batch, Batch]:
    """Draw training data with missing quadrants, and complete test data."""
    sizes = (settings["size"], settings["train"], settings["test"])
    return _dataset(seed, *sizes, settings["available"])


@lru_cache(maxsize=2)
def _dataset(seed: int, size: int, train: int, test: int, available: float) -> tuple[Batch, Batch]:
    groups = bars.quadrants(size)
    generator = torch.Generator().manual_seed(seed)
    observed = torch.rand(train, 4, generator=generator) < available
    some = torch.randint(4, (train,), generator=generator)
    observed[torch.arange(train), some] = True  # no image without any quadrant
    drawn = (
        bars.load(size, count, split=split, seed=seed).x.flatten(1)
        for count, split in ((train, "train"), (test, "test"))
    )
    first, second = (groups.split(x) for x in drawn)
    return (*first, observed), (*second, torch.ones(test, 4, dtype=torch.bool))

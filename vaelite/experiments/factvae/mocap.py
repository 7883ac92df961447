"""Walks by limbs: what is a model worth that has seen one, two, five or ten of them?

Table 1 of the factVAE paper, with figures 3 and 4.  Joint angles of subject 07 of CMU's motion
data, five limbs as groups, 53 channels, each scaled by the least and the greatest value in the
training walks, as the authors do.  A seed draws the walk that is held out and, from the other ten,
the walks to train on, one in two in five in ten, alike for all methods; the twelfth walk, faster
than the others, is left out, as in the authors' code.  In the quick profile made-up walks stand in.

The methods, and what is said of the pattern of zeros, are those of
:mod:`vaelite.experiments.factvae.common`.  Also measured, on the held-out walk:

- ``log_likelihood``: importance-sampled at 500 codes, nats a frame, after all steps;
  ``curve``, the same after 500, 1,000 and 2,000 steps at 100 codes and every fourth frame, and
  ``log_likelihood_early``, its first.  Nothing stops training early: one walk leaves nothing to
  decide by.
- ``gaussian``: the log-likelihood of a normal for each channel, with the training frames' mean and
  standard deviation (at least 0.01); ``above_gaussian``, by how much the model exceeds it.
- ``conditional``: the mean over limbs of ln p(limb | the other four), nats, every fourth frame.
- ``from_others`` and ``from_core``: root of the mean squared error in degrees, over all channels:
  of each limb inferred from the other four, and of the four others inferred from the core;
  ``from_mean``, that of the training frames' mean for those four, and ``core_gain``, by how much
  the core's knowledge lowers it.
- ``effective``: the median effective number of the 500 codes, 1 / sum of squared weights.

Networks, latents and training length are not in the paper.  The variance of the noise starts at
0.05, where the data fill [0, 1], and stays above 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite import metrics
from vaelite.data.motion import Motion
from vaelite.experiments.factvae import common
from vaelite.experiments.factvae.common import Batch
from vaelite.experiments.networks import seeded
from vaelite.factvae import GroupedVAE
from vaelite.nets import evaluated
from vaelite.profile import seed
from vaelite.training import History

COMMON = {
    "methods": ["factvae", "factvae dense", "jmvae+", "mmvae", "mvae"],
    "latent_dim": 8,
    "hidden": [64],
    "noise": 0.05,
    "sparsity": 1.0,
    "step_size": 1e-3,
    "batch_size": 64,
    "lr": 2e-3,
    "checks": [500, 1000, 2000],
    "codes": 500,
}
REAL = {"data": "mocap", "candidates": 11, "walks": [1, 2, 5, 10], "real_data": ["mocap"]}

SETTINGS = {
    "quick": {
        **COMMON,
        "data": "walker",
        "candidates": 6,
        "walks": [1, 5],
        "codes": 100,
        "steps": 600,
        "seeds": 1,
    },
    "standard": {**COMMON, **REAL, "steps": 3000, "seeds": 10},
    "full": {**COMMON, **REAL, "hidden": [256, 256], "steps": 30_000, "seeds": 11},
}


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All methods and numbers of walks of a seed, then the next seed."""
    return [
        {"method": method, "walks": walks, "seed": seed(repeat)}
        for repeat in range(settings["seeds"])
        for walks in settings["walks"]
        for method in settings["methods"]
    ]


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    model = common.make_model(trial["method"], batch(walks(trial, settings)[0]), settings)
    return with_curve(model, settings)


def with_curve(model: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Give a model room for what is seen of the held-out walk while it is trained."""
    model.register_buffer("curve", torch.zeros(len(settings["checks"])))
    return model


def train(
    group: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    checkpoint: Any = None,
    make_model: Callable[[Mapping, Mapping], nn.Module] = make_model,
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial, and look at the held-out walk now and then."""
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings)
    data, test = (batch(part) for part in walks(trial, settings))

    @torch.random.fork_rng()
    def look(model: nn.Module, check: int) -> None:
        torch.manual_seed(trial["seed"])
        with evaluated(model):
            found = metrics.log_marginal_likelihood(model, every_fourth(test), 100)
        model.curve[check] = found.mean()

    history = common.train_one(
        model, data, settings, trial["seed"], settings["checks"], look, checkpoint
    )
    return [model], [history]


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    known, held_out = walks(trial, settings)
    test = batch(held_out)
    with evaluated(model):
        weights = _log_weights(model, test, settings["codes"])
        few = every_fourth(test)
        found = {
            **common.pattern(model),
            "log_likelihood": float(_evidence(weights).mean()),
            "conditional": _conditional(model, few, settings["codes"]),
            "from_others": _error(model, held_out, [_others(5, g) for g in range(5)]),
            "from_core": _error(model, held_out, [[0]]),
        }
    share = (weights - weights.logsumexp(0)).exp()
    gaussian = diagonal_gaussian(known.x, held_out.x)
    away = held_out.degrees() - held_out.degrees(known.x.mean(0))
    away = torch.cat(held_out.groups.split(away)[1:], 1)
    from_mean = float(away.square().mean().sqrt())
    return found | {
        "curve": model.curve.tolist(),
        "log_likelihood_early": float(model.curve[0]),
        "effective": float((1 / share.square().sum(0)).median()),
        "gaussian": gaussian,
        "above_gaussian": found["log_likelihood"] - gaussian,
        "from_mean": from_mean,
        "core_gain": from_mean - found["from_core"],
    }


def diagonal_gaussian(known: Tensor, held_out: Tensor, least: float = 0.01) -> float:
    """Return the mean log density of frames under a normal for each channel, nats."""
    normal = torch.distributions.Normal(known.mean(0), known.std(0, correction=0).clamp(min=least))
    return float(normal.log_prob(held_out).sum(1).mean())


def _log_weights(model: GroupedVAE, data: Batch, codes: int) -> Tensor:
    return torch.cat(
        [
            model.log_weights(tuple(part[rows] for part in data), codes)
            for rows in torch.arange(len(data[-1])).split(100)
        ],
        1,
    )


def _evidence(weights: Tensor) -> Tensor:
    return weights.logsumexp(0) - np.log(len(weights))


def _others(count: int, group: int) -> list[int]:
    return [g for g in range(count) if g != group]


def _conditional(model: GroupedVAE, data: Batch, codes: int) -> float:
    """Return the mean over groups of ln p(group | the others) = ln p(all) - ln p(the others)."""
    groups = data[-1].shape[1]
    whole = _evidence(_log_weights(model, data, codes)).mean()
    rest = [
        _evidence(_log_weights(model, common.only(data, _others(groups, g)), codes)).mean()
        for g in range(groups)
    ]
    return float(whole - sum(rest) / groups)


def _error(model: GroupedVAE, motion: Motion, given: Sequence[Sequence[int]]) -> float:
    """Return the root of the mean squared error, in degrees, of what is not given."""
    data, angles = batch(motion), motion.groups.split(motion.degrees())
    total = count = 0.0
    for groups in given:
        inferred = model.reconstruct(common.only(data, groups))
        inferred = motion.groups.split(motion.degrees(motion.groups.join(inferred)))
        for g, (one, truth) in enumerate(zip(inferred, angles, strict=True)):
            if g not in groups:
                total += float((one - truth).square().sum())
                count += truth.numel()
    return (total / count) ** 0.5


def batch(motion: Motion) -> Batch:
    """Return the limbs of all frames, and a mask that hides none."""
    parts = motion.groups.split(motion.x)
    return (*parts, torch.ones(len(motion.x), len(parts), dtype=torch.bool))


def every_fourth(data: Batch) -> Batch:
    """Thin frames, for neighbours are alike."""
    return tuple(part[::4] for part in data)


def walks(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Motion, Motion]:
    """Return the frames to train on, and the walk that is held out."""
    return _walks(trial["seed"], trial["walks"], settings["data"], settings["candidates"])


@lru_cache(maxsize=4)
def _walks(seed: int, count: int, name: str, candidates: int) -> tuple[Motion, Motion]:
    order = (np.random.default_rng(seed).permutation(candidates) + 1).tolist()
    chosen = tuple(sorted(order[1 : 1 + count]))
    return tuple(
        data_sets.load(name, trials=trials, scale_by=chosen) for trials in (chosen, order[:1])
    )

"""One family, head to head: every model on every measure, in a world whose truth is known.

The world is :mod:`vaelite.data.dolls`, the models are those of :mod:`vaelite.one_family`: the plain
VAE, one model a paper, and three combinations.  All see the same scenes, 1,800 in sun and 200 in
fog, of whose seven views three in ten are missing; all have the same number of latents and of
hidden units, the same steps, and the same normal likelihood of what was seen.  The seed draws the
scenes, alike for all, and the start of the networks.

**What is measured**, on other scenes, half of them in fog:

- ``log_likelihood``: importance-sampled, of scenes with all views, nats a scene, each model under
  its own prior, normalised; models that are told the population are told it here too.
- ``error``: mean squared error a pixel of decoded means, all views given.
- ``gap``: the mutual information gap of all means, for azimuth, elevation, glasses and hair.
- ``clusters``: adjusted Rand index of four k-means clusters of the standardised means with glasses
  and hair.
- ``leak``: how well a linear classifier reads the population from what is shared by all; a half is
  chance.  Where a model has no private part, all its latents are shared.
- ``transfer``: glasses and hair of scenes in fog, read from what is shared by linear classifiers
  that saw training scenes in sun alone: the mean accuracy.
- ``filled``: mean squared error a pixel of views that are missing, each with a chance of a half,
  decoded from the others.

``baseline_mean`` and ``baseline_ridge`` are the last one for the mean training picture of the view,
and for a ridge regression of each view on all others, in which a missing view is its mean picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite import gaussian, one_family
from vaelite.data.dolls import CAMERAS, Dolls
from vaelite.experiments import networks
from vaelite.experiments.networks import device, seeded
from vaelite.experiments.probes import cluster_agreement, linear_accuracy
from vaelite.metrics import log_marginal_likelihood, mutual_information_gap
from vaelite.one_family import FAMILY, Found, Scenes, Sizes
from vaelite.optimal_prior import RatioPrior
from vaelite.training import History, fit

METHODS = list(FAMILY)
MEASURES = ("log_likelihood", "error", "gap", "clusters", "leak", "transfer", "filled")
COMMON = {
    "methods": METHODS,
    "size": 12,
    "failing": 0.3,
    "hidden": 128,
    "shared": 6,
    "private": 2,
    "components": 8,
    "lr": 3e-3,
    "batch": [116, 12],
}

SETTINGS = {
    "quick": {
        **COMMON,
        "train": [540, 60],
        "test": [150, 150],
        "hidden": 64,
        "steps": 600,
        "draws": 50,
        "normalizer_samples": 20_000,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        "train": [1800, 200],
        "test": [300, 300],
        "steps": 3000,
        "draws": 200,
        "normalizer_samples": 100_000,
        "seeds": 10,
    },
    "full": {
        **COMMON,
        "train": [45_000, 5000],
        "test": [2000, 2000],
        "size": 32,
        "hidden": 512,
        "shared": 12,
        "private": 4,
        "steps": 50_000,
        "draws": 1000,
        "normalizer_samples": 1_000_000,
        "seeds": 10,
    },
}

# How much worse imputing first and a regression is than the model beside it.
DERIVED = {"ridge_minus_model": lambda run: run["baseline_ridge"] - run["filled"]}


anchors, trials = networks.no_anchors, networks.trials


def sizes(settings: Mapping[str, Any]) -> Sizes:
    """Return the sizes of the models of a profile."""
    return Sizes(
        views=len(CAMERAS),
        pixels=settings["size"] ** 2,
        hidden=settings["hidden"],
        shared=settings["shared"],
        private=settings["private"],
        components=settings["components"],
        data=sum(settings["train"]),
    )


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    return one_family.build(trial["method"], sizes(settings))


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial on its seed's own scenes."""
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings)
    data = one_family.training_data(model, scenes(dataset("train", trial["seed"], settings)))
    unpaired = isinstance(model, one_family.CPVAE)
    history = fit(
        model,
        data,
        phases=one_family.phases(model, settings["steps"]),
        batch_size=settings["batch"] if unpaired else sum(settings["batch"]),
        lr=settings["lr"],
        seed=trial["seed"],
        device=device(),
        progress=False,
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )
    return [model.cpu()], [history]  # measured beside the scenes, which are few


# The scenes.


def dataset(split: str, trial_seed: int, settings: Mapping[str, Any]) -> Dolls:
    """Draw the scenes of a trial's seed; those of the test are others."""
    return _dataset(
        tuple(settings[split]),
        settings["size"],
        settings["failing"] if split == "train" else 0.5,
        2 * trial_seed + (split == "test"),
    )


@lru_cache(maxsize=2)
def _dataset(counts: tuple[int, int], size: int, failing: float, stream: int) -> Dolls:
    return data_sets.load("dolls", counts=counts, size=size, failing=failing, seed=stream)


def scenes(dolls: Dolls, observed: Tensor | None = None) -> Scenes:
    """Return scenes as the models take them, by default as far as the cameras worked."""
    observed = dolls.observed if observed is None else observed
    return Scenes(dolls.seen(observed), dolls.labels, observed)


# What is measured.


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    train, test = (dataset(split, trial["seed"], settings) for split in ("train", "test"))
    everything = torch.ones_like(test.observed)
    whole = scenes(test, everything)
    normalize(model, scenes(train), settings["normalizer_samples"])
    found = one_family.look(model, whole)
    filled = one_family.look(model, scenes(test)).picture
    batch = one_family.likelihood_batch(model, whole)
    return {
        "log_likelihood": float(log_marginal_likelihood(model, batch, settings["draws"]).mean()),
        "error": float((found.picture - whole.x).square().mean()),
        "gap": mutual_information_gap(found.whole, test.factors[:, :4]),
        "clusters": clusters(found.whole, test, trial["seed"]),
        "leak": linear_accuracy(
            found.shared[::2], test.labels[::2], found.shared[1::2], test.labels[1::2]
        ),
        "transfer": transfer(one_family.look(model, scenes(train)), train, found, test),
        "filled": error_of_missing(filled, test),
        **baselines(train, test),
    }


def normalize(model: nn.Module, train: Scenes, samples: int) -> None:
    """Estimate the normaliser of a prior that is a ratio."""
    prior = getattr(model, "prior", None)
    if isinstance(prior, RatioPrior):
        told = () if isinstance(model, one_family.CPVAE) else (train.population,)
        mean, log_var, *_ = model.encode(train.x, *told)
        prior.normalize(samples, gaussian.reparameterize(mean, log_var))


def clusters(codes: Tensor, test: Dolls, trial_seed: int) -> float:
    """Return how well four clusters agree with glasses and hair."""
    kinds = 2 * test.factors[:, 2] + test.factors[:, 3]
    scaled = (codes - codes.mean(0)) / codes.std(0).clamp(min=1e-6)
    return cluster_agreement(scaled, kinds, 4, trial_seed)


def transfer(seen: Found, train: Dolls, found: Found, test: Dolls) -> float:
    """Return how well glasses and hair in fog are read off by who saw them in sun."""
    sun, fog = train.labels == 0, test.labels == 1
    return (
        sum(
            linear_accuracy(
                seen.shared[sun], train.factors[sun, one], found.shared[fog], test.factors[fog, one]
            )
            for one in (2, 3)
        )
        / 2
    )


def error_of_missing(picture: Tensor, test: Dolls) -> float:
    """Return the mean squared error a pixel of the views that are missing."""
    truth = test.images().flatten(2)
    error = (picture.view(truth.shape) - truth).square().mean(-1)
    return float(error[~test.observed].mean())


@lru_cache(maxsize=1)  # all models of a seed stand beside the same
def baselines(train: Dolls, test: Dolls) -> dict[str, float]:
    """Fill in missing views by their mean picture, and by a ridge regression."""
    from sklearn.linear_model import RidgeCV

    x, mask = train.images().flatten(2), train.observed.unsqueeze(-1)  # (N, 7, P), (N, 7, 1)
    means = (x * mask).sum(0) / mask.sum(0)
    there = torch.where(mask, x, means)
    given = torch.where(test.observed.unsqueeze(-1), test.images().flatten(2), means)
    guess = torch.empty_like(given)
    for g in range(len(CAMERAS)):
        rows, others = train.observed[:, g], [other for other in range(len(CAMERAS)) if other != g]
        ridge = RidgeCV(alphas=np.geomspace(1e-2, 1e4, 7))
        ridge.fit(there[rows][:, others].flatten(1).numpy(), x[rows, g].numpy())
        guess[:, g] = torch.from_numpy(ridge.predict(given[:, others].flatten(1).numpy()))
    return {
        "baseline_mean": error_of_missing(means.expand_as(given), test),
        "baseline_ridge": error_of_missing(guess, test),
    }

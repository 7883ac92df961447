"""Heads in seven views, of which some are missing: each view from all others (factVAE, figure 5).

The figure's question as numbers, on drawn heads in place of the CVL face database.  100 subjects
are for training and 14 are held out; their views are missing as a data set's are
(:mod:`vaelite.data.views`), and what a missing view would have shown is known here.  The seed draws
the subjects, how each picture is off, what is missing, and the start of the networks: alike for all
methods, but for the networks.

The methods, and what is said of the pattern of zeros, are those of
:mod:`vaelite.experiments.factvae.common`; but the normal likelihood has one learned variance for
each view, since the pixels around a head never change.

**What is measured.**  Mean squared errors a pixel, of intensities from 0 to 1, of a view that is
reconstructed from all *other* views that there are:

- ``error_training``: all views of the training subjects who have all of them.  The model was
  trained on these very pictures.
- ``error_missing_view``: the missing views of training subjects, which nobody saw in training.
- ``error_held_out``: all seven views of held-out subjects, those that are missing included.
- ``error_front``: the six other views of held-out subjects, from the front alone.

Of each there is a list ``_by_view``, with None where no such view is missing.  A mixture infers
from one view at random; its error is the mean over ``looks`` draws, and ``averaged_...`` that of
the draws' mean picture.  Where q(z|x) is one normal, the two are the same.

Two controls that no network takes part in have the same errors: ``baseline_mean_...``, the view's
mean training image; and ``baseline_ridge_...``, imputing first: what is not given becomes its mean
image, then a ridge regression gives the view from all others (from the front alone in the last
case), its penalty chosen by leave-one-out on the training subjects.

- ``log_likelihood``: of the held-out subjects' observed views, importance-sampled, nats a subject;
  ``baseline_mean_log_likelihood``: a normal around the mean image with one variance a view.
- ``complete`` and ``missing``: training subjects with all views, and how many views are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite.data.views import HELD_OUT, VIEWS, Views
from vaelite.experiments import networks
from vaelite.experiments.factvae import common
from vaelite.experiments.networks import check_method, device, fit_each
from vaelite.factvae import MMVAE, GroupConvDecoder, GroupConvEncoder, GroupedVAE
from vaelite.metrics import log_marginal_likelihood
from vaelite.training import History
from vaelite.vae import Gaussian

METHODS = ["factvae", "factvae dense", "jmvae+", "mvae"]
KINDS = ("training", "missing_view", "held_out", "front")
BASELINES = ("baseline_mean", "baseline_ridge")
COMMON = {
    "methods": METHODS,
    "subjects": 114,
    "missing": 0.3,
    "size": 16,
    "hidden": [64],
    "width": None,  # of convolutional networks
    "latent_dim": 16,
    "rank": 16,
    "noise": 0.01,
    "sparsity": 10.0,
    "step_size": 1e-4,  # of the matrices; at 1e-3 a pilot diverged
    "lr": 5e-3,
    "batch_size": 25,
    "looks": 16,
    "draws": 200,
}

SETTINGS = {
    "quick": {
        **COMMON,
        "subjects": 54,
        "hidden": [32],
        "latent_dim": 8,
        "rank": 8,
        "batch_size": 20,
        "steps": 400,
        "draws": 50,
        "seeds": 1,
    },
    "standard": {**COMMON, "steps": 1500, "seeds": 10},
    "full": {
        **COMMON,
        "size": 64,
        "hidden": [256],
        "width": 32,
        "latent_dim": 50,
        "rank": 50,
        "sparsity": 100.0,
        "step_size": 1e-5,  # sixteen times as many pixels
        "lr": 1e-3,
        "steps": 20_000,
        "seeds": 10,
    },
}

# How much worse a baseline is than the model beside it.
DERIVED = {
    f"{baseline}_minus_model_{kind}": lambda run, b=baseline, k=kind: (
        run[f"{b}_{k}"] - run[f"error_{k}"]
    )
    for baseline in BASELINES
    for kind in KINDS
}


anchors, trials = networks.no_anchors, networks.trials


# The subjects.


@dataclass(frozen=True)
class Subjects:
    """The subjects of a seed.

    Attributes:
        seen: all subjects' views, those for training first; missing ones are black.
        truth: the same with nothing missing, ``(N, 7, P)``.
    """

    seen: Views
    truth: Tensor

    @property
    def training(self) -> slice:
        """The rows of those for training."""
        return slice(len(self.seen) - HELD_OUT)

    @property
    def held_out(self) -> slice:
        """The rows of the others."""
        return slice(len(self.seen) - HELD_OUT, len(self.seen))


def dataset(trial_seed: int, settings: Mapping[str, Any]) -> Subjects:
    """Draw the subjects of a trial's seed."""
    return _dataset(trial_seed, *(settings[key] for key in ("subjects", "size", "missing")))


@lru_cache(maxsize=2)
def _dataset(trial_seed: int, subjects: int, size: int, missing: float) -> Subjects:
    def load(**options):
        return data_sets.load("views", subjects=subjects, seed=trial_seed, **options)

    whole = load(size=size, missing=0.0)
    observed = load(size=1, missing=missing).observed  # does not depend on the size
    x = whole.x.masked_fill(~observed[:, :, None, None], 0)
    return Subjects(replace(whole, x=x, observed=observed), whole.images().flatten(2))


# The models.


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> GroupedVAE:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    method = trial["method"]
    check_method(method, METHODS)
    groups, rank, hidden = len(VIEWS), settings["rank"], settings["hidden"]
    shape = (1, settings["size"], settings["size"])
    convolutional = {}
    if settings["width"] is not None:
        convolutional = {
            "features": GroupConvEncoder(groups, shape, hidden[-1], settings["width"]),
            "decoder": GroupConvDecoder(groups, rank, shape, settings["width"]),
        }
    return common.KINDS[method](
        [settings["size"] ** 2] * groups,
        settings["latent_dim"],
        hidden,
        rank=rank,
        likelihoods=[Gaussian(settings["noise"], learned=True) for _ in range(groups)],
        sparsity=settings["sparsity"] if method == "factvae" else 0.0,
        phi_lr=settings["step_size"],
        dataset_size=settings["subjects"] - HELD_OUT,
        **convolutional,
    )


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the models of trials, on their seeds' own subjects."""
    return fit_each(group, settings, make_model, training_data, checkpoint)


def training_data(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return the views of a trial's training subjects."""
    subjects = dataset(trial["seed"], settings)
    return subjects.seen.batch(subjects.training)


# What is measured.


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: GroupedVAE, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    model.to(device())
    subjects = dataset(trial["seed"], settings)
    looks = settings["looks"] if isinstance(model, MMVAE) else 1
    errors, averaged = [], []
    for given, target in tasks(subjects.seen.observed):
        found = torch.stack(
            [reconstruct(model, subjects.seen, given, target) for _ in range(looks)]
        )
        truth = subjects.truth[:, target]
        errors.append((found - truth).square().mean((0, 2)))
        averaged.append((found.mean(0) - truth).square().mean(1))
    held_out = tuple(x.to(device()) for x in subjects.seen.batch(subjects.held_out))
    log_likelihood = log_marginal_likelihood(model, held_out, settings["draws"]).mean()
    return {
        **summary("error", errors, subjects),
        **summary("averaged", averaged, subjects),
        **baselines(trial["seed"], settings),
        "log_likelihood": float(log_likelihood),
        **common.pattern(model),
        "complete": int(subjects.seen.observed[subjects.training].all(1).sum()),
        "missing": int((~subjects.seen.observed[subjects.training]).sum()),
    }


def tasks(observed: Tensor) -> list[tuple[Tensor, int]]:
    """Return masks of what is given, ``(N, 7)``, and the view that is asked for.

    The first seven give all other views that there are, the last seven the front alone.
    """
    view = torch.arange(len(VIEWS))
    front = (view == list(VIEWS).index("front")).expand(observed.shape)
    others = [(observed & (view != target), target) for target in range(len(VIEWS))]
    return others + [(front, target) for target in range(len(VIEWS))]


def reconstruct(model: GroupedVAE, seen: Views, given: Tensor, target: int) -> Tensor:
    """Return a view of all subjects, ``(N, P)``, from what is given of them."""
    *x, _ = seen.batch()
    batch = tuple(part.to(device()) for part in (*x, given))
    return model.reconstruct(batch)[target].cpu()


def summary(name: str, errors: Sequence[Tensor], subjects: Subjects) -> dict[str, Any]:
    """Return means over subjects and views, of each kind.

    Args:
        name: what the keys begin with.
        errors: for each of :func:`tasks` the subjects' errors, ``(N,)``.
        subjects: who they are.
    """
    others, front = torch.stack(list(errors), 1).chunk(2, 1)  # (N, 7) each
    observed = subjects.seen.observed
    train = torch.arange(len(observed)) < len(observed) - HELD_OUT
    is_front = torch.tensor([view == "front" for view in VIEWS])
    rows = {
        "training": (others, (train & observed.all(1))[:, None].expand_as(observed)),
        "missing_view": (others, train[:, None] & ~observed),
        "held_out": (others, ~train[:, None].expand_as(observed)),
        "front": (front, ~train[:, None] & ~is_front),
    }
    found = {}
    for kind, (table, chosen) in rows.items():
        found[f"{name}_{kind}"] = float(table[chosen].mean())
        found[f"{name}_{kind}_by_view"] = [
            float(table[chosen[:, g], g].mean()) if chosen[:, g].any() else None
            for g in range(len(VIEWS))
        ]
    return found


# What needs no network.


def baselines(trial_seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the controls, on the subjects of a trial's seed."""
    return _baselines(trial_seed, *(settings[key] for key in ("subjects", "size", "missing")))


@lru_cache(maxsize=2)
def _baselines(trial_seed: int, count: int, size: int, missing: float) -> dict[str, Any]:
    subjects = _dataset(trial_seed, count, size, missing)
    means = mean_images(subjects)
    errors: dict[str, list[Tensor]] = {name: [] for name in BASELINES}
    for given, target in tasks(subjects.seen.observed):
        truth = subjects.truth[:, target]
        for name, picture in (
            ("baseline_mean", means[target]),
            ("baseline_ridge", ridge(subjects, means, given, target)),
        ):
            errors[name].append((picture - truth).square().mean(1))
    found = {}
    for name, one in errors.items():
        found |= summary(name, one, subjects)
    observed, x = subjects.seen.observed, subjects.truth
    seen = observed[subjects.training]
    squares = (x - means).square()  # (N, 7, P)
    variance = torch.stack(
        [squares[subjects.training][seen[:, g], g].mean() for g in range(len(VIEWS))]
    )
    normal = torch.distributions.Normal(means, variance.sqrt()[:, None])
    log_density = normal.log_prob(x).sum(2).masked_fill(~observed, 0.0).sum(1)
    found["baseline_mean_log_likelihood"] = float(log_density[subjects.held_out].mean())
    return found


def mean_images(subjects: Subjects) -> Tensor:
    """Return each view's mean over the training subjects who have it, ``(7, P)``."""
    x, seen = (part[subjects.training] for part in (subjects.seen.images(), subjects.seen.observed))
    return torch.stack([x[seen[:, g], g].flatten(1).mean(0) for g in range(len(VIEWS))])


def ridge(subjects: Subjects, means: Tensor, given: Tensor, target: int) -> Tensor:
    """Impute what is not given by its mean image, then regress a view on all of it: ``(N, P)``."""
    import numpy as np
    from sklearn.linear_model import RidgeCV

    x = torch.where(given[..., None], subjects.seen.images().flatten(2), means).flatten(1).numpy()
    y = subjects.seen.images()[:, target].flatten(1).numpy()
    rows = subjects.seen.observed[:, target].clone()
    rows[subjects.held_out] = False
    model = RidgeCV(alphas=np.geomspace(1e-2, 1e4, 13)).fit(x[rows], y[rows])
    return torch.from_numpy(model.predict(x)).to(means.dtype)

"""Heads of two shapes: does swapping the private part change the shape, and nothing else?

Figure 4 of the CPVAE paper, on drawn heads in place of CelebA.  The two populations differ in the
shape of the head (jaw, brow, hair: the factor that stands for the paper's ``male``); pose, light,
glasses, smile and identity vary in both alike.  A head is encoded, then decoded with the other
population's private encoder and decoder, as in the figure.

**Methods.**  ``structure``, the CPVAE on its ELBO, and ``cpvae``, on its objective J, alpha = 1.

**Networks.**  One hidden layer of 64 units, 16 x 16 pixels: small enough for the page to compute.

**What is measured**, on 1,000 test heads, by judges that see pixels: logistic regressions fitted
on other images and their squares, one for each factor, with their own success on real test heads
beside it (``judge_shape``, ``judge_kept``).  Probabilities rather than decisions are averaged,
which moves less between machines.

- ``swapped``: the mean probability that a swapped head has the other shape; ``shape`` that a plain
  reconstruction has its own.
- ``kept``: the mean probability of the true class of azimuth, elevation, light and glasses after
  the swap (``kept_by_factor``).  A smile cannot be judged at 16 pixels: on real heads the judge
  does no better than chance.
- ``shared_shape``: how well a linear classifier reads the shape from the shared code; a half is
  chance.
- ``reconstruction``, ``kl``, ``elbo``, ``private_kl`` and ``cross_kl`` at one sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite.batches import Unpaired
from vaelite.cpvae import CPVAE, objective_terms
from vaelite.data import Dataset
from vaelite.experiments.networks import check_method, device, fit_together
from vaelite.experiments.probes import read_off
from vaelite.profile import seed
from vaelite.training import History
from vaelite.vae import Gaussian

METHODS = ["structure", "cpvae"]
KEPT = ["azimuth", "elevation", "light", "glasses"]
COMMON = {
    "methods": METHODS,
    "size": 16,
    "hidden": [64],
    "shared_dim": 8,
    "private_dim": 3,
    "noise": 0.01,
    "lr": 2e-3,
    "batch_size": 64,
    "lights": 4,
}

SETTINGS = {
    "quick": {
        **COMMON,
        "train": 3000,
        "test": 400,
        "steps": 800,
        "seeds": 2,
        "at_once": 2,
    },
    "standard": {
        **COMMON,
        "train": 20_000,
        "test": 1000,
        "steps": 5000,
        "seeds": 10,
        "at_once": 10,
    },
    "full": {
        **COMMON,
        "size": 64,
        "hidden": [1200, 1200],
        "shared_dim": 64,
        "private_dim": 16,
        "train": 200_000,
        "test": 4000,
        "steps": 60_000,
        "seeds": 10,
        "at_once": 5,
    },
}


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All seeds of a method, which are trained together, then the next method."""
    return [
        {"method": method, "seed": seed(repeat)}
        for method in settings["methods"]
        for repeat in range(settings["seeds"])
    ]


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> CPVAE:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    check_method(trial["method"], METHODS)
    return CPVAE.mlp(
        2,
        settings["size"] ** 2,
        settings["hidden"],
        settings["shared_dim"],
        settings["private_dim"],
        likelihood=Gaussian(settings["noise"], learned=True),
        mutual_information=float(trial["method"] == "cpvae"),
    )


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the models of trials that differ in the seed alone."""
    heads = dataset("train", settings)
    x = heads.x.flatten(1)
    populations = Unpaired(x[heads.labels == 0], x[heads.labels == 1])
    return fit_together(group, settings, make_model, populations, checkpoint)


def dataset(split: str, settings: Mapping[str, Any]) -> Dataset:
    """Draw the heads of a profile; those of the test are others."""
    return _load(settings["size"], settings[split], settings["lights"], int(split == "test"))


@lru_cache(maxsize=4)
def _load(size: int, count: int, lights: int, stream: int) -> Dataset:
    return data_sets.load(
        "heads", design="attributes", size=size, count=count, lights=lights, seed=stream
    )


@torch.no_grad()
@torch.random.fork_rng()
def measure(model: CPVAE, trial: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what the module's docstring lists, on the test heads."""
    torch.manual_seed(trial["seed"])
    heads = dataset("test", settings)
    model.to(device())
    x = heads.images().flatten(1).to(device())
    populations = [heads.labels == k for k in (0, 1)]
    plain, swapped = torch.empty_like(x), torch.empty_like(x)
    for k, rows in enumerate(populations):
        plain[rows] = model.reconstruct(x[rows], k)
        swapped[rows] = model.reconstruct(x[rows], 1 - k)
    shape, other = heads.labels.numpy(), 1 - heads.labels.numpy()
    judge = judges(settings)
    factors = {name: column(heads, name) for name in KEPT}
    kept = [judge[name].confidence(swapped, factors[name]) for name in KEPT]
    real = [judge[name].confidence(x, factors[name]) for name in KEPT]
    shared, *_ = model.encode(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    terms = objective_terms(model, [x[rows] for rows in populations])
    reconstruction, private = (
        float(value / len(x)) for value in (terms.reconstruction, terms.private_kl)
    )
    kl = float(terms.shared_kl / len(x)) + private
    return {
        "swapped": judge["shape"].confidence(swapped, other),
        "shape": judge["shape"].confidence(plain, shape),
        "judge_shape": judge["shape"].confidence(x, shape),
        "kept": sum(kept) / len(kept),
        "kept_by_factor": kept,
        "judge_kept": sum(real) / len(real),
        "shared_shape": read_off(shared[order], heads.labels[order]),
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": reconstruction - kl,
        "private_kl": private,
        "cross_kl": float(terms.cross_kl / len(x)),
    }


def column(heads: Dataset, name: str) -> np.ndarray:
    """Return one factor of all heads."""
    return heads.factors[:, heads.factor_names.index(name)].numpy()


class Judge:
    """A logistic regression on pixels and their squares, fitted on real images.

    Args:
        x: ``(N, P)`` in [0, 1].
        classes: ``(N,)``.
    """

    def __init__(self, x: Tensor, classes: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        regression = LogisticRegression(max_iter=2000, C=0.1)
        self.model = make_pipeline(StandardScaler(), regression).fit(self._features(x), classes)

    def confidence(self, x: Tensor, classes: np.ndarray) -> float:
        """Return the mean probability of given classes."""
        probability = self.model.predict_proba(self._features(x))
        known = self.model.classes_.tolist()
        return float(probability[np.arange(len(x)), [known.index(c) for c in classes]].mean())

    @staticmethod
    def _features(x: Tensor) -> np.ndarray:
        pixels = x.double().cpu().numpy()
        return np.concatenate([pixels, pixels**2], axis=1)


def judges(settings: Mapping[str, Any]) -> dict[str, Judge]:
    """Return a judge of each factor, fitted on training heads."""
    return _judges(settings["size"], min(settings["train"], 4000), settings["lights"])


@lru_cache(maxsize=2)
def _judges(size: int, count: int, lights: int) -> dict[str, Judge]:
    heads = _load(size, count, lights, 2)
    x = heads.images().flatten(1)
    return {name: Judge(x, column(heads, name)) for name in [*KEPT, "shape"]}

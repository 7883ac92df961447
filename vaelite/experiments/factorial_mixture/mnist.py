"""Static binary MNIST: what is a mixture worth as a prior, and where does the code's cost go?

Figure 3 of the factorial-mixture paper.  The static binarisation, test images drawn at random (its
test file is sorted by digit).  One hidden layer of 256 units on each side in place of the paper's
eight convolutions, 32 latents in place of 64, 3,000 steps in place of 320,000: the paper's own are
the full profile, which has Omniglot too.  There every pixel is drawn once, ink with the chance of
its grey, and 24,345 of all 32,460 images, drawn once, are for training.  **That is not the file of
28 x 28 pixels that papers use**: other images, made smaller in another way, so that its likelihoods
do not compare with published ones.

**Methods.**

- ``mixture``: one factor of K components (``components``), q(xi) by natural gradients;
- ``vae``: the prior N(0, I), as many steps of Adam;
- ``vade``: 64 components whose means, variances and weights are numbers, moved by Adam;
- ``vamp``: a VampPrior of 64 pseudo-inputs;
- ``two factors``: I = 2, 8 and 8 components, 16 latents each.

Those with a mixture take 30 % of the steps with the prior N(0, I), rest for 7 % while the mixture
is seeded, and train everything together after that; the others rest in between too.

**What is measured.**

- ``log_likelihood``: importance-sampled at 100 codes under the model's own prior (for the mixture
  with q(xi) integrated out, Student's t), nats an image of ``likelihood_data`` ones.
- ``bound``: eq. 11 at one code, and its parts ``reconstruction`` (positive), ``kl_z`` and ``kl_r``;
  for the other priors ``kl_r`` is zero.
- ``used``: components with a datum of the training set or more; with two factors, of both together.
- ``accuracy`` and ``rand``: clusters against digits, on MNIST's test images, black or white at half
  ink.  A cluster is the likeliest component; without a mixture, one of 64 that k-means finds among
  the posterior means.  ``accuracy`` names the digit by the most frequent one of a cluster in the
  other half of the images; ``rand`` is the adjusted Rand index.  Not on Omniglot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite import metrics
from vaelite.convnets import DIGITS
from vaelite.experiments import networks
from vaelite.experiments.factorial_mixture import common
from vaelite.experiments.networks import check_method, device, seeded
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE, PointMixture
from vaelite.nets import evaluated
from vaelite.profile import seed
from vaelite.training import History
from vaelite.vae import VAE
from vaelite.vamp import VampPriorVAE

METHODS = ["mixture", "vae", "vade", "vamp", "two factors"]
COMMON = {
    "methods": METHODS,
    "batch_size": 128,
    "lr": 1e-3,
    "shares": [0.3, 0.07],
    "codes": 100,
}
OMNIGLOT = 24_345  # training images
REAL = {"data": "binary_mnist", "labelled": "mnist", "real_data": ["binary_mnist", "mnist"]}

SETTINGS = {
    "quick": {
        **COMMON,
        "data": "digits",
        "labelled": "digits",
        "components": [1, 10],
        "fixed": 10,
        "factors": [4, 4],
        "hidden": [64],
        "latent_dim": 8,
        "steps": 600,
        "likelihood_data": 100,
        "scored": 300,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        **REAL,
        "components": [1, 4, 16, 64],
        "fixed": 64,
        "factors": [8, 8],
        "hidden": [256],
        "latent_dim": 32,
        "steps": 3000,
        "likelihood_data": 500,
        "scored": 4000,
        "seeds": 10,
    },
    "full": {
        **COMMON,
        **REAL,
        "data": ["binary_mnist", "omniglot"],
        "real_data": [*REAL["real_data"], "omniglot"],
        "components": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
        "fixed": 64,
        "factors": [64, 64],
        "convolutions": [list(part) for part in DIGITS],
        "latent_dim": 64,
        "batch_size": 64,
        "lr": 1e-4,
        "steps": 320_000,
        "shares": [0.3125, 0.0625],
        "likelihood_data": 10_000,
        "scored": 10_000,
        "seeds": 3,
    },
}


anchors = networks.no_anchors


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All methods of a seed, then the next seed; where there are several data sets, on each."""
    names = settings["data"]
    several = [{}] if isinstance(names, str) else [{"data": name} for name in names]
    return [
        {"method": method, **more, **on, "seed": seed(repeat)}
        for repeat in range(settings["seeds"])
        for on in several
        for method in settings["methods"]
        for more in _parameters(method, settings)
    ]


def _parameters(method: str, settings: Mapping[str, Any]) -> list[dict[str, int]]:
    if method == "mixture":
        return [{"components": count} for count in settings["components"]]
    return [{"components": settings["fixed"]}] if method in ("vade", "vamp") else [{}]


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    method, count = trial["method"], trial.get("components")
    check_method(method, METHODS)
    x = images(_data(trial, settings), "train")
    size, side = settings["latent_dim"], math.isqrt(x.shape[1])
    build = partial(common.make, image_shape=(1, side, side), latent_dim=size, settings=settings)
    match method:
        case "vae":
            return build(VAE)
        case "vamp":
            return build(VampPriorVAE, pseudo_inputs=x[torch.randperm(len(x))[:count]])
        case "mixture":
            prior = FactorialMixture([count], size)
        case "vade":
            prior = PointMixture([count], size)
        case _:
            factors = settings["factors"]
            prior = FactorialMixture(factors, size // len(factors))
    return build(FactorialMixtureVAE, prior=prior, dataset_size=len(x))


def _data(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    return trial.get("data", settings["data"])


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial."""
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings)
    x = images(_data(trial, settings), "train")
    return [model], [common.train_one(model, x, settings, trial["seed"], checkpoint)]


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    name = _data(trial, settings)
    x = images(name, "test").to(device())
    model.to(device())
    x = x[common.rows_of(len(x), settings["scored"], trial["seed"])]
    few = x[: settings["likelihood_data"]]
    mixed = isinstance(model, FactorialMixtureVAE)
    with evaluated(model):
        found = {
            "log_likelihood": float(
                metrics.log_marginal_likelihood(model, few, settings["codes"]).mean()
            ),
            **bound(model, x),
            **(_clusters(model, settings, trial["seed"]) if name != "omniglot" else {}),
        }
    if mixed and trial["method"] != "vade":
        found["used"] = int(sum(used.sum() for used in model.prior.used()))
    return found


def bound(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Return eq. 11 and its parts, nats a datum."""
    if isinstance(model, FactorialMixtureVAE):
        parts = model.bound(x)
        reconstruction = -float(parts.log_likelihood.mean())
        kl_z, kl_r = float(parts.kl_z.mean()), float(parts.kl_r.mean())
    else:
        terms = model.loss(x)[1]
        reconstruction, kl_z, kl_r = float(terms["reconstruction"]), float(terms["kl"]), 0.0
    return {
        "bound": -(reconstruction + kl_z + kl_r),
        "reconstruction": reconstruction,
        "kl_z": kl_z,
        "kl_r": kl_r,
    }


def _clusters(model: nn.Module, settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    x, labels = labelled(settings["labelled"])
    rows = common.rows_of(len(x), settings["scored"], seed)
    x, labels = x[rows], labels[rows]
    if isinstance(model, FactorialMixtureVAE):
        clusters = torch.zeros(len(x), dtype=torch.int64)
        for gamma in model.responsibilities(x.to(device())):  # of several factors, the pair
            clusters = clusters * gamma.shape[1] + gamma.argmax(1).cpu()
    else:
        means = model.encode(x.to(device()))[0].double().cpu().numpy()
        found = KMeans(settings["fixed"], n_init=3, random_state=seed).fit_predict(means)
        clusters = torch.from_numpy(found).long()
    return {
        "accuracy": common.share_right(clusters, labels),
        "rand": float(adjusted_rand_score(labels.numpy(), clusters.numpy())),
    }


@lru_cache(maxsize=2)
def images(name: str, split: str) -> Tensor:
    """Return binary images, ``(N, P)`` of 0 and 255."""
    if name == "omniglot":
        x = data_sets.load(name, split="all").x.flatten(1)
        with seeded(0):
            x = (torch.rand(x.shape) * 255 < x).to(torch.uint8) * 255
            rows = torch.randperm(len(x))
        return x[rows[:OMNIGLOT] if split == "train" else rows[OMNIGLOT:]]
    options: dict[str, Any] = {"binary": True} if name == "digits" else {}
    return data_sets.load(name, split=split, **options).x.flatten(1)


@lru_cache(maxsize=1)
def labelled(name: str) -> tuple[Tensor, Tensor]:
    """Return test images with their labels, black or white at half ink."""
    found = data_sets.load(name, split="test")
    return (found.x.flatten(1) >= 128).to(torch.uint8) * 255, found.labels

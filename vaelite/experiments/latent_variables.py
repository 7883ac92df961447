"""What the plain VAE learns, by number of latents: bound, likelihood, and latents in use.

Each trial trains one MLP VAE on binary images and measures, on held-out images:

- ``log_likelihood``: importance-sampled, in nats an image, with as many draws as the settings say;
- ``elbo``: the bound of a single draw, averaged over many draws;
- ``train_elbo``: the same on the training images, to see overfitting;
- ``active``: latents that :func:`vaelite.metrics.active_latents` counts on the held-out images.

``quick`` and ``standard`` use scikit-learn's digits, thresholded once at half ink.  ``full`` is
MNIST with the network of Burda et al. (2016): two layers of 200 tanh units, 50 latents among the
sizes, every training batch binarised afresh with the grey values as probabilities, the test set
once.  They train for 3,280 epochs with a falling step size; here both are fixed in the settings.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor, nn

from vaelite import data
from vaelite.experiments.networks import device, fit_each
from vaelite.metrics import active_latents, log_marginal_likelihood
from vaelite.profile import seed
from vaelite.training import History
from vaelite.vae import VAE

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
ELBO_DRAWS = 64

DIGITS = {"data": "digits", "hidden": [128], "activation": "relu", "batch_size": 128, "lr": 2e-3}

SETTINGS = {
    "quick": {**DIGITS, "latents": [2, 8], "repeats": 2, "steps": 300, "samples": 100},
    "standard": {
        **DIGITS,
        "latents": [1, 2, 4, 8, 16],
        "repeats": 10,
        "steps": 6_000,
        "samples": 5_000,
    },
    "full": {
        "data": "mnist",
        "hidden": [200, 200],
        "activation": "tanh",
        "batch_size": 100,
        "lr": 5e-4,
        "latents": [2, 10, 50],
        "repeats": 3,
        "steps": 200_000,
        "samples": 5_000,
    },
}

# What follows from a stored row, its trial and what was measured, and is not stored.
DERIVED = {"some_asleep": lambda run: run["active"] < run["latents"]}


class FreshlyBinarised(VAE):
    """A VAE that is trained on a new binary draw of grey images at every step.

    Images that are black and white already stay as they are.
    """

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a binary draw of the batch."""
        return super().loss(torch.bernoulli(self.prepare(batch)), noise)


def trials(settings: dict) -> list[dict]:
    """Return one trial for each number of latents and seed."""
    return [
        {"latents": latents, "seed": seed(repeat)}
        for latents in settings["latents"]
        for repeat in range(settings["repeats"])
    ]


def make_model(trial: dict, settings: dict) -> VAE:
    """Build a trial's model; afterwards torch's global generator stands where its seed leads."""
    torch.manual_seed(trial["seed"])
    return FreshlyBinarised.mlp(
        math.prod(data.load(settings["data"]).x.shape[1:]),
        settings["hidden"],
        trial["latents"],
        activation=ACTIVATIONS[settings["activation"]],
    )


def train(
    group: list[dict], settings: dict, checkpoint: str | os.PathLike | None = None
) -> tuple[list[VAE], list[History]]:
    """Train the models of trials."""
    return fit_each(group, settings, make_model, training_data, checkpoint)


def training_data(trial: dict, settings: dict) -> Tensor:
    """Return the training images, ``(N, L)``."""
    return _flat(settings["data"], "train")


def measure(model: VAE, trial: dict, settings: dict) -> dict[str, float]:
    """Return what the module's docstring lists, on images that are binarised once."""
    with torch.random.fork_rng():
        make_model(trial, settings)  # what is drawn here comes after the initial weights
        model.to(device())
        train, test = (_flat(settings["data"], split) for split in ("train", "test"))
        test, train = (torch.bernoulli(model.prepare(x)) for x in (test, train[: len(test)]))
        return measure_on(model, train, test, settings["samples"])


@torch.no_grad()
def measure_on(model: VAE, train: Tensor, test: Tensor, samples: int) -> dict[str, float]:
    """Measure a model on binary images ``(N, L)``."""
    mean, log_var = model.encode(test)
    return {
        "log_likelihood": log_marginal_likelihood(model, test, samples).mean().item(),
        "elbo": elbo(model, test),
        "train_elbo": elbo(model, train),
        "active": int(active_latents(mean, log_var).sum()),
    }


@torch.no_grad()
def elbo(model: VAE, x: Tensor) -> float:
    """Return the mean ELBO of images ``(N, L)``, over ``ELBO_DRAWS`` draws of the latents each."""
    return -sum(model.loss(x)[0].item() for _ in range(ELBO_DRAWS)) / ELBO_DRAWS


def _flat(name: str, split: str) -> Tensor:
    options = {"binary": True} if name == "digits" else {}
    return data.load(name, split=split, **options).x.flatten(1).to(device())

"""What the experiments on factorial mixtures share: networks, the three phases, scores.

The experiments are ``factorial_mixture_mnist`` (figure 3 of the paper, and the gain over other
priors) and ``factorial_mixture_heads`` (figures 1 and 6, table 1, on drawn heads).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaelite.convnets import DeepConvDecoder, DeepConvEncoder
from vaelite.experiments.networks import device
from vaelite.factorial_mixture import FactorialMixtureVAE, held, pretrain, seed
from vaelite.nets import GaussianEncoder
from vaelite.training import History, Linear, Phase, fit
from vaelite.vae import VAE


def make(
    kind: type[VAE],
    image_shape: tuple[int, int, int],
    latent_dim: int,
    settings: Mapping[str, Any],
    outputs: int = 1,
    **options: Any,
) -> VAE:
    """Build a model with a profile's networks.

    Args:
        kind: its class.
        image_shape: ``(C, H, W)``.
        latent_dim: all latents.
        settings: ``hidden``, sizes of layers of a perceptron on flat images; or ``convolutions``,
            the channels and strides of the paper's.
        outputs: numbers that the decoder gives for each of a pixel's.
        **options: as for the class.
    """
    if "convolutions" not in settings:
        return kind.mlp(math.prod(image_shape), settings["hidden"], latent_dim, **options)
    layers = settings["convolutions"]
    channels, *size = image_shape
    encoder = GaussianEncoder(DeepConvEncoder(image_shape, 2 * latent_dim, *layers))
    decoder = DeepConvDecoder(latent_dim, (outputs * channels, *size), *layers)
    return kind(encoder, decoder, latent_dim, image_shape, **options)


def phases(model: nn.Module, settings: Mapping[str, Any]) -> list[Phase]:
    """Return the paper's phases: N(0, I) as prior, seeding of the mixture, all together.

    ``settings["shares"]`` are the shares of the first two in all steps.  Other models take as many
    steps of Adam: their second phase rests too.  Where there is a ``first_beta``, the weight of the
    KL of z falls from it to one over the first half of the last phase (section 4.2: "initially").
    """
    mixed = isinstance(model, FactorialMixtureVAE)
    first, second = (max(1, round(share * settings["steps"])) for share in settings["shares"])
    rest = settings["steps"] - first - second
    schedules = {}
    if "first_beta" in settings:
        schedules["beta"] = Linear(settings["first_beta"], 1.0, rest // 2)
    return [
        Phase(first, before=pretrain if mixed else None),
        Phase(second, before=seed if mixed else None, schedules={"lr": held}),
        Phase(rest, schedules=schedules),
    ]


def train_one(
    model: nn.Module, data: Any, settings: Mapping[str, Any], seed: int, checkpoint: Any = None
) -> History:
    """Train a model in its phases; save to a file, and go on from it where it exists."""
    return fit(
        model,
        data,
        phases=phases(model, settings),
        batch_size=settings["batch_size"],
        lr=settings["lr"],
        seed=seed,
        device=device(),
        progress=False,
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )


def share_right(clusters: Tensor, labels: Tensor) -> float:
    """Return how often a cluster's most frequent label, in half of the data, names the other half.

    Args:
        clusters: ``(N,)`` integers.
        labels: ``(N,)`` classes.
    """
    half = len(labels) // 2
    table = torch.zeros(int(clusters.max()) + 1, int(labels.max()) + 1)
    pairs = (clusters[:half], labels[:half])
    table.index_put_(pairs, torch.ones(half), accumulate=True)
    return float((table.argmax(1)[clusters[half:]] == labels[half:]).double().mean())


def rows_of(count: int, size: int, seed: int) -> Tensor:
    """Draw ``size`` different rows of ``count``."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size]

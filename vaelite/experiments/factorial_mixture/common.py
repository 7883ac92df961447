"""What the experiments on factorial mixtures share: the three phases, and the pattern of use.

The experiments are ``factorial_mixture_mnist`` (figure 3 of the paper, and the gain over other
priors) and ``factorial_mixture_heads`` (figures 1 and 6, table 1, on drawn heads).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaelite.factorial_mixture import FactorialMixtureVAE, held, pretrain, seed
from vaelite.training import History, Phase, fit


def phases(model: nn.Module, settings: Mapping[str, Any]) -> list[Phase]:
    """Return the paper's phases: N(0, I) as prior, seeding of the mixture, all together.

    ``settings["shares"]`` are the shares of the first two in all steps.  Other models take as many
    steps of Adam: their second phase rests too.
    """
    mixed = isinstance(model, FactorialMixtureVAE)
    first, second = (max(1, round(share * settings["steps"])) for share in settings["shares"])
    return [
        Phase(first, before=pretrain if mixed else None),
        Phase(second, before=seed if mixed else None, schedules={"lr": held}),
        Phase(settings["steps"] - first - second),
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

r"""What the experiments on many aspects share: models by their names, training, the pattern.

The experiments are ``factvae_bars`` (figure 2 of the paper), ``factvae_mocap`` (figures 3, 4 and
table 1), ``factvae_grid`` (the scale of lambda) and ``factvae_heads`` (figure 5, on drawn heads).

**Methods.**

=================  ===============================================================================
``factvae``        with sparsity: lambda as the settings say, beside a loss in nats *a datum*
``factvae dense``  lambda = 0
``jmvae+``         a uniform mixture of the experts, by the bound that convexity gives
``mmvae``          the same mixture, by its own density
``mvae``           the product of experts, trained on the bounds of subsets
=================  ===============================================================================

All have the same decoders, a normal likelihood with a learned variance for each channel, and the
prior N(0, I) on the networks' weights.

**The pattern.**  ``norms`` are the G x K norms of Phi's columns at the end (those of W where the
encoders have no matrix), ``zeros`` how many of them are exactly zero.  While training goes on, the
noise of a minibatch's gradient pushes columns off zero that the next steps shrink again.  So a
latent and a group are *linked* where the norm exceeds a twentieth of the model's largest:
``links`` counts those, ``latents`` the latents with a link, and ``groups_per_latent`` is their
ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaelite.experiments.networks import check_method
from vaelite.factvae import MMVAE, MVAE, FactVAE, GroupedVAE, JMVAEPlus
from vaelite.training import History, Phase, fit
from vaelite.vae import Gaussian

KINDS: dict[str, type[GroupedVAE]] = {
    "factvae": FactVAE,
    "factvae dense": FactVAE,
    "jmvae+": JMVAEPlus,
    "mmvae": MMVAE,
    "mvae": MVAE,
}
LINKED = 0.05  # of the largest norm

Batch = tuple[Tensor, ...]


def make_model(
    method: str,
    data: Batch,
    settings: Mapping[str, Any],
    sparsity: float | None = None,
    step_size: float | None = None,
) -> GroupedVAE:
    """Build the model of a method for its training data.

    Args:
        method: one of :data:`KINDS`.
        data: ``(x_1, ..., x_G, observed)``.
        settings: ``latent_dim``, ``hidden``, ``noise``, ``sparsity`` and ``step_size``.
        sparsity: lambda of ``factvae``, instead of that of the settings.
        step_size: eta, instead of that of the settings.

    Raises:
        ValueError: if there is no such method.
    """
    check_method(method, KINDS)
    sizes = [part.shape[1] for part in data[:-1]]
    options: dict[str, Any] = {}
    if method == "factvae":
        options["sparsity"] = settings["sparsity"] if sparsity is None else sparsity
    return KINDS[method](
        sizes,
        settings["latent_dim"],
        settings["hidden"],
        likelihoods=[Gaussian(torch.full((n,), settings["noise"]), learned=True) for n in sizes],
        phi_lr=settings["step_size"] if step_size is None else step_size,
        dataset_size=len(data[-1]),
        **options,
    )


def train_one(
    model: nn.Module,
    data: Batch,
    settings: Mapping[str, Any],
    seed: int,
    checks: Sequence[int] = (),
    look: Callable[[nn.Module, int], None] | None = None,
    checkpoint: Any = None,
) -> History:
    """Train a model.

    Args:
        model: the model.
        data: ``(x_1, ..., x_G, observed)``.
        settings: ``steps``, ``batch_size`` and ``lr``.
        seed: of batches and noise.
        checks: steps before which to look; those beyond the end are left out.
        look: called with the model and its check's number.
        checkpoint: a file to save to, and to go on from where it exists.
    """
    checks = [check for check in checks if check < settings["steps"]]
    begins, ends = [0, *checks], [*checks, settings["steps"]]
    phases = [
        Phase(
            end - begin,
            before=None if begin == 0 else lambda model, data, i=i: look(model, i - 1),
        )
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]
    return fit(
        model,
        data,
        phases=phases,
        batch_size=min(settings["batch_size"], len(data[-1])),
        lr=settings["lr"],
        seed=seed,
        progress=False,
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )


def links(norms: Tensor) -> Tensor:
    """Return which latents and groups are linked, ``(G, K)`` bool."""
    return norms > LINKED * norms.max()


@torch.no_grad()
def pattern(model: GroupedVAE) -> dict[str, Any]:
    """Return what the module's docstring lists of the pattern."""
    norms = model.norms()
    linked = links(norms)
    return {
        "norms": norms.tolist(),
        "zeros": int((norms == 0).sum()),
        "links": int(linked.sum()),
        "latents": int(linked.any(0).sum()),
        "groups_per_latent": float(linked.sum() / linked.any(0).sum()),
    }


def only(data: Batch, groups: Sequence[int]) -> Batch:
    """Hide all groups but some."""
    kept = torch.zeros_like(data[-1])
    kept[:, list(groups)] = True
    return (*data[:-1], data[-1] & kept)

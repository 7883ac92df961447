"""Eq. 12 of the ISA-VAE paper with and without the score: what does the noise of a sampled KL cost?

In ``isa_sprites_deep`` the VAE with a sampled KL term lost latents and reconstruction against the
VAE with the closed form, though both have one bound.  Is it the noise of the gradient?  The part
that the score adds to it has mean zero and can be dropped (Roeder et al., 2017, "sticking the
landing").  If the noise is the cause, dropping the score must bring latents and reconstruction
back.  Then the question of figure 5a can be asked without that noise.

Settings and networks are those of ``isa_sprites_deep``, at beta = 1.  A pilot with eight seeds was
seen before; the 48 seeds here are in no other run.  What is compared was fixed before this run: the
reconstruction of the VAE with a sampled KL, without the score against with it; and the MIG of the
ISA-VAE against that of the VAE with a sampled KL, both without the score.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vaelite.experiments.isa import common
from vaelite.experiments.isa.common import runs, trials
from vaelite.experiments.isa.sprites_deep import SETTINGS as DEEP
from vaelite.isa import ISAVAE
from vaelite.training import fit_seeds
from vaelite.vae import VAE

__all__ = ["SETTINGS", "WithoutScore", "run_trials", "trials"]

WITHOUT = " without score"
METHODS = [
    "beta-vae",
    "vae sampled-kl",
    "vae sampled-kl" + WITHOUT,
    "isa-vae",
    "isa-vae" + WITHOUT,
]
FRESH = {"quick": (36, 38), "standard": (96, 144), "full": (98, 108)}

SETTINGS = {
    profile: {**DEEP[profile], "runs": runs(METHODS, [1.0], last, first)}
    for profile, (first, last) in FRESH.items()
}


class WithoutScore(ISAVAE):
    """An ISA-VAE whose gradient lacks the score of q: same bound, same expected gradient."""

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Estimate the KL term at z; q's own parameters count as constants."""
        return self.log_posterior(z, mean.detach(), log_var.detach()) - self.log_prior(z)


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> VAE:
    """Build a trial's model, with or without the score."""
    method = trial["method"]
    model = common.make_model({**trial, "method": method.removesuffix(WITHOUT)}, settings)
    if not method.endswith(WITHOUT):
        return model
    return WithoutScore(
        model.encoder,
        model.decoder,
        model.latent_dim,
        model.data_shape,
        prior=model.prior,
        beta=model.beta,
    )


def run_trials(
    group: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    checkpoint: str | os.PathLike | None = None,
) -> list[dict[str, Any]]:
    """Train the seeds of one setting together, and measure each as all ISA experiments do."""
    images = common.dataset(settings).x
    models, _ = fit_seeds(
        lambda one_seed: make_model(group[0], settings),
        images.flatten(1) if isinstance(images, Tensor) else images,
        [trial["seed"] for trial in group],
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        lr=settings["lr"],
        device=images.device,
        progress=False,
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )
    return [
        common.measure(model, trial, settings) for model, trial in zip(models, group, strict=True)
    ]

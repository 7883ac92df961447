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

Two arms were added later, on the same seeds; what they decide was fixed before they ran.
``vae independent-kl`` separates cause from company: its KL term is as noisy, but the noise is
drawn apart from the decoder's sample.  If it loses as much reconstruction against the closed form
(a difference above zero), the noise is the cause; if it loses nothing, the company of the decoder's
sample is.  ``isa-vae matched-scale`` asks whether what was found with s = 1, our choice where the
paper is silent, is found with variance one: reconstruction and MIG against the VAE.
"""

from __future__ import annotations

from vaelite.experiments.isa.common import make_model, measure, runs, train, trials
from vaelite.experiments.isa.sprites_deep import SETTINGS as DEEP

__all__ = ["SETTINGS", "make_model", "measure", "train", "trials"]

WITHOUT = " without score"
METHODS = [
    "beta-vae",
    "vae sampled-kl",
    "vae sampled-kl" + WITHOUT,
    "isa-vae",
    "isa-vae" + WITHOUT,
]
LATER = ["vae independent-kl", "isa-vae matched-scale"]
FRESH = {"quick": (36, 38), "standard": (96, 144), "full": (98, 108)}

SETTINGS = {
    profile: {**DEEP[profile], "runs": runs(METHODS + LATER, [1.0], last, first)}
    for profile, (first, last) in FRESH.items()
}

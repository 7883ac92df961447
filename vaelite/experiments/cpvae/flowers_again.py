"""Flowers once more: was it batch normalisation, or too short a training?

``cpvae_flowers`` with fresh seeds, without batch normalisation, and with twice the steps.  The
paper has batch normalisation and states no number of steps.  Its running statistics belong to the
task at hand, so they might be what forgets; planned after the results of ``cpvae_flowers`` were
seen.  Methods and measures are those of :mod:`vaelite.experiments.cpvae.flowers`.
"""

from __future__ import annotations

from vaelite.experiments.cpvae import flowers
from vaelite.experiments.cpvae.flowers import anchors, make_model, measure, train, trials

__all__ = ["SETTINGS", "anchors", "make_model", "measure", "train", "trials"]

SETTINGS = {
    profile: {
        **settings,
        "methods": ["vae", "cpvae"],
        "batch_norm": False,
        "steps": 2 * settings["steps"],
        "first_seed": settings["seeds"],
        "seeds": 2 * settings["seeds"],
    }
    for profile, settings in flowers.SETTINGS.items()
}

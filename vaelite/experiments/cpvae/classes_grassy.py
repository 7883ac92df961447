"""Which population is it, on grass?  ``cpvae_classes`` with the digits of ``cpvae_grassy``.

The second row of table 2 of the CPVAE paper; methods, networks and measures are those of
:mod:`vaelite.experiments.cpvae.classes`, the latents 30 and 5 of appendix B.1.
"""

from __future__ import annotations

from vaelite.experiments.cpvae import classes
from vaelite.experiments.cpvae.classes import anchors, make_model, measure, train, trials

__all__ = ["SETTINGS", "anchors", "make_model", "measure", "train", "trials"]

SETTINGS = {
    profile: {**settings, "grass": True, "latents": [30, 5]}
    for profile, settings in classes.SETTINGS.items()
}

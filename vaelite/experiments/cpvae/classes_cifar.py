"""Which population is it, among photographs?  ``cpvae_classes`` on CIFAR-10.

The third row of table 2 of the CPVAE paper; methods and measures are those of
:mod:`vaelite.experiments.cpvae.classes`, the latents 10 and 20 of appendix B.1.  The standard
profile has 4,000 training images of the 50,000, and one hidden layer of 64 units where the paper
has convolutions: its accuracies do not compare with the paper's, only with each other.  The quick
one has digits.
"""

from __future__ import annotations

from vaelite.experiments.cpvae import classes
from vaelite.experiments.cpvae.classes import anchors, make_model, measure, train, trials

__all__ = ["SETTINGS", "anchors", "make_model", "measure", "train", "trials"]

PHOTOGRAPHS = {"size": 32, "latents": [10, 20], "real_data": ["cifar10"]}
SETTINGS = {
    "quick": classes.SETTINGS["quick"],
    "standard": {
        **classes.SETTINGS["standard"],
        **PHOTOGRAPHS,
        "source": "cifar10 sample",
        "hidden": [64],
        "steps": 1200,
    },
    "full": {**classes.SETTINGS["full"], **PHOTOGRAPHS, "source": "cifar10"},
}

"""From many MNIST digits to few of USPS: ``optimal_prior_usps_mnist`` the other way round.

The second column of the slides' tables: 10,000 images of the source, 100 of the target.
"""

from __future__ import annotations

from vaelite.experiments.optimal_prior import usps_mnist
from vaelite.experiments.optimal_prior.usps_mnist import anchors, make_model, measure, train, trials

__all__ = ["SETTINGS", "anchors", "make_model", "measure", "train", "trials"]

SETTINGS = {
    profile: {
        **settings,
        "tasks": settings["tasks"][::-1],
        "source": 1000 if profile == "quick" else 10_000,
    }
    for profile, settings in usps_mnist.SETTINGS.items()
}

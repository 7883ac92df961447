"""The CPVAE paper's experiments, one module each; :mod:`.common` holds what they share."""

from vaelite.experiments.cpvae.common import (
    Classifier,
    calibration_error,
    explained,
    resnet50,
    translate,
)

__all__ = [
    "Classifier",
    "calibration_error",
    "explained",
    "resnet50",
    "translate",
]

"""The CPVAE paper's experiments, one module each; :mod:`.common` holds what they share."""

from vaelite.experiments.cpvae.common import (
    Classifier,
    anchors,
    calibration_error,
    check_method,
    cluster_agreement,
    device,
    explained,
    fit_each,
    read_off,
    resnet50,
    translate,
    trials,
)

__all__ = [
    "Classifier",
    "anchors",
    "calibration_error",
    "check_method",
    "cluster_agreement",
    "device",
    "explained",
    "fit_each",
    "read_off",
    "resnet50",
    "translate",
    "trials",
]

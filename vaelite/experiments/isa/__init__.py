"""The ISA-VAE paper's experiments, one module each; :mod:`.common` holds what they share."""

from vaelite.experiments.isa.common import (
    PAPER,
    dataset,
    histogram_gaps,
    make_model,
    matched_scale,
    measure,
    representative,
    representative_text,
    runs,
    train,
    upper_half,
)

__all__ = [
    "PAPER",
    "dataset",
    "histogram_gaps",
    "make_model",
    "matched_scale",
    "measure",
    "representative",
    "representative_text",
    "runs",
    "train",
    "upper_half",
]

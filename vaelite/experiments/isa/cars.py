"""ISA-VAE with learned exponents on heads in the design of Cars3D.

Figure 6 of the ISA-VAE paper; see :mod:`vaelite.experiments.isa` for methods, layout and
measurements.  The images are grey heads and no coloured cars: only the factors, identity, azimuth
all around and elevation, are those of Cars3D.  MIG is taken over all three.

The paper is silent about its settings on Cars3D.  The full profile has the real set's 183 x 24 x 4
design, the 64 x 64 pixels, networks and layout of 3D Faces, and 1,500 epochs of 8 batches.  The
standard profile has the settings of ``isa_heads``, 30 of the identities, and was not tuned; one
pilot of the beta-VAE (two seeds, 16 pixels) showed that it learns at beta = 1, and that all latents
collapse at beta = 4: hence the beta of 0.5.
"""

from __future__ import annotations

from vaelite.experiments.isa.common import make_model, measure, runs, train, trials
from vaelite.experiments.isa.heads import SETTINGS as HEADS

__all__ = ["SETTINGS", "make_model", "measure", "train", "trials"]

FACTORS = {"factors": ["identity", "azimuth", "elevation"]}
METHODS = ["beta-vae", "isa-vae learned"]


def _data(size, identities):
    return {"name": "heads", "design": "cars3d", "size": size, "counts": [identities, 24, 4]}


SETTINGS = {
    "quick": {
        **HEADS["quick"],
        **FACTORS,
        "data": _data(16, 8),
        "runs": runs(METHODS, [1.0], 4),
    },
    "standard": {
        **HEADS["standard"],
        **FACTORS,
        "data": _data(24, 30),
        "runs": runs(METHODS, [1.0, 0.5, 2.0, 4.0], 10),
    },
    "full": {
        **HEADS["full"],
        **FACTORS,
        "data": _data(64, 183),
        "steps": 1500 * 8,
        "runs": runs(METHODS, [1.0, 1.5, 2.0, 2.5, 3.0, 4.0], 35),
    },
}

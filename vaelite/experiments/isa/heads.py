"""ISA-VAE on heads in the design of 3D Faces: the trade-off, and learned exponents.

Figures 5c and 7 of the ISA-VAE paper; see :mod:`vaelite.experiments.isa` for methods, layout and
measurements.  MIG is taken over azimuth, elevation and light, the factors that the paper lists.
The grey images are given to a Bernoulli likelihood, as in table 2.

The full profile is table 2: 50 x 21 x 11 x 11 images, 1,500 epochs of 62 batches, beta from 0.5
where exponents are learned.  It needs a GPU for weeks at all 15 and 50 seeds; the first trials,
beta = 1, are the ones that the paper's strongest sentence is about.

The standard profile has 24 x 24 pixels and fewer values of each factor (12 x 11 x 7 x 7), one
hidden layer of 64 and the paper's 10 latents.  It was chosen after pilots of the *beta-VAE alone*
at 16 and 32 pixels, two seeds each: at 16 and beta = 4 fewer than three latents were active, at 32
a run took too long.
"""

from __future__ import annotations

from vaelite.experiments.isa.common import PAPER, make_model, measure, runs, train, trials

__all__ = ["SETTINGS", "make_model", "measure", "train", "trials"]

DESIGN = {
    "factors": ["azimuth", "elevation", "light"],
    "sizes": [4, 3, 3],
    "exponents": [2.1, 1.9],
}
SMALL = {**DESIGN, "encoder": [64], "decoder": [64], "batch_size": 64, "lr": 2e-3}
PRIORS = ["beta-vae", "isa-vae", "isa-vae learned"]
TC = ["beta-tcvae", "isa-tcvae"]

SETTINGS = {
    "quick": {
        **SMALL,
        "data": {"name": "heads", "design": "faces", "size": 16, "counts": [6, 7, 5, 5]},
        "steps": 1000,
        "mig_samples": 200,
        "at_once": 4,
        "runs": runs(PRIORS, [1.0], 4),
    },
    "standard": {
        **SMALL,
        "data": {"name": "heads", "design": "faces", "size": 24, "counts": [12, 11, 7, 7]},
        "steps": 2500,
        "mig_samples": 500,
        "at_once": 16,
        "runs": [
            *runs(PRIORS, [1.0], 16),
            *runs(PRIORS, [0.5, 2.0, 4.0], 10),
            *runs(TC, [2.0, 4.0], 10),
        ],
    },
    "full": {
        **DESIGN,
        **PAPER,
        "data": {"name": "heads", "design": "faces", "size": 64},
        "steps": 1500 * 62,
        "at_once": 5,
        "runs": [
            *runs(PRIORS, [1.0], 15),
            *runs(["isa-vae learned"], [0.5, 2.0, 3.0, 4.0, 5.0], 15),
            *runs(["beta-vae", "isa-vae", *TC], [1.5, 2.0, 2.5, 3.0, 4.0], 15),
        ],
    },
}

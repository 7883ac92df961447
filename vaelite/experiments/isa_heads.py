"""ISA-VAE on heads in the design of 3D Faces: the trade-off, and learned exponents.

Figures 5c and 7 of the ISA-VAE paper; see :mod:`vaelite.experiments.isa` for methods, layout and
measurements.  MIG is taken over azimuth, elevation and light, the factors that the paper lists.
The grey images are given to a Bernoulli likelihood, as in table 2.

The full profile is table 2: 50 x 21 x 11 x 11 images, 1,500 epochs of 62 batches, beta from 0.5
where exponents are learned.  It needs a GPU for weeks at all 15 and 50 seeds; the first cells,
beta = 1, are the ones that the paper's strongest sentence is about.

The standard profile has 24 x 24 pixels and fewer values of each factor (12 x 11 x 7 x 7), one
hidden layer of 64 and the paper's 10 latents.  It was chosen after trials of the *beta-VAE alone*
at 16 and 32 pixels, two seeds each: at 16 and beta = 4 fewer than three latents were active, at 32
a run took too long.
"""

from __future__ import annotations

from vaelite.experiments.isa import cells, run_cells

__all__ = ["SETTINGS", "cells", "run_cells"]

SMALL = {
    "data": {"name": "heads", "design": "faces", "size": 24, "counts": [12, 11, 7, 7]},
    "factors": ["azimuth", "elevation", "light"],
    "encoder": [64],
    "decoder": [64],
    "sizes": [4, 3, 3],
    "exponents": [2.1, 1.9],
    "batch_size": 64,
    "lr": 2e-3,
}

SETTINGS = {
    "quick": {
        **SMALL,
        "data": {"name": "heads", "design": "faces", "size": 16, "counts": [6, 7, 5, 5]},
        "steps": 1000,
        "mig_samples": 200,
        "at_once": 4,
        "runs": [
            {"method": "beta-vae", "beta": [1.0], "seeds": 4},
            {"method": "isa-vae", "beta": [1.0], "seeds": 4},
            {"method": "isa-vae learned", "beta": [1.0], "seeds": 4},
        ],
    },
    "standard": {
        **SMALL,
        "steps": 2500,
        "mig_samples": 500,
        "at_once": 16,
        "runs": [
            {"method": "beta-vae", "beta": [1.0], "seeds": 16},
            {"method": "isa-vae", "beta": [1.0], "seeds": 16},
            {"method": "isa-vae learned", "beta": [1.0], "seeds": 16},
            {"method": "isa-vae learned", "beta": [0.5, 2.0, 4.0], "seeds": 10},
            {"method": "beta-vae", "beta": [0.5, 2.0, 4.0], "seeds": 10},
            {"method": "isa-vae", "beta": [0.5, 2.0, 4.0], "seeds": 10},
            {"method": "beta-tcvae", "beta": [2.0, 4.0], "seeds": 10},
            {"method": "isa-tcvae", "beta": [2.0, 4.0], "seeds": 10},
        ],
    },
    "full": {
        "data": {"name": "heads", "design": "faces", "size": 64},
        "factors": ["azimuth", "elevation", "light"],
        "encoder": [1200, 1200],
        "decoder": [1200, 1200, 1200],
        "sizes": [4, 3, 3],
        "exponents": [2.1, 1.9],
        "batch_size": 2048,
        "lr": 1e-3,
        "steps": 1500 * 62,
        "mig_samples": 500,
        "at_once": 5,
        "runs": [
            {"method": "beta-vae", "beta": [1.0], "seeds": 15},
            {"method": "isa-vae learned", "beta": [1.0], "seeds": 15},
            {"method": "isa-vae", "beta": [1.0], "seeds": 15},
            {"method": "isa-vae learned", "beta": [0.5, 2.0, 3.0, 4.0, 5.0], "seeds": 15},
            {"method": "beta-vae", "beta": [1.5, 2.0, 2.5, 3.0, 4.0], "seeds": 15},
            {"method": "isa-vae", "beta": [1.5, 2.0, 2.5, 3.0, 4.0], "seeds": 15},
            {"method": "beta-tcvae", "beta": [1.5, 2.0, 2.5, 3.0, 4.0], "seeds": 15},
            {"method": "isa-tcvae", "beta": [1.5, 2.0, 2.5, 3.0, 4.0], "seeds": 15},
        ],
    },
}

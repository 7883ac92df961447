"""ISA-VAE on sprites: does the prior disentangle at beta = 1, and at what price in reconstruction?

Figures 5a, 5b and 8 to 16 of the ISA-VAE paper, with controls; see :mod:`vaelite.experiments.isa`
for methods, layout and measurements.

The full profile is the paper's table 1: all 737,280 images, 20 epochs of 360 batches.  It starts
with the comparison that the paper's claim rests on, ISA-VAE against VAE at beta = 1, and needs a
GPU.

The standard profile is small enough for a laptop: 16 x 16 pixels, every fourth orientation and
position (11,520 images), one hidden layer of 64 on either side, 10 latents.  It was chosen after
pilots of the *beta-VAE alone*, so no other method had a say: hidden layers (64 or 128, one or two),
300 to 10,000 steps and 16 or 32 pixels, seven settings in all, with two to eight seeds each.  From
4,000 steps to 10,000 the reconstruction at beta = 1 still gains 0.5 nats of 100; more than two
latents are active up to beta = 4.  With a sixteenth of the paper's pixels a beta of 1 weighs more
here than there: hence 0.5, which the paper has on faces only.

The price that the ISA-VAE pays in reconstruction was measured with s = 1, a choice of ours.  So the
prior with variance one, a control at beta = 1, 2 and 4 at first, was added at 0.5 and 3, on the
seeds of the others, and what is asked of it was fixed before: does the price stay?
"""

from __future__ import annotations

from vaelite.experiments.isa.common import PAPER, make_model, measure, runs, train, trials

__all__ = ["SETTINGS", "make_model", "measure", "train", "trials"]

DESIGN = {"factors": ["shape", "scale", "orientation", "x", "y"], "exponents": [2.1, 2.2]}
SMALL = {
    **DESIGN,
    "data": {"name": "sprites", "size": 16, "steps": [1, 1, 4, 4, 4]},
    "encoder": [64],
    "decoder": [64],
    "discriminator": 64,
    "sizes": [2] * 5,
    "batch_size": 64,
    "lr": 2e-3,
}
PAIR = ["beta-vae", "isa-vae"]
TC = ["beta-tcvae", "isa-tcvae"]
LEARNED = ["isa-vae learned"]
CONTROLS = ["vae sampled-kl", "isa-vae matched-scale"]

SETTINGS = {
    "quick": {
        **SMALL,
        "steps": 800,
        "mig_samples": 200,
        "at_once": 4,
        "runs": runs(PAIR + LEARNED, [1.0], 4),
    },
    "standard": {
        **SMALL,
        "steps": 20 * 180,
        "mig_samples": 500,
        "at_once": 16,
        "runs": [
            *runs(PAIR, [1.0], 32),
            *runs([*CONTROLS, "ica-vae p=4"], [1.0], 16),
            *runs(LEARNED, [1.0], 10),
            *runs(PAIR + TC + LEARNED, [2.0, 3.0, 4.0], 10),
            *runs(CONTROLS, [2.0, 4.0], 10),
            *runs(PAIR + LEARNED, [0.5], 10),
            {"method": "factor-vae", "gamma": [1.0, 3.0, 6.0], "seeds": 10},
            *runs(["isa-vae matched-scale"], [0.5, 3.0], 10),
        ],
    },
    "full": {
        **DESIGN,
        **PAPER,
        "data": {"name": "sprites", "size": 64, "steps": [1, 1, 1, 1, 1], "packed": True},
        "sizes": [4] * 5,
        "steps": 20 * 360,
        "at_once": 10,
        "runs": [
            *runs(PAIR, [1.0, 2.0, 3.0], 10),
            *runs(CONTROLS, [1.0], 10),
            *runs(PAIR, [1.0], 50, first_seed=10),
            *runs(TC, [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0], 50),
            *runs(PAIR, [2.0, 3.0], 50, first_seed=10),
            *runs(PAIR, [1.5, 2.5, 3.5, 4.0, 5.0, 6.0], 50),
            {"method": "factor-vae", "gamma": [float(g) for g in range(1, 11)], "seeds": 50},
        ],
    },
}

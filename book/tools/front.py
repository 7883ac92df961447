"""The live model of the front page: draw a digit, see q, drag z, see the decoder answer.

``make pages`` trains it (a few seconds) and stores its weights as half floats, as the page has
them; the page itself is made from the weights whenever the book is built.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vaelite import data
from vaelite.book import explore as engine
from vaelite.book import figures
from vaelite.book.explore import Curve, Drawing, Network, Panel, Point, Points, ellipse, sigmoid
from vaelite.nets import MLP, GaussianEncoder
from vaelite.training import fit
from vaelite.vae import VAE

WEIGHTS = Path(__file__).resolve().parents[1] / "_static" / "front.npz"
ALT = (
    "Left, a pad with a handwritten digit. Middle, the plane of the two latents: the codes of 360 "
    "digits coloured by class, the ellipse of q for the digit on the pad, and a point z that can "
    "be dragged. Right, the digit that the decoder draws for z. Digits of one class lie together, "
    "and between two of them the decoder draws what lies between them."
)
STEPS = 6_000


def main() -> None:
    """Train the model and write its weights."""
    model = untrained()
    images = data.load("digits", split="train").x
    fit(model, images, steps=STEPS, batch_size=100, lr=2e-3, seed=0, progress=False)
    weights = {name: value.half().numpy() for name, value in model.state_dict().items()}
    np.savez_compressed(WEIGHTS, **weights)


def untrained() -> VAE:
    """Return the model as it is before training: 64 pixels, 2 latents, 17,540 weights."""
    torch.manual_seed(0)
    return VAE(GaussianEncoder(MLP(64, (128,), 4)), MLP(2, (128,), 64), 2, (64,))


def trained() -> VAE:
    """Return the model with the stored weights."""
    model = untrained()
    with np.load(WEIGHTS) as stored:
        weights = {name: torch.from_numpy(stored[name]).float() for name in stored.files}
    model.load_state_dict(weights)
    return model.eval()


def live_model() -> str:
    """Return the figure as HTML."""
    model, test_set = trained(), data.load("digits", split="test")
    encoder, decoder = Network(model.encoder), Network(model.decoder)
    images, labels = test_set.x.numpy() / 255.0, test_set.labels.numpy()
    codes = np.stack([encoder(image.reshape(-1))[0] for image in images])  # (360, 2)
    cloud = [
        Points(*codes[labels == k].T, colour=figures.class_colour(k), drag=False) for k in range(10)
    ]

    def answer(digit, noise):
        mean, log_var = encoder(digit.reshape(-1))
        z = mean + np.exp(0.5 * log_var) * noise
        q = Curve(*ellipse(mean, log_var), label="q(z | x)", colour=figures.BLACK)
        ink = sigmoid(decoder(z)).reshape(8, 8)
        return [
            Panel(
                points=[*cloud, Points(z[0], z[1], label="z: drag it", colour=figures.ORANGE)],
                curves=[q],
                xlim=(-2.8, 2.8),
                ylim=(-2.8, 2.8),
                equal_aspect=True,
                title="latents",
            ),
            Panel(image=1 - ink, title="what the decoder draws for z"),
        ]

    examples = {str(k): images[np.flatnonzero(labels == k)[0]] for k in (3, 0, 1, 4, 6)}
    controls = {"digit": Drawing(8, "Draw a digit", examples), "noise": Point("z")}
    panels = engine.trace(answer, controls)
    poster = engine.draw([panel.at_start() for panel in panels], 240)
    return engine.live_html(panels, controls, ALT, 240, poster)


if __name__ == "__main__":
    main()

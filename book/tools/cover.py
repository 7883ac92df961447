"""Draw the picture of the front page and the README from the toys of chapter 03."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaelite.book import figures
from vaelite.toys import factor_analysis

COVER = Path(__file__).resolve().parents[1] / "_static" / "cover.png"
OFFSET = {"textcoords": "offset points"}


def main() -> None:
    """Write ``book/_static/cover.png``."""
    noise = np.full(2, 0.1)
    weights = np.array([[1.4, 0.5], [0.4, 0.6]])
    X, _ = factor_analysis.sample(weights, noise, 400, np.random.default_rng(0))
    # The maximum-likelihood weights along the principal directions; any rotation is as likely.
    variances, directions = np.linalg.eigh(X.T @ X / len(X))
    best = directions * np.sqrt(variances - noise)

    figure, (left, right) = figures.subplots(1, 2, height=2.6)  # as wide as all figures of the book
    left.scatter(*X.T, s=6, color=figures.GREY, alpha=0.35, linewidths=0)
    degrees = (0, 25, 50)
    colours = (figures.BLUE, figures.ORANGE, figures.GREEN)
    rotated = [best @ factor_analysis.rotation(np.radians(angle)) for angle in degrees]
    for W, colour in zip(rotated, colours, strict=True):
        for column in W.T:
            left.plot(*np.outer(column, (-3, 3)), color=colour)
    left.set(title="three explanations,\nequally likely", xlabel="$x_1$", ylabel="$x_2$")
    left.set(xticks=[], yticks=[])
    left.set_aspect("equal", adjustable="datalim")

    for W, angle, colour in zip(rotated, degrees, colours, strict=True):
        height = factor_analysis.free_energy(X, W, noise) / len(X)
        right.plot(angle, height, "o", color=colour, markersize=9, clip_on=False, zorder=3)
    angles = np.linspace(0, 180, 91)
    turned = [best @ factor_analysis.rotation(np.radians(angle)) for angle in angles]
    likelihood = [factor_analysis.log_likelihood(X, W, noise) / len(X) for W in turned]
    energy = [factor_analysis.free_energy(X, W, noise) / len(X) for W in turned]
    right.plot(angles, likelihood, color=figures.BLACK)
    right.plot(angles, energy, color=figures.PINK)
    # The names stand at the curves: a legend would leave a phone no room.
    right.annotate("log-likelihood", (90, max(likelihood)), (0, 6), ha="center", **OFFSET)
    right.annotate("free energy", (90, min(energy)), (0, -16), ha="center", **OFFSET)
    right.set(title="inference\nprefers one", xlabel="angle of rotation", ylabel="nats per datum")
    right.set(xticks=[0, 90, 180], xticklabels=["0°", "90°", "180°"], yticks=[-2.7, -3.2])
    right.set_ylim(min(energy) - 0.16, max(likelihood) + 0.14)
    figure.savefig(COVER, dpi=200)


if __name__ == "__main__":
    main()

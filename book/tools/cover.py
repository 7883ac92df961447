"""Draw the picture of the front page and the README from the toys of chapter 02."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaelite import figures
from vaelite.toys import factor_analysis

COVER = Path(__file__).resolve().parents[1] / "_static" / "cover.png"


def main() -> None:
    """Write ``book/_static/cover.png``."""
    noise = np.full(2, 0.1)
    weights = np.array([[1.4, 0.5], [0.4, 0.6]])
    X, _ = factor_analysis.sample(weights, noise, 400, np.random.default_rng(0))
    # The maximum-likelihood weights along the principal directions; any rotation is as likely.
    variances, directions = np.linalg.eigh(X.T @ X / len(X))
    best = directions * np.sqrt(variances - noise)

    figure, (left, right) = figures.subplots(1, 2, height=3.0)
    figure.set_size_inches(9, 3.2)
    left.scatter(*X.T, s=6, color=figures.GREY, alpha=0.35, linewidths=0)
    degrees = (0, 25, 50)
    colours = (figures.BLUE, figures.ORANGE, figures.GREEN)
    for angle, colour in zip(degrees, colours, strict=True):
        W = best @ factor_analysis.rotation(np.radians(angle))
        for column in W.T:
            left.plot(*np.outer(column, (-2, 2)), color=colour)
    left.set(title="three explanations, equally likely", xlabel="$x_1$", ylabel="$x_2$")
    left.set_aspect("equal", adjustable="datalim")

    angles = np.linspace(0, 180, 91)
    rotated = [best @ factor_analysis.rotation(np.radians(angle)) for angle in angles]
    likelihood = [factor_analysis.log_likelihood(X, W, noise) / len(X) for W in rotated]
    energy = [factor_analysis.free_energy(X, W, noise) / len(X) for W in rotated]
    right.plot(angles, likelihood, color=figures.BLACK, label="log-likelihood")
    right.plot(angles, energy, color=figures.PINK, label="free energy")
    for angle, colour in zip(degrees, colours, strict=True):
        W = best @ factor_analysis.rotation(np.radians(angle))
        height = factor_analysis.free_energy(X, W, noise) / len(X)
        right.plot(angle, height, "o", color=colour, markersize=9)
    right.set(title="inference prefers one", xlabel="rotation (degrees)", ylabel="nats per datum")
    right.set_xticks([0, 45, 90, 135, 180])
    right.set_ylim(top=max(likelihood) + 0.12)
    right.legend(loc="upper center", ncols=2)
    figure.savefig(COVER, dpi=120)


if __name__ == "__main__":
    main()

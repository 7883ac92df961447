"""The figures of the chapters on latent variables and on bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.book.figures import BLACK, BLUE, GREEN, GREY, ORANGE, SKY
from vaelite.book.latent_grid import LatentGrid


def image_rows(*rows: np.ndarray) -> Figure:
    """Draw square images, ten side by side, one block of rows under the other.

    Args:
        *rows: each ``(N, L)`` with values between 0 and 1, L the square of the side.
    """
    blocks = []
    for row in rows:
        side = round(row.shape[1] ** 0.5)
        block = figures.image_grid(row.reshape(-1, side, side), columns=10)
        blocks += [block, np.zeros((3, block.shape[1]))]
    picture = np.concatenate(blocks[:-1])
    figure, axes = figures.subplots(height=5.2 * picture.shape[0] / picture.shape[1])
    axes.imshow(picture, vmin=0, vmax=1)
    axes.axis("off")
    return figure


def line_and_noise(line: np.ndarray, X: np.ndarray, Z: np.ndarray) -> Figure:
    """Draw data of a factor analysis with two pixels and one latent.

    Args:
        line: ``(2, 1)``, the weights.
        X: ``(N, 2)``, observations.
        Z: ``(N, 1)``, their latents.
    """
    figure, axes = figures.subplots(height=2.8)
    ends = np.array([[-2.8], [2.8]]) @ line.T
    axes.plot(*ends.T, color=ORANGE, label=r"$Wz$")
    axes.scatter(*X.T, s=12, color=BLUE, alpha=0.6, label="$x$")
    far = ((X - Z @ line.T) ** 2).sum(1).argmax()  # the point that the noise moved most
    on_line = Z[far] @ line.T
    axes.plot(*on_line, "o", color=ORANGE)
    axes.plot(*np.stack([on_line, X[far]]).T, "--", color=BLACK, lw=1.5, label="its noise")
    axes.set(xlabel="first pixel", ylabel="second pixel", aspect="equal")
    axes.legend(loc="upper left", fontsize=11)
    return figure


def draws_needed(exact: np.ndarray, measured: np.ndarray) -> Figure:
    """Draw how many draws a naive estimate needs, by number of latents from 1."""
    figure, axes = figures.subplots(height=2.5)
    axes.semilogy(range(1, len(exact) + 1), exact, color=BLUE, label="exact")
    axes.semilogy(range(1, len(measured) + 1), measured, "o", color=ORANGE, label="measured")
    axes.set(xlabel="latents", ylabel="draws for 10 % error", xticks=[1, 4, 8, 12, 16])
    axes.legend()
    return figure


def jensen() -> Figure:
    """Draw the logarithm with the chord between 0.5 and 1.5."""
    figure, axes = figures.subplots(height=3.0)
    w = np.linspace(0.3, 2.0, 200)
    low, high = 0.5, 1.5
    middle = 0.5 * (np.log(low) + np.log(high))
    axes.plot(w, np.log(w), color=BLUE)
    axes.plot([low, high], np.log([low, high]), "o-", color=ORANGE)
    axes.plot([1, 1], [0, middle], "o", color=BLACK, zorder=3)
    axes.annotate(
        "logarithm of\nthe average: 0",
        (1, 0),
        (0.42, 0.35),
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    axes.annotate(
        f"average of the\nlogarithms: {number(middle, '.2f')}",
        (1, middle),
        (1.2, -0.65),
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    axes.set(xlabel="weight $w$", ylabel=r"$\log w$", xticks=[0.5, 1, 1.5, 2])
    return figure


def cost_of_codes(
    names: Sequence[str],
    losses: Sequence[float],
    prices: Sequence[float],
    gaps: Sequence[float],
    best: float,
) -> Figure:
    """Draw minus the ELBO of several q as bars.

    Args:
        names: what each q is.
        losses: minus the expected log-likelihood.
        prices: divergence from the prior.
        gaps: divergence from the posterior, written beside the bar.
        best: minus the log evidence.
    """
    figure, axes = figures.subplots(height=2.9)
    places = np.arange(len(names))[::-1]
    axes.barh(places, losses, color=ORANGE, label="reconstruction loss")
    axes.barh(places, prices, left=losses, color=BLUE, label="price of the code")
    axes.axvline(best, color=BLACK, ls="--", lw=1.5, label=r"$-\log p(\mathbf{x})$")
    for place, end, gap in zip(places, np.add(losses, prices), gaps, strict=True):
        axes.text(end + 0.25, place, f"KL {abs(gap):.2f}", va="center")
    end = max(np.add(losses, prices))
    axes.set(yticks=places, xlabel="nats", xlim=(0, 1.22 * end))
    axes.set_yticklabels(names)
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, -0.2), ncols=3, fontsize=10)
    return figure


def vae_diagram(picture: np.ndarray) -> Figure:
    """Draw the parts of a VAE: encoder, latent, decoder, and the two terms of its bound.

    Args:
        picture: ``(H, W)``, the datum at the left end.
    """
    figure, axes = figures.subplots(height=2.9)
    axes.set(xlim=(0, 10.4), ylim=(0, 5.8), aspect="equal")
    axes.axis("off")
    axes.imshow(picture, extent=(0.05, 1.55, 2.25, 3.75), zorder=2)
    axes.text(0.8, 1.95, r"$\mathbf{x}$", ha="center", va="top")
    # The decoder's answer: one probability a pixel, here as shades that stand for any numbers.
    shades = 0.15 + 0.5 * np.add.outer(np.arange(8), np.arange(8)) / 14
    axes.imshow(shades, extent=(8.85, 10.35, 2.25, 3.75), vmin=0, vmax=1, zorder=2)
    axes.text(10.35, 1.95, "probabilities\nof ink, $\\pi_j$", ha="right", va="top")
    for left, name, colour in ((2.05, "encoder", BLUE), (7.0, "decoder", ORANGE)):
        box = FancyBboxPatch(
            (left, 2.3), 1.35, 1.4, boxstyle="round,pad=0.05", fc="white", ec=colour, lw=2
        )
        axes.add_patch(box)
        axes.text(left + 0.68, 3.0, name, ha="center", va="center", fontsize=11)
    axes.text(4.15, 3.42, r"$\mathbf{\mu}$", ha="center", va="center")
    axes.text(4.15, 2.58, r"$\mathbf{\sigma}$", ha="center", va="center")
    axes.text(5.75, 3.0, r"$\mathbf{z}$", ha="center", va="center", fontsize=16)
    axes.text(5.75, 4.75, r"noise $\mathbf{\epsilon}$", ha="center", va="center")
    axes.text(
        5.75,
        1.75,
        r"$\mathbf{z} = \mathbf{\mu} + \mathbf{\sigma} \odot \mathbf{\epsilon}$",
        ha="center",
        va="center",
        fontsize=11,
    )
    arrows = [((1.6, 3), (2.0, 3)), ((3.5, 3.2), (3.95, 3.4)), ((3.5, 2.8), (3.95, 2.6))]
    arrows += [((4.4, 3.4), (5.4, 3.1)), ((4.4, 2.6), (5.4, 2.9)), ((5.75, 4.5), (5.75, 3.35))]
    arrows += [((6.1, 3), (6.9, 3)), ((8.45, 3), (8.8, 3))]
    for start, end in arrows:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=GREY))
    axes.text(
        4.15,
        0.55,
        "price: how far $q$ is\nfrom the prior",
        ha="center",
        va="center",
        fontsize=10.5,
        color=BLUE,
    )
    axes.plot([4.15, 4.15], [1.05, 2.2], ":", color=BLUE, lw=1.5)
    axes.plot([0.8, 0.8, 9.6, 9.6], [4.0, 5.35, 5.35, 4.0], ":", color=ORANGE, lw=1.5)
    axes.text(
        3.0,
        5.4,
        "reconstruction: how probable $\\mathbf{x}$ is",
        ha="center",
        va="bottom",
        fontsize=10.5,
        color=ORANGE,
    )
    return figure


def loss_curve(losses: Sequence[float], window: int = 50) -> Figure:
    """Draw the loss of each step, averaged over a window."""
    figure, axes = figures.subplots(height=2.2)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(np.arange(len(smooth)) + window, smooth, color=BLUE)
    axes.set(xlabel="step", ylabel="loss (nats)", ylim=(18, 36))
    return figure


def latent_map(code: np.ndarray, labels: np.ndarray) -> Figure:
    """Write each digit at the place of its code.

    Args:
        code: ``(N, 2)``.
        labels: ``(N,)``, the digits.
    """
    figure, axes = figures.subplots(height=3.6)
    for point, digit in zip(code, labels, strict=True):
        style = {
            "color": figures.class_colour(digit),
            "ha": "center",
            "va": "center",
            "fontsize": 10,
        }
        axes.text(*point, str(digit), **style)
    reach = float(np.abs(code).max()) + 0.2
    limits = (-reach, reach)
    axes.set(xlim=limits, ylim=limits, xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return figure


def _landscape(axes: Axes, grid: LatentGrid, density: Tensor) -> None:
    """Fill the contours of a density on the grid, white where it is next to nothing."""
    levels = density.max().item() * np.linspace(0.02, 1, 10)
    axes.contourf(grid.axis, grid.axis, grid.square(density).numpy(), levels=levels, cmap="Blues")


def posterior_and_q(grid: LatentGrid, x: Tensor, mean: Tensor, log_var: Tensor) -> Figure:
    """Draw a picture, its posterior on the grid, and q as an ellipse of two deviations.

    Args:
        grid: the model's grid.
        x: ``(L,)``, the picture.
        mean: ``(2,)``, of q.
        log_var: ``(2,)``, of q.
    """
    figure, (left, right) = figures.subplots(1, 2, height=2.6, width_ratios=[1, 2.2])
    side = round(len(x) ** 0.5)
    left.imshow(x.reshape(side, side))
    left.axis("off")
    _landscape(right, grid, grid.log_joint(x[None])[0].softmax(0))
    covariance = np.diag(log_var.exp().numpy())
    figures.covariance_ellipse(right, mean.numpy(), covariance, color=ORANGE, lw=2)
    right.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return figure


def gap_bars(gaps: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw mean gaps as stacked bars.

    Args:
        gaps: by name, approximation and amortisation gap, each ``(N,)``.
    """
    figure, axes = figures.subplots(height=2.2)
    means = [(float(first.mean()), float(second.mean())) for first, second in gaps.values()]
    places = range(len(means) - 1, -1, -1)
    for place, (a, b) in zip(places, means, strict=True):
        axes.barh(place, a, color=SKY, label="" if place else "approximation gap")
        axes.barh(place, b, left=a, color=ORANGE, label="" if place else "amortisation gap")
        axes.text(a + b, place, f"  {a:.2f} + {abs(b):.2f}", va="center")
    axes.set(xlabel="nats a datum", xlim=(0, 1.35 * max(map(sum, means))))
    axes.set_yticks(places, gaps)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.35), ncols=2)
    return figure


def bounds_with_draws(counts: Sequence[int], bounds: Sequence[float], truth: float) -> Figure:
    """Draw a bound against its number of draws, with the truth as a dashed line."""
    figure, axes = figures.subplots(height=3.0)
    axes.semilogx(counts, bounds, "o-", color=ORANGE, label="bound with $S$ draws")
    axes.axhline(truth, color=BLACK, ls="--", label="log evidence, by grid")
    margin = 0.08 * (truth - min(bounds))
    axes.set(xlabel="draws $S$", ylabel="nats a digit", ylim=(min(bounds) - margin, truth + margin))
    axes.legend(loc="lower right")
    return figure


def bracket(
    counts: Sequence[int], below: Sequence[np.ndarray], above: Sequence[np.ndarray]
) -> Figure:
    """Draw bounds from both sides around the evidence, with 95 % intervals of their means.

    Args:
        counts: numbers of draws.
        below: errors of the estimates from below, ``(B,)`` for each number.
        above: the same from above.
    """
    figure, axes = figures.subplots(height=2.6)
    for sides, colour, marker, label in (
        (above, BLUE, "s-", "with the picture's own code"),
        (below, ORANGE, "o-", "draws of the encoder alone"),
    ):
        mean = [errors.mean() for errors in sides]
        half = [1.96 * errors.std(ddof=1) / len(errors) ** 0.5 for errors in sides]
        axes.errorbar(counts, mean, half, fmt=marker, color=colour, label=label)
    axes.axhline(0, color=BLACK, ls="--", label="log evidence, by grid")
    axes.set(xscale="log", xlabel="draws $S$", ylabel="nats above\nlog evidence")
    axes.set_ylim(-1.6, 2.7)
    axes.legend(loc="upper right", fontsize=11)
    return figure


def rate_of_bounds(bounds: Sequence[float], variance: float) -> Figure:
    """Draw the gap of the bounds with 1, 2, ... draws, and the rule v / 2S.

    Args:
        bounds: each minus the log evidence.
        variance: v, that of one weight over the evidence.
    """
    figure, axes = figures.subplots(height=2.3)
    draws = np.arange(1, len(bounds) + 1)
    axes.loglog(draws, variance / (2 * draws), "--", color=GREY, label="rule $v/2S$")
    axes.loglog(draws, -np.asarray(bounds), "o", color=ORANGE, label="bound with $S$ draws")
    axes.set(xlabel="draws $S$", ylabel="nats below\nlog evidence")
    axes.set_xticks(draws, [str(count) for count in draws])
    axes.minorticks_off()
    axes.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
    axes.set_ylim(0.03, 0.45)
    axes.legend(loc="lower left")
    return figure


def errors(error: np.ndarray) -> Figure:
    """Draw a histogram of errors, counts on a logarithmic axis."""
    figure, axes = figures.subplots(height=2.6)
    bins = np.arange(np.floor(error.min()) - 0.05, np.ceil(error.max()) + 0.1, 0.1)
    axes.hist(error, bins=bins, color=BLUE, log=True)
    axes.set(xlabel="estimate minus log evidence (nats)", ylabel="digits", ylim=(0.6, None))
    return figure


def telescope(
    grid: LatentGrid, log_densities: Sequence[Tensor], titles: Sequence[str], steps: Sequence[str]
) -> Figure:
    """Draw densities on the grid side by side, with an arrow from each to the next.

    Args:
        grid: the grid.
        log_densities: two or more, each ``(G,)``.
        titles: one a density.
        steps: what each arrow says, one fewer.
    """
    count = len(log_densities)
    figure, panels = figures.subplots(1, count, height=2.5)
    for axes, log_density, title in zip(panels, log_densities, titles, strict=True):
        _landscape(axes, grid, log_density.exp())
        axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_title(title, fontsize=10.5)
    for left, right, step in zip(panels[:-1], panels[1:], steps, strict=True):
        left.annotate(
            "",
            xy=(0.3, -0.06),
            xycoords=right.transAxes,
            xytext=(0.7, -0.06),
            textcoords=left.transAxes,
            arrowprops={
                "arrowstyle": "-|>",
                "color": ORANGE,
                "lw": 2,
                "connectionstyle": "arc3,rad=0.35",
            },
            annotation_clip=False,
        )
        left.annotate(
            step,
            xy=(1.03, -0.42),
            xycoords="axes fraction",
            ha="center",
            va="top",
            fontsize=10.5,
            annotation_clip=False,
        )
    return figure


def by_latents(
    counts: Sequence[int],
    intervals: Sequence[tuple[float, float]],
    means: dict[str, Sequence[float]],
) -> Figure:
    """Draw likelihood and bounds against the number of latents.

    Args:
        counts: numbers of latents.
        intervals: 95 % interval of the held-out log-likelihood, one a count.
        means: ``elbo``, ``train_elbo`` and ``active``, one a count each.
    """
    figure, axes = figures.subplots(height=3.2)
    low, high = np.array(intervals).T
    places = np.arange(len(counts))
    axes.plot(places, means["train_elbo"], "s--", color=GREY, label="ELBO, training")
    axes.errorbar(
        places,
        (low + high) / 2,
        (high - low) / 2,
        color=BLUE,
        marker="o",
        label="log-likelihood, held out",
    )
    axes.plot(places, means["elbo"], "^:", color=ORANGE, label="ELBO, held out")
    bottom = min(means["elbo"])
    for place, active in zip(places, means["active"], strict=True):
        axes.text(place, bottom - 1.6, f"{active:.1f}", ha="center", va="bottom", color=GREY)
    axes.set(xticks=places, xlabel="latents", ylabel="nats a digit")
    axes.set_xticklabels([str(count) for count in counts])
    axes.set_ylim(bottom - 1.8, None)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.08))
    return figure


def posterior_on_grid(
    axis: np.ndarray, posterior: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> Figure:
    """Draw a posterior that was summed on a grid, and the ellipse of its closed form.

    Args:
        axis: ``(P,)``, the grid's points on each axis.
        posterior: ``(P * P,)``, the first latent running fastest.
        mean: ``(2,)``, of the closed form.
        covariance: ``(2, 2)``.
    """
    figure, axes = figures.subplots(height=2.9)
    square = posterior.reshape(len(axis), len(axis))
    axes.contourf(axis, axis, square, levels=square.max() * np.linspace(0.02, 1, 10), cmap="Blues")
    for deviations in (1, 2):
        figures.covariance_ellipse(
            axes, mean, covariance, deviations=deviations, color=ORANGE, ls="--", lw=2
        )
    axes.plot(*mean, "+", color=ORANGE, ms=10, mew=2)
    axes.set(xlim=(-1, 2.6), ylim=(-1, 2.2), xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return figure


def score_or_path(log_joint: Callable, mean: float, deviation: float, noise: np.ndarray) -> Figure:
    """Draw what the two gradients see of a few draws: heights, or slopes.

    Args:
        log_joint: log p(x, z) of an array of latents.
        mean: of q.
        deviation: of q.
        noise: ``(S,)``, standard normal.
    """
    figure, panels = figures.subplots(1, 2, height=2.6, sharey=True)
    z = np.linspace(mean - 2.6 * deviation, mean + 2.6 * deviation, 200)
    draws = mean + deviation * noise
    heights = log_joint(draws)
    bottom = log_joint(z).min() - 0.3
    titles, colours = ("score: how high?", "path: which way up?"), (ORANGE, GREEN)
    for axes, title, colour in zip(panels, titles, colours, strict=True):
        axes.plot(z, log_joint(z), color=GREY, lw=1.2)
        axes.plot(draws, heights, "o", color=colour, zorder=3)
        axes.set(xlabel="$z$", ylim=(bottom, log_joint(z).max() + 0.6))
        axes.set_title(title, fontsize=12)
    panels[0].set_ylabel(r"$\log p(x, z)$")
    panels[0].vlines(draws, bottom, heights, color=ORANGE, lw=2)
    step = 1e-4
    slopes = (log_joint(draws + step) - log_joint(draws - step)) / (2 * step)
    for place, height, slope in zip(draws, heights, slopes, strict=True):
        panels[1].annotate(
            "",
            (place + 0.15 * slope, height),
            (place, height),
            arrowprops={"arrowstyle": "-|>", "color": GREEN, "lw": 2, "shrinkA": 0, "shrinkB": 0},
        )
    return figure


def gap_ladder() -> Figure:
    """Draw the two gaps between a bound and the evidence, without numbers."""
    figure, axes = figures.subplots(height=2.4)
    levels = [
        (3.0, r"$\log p(\mathbf{x})$, the evidence", BLACK),
        (2.2, r"$\mathcal{L}(q^*)$, the best of the family", BLUE),
        (0.8, r"$\mathcal{L}(q_\phi)$, the encoder's", ORANGE),
    ]
    for height, name, colour in levels:
        axes.plot([0, 2.6], [height, height], color=colour, lw=3)
        axes.text(2.7, height, name, va="center", color=colour)
    for low, high, name in ((2.2, 3.0, "approximation gap"), (0.8, 2.2, "amortisation gap")):
        arrow = {"arrowstyle": "<->", "color": GREY, "lw": 1.5}
        axes.annotate("", (0.25, high), (0.25, low), arrowprops=arrow)
        axes.text(0.4, (low + high) / 2, name, va="center", fontsize=11)
    axes.set(xlim=(0, 5.6), ylim=(0.5, 3.3))
    axes.axis("off")
    return figure

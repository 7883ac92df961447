"""Figures of the chapter on the ISA-VAE: what is drawn, not what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.book.explore import Curve, Panel, Points


def two_priors(clouds: Mapping[str, np.ndarray]) -> Figure:
    """Draw two clouds ``(N, 2)`` side by side on the same axes."""
    fig, axes = figures.subplots(1, 2, height=2.5, sharex=True, sharey=True)
    for ax, (name, z) in zip(axes, clouds.items(), strict=True):
        ax.plot(*z.T, ".", color=figures.BLUE, markersize=3, alpha=0.5)
        ax.set(title=name, xlabel="$z_1$", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
        ax.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    axes[0].set_ylabel("$z_2$")
    return fig


def pictures(rows: Mapping[str, np.ndarray], columns: int) -> Figure:
    """Draw rows of pictures ``(columns, H, W)`` of any sizes, one row an axes."""
    fig, axes = figures.subplots(len(rows), 1, height=0.75, squeeze=False)
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        grid = figures.image_grid(images, columns=columns, fill=0.35)
        ax.imshow(np.pad(grid, 1, constant_values=0.35), vmin=0, vmax=1)  # a frame around each
        ax.set(xticks=[], yticks=[], frame_on=False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


def noise_of_estimators(P: float, v: float) -> list[Panel]:
    """Return the variances of three estimators' value and gradient, against the width of q.

    The model is the chapter's: one latent, a normal prior, a posterior of precision P.
    """
    widths = np.geomspace(0.1, 4, 49) / P
    with np.errstate(divide="ignore"):
        gradient = {
            "sampled": P**2 * widths,
            "closed": (P - 1) ** 2 * widths,
            "no score": (P - 1 / widths) ** 2 * widths,
        }
    looks = {
        "sampled": (figures.BLUE, False),
        "closed": (figures.ORANGE, True),
        "no score": (figures.GREEN, False),
    }
    lines = [
        Curve(
            np.log2(P * widths),
            np.log10(np.maximum(gradient[name], 1e-3)),
            label=name,
            colour=colour,
            dashed=dashed,
        )
        for name, (colour, dashed) in looks.items()
    ]
    here = {
        "sampled": P**2 * v,
        "closed": (P - 1) ** 2 * v,
        "no score": (P - 1 / v) ** 2 * v,
    }
    dots = [
        Points(
            np.log2(P * v),
            np.log10(max(here[name], 1e-3)),
            colour=colour,
            drag=False,
        )
        for name, (colour, _) in looks.items()
    ]
    text = ", ".join(f"{name} {value:.2f}" for name, value in here.items())
    return [
        Panel(
            curves=lines,
            points=dots,
            xlabel="log₂ (variance of q / posterior's)",
            ylabel="log₁₀ of the gradient's variance",
            ylim=(-3.1, 3),
            text=text,
        )
    ]


def exponents_over_steps(paths: Mapping[str, np.ndarray], truth: Sequence[float]) -> Figure:
    """Draw learned exponents ``(steps, K)`` against the step, a panel for each way of learning."""
    fig, axes = figures.subplots(1, 2, height=3.0, sharey=True)
    for ax, (title, path) in zip(axes, paths.items(), strict=True):
        for k, style in enumerate(("-", "--", ":")):
            label = f"true {truth[k]:.1f}"
            ax.semilogy(path[:, k], style, color=figures.COLOURS[k], label=label)
        ax.set(title=title, xlabel="step")
        ax.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        ax.minorticks_off()
    axes[0].set_ylabel("exponent")
    axes[1].legend(loc="upper left", fontsize=11)
    return fig


def seeds_and_intervals(intervals: np.ndarray, count: int, matters: float) -> Panel:
    """Return a panel of the intervals that 3, 4, ... ``count`` pairs give.

    Args:
        intervals: ``(M, 2)`` after 3, 4, ... pairs.
        count: how many pairs are shown, at least 3.
        matters: the difference that matters.
    """
    known = np.arange(3, len(intervals) + 3)
    shown = np.where((known <= count)[:, None], intervals, np.nan)
    low, high = intervals[count - 3]
    ends = [3, len(intervals) + 2]
    return Panel(
        curves=[
            Curve(known, shown[:, 0], label="95 % interval", colour=figures.BLUE),
            Curve(known, shown[:, 1], colour=figures.BLUE),
            Curve(ends, [matters] * 2, label="what matters", colour=figures.ORANGE),
            Curve(ends, [-matters] * 2, colour=figures.ORANGE),
            Curve(ends, [0, 0], colour=figures.GREY, dashed=True),
        ],
        points=[Points([count, count], [low, high], colour=figures.BLUE)],
        xlabel="pairs of seeds",
        ylabel="difference in MIG",
        xlim=(3, len(intervals) + 2),
        ylim=(-0.3, 0.3),
        text=f"{count} pairs: {number(low, '+.3f')} to {number(high, '+.3f')}",
    )


def lift_labels(ax: Axes) -> None:
    """Put the texts of a panel above its lines and bars, with a rim that keeps them legible."""
    for text in ax.texts:
        text.set(zorder=5, path_effects=[withStroke(linewidth=3, foreground="white")])


def sorted_exponents(panels: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Draw histograms of triples ``(models, 3)``, a panel for each entry."""
    fig, axes = figures.subplots(len(panels), 1, height=2.2, squeeze=False)
    look = {"histtype": "stepfilled", "alpha": 0.5, "edgecolor": "black"}
    for ax, (title, triples) in zip(axes[:, 0], panels.items(), strict=True):
        bins = np.linspace(triples.min() - 0.02, triples.max() + 0.02, 21)
        for k, (label, column) in enumerate(zip(labels, triples.T, strict=True)):
            line, colour = ("-", "--", ":")[k], figures.COLOURS[k]
            ax.hist(column, bins, **look, color=colour, linestyle=line, label=label)
        ax.set(title=title, ylabel="models")
        ax.legend(fontsize=10)
    axes[-1, 0].set_xlabel("exponent")
    return fig


def angles_by_prior(
    angles: Mapping[str, np.ndarray], intervals: Sequence[tuple[float, float]]
) -> Figure:
    """Draw the angle of each trained code by prior, a dot a run, with mean and interval."""
    fig, ax = figures.subplots(height=3.4)
    ax.axhline(22.5, color=figures.GREY, ls=":", lw=1.5)
    for place, (runs, interval) in enumerate(zip(angles.values(), intervals, strict=True)):
        jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(runs))
        ax.plot(place + jitter, runs, ".", color=figures.SKY, markersize=6)
        ax.plot([place, place], interval, "-", color=figures.BLACK, lw=3)
        ax.plot([place], [runs.mean()], "o", color=figures.ORANGE, markersize=7)
    ax.set_xticks(range(len(angles)), angles)
    ax.set(xlabel="exponent p   (*: the paper's, p0 = 2.1)", ylabel="angle, degrees", ylim=(0, 45))
    return fig


def around() -> np.ndarray:
    """Return ``(2, 97)`` points of the circle of radius one."""
    angle = np.linspace(0, 2 * np.pi, 97)
    return np.stack([np.cos(angle), np.sin(angle)])


def scale_of_prior(
    chosen: int, scales: np.ndarray, costs: Mapping[str, np.ndarray], outlines: Mapping
) -> list[Panel]:
    """Return outlines of a prior and two codes in the plane, and what the codes cost by scale.

    Args:
        chosen: which of the scales.
        scales: ``(M,)`` scales of the prior.
        costs: ``(M,)`` KL divergences from the prior by code, nats.
        outlines: ``(2, N)`` of the prior and the codes at the chosen scale, by name.
    """
    looks = dict(zip(outlines, (figures.GREY, figures.BLUE, figures.ORANGE), strict=True))
    exponents = np.log2(scales)
    return [
        Panel(
            curves=[
                Curve(*line, label=name, colour=looks[name], dashed=name not in costs)
                for name, line in outlines.items()
            ],
            xlabel="z₁",
            ylabel="z₂",
            xlim=(-4.3, 4.3),
            ylim=(-4.3, 4.3),
            equal_aspect=True,
        ),
        Panel(
            curves=[Curve(exponents, cost, colour=looks[name]) for name, cost in costs.items()],
            points=[
                Points(exponents[chosen], cost[chosen], colour=looks[name], drag=False)
                for name, cost in costs.items()
            ],
            xlabel="log₂ s",
            ylabel="KL, nats",
            ylim=(0, 4.2),
        ),
    ]

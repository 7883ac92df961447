"""Figures of the chapter on variational biases: what is drawn, not what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaelite.book import figures
from vaelite.book.explore import Curve, Panel, Points
from vaelite.toys import factor_analysis as fa
from vaelite.toys import ica

CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 49)), np.sin(np.linspace(0, 2 * np.pi, 49))])
REACH = 7.0  # half the width of a picture of the data
COLUMNS = (figures.GREEN, figures.PINK, figures.SKY)  # first, second and third source


def scene(ax: Axes, X: np.ndarray, truth: np.ndarray, found: np.ndarray, title: str) -> None:
    """Draw data ``(N, 2)``, true columns ``(2, K)`` as solid lines, found ones dashed."""
    ax.plot(*X.T, ".", color=figures.GREY, markersize=4)
    for W, colour, label, look in (
        (truth, figures.BLUE, "true", {"lw": 6, "alpha": 0.4}),
        (found, figures.ORANGE, "found", {"lw": 2, "ls": "--"}),
    ):
        for k, column in enumerate(W.T):
            ends = 4 * np.stack([-column, column])
            ax.plot(*ends.T, color=colour, label=label if k == 0 else None, **look)
    limits = {"xlim": (-REACH, REACH), "ylim": (-REACH, REACH)}
    ax.set(title=title, xticks=[], yticks=[], aspect="equal", **limits)


def scenes(X: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray]) -> Figure:
    """Draw one :func:`scene` for each entry of ``found``, two side by side."""
    rows = -(-len(found) // 2)
    columns = min(len(found), 2)
    fig, axes = figures.subplots(rows, columns, height=3.0, squeeze=False)
    for ax, (title, W) in zip(axes.flat, found.items(), strict=True):
        scene(ax, X, truth, W, title)
    axes[0, 0].legend(loc="upper left", fontsize=10)
    return fig


def contours(W: np.ndarray, noise_var: np.ndarray, beta: float = 1.0) -> list[Curve]:
    """Return two-deviation contours of posterior and mean field for two columns."""
    covariance = fa.posterior(W, noise_var, beta)[1]
    variance = fa.mean_field(W, noise_var, beta)[1]
    return [
        Curve(
            *(2 * np.linalg.cholesky(covariance) @ CIRCLE), label="posterior", colour=figures.BLUE
        ),
        Curve(
            *(2 * np.sqrt(variance)[:, None] * CIRCLE),
            label="mean field",
            colour=figures.ORANGE,
            dashed=True,
        ),
    ]


def lost_by_angle(angles: np.ndarray, losses: Mapping[str, np.ndarray]) -> Figure:
    """Draw what a factorised q loses against the angle between two columns, one line a noise."""
    fig, ax = figures.subplots(height=2.5)
    for (name, nats), style in zip(losses.items(), ("-", "--", ":"), strict=True):
        ax.plot(angles, nats, style, color=figures.ORANGE, label=name)
    ax.set(xlabel="angle between the columns (degrees)", xticks=range(0, 181, 30))
    ax.set(ylabel="nats lost per datum", ylim=(0, None))
    ax.legend(loc="upper center", fontsize=10)
    return fig


def shares(outcomes: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Draw shares of fits with their intervals.

    Args:
        outcomes: by outcome and by setting, mean, lower and upper end, from 0 to 1.
    """
    fig, ax = figures.subplots(height=2.6)
    looks = (
        {"marker": "o", "color": figures.BLACK},
        {"marker": "s", "color": figures.GREY},
        {"marker": "D", "color": figures.GREY, "markerfacecolor": "none"},
    )
    for row, settings in enumerate(outcomes.values()):
        for k, (name, (mean, low, high)) in enumerate(settings.items()):
            place = row + 0.22 * (k - 1)
            ends = 100 * np.array([low, high])
            ax.plot(ends, [place, place], color=looks[k]["color"], lw=2)
            label = name if row == 0 else None
            ax.plot(100 * mean, place, ls="none", label=label, **looks[k])
    ax.set(xlabel="per cent of the fits, with 95 % intervals", xlim=(-2, 102))
    ax.set_yticks(range(len(outcomes)), outcomes, fontsize=10)
    ax.invert_yaxis()
    fig.legend(loc="outside upper center", ncols=3, fontsize=10)
    return fig


def columns(W: np.ndarray, length: float = 1.0) -> list[Curve]:
    """Return a line from the origin for each column of ``W`` ``(2, K)``."""
    return [
        Curve([0, length * w[0]], [0, length * w[1]], label=f"column {k + 1}", colour=colour)
        for k, (w, colour) in enumerate(zip(W.T, COLUMNS, strict=False))
    ]


def through_origin(W: np.ndarray, colour: str, label: str, *, dashed: bool) -> list[Curve]:
    """Return a line through the origin along each column, five times as long."""
    return [
        Curve(
            *np.stack([-5 * w, 5 * w], axis=1),
            colour=colour,
            dashed=dashed,
            label=label if k == 0 else "",
        )
        for k, w in enumerate(W.T)
    ]


def climb_panels(
    X: np.ndarray, truth: np.ndarray, W: np.ndarray, steps: Sequence[int], lengths: np.ndarray
) -> list[Panel]:
    """Return the panels of a climb at its last shown step.

    Args:
        X: ``(N, 2)`` data.
        truth: ``(2, K)`` true columns.
        W: ``(2, K)`` columns at the chosen step.
        steps: ``(T,)`` the steps of ``lengths``; the chosen one is the last that is not NaN.
        lengths: ``(T, K)`` lengths of the columns, NaN after the chosen step.
    """
    lines = through_origin(truth, figures.BLUE, "true", dashed=False)
    lines += through_origin(W, figures.ORANGE, "found", dashed=True)
    kept = W[:, np.linalg.norm(W, axis=0) > 0.05]
    angles = ", ".join(f"{angle:.0f}°" for angle in ica.angles_between(kept))
    order = np.log10(1 + np.asarray(steps))
    return [
        Panel(
            curves=lines,
            points=[Points(*X.T, colour=figures.GREY)],
            xlim=(-REACH, REACH),
            ylim=(-REACH, REACH),
            equal_aspect=True,
            text=f"{kept.shape[1]} components, angles {angles}",
        ),
        Panel(
            curves=[
                Curve(order, lengths[:, k], label=f"column {k + 1}", colour=colour)
                for k, colour in enumerate(COLUMNS)
            ],
            xlabel="log₁₀ of the number of steps",
            ylabel="length of a column",
            xlim=(0, float(order[-1])),
            ylim=(0, 1.2),
        ),
    ]


def shrinking(betas: np.ndarray, fitted: np.ndarray, smooth: np.ndarray, law: np.ndarray) -> Figure:
    """Draw column lengths against beta: the law ``(M, 2)`` as lines, fits ``(B, 2)`` as dots."""
    fig, ax = figures.subplots(height=2.5)
    looks = ((COLUMNS[1], "--", "weaker"), (COLUMNS[0], "-", "stronger"))
    for k, (colour, style, name) in enumerate(looks):
        ax.plot(smooth, law[:, k], style, color=colour, label=f"{name} component")
        ax.plot(betas, fitted[:, k], "o", color=colour)
    ax.set(xlabel="β", ylabel="length of the column")
    ax.legend()
    return fig


def sharing(alphas: np.ndarray, likelihood: np.ndarray, energy: np.ndarray) -> Figure:
    """Draw likelihood and free energy of a family of weights, the paper's range shaded."""
    fig, ax = figures.subplots(height=2.6)
    ax.axvspan(0, 0.5, color=figures.GREY, alpha=0.2, lw=0)
    ax.plot(alphas, likelihood, color=figures.BLUE, label="log-likelihood")
    ax.plot(alphas, energy, "--", color=figures.ORANGE, label="free energy")
    ax.set(xlabel="α, share of the first source", ylabel="nats, all data")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return fig


def heat_maps(maps: Mapping[str, np.ndarray], rows: Sequence[str], columns_: Sequence) -> Figure:
    """Draw tables of components left, from 0 to 3, as coloured cells with numbers."""
    fig, axes = figures.subplots(len(maps), 1, height=1.75, sharex=True, squeeze=False)
    for ax, (title, values) in zip(axes[:, 0], maps.items(), strict=True):
        ax.imshow(values, cmap="cividis", vmin=0, vmax=3, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            ink = "black" if value > 1.6 else "white"
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=ink)
        ax.set_title(title, fontsize=12)
        ax.set(yticks=range(len(rows)), xticks=range(len(columns_)))
        ax.set_yticklabels([name.replace(", ", ",\n") for name in rows], fontsize=10)
        ax.spines[:].set_visible(False)
    axes[-1, 0].set_xticks(range(len(columns_)), [f"{value:g}" for value in columns_])
    axes[-1, 0].set_xlabel("standard deviation of the noise")
    return fig

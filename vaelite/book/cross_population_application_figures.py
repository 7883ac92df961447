"""Figures of the chapter on what the cross-population VAE is good for: what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.book.explore import Bars, Curve, Panel, Points

TASKS = ("sunflower", "daisy", "iris", "daffodil", "pansy")
# The two layers of a picture; a task has the colour of its number, a training one of the rest.
DIGITS, GRASS = figures.BLUE, figures.ORANGE


def pictures(rows: Mapping[str, np.ndarray], height: float = 0.62) -> Figure:
    """Draw rows of pictures, each with its name on the left, black at 0 and white at 1.

    Args:
        rows: ``(n, H, W)`` or ``(n, H, W, 3)``, the same n for all; values are clipped.
        height: of a row, in inches.
    """
    fig, axes = figures.subplots(len(rows), 1, height=height, squeeze=False)
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        shown = np.clip(images, 0, 1)
        grid = figures.image_grid(shown, columns=len(shown), gap=1, fill=1.0)
        ax.imshow(grid, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
    return fig


def strip(*images: np.ndarray, gap: int = 1) -> np.ndarray:
    """Lay pictures ``(H, W)`` or ``(H, W, 3)`` side by side, with white between."""
    shown = [np.clip(image, 0, 1) for image in images]
    white = np.ones((shown[0].shape[0], gap, *shown[0].shape[2:]))
    parts = [part for image in shown for part in (white, image)]
    return np.concatenate(parts[1:], axis=1)


def shares(alphas: Sequence[str], lines: Mapping[str, Sequence[float]], at: int) -> Panel:
    """Return a panel of the shares of each layer that are explained, training by training.

    Args:
        alphas: names of the trainings.
        lines: ``(trainings,)`` by name.
        at: which training is marked.
    """
    places = np.arange(len(alphas))
    colours = (DIGITS, GRASS)
    drawn = list(zip(lines.items(), colours, (False, True), strict=True))
    text = ", ".join(f"{name} {number(values[at], '.2f')}" for name, values in lines.items())
    everything = np.stack(list(lines.values()))
    return Panel(
        curves=[
            Curve(places, np.asarray(values), label=name, colour=colour, dashed=dashed)
            for (name, values), colour, dashed in drawn
        ],
        points=[
            Points(at, float(np.asarray(values)[at]), colour=colour, drag=not dashed)
            for (_, values), colour, dashed in drawn
        ],
        xlabel="training " + ", ".join(f"{i}: {name}" for i, name in enumerate(alphas)),
        ylabel="share explained",
        ylim=(min(-0.05, everything.min() - 0.02), everything.max() + 0.1),
        text=text,
    )


def clusters(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw points of the plane in the colours of their classes, a panel for each entry.

    Args:
        panels: points ``(N, 2)`` and classes ``(N,)`` by title.
    """
    fig, axes = figures.subplots(1, len(panels), height=3.0, squeeze=False)
    for ax, (title, (points, labels)) in zip(axes[0], panels.items(), strict=True):
        for label in np.unique(labels):
            rows = labels == label
            look = {"color": figures.class_colour(label), "markersize": 3, "label": str(label)}
            ax.plot(*points[rows].T, ".", **look)
        ax.set(title=title, xticks=[], yticks=[])
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=5, fontsize=11, markerscale=4)
    return fig


def importance(log_weights: np.ndarray, count: int) -> Panel:
    """Return how much of their sum the ten largest of the first importance weights make together.

    Args:
        log_weights: ``(S,)``.
        count: how many of them are used, ten or more.
    """
    used = np.sort(np.asarray(log_weights[:count], dtype=float))[::-1]
    weights = np.exp(used - used[0])
    weights /= weights.sum()
    effective = 1 / np.square(weights).sum()
    grown = np.cumsum(weights)[:10]
    return Panel(
        bars=Bars(grown, names=range(1, len(grown) + 1)),
        xlabel="the largest weights together",
        ylabel="share of the sum",
        ylim=(0, 1),
        text=f"{effective:.1f} effective of {count}",
    )


def annealing(
    weights: np.ndarray, kls: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> Figure:
    """Draw the schedule of the weight, and the private KL terms of two trainings under it.

    Args:
        weights: ``(epochs,)``, alpha in epochs 0, 1, 2, ...
        kls: steps, own KL and cross KL ``(entries,)`` by training.
    """
    fig, (above, below) = figures.subplots(2, 1, height=2.0)
    above.semilogy(weights, color=figures.BLACK)
    above.set(xlabel="epoch e", ylabel="α")
    for (name, (steps, own, cross)), colour in zip(
        kls.items(), (figures.SKY, figures.class_colour(8)), strict=False
    ):
        below.semilogy(steps, own, "-", color=colour, label=f"{name}: own data")
        below.semilogy(steps, cross, ":", color=colour, label=f"{name}: other data")
    below.set(xlabel="training step", ylabel="KL, nats")
    fig.legend(fontsize=10, loc="outside lower center", ncols=2)
    return fig


def errors_by_phase(errors: Mapping[str, np.ndarray]) -> Figure:
    """Draw each task's error after each phase, a panel for each method.

    A task is drawn from the phase that taught it; phase 1 teaches two.

    Args:
        errors: ``(phases, tasks)`` by method.
    """
    fig, axes = figures.subplots(1, len(errors), height=2.8, sharey=True, squeeze=False)
    for ax, (method, table) in zip(axes[0], errors.items(), strict=True):
        phases, tasks = np.shape(table)
        for task in range(tasks):
            start = max(task - 1, 0)
            along = np.arange(start, phases) + 1
            look = {"color": figures.COLOURS[task], "label": TASKS[task]}
            ax.plot(along, np.asarray(table)[start:, task], "o-", **look)
        ax.set_title(method, fontsize=11)
        ax.set(xlabel="phase", xticks=range(1, phases + 1))
    axes[0, 0].set(ylabel="squared error", ylim=(0, None))
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=3, fontsize=10)
    return fig


def learned_so_far(
    originals: np.ndarray, again: np.ndarray, errors: Sequence[float], phase: int, most: float
) -> list[Panel]:
    """Return five flowers above what a model makes of them after a phase, and the errors.

    Args:
        originals: ``(tasks, H, W, 3)``.
        again: the same of reconstructions.
        errors: of each task's held-out flowers.
        phase: from 1; the tasks up to ``phase + 1`` were taught, the others are left white.
        most: the largest error that any figure shows.
    """
    known = phase + 1
    shown = np.where((np.arange(len(again)) < known)[:, None, None, None], again, 1.0)
    top, bottom = (strip(*rows) for rows in (originals, shown))
    gap = np.ones((1, *top.shape[1:]))
    heights = np.where(np.arange(len(errors)) < known, errors, 0.0)
    return [
        Panel(image=np.concatenate([top, gap, bottom]), title="flowers, and again"),
        Panel(
            bars=Bars(heights, names=[name[:3] for name in TASKS], colour=figures.GREY),
            ylabel="squared error",
            ylim=(0, 1.1 * most),
            text=f"tasks 1 to {known} taught",
        ),
    ]

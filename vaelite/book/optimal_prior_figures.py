"""Pictures and figures of the chapter on optimal priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaelite.book import figures
from vaelite.book.explore import Curve, Panel, Points
from vaelite.toys import optimal_prior as toy

# One colour for each term of theorem 1, each task and each prior, everywhere in the chapter.
TASK, DATA, MISFIT = figures.ORANGE, figures.BLUE, figures.GREY
TASKS = (figures.GREEN, figures.PINK)
SIMPLE, OPTIMAL = figures.SKY, figures.class_colour(8)


class Line(NamedTuple):
    """Two tasks on a line, at one offset: densities on a grid, and theorem 1."""

    tasks: tuple[Any, Any]
    """Densities of the codes of each task, each ``(M,)``."""
    aggregate: Any
    """Their average ``(M,)``."""
    task_information: Any
    marginal_kl: Any
    data_information: Any


GRID = np.linspace(-3.4, 3.4, 205)
NORMAL = np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)


def two_tasks(world: toy.World, blur: float, gap: Any, share: Any = None) -> Line:
    """Return codes and theorem 1 for two tasks of equal share and two classes.

    Plain arithmetic on a grid, so that a page can repeat it while a reader drags; the toy's own
    ``terms``, exact to ten digits, agree with it to three.  Mean and variance of all codes are 0
    and 1.

    Args:
        world: the laboratories.
        blur: noise of a code in the units of the data.
        gap: by how much the offset of the second task exceeds that of the first.
        share: of the first class in the second task, in place of the world's.
    """
    (first, _), (second, _) = world.frequencies
    shares = (first, second if share is None else share)
    shifts = (0.0, world.shifts[1] - world.shifts[0] - gap)
    low, high = world.centres
    means = [f * low + (1 - f) * high + s for f, s in zip(shares, shifts, strict=True)]
    middle = (means[0] + means[1]) / 2
    squares = [
        f * (low + s - middle) ** 2 + (1 - f) * (high + s - middle) ** 2
        for f, s in zip(shares, shifts, strict=True)
    ]
    width = world.variance + blur
    total = (squares[0] + squares[1]) / 2 + width
    scale = 1 / np.sqrt(total)

    def bump(centre: Any) -> Any:
        away = (GRID - scale * (centre - middle)) / (scale * np.sqrt(width))
        return np.exp(-0.5 * away**2) / (scale * np.sqrt(2 * np.pi * width))

    tasks = tuple(
        f * bump(low + s) + (1 - f) * bump(high + s) for f, s in zip(shares, shifts, strict=True)
    )
    aggregate = (tasks[0] + tasks[1]) / 2
    step = GRID[1] - GRID[0]

    def entropy(density: Any) -> Any:
        return -step * np.sum(density * np.log(density + 1e-30))

    of_all, of_tasks = entropy(aggregate), (entropy(tasks[0]) + entropy(tasks[1])) / 2
    return Line(
        tasks,
        aggregate,
        task_information=of_all - of_tasks,
        marginal_kl=0.5 * np.log(2 * np.pi * np.e) - of_all,
        data_information=of_tasks - 0.5 * np.log(2 * np.pi * np.e * blur * scale**2),
    )


def codes_panel(line: Line, prior: Any = None, names: Sequence[str] = ("practice", "hospital")):
    """Return the codes of both tasks as lines, with a prior's density behind them."""
    curves = [
        Curve(GRID, density, label=name, colour=colour)
        for density, name, colour in zip(line.tasks, names, TASKS, strict=True)
    ]
    if prior is not None:
        curves.insert(0, Curve(GRID, prior, label="prior", colour=figures.GREY, dashed=True))
    return Panel(curves=curves, xlabel="code z", ylabel="density", xlim=(-3.4, 3.4), ylim=(0, 1.05))


def stack_panel(line: Line, optimal: Any, top: float = 1.8) -> Panel:
    """Return theorem 1 as a stack of three blocks; under the optimal prior the last is empty.

    Args:
        line: from :func:`two_tasks`.
        optimal: 0 for the simple prior, 1 for the optimal one.
        top: upper end of the axis, in nats.
    """
    at = np.linspace(top, 0, 241)[:, None, None]  # row 0 is at the top
    first = line.data_information
    second = first + line.task_information
    third = second + line.marginal_kl
    blue, orange, grey = (np.array([*to_rgb(c), 1.0])[None, None] for c in (DATA, TASK, "#9a9a9a"))
    last = grey * (1 - 0.75 * optimal * np.array([0.0, 0, 0, 1]))  # empty: a shadow of the block
    blocks = np.where(
        at < first, blue, np.where(at < second, orange, np.where(at < third, last, 0 * grey))
    )
    paid = second + (1 - optimal) * line.marginal_kl
    return Panel(
        image=blocks,
        curves=[Curve(np.array([0.0, 1.0]), paid * np.ones(2), colour=figures.BLACK)],
        xlim=(0, 1),
        ylim=(0, top),
        ylabel="nats",
        title="blue data, orange task, grey misfit",
        text=f"{first:.3f} + {line.task_information:.3f} + {(1 - optimal) * line.marginal_kl:.3f}"
        f" = {paid:.3f}",
    )


def rows(pictures: Mapping[str, np.ndarray], side: int = 8) -> Figure:
    """Draw rows of ink pictures ``(N, side, side)`` in [0, 1], named at the left."""
    fig, axes = figures.subplots(len(pictures), 1, height=0.72)
    for ax, (name, some) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        grid = figures.image_grid(np.reshape(some, (-1, side, side)), len(some))
        ax.imshow(1 - grid, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        ax.spines[:].set_visible(False)
    return fig


def found(world: toy.World, models: Mapping[str, Mapping[str, toy.Model]]) -> Figure:
    """Draw the codes of both tasks that each prior leads to, a row a world and a column a prior.

    Args:
        world: the laboratories; a row's own frequencies replace its.
        models: by row's title, and within it by prior; a row's title is the share, in percent, of
            the first class in the second task.
    """
    fig, axes = figures.subplots(len(models), 2, height=1.25, sharex=True, sharey=True)
    z = np.linspace(-3, 3, 301)
    for row, (share, priors) in zip(np.atleast_2d(axes), models.items(), strict=True):
        here = with_share(world, float(share) / 100)
        for ax, (prior, model) in zip(row, priors.items(), strict=True):
            standard = toy.fitted(here, model.offsets, model.code_var / model.scale**2, model.noise)
            for density, colour in zip(toy.densities(z, here, standard), TASKS, strict=True):
                ax.plot(z, density, color=colour)
            told = float(toy.terms(here, model).task_information)
            ax.text(0.02, 0.97, f"I = {told:.2f}", transform=ax.transAxes, va="top", fontsize=11)
            ax.set(yticks=[])
            if share == next(iter(models)):
                ax.set_title(f"{prior} prior", fontsize=12)
        row[0].set_ylabel(f"{share} %", rotation=0, ha="right", va="center")
    for ax in np.atleast_2d(axes)[-1]:
        ax.set_xlabel("code $z$")
    return fig


def with_share(world: toy.World, share: float) -> toy.World:
    """Return the world in which this is the share of the first class in the second task."""
    return world._replace(frequencies=[world.frequencies[0], [share, 1 - share]])


def ladder(levels: Mapping[str, tuple[float, str]], ceiling: float) -> Figure:
    """Draw bounds and evidences as dots on one axis, and the data's entropy as a line.

    Args:
        levels: nats and colour, by name, from the bottom up.
        ceiling: what no model exceeds.
    """
    fig, ax = figures.subplots(height=0.52 * len(levels) + 0.9)
    for height, (name, (nats, colour)) in enumerate(levels.items()):
        ax.plot(nats, height, "o", color=colour, ms=9)
        ax.annotate(
            name,
            (nats, height),
            xytext=(-12, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=11,
        )
    ax.axvline(ceiling, color=figures.GREY, lw=1.4, ls="--")
    ax.text(ceiling, len(levels) - 0.45, "no model ", ha="right", fontsize=11)
    low = min(nats for nats, _ in levels.values())
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set(yticks=[], xlabel="nats a datum", ylim=(-0.6, len(levels)))
    ax.set_xlim(low - 0.75 * (ceiling - low), ceiling + 0.05 * (ceiling - low))
    ax.spines["left"].set_visible(False)
    return fig


def ratio_panels(
    z: np.ndarray,
    truth: np.ndarray,
    learned: np.ndarray,
    reports: Mapping[str, np.ndarray],
    at: int,
    true_kl: np.ndarray,
    when: str,
) -> list[Panel]:
    """Return a learned log ratio beside the true one, and what it reports along a run.

    Args:
        z: ``(M,)``.
        truth: ``(M,)`` true log ratio.
        learned: ``(M,)`` learned one.
        reports: estimates of the divergence along the run, ``(R,)``, by name.
        at: which point of the run is shown.
        true_kl: ``(R,)``.
        when: what that point is, such as "step 100".
    """
    along = np.arange(len(true_kl))
    looks = (OPTIMAL, figures.YELLOW, figures.BLACK)
    lines = [Curve(along, true_kl, label="truth", colour=figures.GREY, dashed=True)]
    lines += [
        Curve(along, np.clip(values, -6, 6), label=name, colour=colour)
        for (name, values), colour in zip(reports.items(), looks, strict=False)
    ]
    shown = next(iter(reports.values()))
    return [
        Panel(
            curves=[
                Curve(z, np.clip(truth, -12, 12), label="truth", colour=figures.GREY, dashed=True),
                Curve(z, np.clip(learned, -12, 12), label="T(z)", colour=OPTIMAL),
            ],
            xlabel="code z",
            ylabel="log ratio",
            xlim=(-3, 3),
            ylim=(-6, 3),
        ),
        Panel(
            curves=lines,
            points=[Points(at, float(np.clip(shown[at], -0.6, 2.9)), colour=OPTIMAL)],
            xlabel="time",
            ylabel="nats",
            ylim=(-0.7, 3),
            text=f"{when}: "
            + ", ".join(
                f"{name} {values[at]:.2f}"
                for name, values in reports.items()
                if np.isfinite(values[at])
            ),
        ),
    ]


def search(steps: np.ndarray, gaps: np.ndarray, means: float, clusters: float) -> Figure:
    """Draw how the offset of the second task moves in training, between two exact answers."""
    fig, ax = figures.subplots(height=2.3)
    ax.plot(steps, gaps, color=figures.BLACK)
    _level(ax, means, "simple prior's best", SIMPLE)
    _level(ax, clusters, "optimal prior's best", OPTIMAL)
    ax.set(xlabel="step", ylabel="$b_2 - b_1$", ylim=(0, means + 0.3))
    return fig


def _level(ax: Axes, level: float, name: str, colour: str = figures.GREY) -> None:
    """Draw a dashed line across, its name above its right end."""
    ax.axhline(level, color=colour, lw=1.4, ls="--")
    ax.annotate(
        name,
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=11,
    )


def planes(codes: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Sequence, kept: Sequence):
    """Draw the latent planes of several models: few digits in colour, both tasks by their marks.

    Args:
        codes: ``(N, 2)`` of the source and of the target, by model.
        labels: digits of the source ``(N,)`` and of the target.
        kept: the digits in colour; the others are small grey dots.
    """
    fig, axes = figures.subplots(1, len(codes), height=2.8)
    for ax, (name, pair) in zip(np.atleast_1d(axes), codes.items(), strict=True):
        for points, digit, mark, size in zip(pair, labels, "ox", (10, 14), strict=True):
            for k in kept:
                some = points[np.asarray(digit) == k]
                style = {"marker": mark, "s": size, "color": figures.class_colour(k)}
                if mark == "o":
                    style |= {"alpha": 0.45, "linewidths": 0}
                ax.scatter(*some.T, label=f"{k}" if mark == "o" else None, **style)
        ax.set_title(name, fontsize=12)
        ax.set(xlabel="$z_1$")
        spread = np.concatenate(pair)
        ax.set(xlim=np.quantile(spread[:, 0], (0.002, 0.998)) * 1.15)
        ax.set(ylim=np.quantile(spread[:, 1], (0.002, 0.998)) * 1.15)
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel("$z_2$")
    axes[0].legend(fontsize=10, loc="best", markerscale=2, handletextpad=0.1, borderpad=0)
    return fig


def pull(errors: np.ndarray, capped: np.ndarray, pulled: np.ndarray, entropy: float) -> Figure:
    """Draw what a wrong offset costs under each prior, and the entropy of the task."""
    fig, ax = figures.subplots(height=2.3)
    ax.plot(errors, pulled, color=SIMPLE, label="simple prior: task + misfit")
    ax.plot(errors, capped, color=OPTIMAL, label="optimal prior: task")
    _level(ax, entropy, "entropy of the task")
    ax.set(xlabel="error of $b_2 - b_1$", ylabel="nats", xlim=(0, errors[-1]), ylim=(0, None))
    ax.legend(fontsize=11, loc="upper left")
    return fig


def price(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    entropy: float,
    of_labels: float,
    marks: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw what codes know about the class against what they tell of the task.

    Args:
        curves: information about the task and about the class, by name: first for the offsets
            that the simple prior finds, then for those of the optimal one.
        entropy: of the class; no code knows more.
        of_labels: what the class tells about the task.
        marks: single codes, ``(x, y)``, by name, in the same order.
    """
    fig, ax = figures.subplots(height=2.8)
    end = max(float(np.max(x)) for x, _ in curves.values())
    ax.plot([0, of_labels, end], [entropy - of_labels, entropy, entropy], "--", color=figures.GREY)
    ax.text(end, entropy + 0.02, "no code above", ha="right", fontsize=11)
    for shown, look in ((curves, "-"), (marks, "o")):
        for (name, (x, y)), colour in zip(shown.items(), (SIMPLE, OPTIMAL), strict=True):
            ax.plot(x, y, look, color=colour, ms=8, label=name)
    ax.set(xlabel="$\\mathrm{I}(S; Z)$, nats", ylabel="$\\mathrm{I}(C; Z)$, nats")
    ax.set(xlim=(0, end), ylim=(0, entropy + 0.12))
    ax.legend(fontsize=10, loc="lower right")
    return fig

"""Pictures and figures of the chapter on shared and private latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from vaelite.book import figures
from vaelite.book.explore import Bars, Curve, Panel, Points

SIZE = 8
_ROW, _COLUMN = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
# One meaning a colour in the whole chapter: the layers (and the codes and data that they belong
# to), another population's data, and what is maximised.
SHARED, PRIVATE, OTHERS = figures.GREEN, figures.ORANGE, figures.SKY
ELBO, OBJECTIVE = figures.BLUE, figures.PINK


def patterns() -> np.ndarray:
    """Return ``(64, 3)`` orthonormal pictures: a wave of grass, a ring, a cross."""
    radius = np.hypot(_ROW, _COLUMN)
    wave = np.cos(2 * np.pi * (_ROW + 2 * _COLUMN) / SIZE + 0.6)
    ring = np.exp(-((radius - 2.4) ** 2) / 0.8)
    cross = np.exp(-(_ROW**2) / 0.9) + np.exp(-(_COLUMN**2) / 0.9)
    basis, triangle = np.linalg.qr(np.stack([p.ravel() for p in (wave, ring, cross)], 1))
    return basis * np.sign(np.diag(triangle))


def wave(phase: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return pictures ``(N, 8, 8)`` of a diagonal wave: the layer that is shared.

    Args:
        phase: ``(N,)``, in radians.
        strength: ``(N,)``.
    """
    across = 2 * np.pi * (_ROW + _COLUMN) / SIZE
    return strength[:, None, None] * np.cos(across + phase[:, None, None])


def blob(place: np.ndarray) -> np.ndarray:
    """Return pictures ``(N, 8, 8)`` of a round spot: what only the first population has.

    Args:
        place: ``(N, 2)`` row and column of the spot, from the centre, in pixels.
    """
    row, column = (place[:, i, None, None] for i in (0, 1))
    return np.exp(-((_ROW - row) ** 2 + (_COLUMN - column) ** 2) / 2.5)


def bar(place: np.ndarray) -> np.ndarray:
    """Return pictures ``(N, 8, 8)`` of a bar: what only the second population has.

    Args:
        place: ``(N, 2)`` row of its left end and of its right end, from the centre, in pixels.
    """
    left, right = (place[:, i, None, None] for i in (0, 1))
    middle = left + (right - left) * (_COLUMN / SIZE + 0.5)
    return np.exp(-((_ROW - middle) ** 2) / 1.2)


def grey(pictures: np.ndarray, low: float = -1.0, high: float = 1.6) -> np.ndarray:
    """Return pictures as shades from 0, black, to 1, white; ink is dark."""
    return 1 - np.clip((np.asarray(pictures) - low) / (high - low), 0, 1)


def rows(
    pictures: Mapping[str, np.ndarray], columns: int, titles: tuple[str, str] | tuple[()] = ()
) -> Figure:
    """Draw rows of pictures ``(N, 8, 8)``, named at the left.

    Args:
        pictures: the rows, by name.
        columns: pictures a row.
        titles: of the left and of the right half of the rows, which then stand apart.
    """
    fig, axes = figures.subplots(len(pictures), 1, height=0.57)
    axes = np.atleast_1d(axes)
    for ax, (name, some) in zip(axes, pictures.items(), strict=True):
        grid = figures.image_grid(grey(some[:columns]), columns, fill=1.0)
        if titles:
            grid = np.insert(grid, [grid.shape[1] // 2] * 5, 1.0, axis=1)
        ax.imshow(grid, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        ax.spines[:].set_visible(False)
    for at, title in zip((0.25, 0.75), titles, strict=False):
        axes[0].text(at * grid.shape[1], -2, title, ha="center", va="bottom", fontsize=11)
    return fig


def graphs() -> Figure:
    """Draw the two graphical models of the paper's figure 1."""
    fig, axes = figures.subplots(1, 2, height=2.6, width_ratios=(1.7, 1))
    left, right = axes
    nodes = {
        "$\\theta_s$": (0.2, 2.6, False),
        "$\\mathbf{z}_{ki}$": (1.25, 2.6, False),
        "$\\mathbf{t}_{ki}$": (2.35, 2.6, False),
        "$\\theta_k$": (3.5, 1.2, False),
        "$\\mathbf{x}_{ki}$": (1.8, 1.2, True),
    }
    arrows = [(0, 4), (1, 4), (2, 4), (3, 4)]
    _graph(left, nodes, arrows, "CPVAE")
    _plate(left, (0.75, 0.5), 2.1, 2.7, "$i = 1 \\dots n_k$")
    _plate(left, (0.62, 0.05), 3.35, 3.3, "$k = 1 \\dots K$")
    left.set(xlim=(-0.25, 4.15), ylim=(-0.1, 3.5))
    nodes = {
        "$\\theta$": (0.0, 2.6, False),
        "$\\mathbf{z}_i$": (1.2, 2.6, False),
        "$\\mathbf{x}_i$": (1.2, 1.2, True),
    }
    _graph(right, nodes, [(0, 2), (1, 2)], "VAE")
    _plate(right, (0.6, 0.5), 1.3, 2.7, "$i = 1 \\dots n$")
    right.set(xlim=(-0.45, 2.1), ylim=(-0.1, 3.5))
    return fig


def _graph(ax: Axes, nodes: Mapping, arrows: Sequence[tuple[int, int]], title: str) -> None:
    places = [np.array(node[:2]) for node in nodes.values()]
    for name, (x, y, seen) in nodes.items():
        shade = "#cccccc" if seen else "white"
        if "theta" not in name:
            ax.add_patch(Circle((x, y), 0.36, fc=shade, ec="black", lw=1.4, zorder=3))
        ax.text(x, y, name, ha="center", va="center", fontsize=13, zorder=4, color="black")
    for start, end in arrows:
        way = places[end] - places[start]
        way = way / np.linalg.norm(way)
        ax.annotate(
            "",
            places[end] - 0.38 * way,
            places[start] + 0.36 * way,
            arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.3},
        )
    ax.set_title(title, fontsize=12)
    ax.set_aspect("equal")
    ax.axis("off")


def _plate(ax: Axes, corner: tuple[float, float], width: float, height: float, name: str) -> None:
    box = FancyBboxPatch(
        corner, width, height, boxstyle="round,pad=0.05", fc="none", ec=figures.GREY, lw=1.3
    )
    ax.add_patch(box)
    ax.text(corner[0] + width, corner[1] + 0.03, name, ha="right", va="bottom", fontsize=10)


def aggregates(variances: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the distribution of a private head's codes over own and other data, by objective.

    Args:
        variances: of the codes over the own and over the other population, by title.
    """
    fig, axes = figures.subplots(1, len(variances), height=2.4, sharey=True)
    t = np.linspace(-8, 8, 401)

    def density(variance: float) -> np.ndarray:
        return np.exp(-(t**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    for ax, (title, (own, other)) in zip(axes, variances.items(), strict=True):
        ax.fill_between(t, density(1.0), color="#cccccc", label="prior")
        ax.plot(t, density(own), color=PRIVATE, label="own data")
        ax.plot(t, density(other), "--", color=OTHERS, label="other data")
        ax.set(title=title, xlabel="private code $t_1$", yticks=[])
    axes[0].set_ylabel("density")
    axes[0].legend(fontsize=10, loc="upper left", handlelength=1.2, borderaxespad=0)
    return fig


def prices(blur: np.ndarray, lines: Mapping[str, tuple], noise: float) -> Figure:
    """Draw the price of a direction against the blur of its code, with the best ones.

    Args:
        blur: ``(M,)`` noise of the code in units of the noise variance.
        lines: prices ``(M,)``, best noise and its price, by name.
        noise: the noise variance.
    """
    fig, ax = figures.subplots(height=2.6)
    looks = (("-", ELBO), ("--", OBJECTIVE), (":", OBJECTIVE))
    for (name, (price, best, cost)), (style, colour) in zip(lines.items(), looks, strict=True):
        ax.semilogx(blur, price, style, color=colour, label=name)
        ax.plot(best / noise, cost, "o", color=colour)
    ax.set(xlabel="blur $\\tau / \\sigma^2$", ylabel="price, nats", ylim=(0, 6))
    ax.legend(fontsize=11)
    return fig


def unbounded(reach: np.ndarray, lines: Mapping[str, np.ndarray], ceiling: float) -> Figure:
    """Draw J against the scale of the private code, with what no log evidence can exceed."""
    fig, ax = figures.subplots(height=2.6)
    for (label, values), style in zip(lines.items(), ("-", "--", ":"), strict=True):
        ax.semilogx(reach, values, style, color=OBJECTIVE, label=label)
    ax.axhline(ceiling, color=figures.GREY, lw=1.4)
    ax.text(reach[0], ceiling + 0.15, "ceiling")
    ax.set(xlabel="scale $s$ of the private code", ylabel="nats a datum")
    ax.set_ylim(ceiling - 2.2, None)
    ax.legend(fontsize=11)
    return fig


def empirical_codes(means: np.ndarray, deviation: float) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Return a grid of t, the aggregate density on it, and the terms of eq. 5 by quadrature.

    Args:
        means: ``(n,)`` of the codes of ``n`` data.
        deviation: standard deviation of each code.

    Returns:
        ``t`` ``(M,)``, ``q(t)`` ``(M,)``, and (mean KL, KL of the aggregate, information), nats.
    """
    reach = np.abs(means).max() + 8 * max(deviation, 0.5)
    t = np.linspace(-reach, reach, 8001)
    each = np.exp(-((t - means[:, None]) ** 2) / (2 * deviation**2))
    each = each / (np.sqrt(2 * np.pi) * deviation)  # (n, M)
    aggregate = each.mean(0)
    log_prior = -0.5 * (t**2 + np.log(2 * np.pi))
    floor = 1e-300
    step = t[1] - t[0]
    mean_kl = (each * (np.log(each + floor) - log_prior)).sum(1).mean() * step
    marginal = (aggregate * (np.log(aggregate + floor) - log_prior)).sum() * step
    log_ratio = np.log(each + floor) - np.log(aggregate + floor)
    information = (each * log_ratio).sum(1).mean() * step
    return t, aggregate, (mean_kl, marginal, information)


def information_panels(
    alphas: Sequence[float], lines: Mapping[str, np.ndarray], chosen: int, text: str
) -> list[Panel]:
    """Return bars of informations at one alpha, and the lines that they come from.

    Args:
        alphas: the grid.
        lines: information in nats on the grid, by name.
        chosen: index of the alpha that is shown.
        text: a line below.
    """
    looks = (SHARED, SHARED, PRIVATE)  # the colour of a layer; dashed where it does not belong
    at = np.log2(alphas)
    heights = np.array([values[chosen] for values in lines.values()])
    curves = [
        Curve(at, values, label=name, colour=colour, dashed=dashed)
        for (name, values), colour, dashed in zip(
            lines.items(), looks, (False, True, False), strict=True
        )
    ]
    dots = [
        Points(at[chosen], height, colour=colour)
        for height, colour in zip(heights, looks, strict=True)
    ]
    return [
        Panel(
            bars=Bars(heights, names=list(lines), colour=figures.GREY),
            ylabel="nats",
            ylim=(0, 3.2),
            text=text,
        ),
        Panel(
            curves=curves,
            points=dots,
            xlabel="log₂ α",
            ylabel="nats",
            ylim=(0, 3.2),
        ),
    ]


def matrices(panels: Mapping[str, Sequence[Sequence[str]]], rows: str) -> Figure:
    """Draw square tables side by side, a head a row and a population a column.

    Args:
        panels: ``(K, K)`` texts of the cells by title; a cell without text stays empty.
        rows: what stands at the left of each row, before its number.
    """
    fig, axes = figures.subplots(1, len(panels), height=2.1)
    for ax, (title, cells) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        count = len(cells)
        for k, row in enumerate(cells):
            for j, text in enumerate(row):
                colour, ink = (PRIVATE, "white") if k == j else (OTHERS, "black")
                look = {"fc": colour if text else "none", "ec": figures.GREY}
                ax.add_patch(Rectangle((j - 0.46, k - 0.46), 0.92, 0.92, lw=1.0, **look))
                ax.text(j, k, text, ha="center", va="center", color=ink, fontsize=11)
        numbers = range(1, count + 1)
        ax.set_yticks(range(count), [f"{rows} {k}" for k in numbers])
        ax.set_xticks(range(count), [str(k) for k in numbers])
        ax.set(title=title, xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        ax.set_xlabel("data of population")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    for ax in np.atleast_1d(axes)[1:]:
        ax.set_yticks([])
    return fig


def gated(distances: np.ndarray, lines: Mapping[str, np.ndarray], shared: float) -> Figure:
    """Draw the price of a layer in a private code that looks first, against the distance."""
    fig, ax = figures.subplots(height=2.4)
    for (name, price), style in zip(lines.items(), ("-", ":", "-."), strict=True):
        ax.plot(distances, price, style, color=OBJECTIVE, label=name)
    ax.axhline(shared, color=figures.GREY, lw=1.4)
    ax.text(distances[0], shared + 0.2, "price in z", fontsize=11)
    ax.set(xlabel="distance $d$ of the populations", ylabel="price in t, nats", ylim=(0, None))
    ax.legend(fontsize=11)
    return fig

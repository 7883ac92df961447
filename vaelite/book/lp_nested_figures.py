"""Figures of the chapter on Lp-nested priors: what is drawn, not what is said.

One colour for one thing: codes and samples are blue, contours of a norm grey, a prior and its outer
exponent orange, what happens within a subspace and its inner exponent green, the normal black.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaelite.book import figures
from vaelite.book.explore import Curve, Panel, Points

AROUND = np.linspace(0, 2 * np.pi, 97)
EDGE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
Tree = tuple


def ring(p: float) -> np.ndarray:
    """Return ``(2, 97)`` points of the plane whose p-norm is one."""
    rays = np.stack([np.cos(AROUND), np.sin(AROUND)])
    return rays / (np.abs(rays) ** p).sum(0) ** (1 / p)


def densities(z: np.ndarray, curves: Mapping[str, np.ndarray]) -> Figure:
    """Draw densities ``(N,)`` by label over one axis, the normal one in the middle."""
    fig, ax = figures.subplots(height=2.5)
    looks = (("-", figures.PINK), ("--", figures.BLACK), (":", figures.SKY))
    for (label, density), (style, colour) in zip(curves.items(), looks, strict=True):
        ax.plot(z, density, style, color=colour, label=label)
    ax.set(xlabel="z", ylabel="density", ylim=(0, None))
    ax.legend(loc="upper right")
    return fig


def preferred(
    square: np.ndarray, codes: Mapping[str, np.ndarray], norms: Sequence[float]
) -> Figure:
    """Draw, column by column, turned codes over contours, coloured by the horizontal position.

    Args:
        square: ``(N, 2)`` positions in the pictures.
        codes: ``(N, 2)`` their codes at the preferred angle, by title.
        norms: the exponent of each column's contours.
    """
    fig, axes = figures.subplots(1, 2, height=3.0, sharey=True)
    axis = np.linspace(-1.7, 1.7, 121)
    for ax, p, (name, turned) in zip(axes, norms, codes.items(), strict=True):
        p_norm = (np.abs(axis[:, None]) ** p + np.abs(axis) ** p) ** (1 / p)
        ax.contour(axis, axis, p_norm, levels=(0.4, 0.8, 1.2, 1.6), colors=figures.GREY)
        look = {"s": 14, "cmap": figures.BLUE_TO_ORANGE, "vmin": -1.2, "vmax": 1.2}
        ax.scatter(*turned.T, c=square[:, 0], **look)
        ax.set(title=name, xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal")
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel="$z_1$")
    axes[0].set_ylabel("$z_2$")
    return fig


def trees(shown: Mapping[str, Tree], branches: Callable, leaves: Callable) -> Figure:
    """Draw trees of exponents, side by side, from the chapter's own two functions."""

    def node(ax: Axes, tree: Tree, names: dict, height: float, left: float) -> float:
        def box(name: str, x: float, style: str, colour: str) -> None:
            look = {"boxstyle": style, "fc": "white", "ec": colour}
            place = {"ha": "center", "va": "center", "fontsize": 13}
            ax.annotate(name, (x, height), bbox=look, color="black", **place)

        if tree == 1:
            box(next(names["leaf"]), left, "square", figures.BLUE)
            return left
        name, children = next(names["node"]), []
        for branch in branches(tree):
            children.append(node(ax, branch, names, height - 1, left))
            left += leaves(branch)
        x = float(np.mean(children))
        for child in children:
            ax.plot([x, child], [height, height - 1], color=figures.GREY, lw=1.2, zorder=0)
        box(name, x, "round", figures.ORANGE if height == 0 else figures.GREEN)
        return x

    widths = [leaves(tree) for tree in shown.values()]
    fig, axes = figures.subplots(1, len(shown), height=2.0, width_ratios=widths)
    for ax, (title, tree) in zip(axes, shown.items(), strict=True):
        names = {
            "leaf": (f"$z_{j}$" for j in range(1, 20)),
            "node": (f"$p_{i}$" for i in range(20)),
        }
        node(ax, tree, names, 0.0, 0.0)
        ax.set(xlim=(-0.6, leaves(tree) - 0.4), ylim=(-2.4, 0.4))
        ax.set_title(title, fontsize=12, loc="left")
        ax.axis("off")
    return fig


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


_TOWARD = _unit(np.array([0.62, 1.0, 0.55]))  # from the origin to the eye
_RIGHT = _unit(np.cross([1.0, 0, 0], _TOWARD))
_UP = np.cross(_TOWARD, _RIGHT)
_LIGHTS = (
    (120, _unit(0.3 * _TOWARD - 0.8 * _RIGHT + 0.5 * _UP)),
    (80, _unit(_TOWARD + 0.5 * _RIGHT + 0.3 * _UP)),
)


def surface(norm: Callable[[np.ndarray], np.ndarray], size: int = 112) -> np.ndarray:
    """Return a shaded view of ``norm(z) = 1`` in space, ``(size, size)`` uint8, 255 outside.

    A ray through each pixel marches to the body, and twelve halvings find where it enters.
    """
    across, depth = np.linspace(-1.7, 1.7, size), np.linspace(1.75, -1.75, 61)
    plane = across[None, :, None] * _RIGHT - across[:, None, None] * _UP  # (size, size, 3)
    inside = np.stack([norm(plane + t * _TOWARD) <= 1 for t in depth])
    hit, first = inside.any(0), inside.argmax(0)
    near, far = depth[np.maximum(first - 1, 0)], depth[first]
    for _ in range(12):
        middle = (near + far) / 2
        within = norm(plane + middle[..., None] * _TOWARD) <= 1
        near, far = np.where(within, near, middle), np.where(within, middle, far)
    point, h = plane + far[..., None] * _TOWARD, 1e-3
    slope = np.stack([norm(point + h * e) - norm(point - h * e) for e in np.eye(3)], -1)
    slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-12)
    shade = 40 + sum(strength * np.clip(slope @ light, 0, 1) for strength, light in _LIGHTS)
    return np.where(hit, shade, 255).astype(np.uint8)


def body(image: np.ndarray, p0: float, p1: float) -> list[Panel]:
    """Return the panels of a level set: the shaded body with its axes, and two cuts."""
    ends = [(e @ _RIGHT, e @ _UP) for e in 1.6 * np.eye(3)]
    names = ("z₁ up, z₂, z₃", "", "")
    sticks = [
        Curve([0.625 * x, x], [0.625 * y, y], label=name, colour=figures.BLUE)
        for name, (x, y) in zip(names, ends, strict=True)
    ]
    limits = {"xlim": (-1.7, 1.7), "ylim": (-1.7, 1.7), "equal_aspect": True}
    cuts = [
        Curve(*ring(p0), label="cut through z₁, z₂", colour=figures.ORANGE),
        Curve(*ring(p1), label="cut through z₂, z₃", colour=figures.GREEN, dashed=True),
    ]
    return [
        Panel(image=image, curves=sticks, title="f(z) = 1", **limits),
        Panel(curves=cuts, xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), equal_aspect=True, title="two cuts"),
    ]


def shell(p: float, radius: float, width: float = 0.15) -> list[Panel]:
    """Return the panels of a shell of the p-norm in the plane: the shell, and its volume."""
    unit = _plane_volume(p)
    radii = np.linspace(0, 1.5, 61)
    inner, outer = unit * radius**2, unit * (radius + width) ** 2
    return [
        Panel(
            curves=[
                Curve(*(radius * ring(p)), label="f = R", colour=figures.GREY),
                Curve(
                    *((radius + width) * ring(p)),
                    label="f = R + dR",
                    colour=figures.BLACK,
                    dashed=True,
                ),
            ],
            xlabel="z₁",
            ylabel="z₂",
            xlim=(-1.7, 1.7),
            ylim=(-1.7, 1.7),
            equal_aspect=True,
        ),
        Panel(
            curves=[Curve(radii, unit * radii**2, label="V(R)", colour=figures.GREY)],
            points=[Points([radius, radius + width], [inner, outer], colour=figures.BLACK)],
            xlabel="R",
            ylabel="volume",
            ylim=(0, 9),
            text=f"shell {outer - inner:.2f}, S(R) dR = {2 * unit * radius * width:.2f}",
        ),
    ]


def _plane_volume(p: float) -> float:
    """Return the area of the unit body of the p-norm in the plane."""
    x = np.linspace(0, 1, 20_001)
    return 4 * float(np.trapezoid((1 - x**p) ** (1 / p), x))


def dirichlet_step(points: np.ndarray, p: float) -> Panel:
    """Return the panel of one step of the sampler: points ``(N, 2)`` over the unit curve."""
    return Panel(
        curves=[Curve(*ring(p), colour=figures.GREY, label="norm one")],
        points=[Points(*points.T, colour=figures.BLUE)],
        xlabel="first coordinate",
        ylabel="second coordinate",
        xlim=(-1.8, 1.8),
        ylim=(-1.8, 1.8),
        equal_aspect=True,
    )


def marginals(z: np.ndarray, curves: Mapping[str, np.ndarray], gap: float) -> list[Panel]:
    """Return a panel of two densities over one axis, and one of their log ratio.

    Args:
        z: ``(N,)`` the axis.
        curves: ``(N,)`` the normal density, then the prior's, by name.
        gap: divergence of the prior's subspace from the nearest normal, nats a latent.
    """
    names = list(curves)
    looks = dict(zip(names, (figures.BLACK, figures.ORANGE), strict=True))
    lines = [
        Curve(z, curves[name], label=name, colour=looks[name], dashed=name == names[0])
        for name in names
    ]
    ratio = np.log(curves[names[1]] / curves[names[0]])
    return [
        Panel(curves=lines, xlabel="z", ylabel="density", ylim=(0, 0.9)),
        Panel(
            curves=[Curve(z, ratio, colour=figures.ORANGE)],
            xlabel="z",
            ylabel="log ratio, nats",
            ylim=(-1, 1),
            text=f"KL from a normal: {gap:.4f} nats a latent",
        ),
    ]


def mixed(before: np.ndarray, after: np.ndarray) -> Figure:
    """Draw a prior's sample and its image under a map, coloured by the old first latent."""
    fig, axes = figures.subplots(1, 2, height=3.0, sharex=True, sharey=True)
    for ax, points, title in zip(
        axes, (before, after), ("the prior", "the prior, mixed"), strict=True
    ):
        colour = np.clip(before[:, 0], -3, 3)
        ax.scatter(*points.T, c=colour, cmap=figures.BLUE_TO_ORANGE, s=7)
        ax.set(title=title, xlim=(-6, 6), ylim=(-6, 6), aspect="equal", xlabel="first latent")
    axes[0].set_ylabel("second latent")
    return fig


def radius_given_another(p0: float, q: float, size: int) -> Panel:
    """Return densities of one subspace's radius, given another's, for the density exp(-f^q).

    Args:
        p0: the outer exponent, which joins the two radii.
        q: the power of the norm; the radii are independent for ``q == p0``.
        size: how many coordinates the subspace has.
    """
    radius = np.concatenate([np.linspace(0, 4, 81), np.linspace(4.05, 200, 4001)])
    looks = ((0, figures.SKY, False), (1, figures.BLUE, True), (2, figures.BLACK, False))
    lines = []
    for other, colour, dashed in looks:
        joint = radius ** (size - 1) * np.exp(-((other**p0 + radius**p0) ** (q / p0)))
        density = (joint / np.trapezoid(joint, radius))[:81]
        label = f"the other is {other}"
        lines.append(Curve(radius[:81], density, label=label, colour=colour, dashed=dashed))
    return Panel(curves=lines, xlabel="radius of one pack", ylabel="density", ylim=(0, 1.6))


def quadrature_pair(size: int = 24) -> np.ndarray:
    """Return two patches ``(2, size, size)``: an even and an odd wave under one bump."""
    down, across = np.mgrid[0:size, 0:size] - (size - 1) / 2
    along = 0.8 * across - 0.6 * down
    bump = np.exp(-(down**2 + across**2) / (0.045 * size**2))
    phase = 2 * np.pi * along / (0.4 * size)
    return np.stack([bump * np.cos(phase), bump * np.sin(phase)])


def samples_and_counts(samples: np.ndarray, counts: np.ndarray, expected: float) -> list[Panel]:
    """Return samples ``(N, 2)``, and counts by cell with four deviations about the expected."""
    cells = np.arange(len(counts))
    level, band = np.ones(len(cells)), 4 * np.sqrt(expected)
    lines = [
        Curve(cells, (expected + side * band) * level, colour=figures.GREY, dashed=side != 0)
        for side in (-1, 0, 1)
    ]
    worst = np.abs(counts - expected).max() / np.sqrt(expected)
    return [
        Panel(
            points=[Points(*samples.T, colour=figures.BLUE)],
            xlabel="z₁",
            ylabel="z₂",
            xlim=(-2.5, 2.5),
            ylim=(-2.5, 2.5),
        ),
        Panel(
            curves=lines,
            points=[Points(cells, np.minimum(counts, 3 * expected), colour=figures.BLUE)],
            xlabel="cell",
            ylabel="samples",
            ylim=(0, 3 * expected),
            text=f"farthest: {worst:.1f} deviations",
        ),
    ]


def gain_of_turning(degrees: np.ndarray, lines: Mapping[str, np.ndarray]) -> Panel:
    """Return a panel of log densities ``(N,)`` against the angle by which a code was turned."""
    looks = zip(lines.items(), ((figures.GREEN, False), (figures.ORANGE, True)), strict=True)
    return Panel(
        curves=[
            Curve(degrees, line, label=name, colour=colour, dashed=dashed)
            for (name, line), (colour, dashed) in looks
        ],
        xlabel="angle of the turn, degrees",
        ylabel="log density, change",
        ylim=(-0.55, 0.55),
    )


def costs_of_turning(costs: Mapping[str, tuple[float, float]], correlations: Sequence) -> Figure:
    """Draw costs with margins in nats, by name, beside the prices of posterior correlations.

    A name that ends with "within" or "across" has the colour of that turn.
    """
    fig, ax = figures.subplots(height=2.6)
    colours = {"within": figures.GREEN, "across": figures.ORANGE}
    for row, (name, (mean, margin)) in enumerate(costs.items()):
        colour = colours.get(name.split()[-1], figures.BLACK)
        low = max(mean - margin, 1e-5)
        ax.plot([low, mean + margin], [row, row], color=colour, lw=2)
        ax.plot(mean, row, "o", color=colour)
    for correlation in correlations:
        price = -0.5 * np.log(1 - correlation**2)
        ends = [-0.5, len(costs) - 0.5]
        ax.plot([price, price], ends, color=figures.GREY, ls="--", lw=1.2)
        label = f"ρ = {correlation:g}" if correlation == correlations[0] else f"{correlation:g}"
        ax.text(price, -0.75, label, ha="center", fontsize=11, color=figures.GREY)
    ax.set_yticks(range(len(costs)), costs, fontsize=11)
    ax.invert_yaxis()
    ax.set(xscale="log", xlim=(3e-4, 0.1), ylim=(len(costs) - 0.5, -1.2))
    ax.set_xlabel("nats a datum")
    return fig

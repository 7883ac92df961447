"""Pictures and figures of the chapter on factorial mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from vaelite.book import figures
from vaelite.book.explore import Bars, Curve, Panel, Points, ellipse, pick, softmax
from vaelite.distributions import NormalGamma

# What a datum pays for its place in a cluster, and for its cluster.  Components have the colours of
# classes, 0 to 7, and steps the first two.
WHERE, WHICH = figures.class_colour(8), figures.class_colour(9)

# Arithmetic that a page can repeat.


def digamma(x: Any) -> Any:
    r"""Return :math:`\psi(x)` for positive x by arithmetic alone, to six digits.

    Six steps of :math:`\psi(x) = \psi(x + 1) - 1 / x`, then Stirling's series.
    """
    steps = sum(1 / (x + i) for i in range(6))
    y = x + 6
    inverse = 1 / (y * y)
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))
    return np.log(y) - 0.5 / y - series - steps


def mixture_sweeps(
    x: Any, centres: np.ndarray, sweeps: Sequence[int], hyperprior: Sequence[float]
) -> list[tuple[Any, Any, Any]]:
    """Fit a variational Gaussian mixture by coordinate ascent, so that a page can repeat it.

    Args:
        x: ``(N, D)``, array or expression.
        centres: ``(K, D)``: the first responsibilities are those of unit normals there.
        sweeps: after how many sweeps to look; the last is how many there are.
        hyperprior: m0, s0, a0, b0 and c0; m0 must be zero.

    Returns:
        For each entry of ``sweeps``: counts ``(K,)``, means ``(K, D)``, log variances ``(K, D)``.
    """
    _, s0, a0, b0, c0 = hyperprior
    count, components = x.shape[0], len(centres)
    # Half the squared distance to each centre, but for a term that all centres share.
    log_r = x @ centres.T - 0.5 * np.sum(centres**2, 1).reshape(1, components)
    found = []
    for sweep in range(max(sweeps) + 1):
        r = softmax(log_r)  # (N, K)
        n = np.sum(r, axis=0)
        first, second = r.T @ x, r.T @ (x * x)
        s, a, c = s0 + n, a0 + 0.5 * n, c0 + n
        m = first / s.reshape(components, 1)
        b = b0 + 0.5 * second - 0.5 * m * first
        if sweep in sweeps:
            found.append((n, m, np.log(b / a.reshape(components, 1))))
        precision = a.reshape(components, 1) / b
        constant = (
            digamma(c)
            - digamma(np.asarray(count + components * c0))
            + 0.5 * centres.shape[1] * (digamma(a) - 1 / s)
            - 0.5 * np.sum(np.log(b) + precision * m * m, axis=1)
        )
        log_r = (
            constant.reshape(1, components) - 0.5 * ((x * x) @ precision.T) + x @ (precision * m).T
        )
    return found


def clusters_panels(x: Any, handles: Sequence[Any], fits: Sequence[tuple], sweep: Any):
    """Return the reader's points with the mixture's components, and how many data each has."""
    n, m, log_var = (pick([fit[part] for fit in fits], sweep) for part in range(3))
    count = x.shape[0]
    rings = [
        Curve(*ellipse(m[k], log_var[k], 2 * np.minimum(1, n[k])), colour=figures.class_colour(k))
        for k in range(n.shape[0])
    ]
    grips = [
        Points(handle[0], handle[1], colour=figures.BLACK, label="drag" if not i else "")
        for i, handle in enumerate(handles)
    ]
    return [
        Panel(
            points=[Points(x[:, 0], x[:, 1], colour=figures.GREY), *grips],
            curves=rings,
            xlim=(-3.6, 3.6),
            ylim=(-3.6, 3.6),
            equal_aspect=True,
        ),
        Panel(
            bars=Bars(n, colour=figures.GREY),
            ylim=(0, count),
            xlabel="component",
            ylabel="data",
            text=f"{np.sum(n > 1):.0f} components with a datum or more",
        ),
    ]


# Natural and plain gradients, on one normal with unknown mean and precision.


def _posterior(natural: torch.Tensor) -> NormalGamma:
    return NormalGamma.from_natural_parameters(natural, validate_args=False)


def natural_path(start: NormalGamma, best: NormalGamma, rho: float, steps: int) -> np.ndarray:
    """Return m, a / b and KL(q || best) along natural steps, ``(steps + 1, 3)``."""
    natural, target = start.natural_parameters(), best.natural_parameters()
    rows = []
    for _ in range(steps + 1):
        rows.append(_row(_posterior(natural), best))
        natural = (1 - rho) * natural + rho * target
    return np.array(rows)


def plain_path(start: NormalGamma, best: NormalGamma, rate: float, steps: int) -> np.ndarray:
    """Return the same along gradient steps in m and the logarithms of s, a and b; NaN once off."""
    free = torch.stack([start.m, start.s.log(), start.a.log(), start.b.log()]).detach()
    rows = []
    for _ in range(steps + 1):
        free.requires_grad_()
        m, *logs = free
        q = NormalGamma(m, *(value.exp() for value in logs), validate_args=False)
        loss = torch.distributions.kl_divergence(q, best)
        rows.append(_row(q, best))
        (slope,) = torch.autograd.grad(loss, free)
        free = (free - rate * slope).detach()
    rows = np.array(rows)
    off = ~np.isfinite(rows).all(1) | (np.abs(rows[:, 2]) > 1e6)
    if off.any():
        rows[int(np.argmax(off)) :] = np.nan
    return rows


def _row(q: NormalGamma, best: NormalGamma) -> list[float]:
    gap = torch.distributions.kl_divergence(q, best)
    return [q.m.item(), (q.a / q.b).item(), max(gap.item(), 1e-12)]


def paths_panels(natural: np.ndarray, plain: np.ndarray, best: NormalGamma, text: str):
    """Return the plane of mean and precision with both paths, and the gap to the best bound."""
    steps = np.arange(len(natural))
    target = (float(best.m), float(best.a / best.b))
    inside = [
        np.where(
            (np.abs(path[:, :1]) < 6) & (path[:, 1:2] < 4) & np.isfinite(path[:, :1]),
            path[:, :2],
            np.nan,
        )
        for path in (natural, plain)
    ]
    lines = [
        Curve(*path.T, label=name, colour=colour, dashed=dashed)
        for path, name, colour, dashed in (
            (inside[1], "plain", figures.ORANGE, True),
            (inside[0], "natural", figures.BLUE, False),
        )
    ]
    gaps = [
        Curve(steps, np.log10(np.clip(path[:, 2], 1e-6, 1e4)), colour=colour, dashed=dashed)
        for path, colour, dashed in (
            (plain, figures.ORANGE, True),
            (natural, figures.BLUE, False),
        )
    ]
    return [
        Panel(
            curves=lines,
            points=[Points(*target, label="best", colour=figures.BLACK, drag=False)],
            xlabel="mean m",
            ylabel="precision a/b",
            xlim=(-3, 4),
            ylim=(0, 3),
        ),
        Panel(
            curves=gaps,
            xlabel="step",
            ylabel="log₁₀ of nats missing",
            xlim=(0, len(steps) - 1),
            ylim=(-6.2, 4.2),
            text=text,
        ),
    ]


# Still pictures.


def rows(
    pictures: Mapping[str, Sequence[np.ndarray]], *, low: float = 0, high: float = 1
) -> Figure:
    """Draw rows of grey pictures, each ``(N, H, W)``, named at the left; black is ``low``."""
    fig, axes = figures.subplots(len(pictures), 1, height=0.72)
    for ax, (name, some) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        grid = figures.image_grid(np.asarray(some), len(some), fill=high)
        ax.imshow(grid, cmap="gray", vmin=low, vmax=high)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        ax.spines[:].set_visible(False)
    return fig


def grid(pictures: np.ndarray, columns: int, *, xlabel: str = "", ylabel: str = "") -> Figure:
    """Draw pictures ``(N, H, W)`` from 0 to 1 in rows of ``columns``."""
    image = figures.image_grid(np.asarray(pictures), columns, fill=1.0)
    fig, ax = figures.subplots(height=5.2 * image.shape[0] / image.shape[1] + 0.2)
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], xlabel=xlabel, ylabel=ylabel)
    ax.spines[:].set_visible(False)
    return fig


def blocks(pictures: np.ndarray, across: Sequence[str], down: Sequence[str]) -> Figure:
    """Draw a table of grids of pictures.

    Args:
        pictures: ``(len(down), len(across), R, C, H, W)`` from 0 to 1.
        across: what stands above each column of grids.
        down: what stands beside each row.
    """
    fig, axes = figures.subplots(len(down), len(across), height=1.25)
    for name, row, grids in zip(down, axes, pictures, strict=True):
        row[0].set_ylabel(name)
        for ax, some in zip(row, grids, strict=True):
            flat = np.reshape(some, (-1, *np.shape(some)[2:]))
            image = figures.image_grid(flat, np.shape(some)[1], fill=1.0)
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, name in zip(axes[0], across, strict=True):
        ax.set_title(name, fontsize=11)
    return fig


def which_and_where(prior: Any, codes: Mapping[str, tuple[Any, Any]]) -> Figure:
    """Draw codes among the components of one factor in the plane, and what each of them pays.

    Args:
        prior: one factor of two latents.
        codes: by name, mean and log variance, ``(2,)`` each.
    """
    [m], [a], [b], [c] = prior.m, prior.a, prior.b, prior.c
    fig, (plane, bars) = figures.subplots(1, 2, height=2.5, width_ratios=(1, 1.15))
    for k in range(len(m)):
        curve = ellipse(m[k].numpy(), (b[k] / a[k]).log().numpy())
        plane.plot(*curve, color=figures.class_colour(k), lw=2)
        count = float(c[k]) - prior.factors[0].hyperprior.c0
        low = float(m[k, 1]) < 0
        where = float(m[k, 0]), float(min(curve[1]) - 0.15 if low else max(curve[1]) + 0.15)
        options = {"ha": "center", "va": "top" if low else "bottom", "fontsize": 11}
        plane.text(*where, f"{count:.0f} data", color=figures.class_colour(k), **options)
    for at, (name, (mean, log_var)) in enumerate(codes.items()):
        plane.plot(*ellipse(np.asarray(mean), np.asarray(log_var)), "k--", lw=1.2)
        plane.text(*np.asarray(mean), name, ha="center", va="center", fontsize=12)
        kl_z, kl_r = costs_of(prior, mean, log_var)
        bars.barh(at, kl_z, color=WHERE, label="KL[z]: where" if not at else None)
        bars.barh(at, kl_r, left=kl_z, color=WHICH, label="KL[r]: which" if not at else "")
    plane.set(xticks=[], yticks=[], xlim=(-3.2, 3.2), ylim=(-3.4, 3.2), aspect="equal")
    bars.set(yticks=range(len(codes)), yticklabels=list(codes), xlabel="nats")
    bars.invert_yaxis()
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, 1.3), fontsize=10, ncols=1)
    return fig


def costs_of(prior: Any, mean: Any, log_var: Any) -> tuple[float, float]:
    """Return KL[z] and KL[r] of one code of one factor, ``(D,)`` each, at the best gamma."""
    mean, log_var = (torch.as_tensor(each, dtype=torch.double)[None] for each in (mean, log_var))
    terms = prior.local_terms(mean, log_var)
    return float(terms.kl_z[0, 0]), float(terms.kl_r[0, 0])


def product_code(centres: Sequence[np.ndarray], z: np.ndarray) -> Figure:
    """Draw codes of two factors of one dimension each, and the cells that they quantise.

    Args:
        centres: the components' means of the two factors, ``(K_1,)`` and ``(K_2,)``.
        z: ``(N, 2)`` codes.
    """
    fig, ax = figures.subplots(height=2.4)
    index = [np.abs(z[:, [i]] - centres[i]).argmin(1) for i in range(2)]
    for k in range(len(centres[0])):
        for j in range(len(centres[1])):
            of = (index[0] == k) & (index[1] == j)
            ax.plot(*z[of].T, ".", ms=4, color=figures.class_colour((k + 3 * j) % 6))
            ax.text(centres[0][k], centres[1][j] + 0.5, f"({k + 1}, {j + 1})", ha="center")
    for i, lines in enumerate((ax.axvline, ax.axhline)):
        for middle in (np.sort(centres[i])[1:] + np.sort(centres[i])[:-1]) / 2:
            lines(middle, color=figures.GREY, lw=1, ls="--")
    ax.set(xlabel="$z_1$: factor 1", ylabel="$z_2$: factor 2", ylim=(-3, 3.4))
    return fig


def graphical_model() -> Figure:
    """Draw the paper's figure 2: the joint density of data, codes, clusters and parameters."""
    fig, ax = figures.subplots(height=3.0)
    ax.set(xlim=(0, 10.4), ylim=(0, 6), aspect="equal")
    ax.axis("off")
    nodes = {
        "c": (0.8, 4.9, "$c_0$", None),
        "pi": (2.9, 4.9, r"$\pi_i$", "white"),
        "r": (2.9, 3.0, "$r_i$", "white"),
        "z": (4.6, 3.0, "$z_i$", "white"),
        "x": (4.6, 1.0, "$x$", "#cfcfcf"),
        "mu": (7.4, 3.0, r"$\mu_{ik}$", "white"),
        "alpha": (7.4, 4.9, r"$\alpha_{ik}$", "white"),
        "ms": (9.7, 3.0, "$m_0, s_0$", None),
        "ab": (9.7, 4.9, "$a_0, b_0$", None),
    }
    for left, bottom, width, height, label, at in (
        (1.9, 0.2, 3.6, 3.6, "$N$ data", (2.0, 0.4)),
        (2.1, 1.6, 6.35, 4.2, "$I$ factors", (5.7, 1.75)),
        (6.6, 2.2, 1.65, 3.4, "$K_i$", (6.7, 2.35)),
    ):
        ax.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.2",
                fill=False,
                ec=figures.GREY,
                lw=1.2,
            )
        )
        ax.text(*at, label, fontsize=11, color=figures.GREY)
    for first, second in (
        ("c", "pi"),
        ("pi", "r"),
        ("r", "z"),
        ("z", "x"),
        ("mu", "z"),
        ("alpha", "z"),
        ("alpha", "mu"),
        ("ms", "mu"),
        ("ab", "alpha"),
    ):
        (x0, y0, *_), (x1, y1, *_) = nodes[first], nodes[second]
        ax.annotate(
            "",
            (x1, y1),
            (x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "shrinkA": 26 if first in ("ms", "ab") else 15,
                "shrinkB": 15,
                "color": "black",
            },
        )
    for x, y, text, colour in nodes.values():
        if colour:
            ax.add_patch(Circle((x, y), 0.5, fc=colour, ec="black", lw=1.4, zorder=3))
        ax.text(x, y, text, ha="center", va="center", fontsize=12, zorder=4)
    return fig


def normal_gamma(posteriors: Mapping[str, NormalGamma], truth: tuple[float, float]) -> Figure:
    """Draw densities of mean and precision as contours, one panel each, and the true pair."""
    fig, axes = figures.subplots(1, len(posteriors), height=2.1, sharex=True, sharey=True)
    mu, alpha = np.meshgrid(np.linspace(-1, 4, 161), np.linspace(0.02, 4, 161))
    points = torch.tensor(np.stack([mu, alpha], -1))
    for ax, (name, q) in zip(axes, posteriors.items(), strict=True):
        log_density = q.log_prob(points).numpy()
        top = log_density.max()
        ax.contourf(
            mu, alpha, log_density - top, levels=[-8, -4, -2, -1, -0.25, 0.01], cmap="Blues"
        )
        ax.plot(*truth, "+", color=figures.ORANGE, ms=12, mew=2.5)
        ax.set_title(name, fontsize=12)
        ax.set_xlabel(r"mean $\mu$")
    axes[0].set_ylabel(r"precision $\alpha$")
    return fig


def traces(trace: np.ndarray, truth: float) -> Figure:
    """Draw the expected precision along stochastic steps of two rules, ``(steps, 2)``."""
    fig, ax = figures.subplots(height=2.2)
    for values, name, colour in zip(
        trace.T, ("natural parameters", "$m, s, a, b$"), (figures.BLUE, figures.ORANGE), strict=True
    ):
        ax.plot(values, color=colour, lw=1.5, label=name)
    ax.axhline(truth, color="black", ls="--", lw=1.2)
    ax.set(xlabel="step", ylabel="precision a/b", ylim=(0.75 * truth, 1.4 * truth))
    ax.legend(loc="lower right")
    return fig


def cost_curves(
    components: Sequence[int], parts: Mapping[str, Sequence[float]], at: int | None = None
) -> Panel:
    """Return KL[z] and KL[r] against log2 K, with the place of the reader's choice marked."""
    x = np.log2(np.asarray(components, float))
    colours = (WHERE, WHICH, figures.GREY)
    curves = [
        Curve(x, np.asarray(values), label=name, colour=colour, dashed=colour == figures.GREY)
        for (name, values), colour in zip(parts.items(), colours, strict=False)
    ]
    marks = []
    if at is not None:
        marks = [
            Points(x[at], values[at], colour=colour)
            for values, colour in zip(parts.values(), colours, strict=False)
        ]
    return Panel(curves=curves, points=marks, xlabel="log₂ K", ylabel="nats")


def measured(components: Sequence[int], curves: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draw what several seeds paid against log2 K: a dot a seed, a line through the means."""
    fig, ax = figures.subplots(height=2.1)
    x = np.log2(np.asarray(components, float))
    for (name, values), colour in zip(curves.items(), (WHERE, WHICH), strict=False):
        for at, seeds in zip(x, values, strict=True):
            ax.plot(np.full(len(seeds), at), seeds, ".", color=colour, ms=5, alpha=0.6)
        if all(len(seeds) for seeds in values):
            ax.plot(x, [np.mean(seeds) for seeds in values], color=colour, label=name)
    ax.set(xlabel="$\\log_2 K$", ylabel="nats", ylim=(0, None))
    if ax.get_legend_handles_labels()[0]:
        ax.legend()
    return fig


def clusters(pictures: Mapping[str, np.ndarray], side: int) -> Figure:
    """Draw a row for each cluster: mean, standard deviation, then samples, all ``(P,)`` in [0, 1].

    Args:
        pictures: by the cluster's name, ``(2 + samples, P)``.
        side: pixels of a side.
    """
    count = len(next(iter(pictures.values())))
    fig, axes = figures.subplots(len(pictures), 1, height=0.74)
    for ax, (name, some) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        images = 1 - np.reshape(some, (count, side, side))
        wide = figures.image_grid(images, count, fill=1.0)
        ax.imshow(wide, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        ax.spines[:].set_visible(False)
        for edge in (side, 2 * side + 1):
            ax.axvline(edge, color=figures.GREY, lw=1)
    return fig

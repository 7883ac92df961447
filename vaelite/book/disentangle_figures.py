"""Figures of the chapter on disentanglement: what is drawn, not what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.book.explore import Curve, Panel, Points

CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 49)), np.sin(np.linspace(0, 2 * np.pi, 49))])
_LEVELS = (
    ("q(z|x)", figures.ORANGE),
    ("q(z)", figures.BLUE),
    ("product of marginals", figures.GREEN),
    ("p(z)", figures.GREY),
)


def picture_rows(rows: np.ndarray, names: Sequence[str], columns: Sequence[str] = ()) -> Figure:
    """Draw rows of seven pictures ``(7 * rows, H, W)``, named at the left and, if told, below."""
    fig, ax = figures.subplots(height=0.55 + 0.62 * len(names))
    side = rows.shape[1]
    ax.imshow(figures.image_grid(rows, columns=7, fill=0.35))
    ax.set_yticks([side / 2 + (side + 1) * k for k in range(len(names))], names)
    ax.set_xticks([side / 2 + (side + 1) * k for k in range(len(columns))], columns)
    ax.tick_params(length=0)
    return fig


def rotations(angles: Sequence[float], mig: np.ndarray) -> Figure:
    """Draw MIG ``(models, angles)`` against the rotation, a dot for each model as trained."""
    fig, ax = figures.subplots(height=2.8)
    for line, colour in zip(mig, figures.COLOURS, strict=False):
        ax.plot(angles, line, color=colour, lw=1.5)
        ax.plot(0, line[0], "o", color=colour, clip_on=False)
    ax.set(xlabel="rotation of the latent space (degrees)", xticks=range(0, 91, 15))
    ax.set(ylabel="MIG", ylim=(0, 1))
    return fig


def mesh_lines(mesh: np.ndarray) -> list[Curve]:
    """Return lines of equal x (full) and equal y (dashed) through codes ``(32, 32, 2)``."""
    curves = []
    for k in range(1, 32, 6):
        names = ("same x", "same y") if k == 1 else ("", "")
        curves += [
            Curve(*mesh[k, ::3].T, label=names[0], colour=figures.BLUE),
            Curve(*mesh[::3, k].T, label=names[1], colour=figures.ORANGE, dashed=True),
        ]
    return sorted(curves, key=lambda curve: curve.dashed)


def sheet(grey: np.ndarray) -> np.ndarray:
    """Lay small pictures ``(N, H, W)`` with ink 1 out in rows of three, enlarged five times."""
    grid = figures.image_grid(255 * (1 - grey), columns=3, fill=160.0)
    return np.kron(grid, np.ones((5, 5))).astype(np.uint8)


def gap_lines(sweep: np.ndarray, gaps: Mapping[str, np.ndarray]) -> Figure:
    """Draw free energy minus log-likelihood against the rotation away from the truth."""
    fig, ax = figures.subplots(height=2.7)
    for (name, gap), style in zip(gaps.items(), ("-", "--", ":"), strict=True):
        ax.plot(sweep, gap, style, label=name)
    ax.axvline(0, color=figures.GREY, lw=1)
    ax.set(xlabel="rotation away from the truth (degrees)", xticks=range(-45, 46, 15))
    ax.set(ylabel="free energy minus\nlog-likelihood (nats)", ylim=(-0.23, 0.01))
    fig.legend(fontsize=10, loc="outside upper center", ncols=3)
    return fig


def two_clouds(first: np.ndarray, second: np.ndarray, colour: np.ndarray) -> Figure:
    """Draw two clouds ``(N, 2)`` side by side, each point in the colour of its number."""
    fig, axes = figures.subplots(1, 2, height=2.7, sharey=True)
    for ax, cloud, title in zip(axes, (first, second), ("latents", "mixed latents"), strict=True):
        ax.scatter(*cloud.T, s=3, c=colour, cmap=figures.BLUE_TO_ORANGE)
        ax.set(title=title, xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
        ax.set(xticks=[-4, 0, 4], yticks=[-4, 0, 4])
    return fig


def telescope(
    z: np.ndarray, mean: np.ndarray, variance: float, covariance: np.ndarray
) -> list[Panel]:
    """Return the panels of three log ratios at one point of the plane.

    Args:
        z: ``(2,)`` the point.
        mean: ``(2,)`` of q(z|x).
        variance: of both latents of q(z|x).
        covariance: ``(2, 2)`` of the aggregate posterior, whose mean is zero.
    """
    diagonal = np.diag(np.diag(covariance))
    normals = ((mean, variance * np.eye(2)), *((np.zeros(2), C) for C in (covariance, diagonal)))
    normals = (*normals, (np.zeros(2), np.eye(2)))
    heights, curves = [], []
    for (label, colour), (centre, C) in zip(_LEVELS, normals, strict=True):
        away = z - centre
        log_det = np.linalg.slogdet(2 * np.pi * C)[1]
        heights.append(-0.5 * (log_det + away @ np.linalg.solve(C, away)))
        ring = centre[:, None] + 2 * np.linalg.cholesky(C) @ CIRCLE
        curves.append(Curve(*ring, label=label, colour=colour, dashed=label == "p(z)"))
    steps = -np.diff(heights)  # index-code, total correlation, dimension-wise
    stairs = [
        Curve([k, k + 0.8], [height, height], colour=colour, label="")
        for k, (height, (_, colour)) in enumerate(zip(heights, _LEVELS, strict=True))
    ]
    arrows = [
        Curve([k + 0.8, k + 1.0], [heights[k], heights[k + 1]], colour=figures.BLACK, dashed=True)
        for k in range(3)
    ]
    text = ", ".join(
        f"{name} {number(step, '+.2f')}"
        for name, step in zip(("information", "correlation", "dimension-wise"), steps, strict=True)
    )
    return [
        Panel(
            curves=curves,
            points=[Points(z[0], z[1], colour=figures.BLACK)],
            xlabel="z₁",
            ylabel="z₂",
            xlim=(-3, 3),
            ylim=(-3, 3),
            equal_aspect=True,
        ),
        Panel(
            curves=stairs + arrows,
            xlabel="step by step from q(z|x) to p(z)",
            ylabel="logarithm at the point",
            xlim=(-0.2, 4),
            ylim=(-12, 3),  # far from the datum its own density falls out of sight
            text=text,
        ),
    ]


def by_batch_size(
    sizes: Sequence[int],
    estimates: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    whole: Sequence[float],
) -> Figure:
    """Draw index-code and total correlation against the batch size, with two standard errors."""
    fig, axes = figures.subplots(1, 2, height=2.6)
    looks = {"stratified": ("o-", figures.BLUE), "mis-indexed": ("s--", figures.ORANGE)}
    for part, name in enumerate(("index-code (nats)", "total correlation (nats)")):
        axes[part].axhline(whole[part], color=figures.GREY, lw=1.5, label="all data")
        for kind, (style, colour) in looks.items():
            middle = np.array([mean[part] for mean, _ in estimates[kind]])
            error = np.array([error[part] for _, error in estimates[kind]])
            axes[part].errorbar(sizes, middle, 2 * error, fmt=style, color=colour, label=kind)
        axes[part].set(xscale="log", xlabel="batch size B")
        axes[part].set_title(name, fontsize=11)
        axes[part].set_xticks(sizes[::2], [str(size) for size in sizes[::2]], minor=False)
        axes[part].minorticks_off()
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=11
    )
    return fig


def overfitting(watch: np.ndarray, stopped: float, truth: float) -> Figure:
    """Draw estimated divergences ``(T, 3)``: step, on own samples, on fresh samples."""
    fig, ax = figures.subplots(height=2.5)
    ax.plot(watch[:, 0], watch[:, 1], color=figures.ORANGE, label="own training samples")
    ax.plot(watch[:, 0], watch[:, 2], "--", color=figures.BLUE, label="fresh samples")
    ends = watch[[0, -1], 0]
    ax.plot(ends, [stopped] * 2, ":", color=figures.GREEN, label="stopped early, fresh samples")
    ax.axhline(truth, color=figures.GREY, lw=1.5, label="truth")
    ax.set(xlabel="steps", ylabel="estimated KL (nats)")
    ax.legend(fontsize=11)
    return fig


def price(outcome: Mapping[tuple[str, float], np.ndarray], betas: Sequence[float]) -> Figure:
    """Draw reconstruction and MIG, ``(seeds, 2 or more)`` by method and beta, a dot a seed."""
    fig, axes = figures.subplots(1, 2, height=2.5)
    looks = {"β-VAE": (figures.BLUE, "o", "-", -0.04), "β-TCVAE": (figures.ORANGE, "s", "--", 0.04)}
    for name, (colour, marker, style, shift) in looks.items():
        for column, ax in enumerate(axes):
            values = np.stack([outcome[name, beta][:, column] for beta in betas])
            places = range(len(betas))
            ax.plot(places, values.mean(1), style, marker=marker, color=colour, label=name)
            for k, dots in enumerate(values):
                place = np.full(len(dots), k + shift)
                ax.scatter(place, dots, color=colour, s=14, alpha=0.5, marker=marker)
    for ax, title in zip(axes, ("reconstruction (nats)", "MIG"), strict=True):
        ax.set_title(title, fontsize=11)
        ax.set(xlabel="β")
        ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    axes[1].set_ylim(0, None)
    axes[0].legend(loc="lower left", fontsize=11)
    return fig


def order_of_averages(means: np.ndarray, deviation: float) -> Figure:
    """Draw the aggregate posterior of a few data, and the product of its marginals.

    Args:
        means: ``(N, 2)`` of the data's encodings.
        deviation: of both latents, for every datum.
    """
    axis = np.linspace(-2.6, 2.6, 121)
    bumps = np.exp(-0.5 * ((axis - means[:, :, None]) / deviation) ** 2)  # (N, 2, 121)
    across, up = bumps[:, 0], bumps[:, 1]
    titles = ("q(z): a product,\nthen averaged", "marginals: averaged,\nthen a product")
    densities = (
        (np.einsum("nx,ny->yx", across, up) / len(means), "Blues", titles[0]),
        (np.outer(up.mean(0), across.mean(0)), "Greens", titles[1]),
    )
    fig, axes = figures.subplots(1, 2, height=2.4)
    for ax, (density, cmap, title) in zip(axes, densities, strict=True):
        ax.contourf(axis, axis, density, levels=density.max() * np.linspace(0.03, 1, 9), cmap=cmap)
        ax.plot(*means.T, "+", color=figures.ORANGE, ms=7, mew=1.5)
        ax.set(xlabel="$z_1$", aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        ax.set_title(title, fontsize=11)
    axes[0].set_ylabel("$z_2$")
    return fig


def weight_matrices(matrices: Mapping[str, np.ndarray]) -> Figure:
    """Draw square matrices of weights ``(B, B)`` side by side, the darker the larger."""
    fig, axes = figures.subplots(1, len(matrices), height=2.0)
    top = max(matrix.max() for matrix in matrices.values())
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix, vmin=0, vmax=top)
        ax.set_title(name, fontsize=12)
        ax.set(xlabel="datum of the batch, j", xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    axes[0].set_ylabel("sample $z_i$")
    return fig


def classifier(
    samples: tuple[np.ndarray, np.ndarray], fitted: Sequence[float], truth: Sequence[float]
) -> Figure:
    """Draw two samples, and the logit that tells them apart beside the true log ratio.

    Args:
        samples: of q and of p.
        fitted: coefficients of 1, z and z squared.
        truth: the same of the log ratio.
    """
    fig, (left, right) = figures.subplots(1, 2, height=2.4)
    bins, z = np.linspace(-3.5, 3.5, 50), np.linspace(-2, 3, 100)
    looks = ((figures.BLUE, "q, label 1"), (figures.GREEN, "p, label 0"))
    for values, (colour, name) in zip(samples, looks, strict=True):
        left.hist(values, bins=bins, density=True, histtype="step", lw=2, color=colour, label=name)
    left.set(xlabel="z", ylabel="density", ylim=(0, 0.85))
    left.legend(fontsize=10, loc="upper left")
    for coefficients, look in (
        (truth, {"color": figures.GREY, "lw": 4, "alpha": 0.5, "label": "truth"}),
        (fitted, {"color": figures.ORANGE, "ls": "--", "label": "logit"}),
    ):
        right.plot(z, np.polyval(coefficients[::-1], z), **look)
    right.set(xlabel="z", ylabel="log ratio")
    right.legend(fontsize=10, loc="lower right")
    return fig


def shuffles(
    codes: Mapping[str, Mapping[str, np.ndarray]], notes: Mapping[str, Mapping[str, str]]
) -> Figure:
    """Draw clouds ``(N, 2)`` in a table: a row for each code, a column for each shuffle.

    Args:
        codes: the clouds, by row and column.
        notes: what stands in the corner of each panel, by row and column.
    """
    columns = list(next(iter(codes.values())))
    fig, axes = figures.subplots(len(codes), len(columns), height=1.35, sharex=True, sharey=True)
    for row, (name, clouds) in zip(axes, codes.items(), strict=True):
        for ax, column in zip(row, columns, strict=True):
            ax.plot(*clouds[column].T, ".", ms=2, color=figures.BLUE)
            ax.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[], aspect="equal")
            ax.text(0.04, 0.98, notes[name][column], transform=ax.transAxes, va="top", fontsize=11)
        row[0].set_ylabel(name, fontsize=11)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column, fontsize=11)
    return fig


def informations(tables: Mapping[str, np.ndarray]) -> Figure:
    """Draw what each latent tells of each factor, and the gap of each factor.

    Args:
        tables: ``(factors, latents)`` by title, shares of the factor's entropy.
    """
    fig, axes = figures.subplots(1, len(tables), height=1.75)
    fig.get_layout_engine().set(wspace=0.12)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        ax.imshow(table, vmin=0, vmax=1.25, aspect="equal")
        for (row, column), share in np.ndenumerate(table):
            ink = "white" if share > 0.6 else "black"
            ax.text(column, row, f"{share:.2f}", ha="center", va="center", color=ink, fontsize=11)
        for row, shares in enumerate(np.sort(table, axis=1)):
            ax.text(table.shape[1] - 0.4, row, f"{shares[-1] - shares[-2]:.2f}", va="center")
        ax.set_title(title, fontsize=11)
        ax.set(xticks=range(table.shape[1]), yticks=range(len(table)))
        ax.set_xticklabels([f"$z_{k + 1}$" for k in range(table.shape[1])])
        ax.set_yticklabels([f"$v_{k + 1}$" for k in range(len(table))])
        ax.tick_params(length=0)
    return fig

"""Figures of the chapter on many aspects: pages that run factVAE, and what they draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from vaelite.book import figures
from vaelite.book.explore import Curve, Network, Panel, Points
from vaelite.data.skeleton import Skeleton
from vaelite.factvae import FactVAE, GroupMLP

# The limbs of the walker, each a chain of joints, in the order of its groups.
CHAINS = {
    "core": ("root", "lowerback", "upperback", "head"),
    "right arm": ("upperback", "rshoulder", "rhumerus", "rradius", "rhand"),
    "left arm": ("upperback", "lshoulder", "lhumerus", "lradius", "lhand"),
    "right leg": ("root", "rhip", "rfemur", "rtibia", "rfoot", "rtoes"),
    "left leg": ("root", "lhip", "lfemur", "ltibia", "lfoot", "ltoes"),
}
_TURN = math.radians(65)  # the camera looks from the walker's right, and a little from ahead


# factVAE in a page.


class LiveFactVAE:
    """A trained factVAE's networks as those of each group, which a page can run.

    Args:
        model: whose groups' encoders and decoders are taken as they are now.
    """

    def __init__(self, model: FactVAE) -> None:
        groups = range(len(model.sizes))
        self.encoders = [Network(_expert(model, g)) for g in groups]
        self.decoders = [Network(_decoder(model, g)) for g in groups]

    def experts(self, groups: Sequence[Any]) -> tuple[Any, Any]:
        """Return mean and precision of each group's opinion, ``(G, K)`` each."""
        out = np.stack([net(x) for net, x in zip(self.encoders, groups, strict=True)])
        half = out.shape[1] // 2
        return out[:, :half], np.abs(out[:, half:])

    def decode(self, z: Any) -> list[Any]:
        """Return each group's likelihood parameters, ``(d_g,)``."""
        return [net(z) for net in self.decoders]

    def complete(self, groups: Sequence[Any], present: Any) -> tuple[list[Any], Any, Any]:
        """Infer the code from the groups that are present and decode its mean.

        Args:
            groups: one vector a group; what stands in an absent one does not matter.
            present: ``(G,)``, 1 for a group that is asked, 0 for one that is not.

        Returns:
            Each group's likelihood parameters, and mean and precision of the code, ``(K,)``.
        """
        mean, precision = multiply(*self.experts(groups), present)
        return self.decode(mean), mean, precision


def multiply(mean: Any, precision: Any, present: Any) -> tuple[Any, Any]:
    """Return mean and precision, ``(K,)``, of experts ``(G, K)`` times N(0, I) once."""
    asked = present.reshape(-1, 1) * precision
    total = 1.0 + np.sum(asked, axis=0)
    return np.sum(asked * mean, axis=0) / total, total


def _layers(net: GroupMLP, g: int, first: int, activation: bool) -> list[nn.Module]:
    """Return the layers of one group's network, without the padding."""
    layers: list[nn.Module] = []
    for index, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        last = index + 1 == len(net.weights)
        width = net.out_features[g] if last else weight.shape[2]
        layers.append(_linear(weight[g, :first, :width].mT, bias[g, 0, :width]))
        first = width
        if activation or not last:
            layers.append(net.activation)
    return layers


def _expert(model: FactVAE, g: int) -> nn.Sequential:
    """Return x_g -> (mean, signed precision)."""
    weight = torch.cat([model.means.weights[0][g].mT, model.V[g]])
    bias = torch.cat([model.means.biases[0][g, 0], torch.zeros_like(model.means.biases[0][g, 0])])
    features = _layers(model.features, g, model.sizes[g], activation=True)
    return nn.Sequential(*features, _linear(weight, bias))


def _decoder(model: FactVAE, g: int) -> nn.Sequential:
    """Return z -> f_g(W_g z)."""
    rank = model.W.shape[1]
    layers = _layers(model.decoder, g, rank, activation=False)
    return nn.Sequential(_linear(model.W[g], torch.zeros_like(model.W[g, :, 0])), *layers)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()
    return layer.to(weight.dtype)


# A skeleton in a page.


def joints(skeleton: Skeleton, degrees: Mapping[str, Any]) -> dict[str, Any]:
    """Return the place of each joint, ``(3,)``, from angles that a page can compute.

    The same forward kinematics as :meth:`vaelite.data.skeleton.Skeleton.positions`, in arithmetic
    that a live figure repeats, for a skeleton whose bones have no axes of their own.

    Args:
        skeleton: the bones.
        degrees: one angle for each of its channels.
    """

    def turned(name: str, freedom: Sequence[str]) -> Any:
        matrix = np.eye(3)
        for axis in freedom:
            if f"{name}_{axis}" in degrees and axis.startswith("r"):
                matrix = _rotation(axis[1], degrees[f"{name}_{axis}"]) @ matrix
        return matrix

    places = {"root": np.zeros(3)}
    rotations = {"root": turned("root", skeleton.root_degrees_of_freedom)}
    waiting = list(skeleton.bones)
    while waiting:
        for bone in [bone for bone in waiting if bone.parent in places]:
            local = turned(bone.name, bone.degrees_of_freedom)
            rotations[bone.name] = rotations[bone.parent] @ local
            along = bone.length * np.array(bone.direction)
            places[bone.name] = places[bone.parent] + rotations[bone.name] @ along
            waiting.remove(bone)
    return places


def _rotation(axis: str, degrees: Any) -> Any:
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    plane, swap, rest = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3))
    plane[j, j] = plane[k, k] = rest[i, i] = 1.0
    swap[k, j], swap[j, k] = 1.0, -1.0
    angle = degrees * (math.pi / 180)
    return np.cos(angle) * plane + np.sin(angle) * swap + rest


def seen_from_the_side(place: Any) -> tuple[Any, Any]:
    """Return where a joint ``(..., 3)`` is on the screen: to the right is ahead."""
    return (
        math.sin(_TURN) * place[..., 2] + math.cos(_TURN) * place[..., 0],
        place[..., 1],
    )


def limb_curves(places: Mapping[str, Any], colours: Sequence[str], **look: Any) -> list[Curve]:
    """Return each limb as a line through its joints ``(3,)``."""
    curves = []
    for chain, colour in zip(CHAINS.values(), colours, strict=True):
        x, y = seen_from_the_side(np.stack([places[name] for name in chain]))
        curves.append(Curve(x, y, colour=colour, **look))
    return curves


def draw_pose(
    ax: Axes, skeleton: Skeleton, positions: np.ndarray, shown: Sequence[bool], **look: Any
) -> None:
    """Draw some limbs of a pose ``(J, 3)``."""
    number = {name: n for n, name in enumerate(skeleton.joints)}
    for g, chain in enumerate(CHAINS.values()):
        if shown[g]:
            x, y = seen_from_the_side(positions[[number[name] for name in chain]])
            ax.plot(x, y, solid_capstyle="round", **{"color": limb_colour(g), **look})


def limb_colour(g: int) -> str:
    """Return the colour of a limb, the same in every figure."""
    return figures.COLOURS[g]


def poses(
    skeleton: Skeleton, truth: np.ndarray, filled: np.ndarray, observed: np.ndarray
) -> Figure:
    """Draw poses with limbs missing, and below them what a model fills in over the truth.

    Args:
        skeleton: the bones.
        truth: ``(N, J, 3)``.
        filled: ``(N, J, 3)``.
        observed: ``(N, G)``.
    """
    fig, axes = figures.subplots(2, len(truth), height=1.65, sharex=True, sharey=True)
    for column, (real, guess, there) in enumerate(zip(truth, filled, observed, strict=True)):
        above, below = axes[:, column]
        draw_pose(above, skeleton, real, there)
        draw_pose(below, skeleton, real, ~there, color=figures.GREY, ls=":", lw=1.6)
        draw_pose(below, skeleton, guess, there, color="#c4c4c4")
        draw_pose(below, skeleton, guess, ~there)
        for ax in (above, below):
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.spines[:].set_visible(False)
    for ax, name in zip(axes[:, 0], ("observed", "filled in"), strict=True):
        ax.set_ylabel(name, fontsize=11)
    return fig


# Sparsity.


def patterns(
    norms: Mapping[str, np.ndarray], groups: Sequence[str], top: float | None = None
) -> Figure:
    """Draw the columns' norms of some models as squares, a row a group; an exact zero has a cross.

    Args:
        norms: ``(G, K)`` by title.
        groups: names of the rows.
        top: the norm that is black; by default each model's own largest.
    """
    fig, axes = figures.subplots(
        1, len(norms), height=0.42 * len(groups) + 0.9, squeeze=False, sharey=True
    )
    for ax, (title, values) in zip(axes[0], norms.items(), strict=True):
        values = np.asarray(values)
        most = top or max(values.max(), 1e-9)
        ax.imshow(values / most, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
        ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(len(groups) + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="#c8c8c8", lw=0.6)
        for g, k in np.argwhere(values == 0):
            ax.plot(k, g, "x", color=figures.GREY, ms=4, mew=1.2)
        ax.set_title(title, fontsize=12)
        labelled = range(0, values.shape[1], 1 if values.shape[1] <= 8 else 2)
        ax.set(xticks=labelled, xticklabels=[latent + 1 for latent in labelled])
        ax.set(yticks=range(len(groups)), yticklabels=groups, xlabel="latent")
        ax.tick_params(which="both", length=0)
    return fig


def in_order(norms: np.ndarray) -> np.ndarray:
    """Return an order of the latents: by the group to which they are tied most, then by strength.

    Args:
        norms: ``(G, K)``.
    """
    strongest = norms.argmax(0) + len(norms) * (norms.max(0) < 0.02)
    return np.lexsort((-norms.max(0), strongest))


def tiles(norms: np.ndarray, top: float, side: int = 5) -> np.ndarray:
    """Return norms ``(G, K)`` as an image of grey squares with a margin, black where largest."""
    shade = 1 - np.clip(norms / top, 0, 1) ** 0.7
    image = np.kron(shade, np.ones((side, side)))
    rows, columns = (np.arange(n) % side == side - 1 for n in image.shape)
    image[rows], image[:, columns] = 0.9, 0.9
    return image


def against_lambda(
    scale: Sequence[float], norms: np.ndarray, at: int, names: Sequence[str]
) -> Panel:
    """Return each latent's largest norm over the groups against lambda.

    Args:
        scale: the values of lambda.
        norms: ``(lambdas, G, K)``.
        at: which is shown.
        names: how the values of lambda are written.
    """
    along = np.arange(len(scale))
    strongest = norms.max(1)
    return Panel(
        curves=[
            Curve(along, strongest[:, k], colour=figures.class_colour(k % 10))
            for k in range(strongest.shape[1])
        ],
        points=[
            Points(at, strongest[at, k], colour=figures.class_colour(k % 10), drag=k == 0)
            for k in range(strongest.shape[1])
        ],
        xlabel="λ: " + ", ".join(names),
        ylabel="largest norm of a latent",
        ylim=(-0.03, strongest.max() * 1.08),
    )


# Pictures.


def rows_of(pictures: Mapping[str, np.ndarray], height: float = 0.72, hidden: Any = None) -> Figure:
    """Draw rows of pictures ``(N, H, W)`` in [0, 1], black at 1, each named at the left.

    Args:
        pictures: by name.
        height: of a row, in inches.
        hidden: bools of the same shape by name: pixels that are drawn in a light colour.
    """
    fig, axes = figures.subplots(len(pictures), 1, height=height)
    for ax, (name, some) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        grey = 1 - np.clip(some, 0, 1)[..., None].repeat(3, -1)
        if hidden is not None and name in hidden:
            grey[hidden[name]] = to_rgb("#f3d7b6")
        ax.imshow(figures.image_grid(grey, len(some), fill=0.8))
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        ax.spines[:].set_visible(False)
    return fig


def views_of(subjects: Mapping[str, np.ndarray], missing: Mapping[str, np.ndarray]) -> Figure:
    """Draw subjects as columns and views as rows, a panel for each kind of subject.

    Args:
        subjects: ``(N, G, H, W)`` in [0, 1] by kind.
        missing: ``(N, G)`` bools by kind: views that nobody has seen, framed.
    """
    fig, axes = figures.subplots(1, len(subjects), height=3.9, squeeze=False)
    for ax, (kind, some) in zip(axes[0], subjects.items(), strict=True):
        count, _, height, width = some.shape
        grid = figures.image_grid(some.swapaxes(0, 1).reshape(-1, height, width), count, fill=1.0)
        ax.imshow(grid, cmap="gray", vmin=0, vmax=1)
        for n, g in np.argwhere(missing[kind]):
            corner = (n * (width + 1) - 0.5, g * (height + 1) - 0.5)
            ax.add_patch(Rectangle(corner, width, height, fill=False, ec=figures.ORANGE, lw=2))
        ax.set_title(kind, fontsize=11)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return fig


# Bounds and tables.


def imputed(rho: Any, missing: Any) -> dict[str, tuple[Any, Any, Any]]:
    """Return what a normal fitted to filled-in data believes, with data without end.

    Two measurements of variance 1 and correlation rho; the second is missing at random.

    Args:
        rho: the correlation.
        missing: the share of data without the second measurement.

    Returns:
        By procedure: the variance of the second, its covariance with the first, and the nats a
        datum that the fitted normal loses on whole data.
    """
    left = 1 - missing
    believed = {
        "mean": (left, left * rho),
        "regression": (left + missing * rho * rho, rho),
        "observed only": (1.0 + 0 * rho * missing, rho),
    }
    found = {}
    for name, (variance, covariance) in believed.items():
        # N(0, C) against N(0, C'): of x1 both are right; of x2 given x1 the residual decides.
        residual = variance - covariance**2
        error = 1 - 2 * covariance * rho + covariance**2
        loss = 0.5 * (error / residual - 1 + np.log(residual / (1 - rho * rho)))
        found[name] = (variance, covariance, loss)
    return found


_CIRCLE = np.linspace(0, 2 * math.pi, 65)


def contour(variance: Any, covariance: Any) -> tuple[Any, Any]:
    """Return the contour at two deviations of a centred normal whose first variance is 1."""
    return 2 * np.cos(_CIRCLE), 2 * (
        covariance * np.cos(_CIRCLE) + np.sqrt(variance - covariance**2) * np.sin(_CIRCLE)
    )


def table_one(paper: Mapping[str, Sequence[float]], ours: Mapping[str, np.ndarray]) -> Figure:
    """Draw the paper's table 1 beside ours: log-likelihood against the number of walks.

    Args:
        paper: four numbers by method.
        ours: mean and half-width of the interval, ``(2, 4)``, by method.
    """
    walks = ["1", "2", "5", "10"]
    fig, (left, right) = figures.subplots(1, 2, height=3.2)
    looks = {
        name: {"color": figures.COLOURS[n % 6], "ls": "-" if n < 3 else "--"}
        for n, name in enumerate(dict.fromkeys([*paper, *ours]))
    }
    for name, values in paper.items():
        left.plot(walks, values, "o", label=name, **looks[name])
    for name, (mean, half) in ours.items():
        right.errorbar(walks, mean, half, marker="o", label=name, capsize=2, **looks[name])
    for ax, title in ((left, "the paper"), (right, "ours")):
        ax.set_title(title, fontsize=12)
        ax.set(xlabel="training walks")
    left.set_ylabel("nats")
    handles, names = right.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3, fontsize=10)
    return fig

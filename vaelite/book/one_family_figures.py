"""Figures of the chapter on one family: the dolls' world in a page, members at work, a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from vaelite import claims
from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.book.explore import Network, pick, sigmoid
from vaelite.book.multi_aspect_figures import LiveFactVAE, multiply
from vaelite.claims.plan import Plan
from vaelite.data import dolls
from vaelite.data.dolls import CAMERAS
from vaelite.factvae import FactVAE
from vaelite.one_family import COMBINATIONS, PAPERS, Scenes

if TYPE_CHECKING:
    from vaelite.experiments.comparison import Finding

NAMES = {
    "vae": "VAE",
    "isa": "ISA-VAE",
    "mixture": "mixture",
    "optimal prior": "optimal prior",
    "cross-population": "CPVAE",
    "multi-aspect": "factVAE",
    "shared mixture": "shared mixture",
    "shared ratio": "shared ratio",
    "shared sparsity": "shared sparsity",
}
# What is measured: its name, and whether more of it is better.
MEASURES = {
    "log_likelihood": ("likelihood", True),
    "error": ("error", False),
    "gap": ("gap", True),
    "clusters": ("clusters", True),
    "leak": ("leak", False),
    "transfer": ("transfer", True),
    "filled": ("filled in", False),
}
# Which measures a member's structure speaks of; likelihood and error concern them all.
MADE_FOR = {
    "isa": ("gap",),
    "mixture": ("clusters",),
    "optimal prior": ("leak", "transfer"),
    "cross-population": ("leak", "transfer"),
    "multi-aspect": ("filled",),
    "shared mixture": ("clusters", "leak", "transfer"),
    "shared ratio": ("leak", "transfer"),
    "shared sparsity": ("leak", "transfer", "filled"),
}
# Which line a member changes, in the words of a phone's screen.
LINES = {
    "vae": "the ELBO with N(0, I), nothing else",
    "isa": "prior: subspaces of two",
    "mixture": "prior: mixtures, natural gradients",
    "optimal prior": "prior: the aggregate, as a ratio",
    "cross-population": "decoder, objective: shared + private",
    "multi-aspect": "posterior: experts; decoder: sparse",
    "shared mixture": "CPVAE, its shared prior mixtures",
    "shared ratio": "CPVAE, its shared prior a ratio",
    "shared sparsity": "CPVAE, its shared decoder sparse",
}
_GAP = 1  # pixels between pictures


# The world in a page.


def doll(
    azimuth: Any,
    elevation: Any,
    light: Any,
    glasses: Any,
    hair: Any,
    fog: Any,
    *,
    size: int = 12,
    rays: int = 2,
) -> Any:
    """Draw what the seven cameras see, as :mod:`vaelite.data.dolls` does, in live arithmetic.

    Args:
        azimuth: degrees, a number or an expression, as all that follow.
        elevation: degrees.
        light: degrees from the middle camera.
        glasses: 0 or 1.
        hair: 0 for short, 1 for long.
        fog: thickness, from 0.
        size: pixels a side.
        rays: of a pixel along each side.

    Returns:
        Brightness ``(7, size, size)``, from 0 to 1.
    """
    side = np.linspace(-1, 1, 2 * size * rays + 1)[1::2] * dolls._EXTENT
    v, u = np.meshgrid(-side, side, indexing="ij")
    inside = (u**2 + v**2 < 1) * 1.0
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
    radian = math.pi / 180
    camera = np.array(CAMERAS).reshape(-1, 1, 1)
    turn, tilt = (azimuth + camera) * radian, elevation * radian
    y = v * np.cos(tilt) + depth * np.sin(tilt)
    forward = depth * np.cos(tilt) - v * np.sin(tilt)
    x = u * np.cos(turn) + forward * np.sin(turn)
    z = forward * np.cos(turn) - u * np.sin(turn)
    high, beside = dolls._LIGHT_HEIGHT * radian, (light - camera) * radian
    towards = (u * np.sin(beside) + depth * np.cos(beside)) * math.cos(high) + v * math.sin(high)
    shade = dolls._AMBIENT + (1 - dolls._AMBIENT) * np.maximum(towards, 0.0)
    bright = inside * _painted(x, y, z, glasses, hair) * shade
    seen = bright.reshape(len(CAMERAS), size, rays, size, rays).mean(4).mean(2)
    return (1 - fog) * seen + fog * dolls._GREY


def _painted(x: Any, y: Any, z: Any, glasses: Any, hair: Any) -> Any:
    """Return how bright the head is painted, the live twin of the world's own function."""

    def inside(distance: Any) -> Any:
        return sigmoid(-distance / 0.04)

    long = 0.6 - 1.6 * np.maximum(0.75 - z, 0.0)
    short = 0.6 - 0.7 * np.maximum(0.3 - z, 0.0)
    line = hair * long + (1 - hair) * short
    paint = dolls._SKIN + (dolls._HAIR - dolls._SKIN) * inside(line - y)
    for eye in dolls._EYES:
        apart = np.sqrt((x - eye[0]) ** 2 + (y - eye[1]) ** 2 + (z - eye[2]) ** 2)
        paint = paint + (dolls._DARK - paint) * inside(apart - 0.1)
        paint = paint + (dolls._DARK - paint) * glasses * inside(np.abs(apart - 0.27) - 0.07)
    bow = inside(np.abs(y - 0.15) - 0.06) * inside(z - 0.85) * inside(-0.1 - z)
    paint = paint + (dolls._DARK - paint) * glasses * bow
    mouth = inside(np.abs(y + 0.45) - 0.05) * inside(np.abs(x) - 0.28) * inside(-z)
    return paint + (dolls._DARK - paint) * mouth


def mosaic(pictures: Any, columns: int = 4) -> Any:
    """Lay pictures ``(N, H, W)`` out in rows, in arithmetic that a page can repeat.

    Returns:
        One image; white stands between pictures and where the last row has none.
    """
    count, height, width = pictures.shape
    rows = []
    for first in range(0, count, columns):
        row = []
        for index in range(first, first + columns):
            row.append(pictures[index] if index < count else np.ones((height, width)))
            row.append(np.ones((height, _GAP)))
        rows += [np.concatenate(row[:-1], axis=1), np.ones((_GAP, columns * (width + _GAP) - _GAP))]
    return np.concatenate(rows[:-1], axis=0)


def tags(height: int, width: int, count: int, columns: int = 4) -> np.ndarray:
    """Return which picture each pixel of a mosaic belongs to, -1 for none."""
    numbers = np.arange(count).reshape(-1, 1, 1) * np.ones((1, height, width))
    laid = np.asarray(mosaic(numbers + 2, columns)) - 2
    return np.where(laid < 0, -1, laid).astype(int)


def scenes(
    rows: Mapping[str, np.ndarray], hidden: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Draw scenes, a row each: seven views with the cameras' angles above them.

    Args:
        rows: ``(7, H, W)``, brightness from 0 to 1, by the row's label.
        hidden: ``(7,)`` bool for some of the labels: views that are framed as missing.
    """
    hidden = hidden or {}
    fig, axes = figures.subplots(len(rows), 7, height=0.66 + 0.25 / len(rows), squeeze=False)
    for row, (label, pictures) in enumerate(rows.items()):
        line = axes[row]
        for g, (picture, ax) in enumerate(zip(pictures, line, strict=True)):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            framed = label in hidden and bool(hidden[label][g])
            for spine in ax.spines.values():
                spine.set(visible=framed, color=figures.ORANGE, linewidth=2.5)
            if row == 0:
                ax.set_title(degrees(CAMERAS[g]), fontsize=10)
        look = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 10}
        line[0].set_ylabel(label, **look)
    return fig


def degrees(angle: float) -> str:
    """Return a camera's angle as text."""
    return f"{number(angle, '+.0f')}°"


# What structures say of it.


def bumps(deviation: Any, grid: Any) -> tuple[Any, Any, Any]:
    r"""Return two densities of a code that stands for a yes or no, and what the plain one loses.

    The aggregate posterior is two normals, as far apart as gives it variance 1,

    .. math:: q(z) = \tfrac12 \mathcal N(z; -m, s^2) + \tfrac12 \mathcal N(z; m, s^2),
        \qquad m^2 + s^2 = 1 .

    Args:
        deviation: s, from 0 to below 1.
        grid: ``(M,)`` evenly spaced places.

    Returns:
        q and N(0, 1) on the grid, and KL(q || N(0, 1)) in nats by the sum over the grid.
    """
    middle = np.sqrt(1 - deviation**2)

    def bell(mean: Any, width: Any) -> Any:
        distance = (grid - mean) / width
        return np.exp(-0.5 * distance**2) / (width * math.sqrt(2 * math.pi))

    two = 0.5 * bell(-middle, deviation) + 0.5 * bell(middle, deviation)
    plain = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    step = grid[1] - grid[0]
    loss = step * np.sum(two * (np.log(two + 1e-300) - np.log(plain)))
    return two, plain, loss


def views_explained(share: np.ndarray) -> Figure:
    """Draw how much of each view's variance another one explains, ``(7, 7)``: told, teller."""
    fig, ax = figures.subplots(height=3.4)
    image = ax.imshow(share, vmin=0.5, vmax=1, cmap="viridis")
    angles = [degrees(angle) for angle in CAMERAS]
    ax.set_xticks(range(7), angles, fontsize=10)
    ax.set_yticks(range(7), angles, fontsize=10)
    ax.set(xlabel="told from camera", ylabel="view of camera")
    for i, j in np.ndindex(*share.shape):
        shade = "white" if share[i, j] < 0.75 else "black"
        ax.text(
            j,
            i,
            f"{share[i, j]:.2f}".lstrip("0"),
            ha="center",
            va="center",
            fontsize=10,
            color=shade,
        )
    fig.colorbar(image, ax=ax, label="share of variance")
    return fig


# Members in a page.


class LiveMember:
    """A trained member that a page can ask about some scenes with any cameras switched off.

    The first layer of an encoder of all views is a sum over views, whose terms for a given scene
    are constants; so are the opinions of experts.  What is left to run in the page is small.

    Args:
        model: a VAE of multilayer perceptrons on all views, or a :class:`vaelite.factvae.FactVAE`.
        scenes: those that the page may ask about, with all views seen.
        cameras: which views the page decodes.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, scenes: Scenes, cameras: Sequence[int]) -> None:
        views = scenes.observed.shape[1]
        parts = torch.stack(scenes.x.chunk(views, -1), 1)  # (S, G, P)
        self.several = isinstance(model, FactVAE)
        if self.several:
            mean, precision = model.experts(model.prepare(scenes.views))  # (G, S, D)
            self.mean, self.precision = (x.transpose(0, 1).numpy() for x in (mean, precision))
            live = LiveFactVAE(model)
            self.decoders = [live.decoders[g] for g in cameras]
            return
        first, *_, last = model.encoder.net
        weight = torch.stack(first.weight.chunk(views, -1))  # (G, H, P)
        self.there = torch.einsum("ghp,sgp->sgh", weight, parts).numpy()
        self.missing = -weight.sum(-1).numpy()  # what a view of -1 everywhere adds
        self.bias = first.bias.numpy()
        half = len(last.bias) // 2
        self.last = last.weight[:half].mT.double().numpy(), last.bias[:half].double().numpy()
        self.decoders = [Network(one_view(model.decoder, g, views)) for g in cameras]

    def code(self, which: Any, present: Any) -> Any:
        """Return the posterior mean ``(D,)`` of a scene seen by some cameras.

        Args:
            which: the scene's number.
            present: ``(G,)``, 1 for a camera that works.
        """
        if self.several:
            mean, precision = (pick(x, which) for x in (self.mean, self.precision))
            return multiply(mean, precision, present)[0]
        asked = present.reshape(-1, 1)
        sums = asked * pick(self.there, which) + (1 - asked) * self.missing
        hidden = np.maximum(np.sum(sums, axis=0) + self.bias, 0.0)
        return hidden @ self.last[0] + self.last[1]

    def views(self, z: Any, size: int) -> list[Any]:
        """Return the decoded views ``(size, size)``."""
        return [decoder(z).reshape(size, size) for decoder in self.decoders]


def one_view(decoder: nn.Sequential, view: int, views: int) -> nn.Sequential:
    """Return the part of a decoder of all views that draws one."""
    *before, last = decoder
    rows = slice(*(last.out_features // views * edge for edge in (view, view + 1)))
    part = nn.Linear(last.in_features, rows.stop - rows.start)
    part.weight.data, part.bias.data = last.weight[rows].detach(), last.bias[rows].detach()
    return nn.Sequential(*before, part)


# Head to head.


def units(finding: Finding) -> float:
    """Return a planned difference in units of the one that matters, positive where it is better."""
    plan: Plan = finding.claim.plan
    sign = 1 if MEASURES[plan.quantity][1] else -1
    return sign * (finding.estimate.mean - plan.threshold) / plan.matters


def outcome(finding: Finding) -> str:
    """Return what the interval says of first against second.

    Returns:
        ``"better"`` or ``"worse"``, where the whole interval lies on one side; ``"small"``, where
        it lies inside the difference that matters, whichever side; ``"open"``; or ``"not run"``.
    """
    if finding.verdict == claims.NOT_RUN:
        return "not run"
    if finding.negligible:
        return "small"
    if finding.verdict == claims.NOT_RESOLVED:
        return "open"
    higher_is_better = MEASURES[finding.claim.plan.quantity][1]
    return "better" if (finding.verdict == claims.HOLDS) == higher_is_better else "worse"


MARKS = {"better": "▲△", "worse": "▼▽", "small": "==", "open": "??"}  # survives, does not
_SHADES = LinearSegmentedColormap.from_list("worse to better", ["#D55E00", "#ffffff", "#0072B2"])
_FULL = 6.0  # so many units are as dark as it gets


def heat(findings: Sequence[Finding]) -> Figure:
    """Draw methods against measures, each difference to the VAE in units of what matters.

    Args:
        findings: evaluated plans whose ``second`` is the VAE; what has none is left out.
    """
    table = {
        (finding.claim.plan.first["method"], finding.claim.plan.quantity): finding
        for finding in findings
    }
    methods = [*PAPERS, *COMBINATIONS]
    fig, ax = figures.subplots(height=4.3)
    for (method, measure), finding in table.items():
        y, x = methods.index(method), list(MEASURES).index(measure)
        kind = outcome(finding)
        if kind == "not run":
            continue
        value = units(finding)
        solid = kind in ("better", "worse")
        shade = _SHADES(0.5 + 0.5 * np.clip(value / _FULL, -1, 1)) if solid else "white"
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="none"))
        dark = solid and abs(value) > 0.7 * _FULL
        text = f"{MARKS[kind][finding.survives is False]}\n{short(value)}"
        look = {"ha": "center", "va": "center", "fontsize": 10, "linespacing": 1.0}
        ax.text(x, y, text, color="white" if dark else "black", **look)
    for method, measures in MADE_FOR.items():
        for measure in measures:
            corner = list(MEASURES).index(measure) - 0.46, methods.index(method) - 0.46
            ax.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="black", lw=1.6))
    ax.axhline(len(PAPERS) - 0.5, color="black", lw=1)
    ax.set_xticks(range(7), [name for name, _ in MEASURES.values()], rotation=35, ha="right")
    ax.set_yticks(range(len(methods)), [NAMES[method] for method in methods])
    ax.set(xlim=(-0.5, 6.5), ylim=(len(methods) - 0.5, -0.5))
    ax.tick_params(length=0, labelsize=11)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return fig


def short(value: float) -> str:
    """Return a number of units in at most four characters."""
    return number(value, "+.1f" if abs(value) < 9.95 else "+.0f")


def who(findings: Sequence[Finding]) -> list[list[str]]:
    """Return a row for each measure: who is better than the VAE, who worse, and the rest."""
    rows = []
    for measure, (name, _) in MEASURES.items():
        of = [f for f in findings if f.claim.plan.quantity == measure]
        groups = []
        for kinds in (("better",), ("worse",), ("small", "open")):
            found = [NAMES[f.claim.plan.first["method"]] for f in of if outcome(f) in kinds]
            groups.append(", ".join(found) or "–")
        rows.append([name, *groups])
    return rows


def against_vae() -> list[str]:
    """Return the ids of all planned comparisons of a member with the VAE."""
    return [
        id
        for id, claim in claims.planned("one").items()
        if claim.plan.second == {"method": "vae"} and claim.plan.quantity in MEASURES
    ]

"""The explorable figures of the chapters on latent variables and on bounds.

Each function takes what the chapter computed, and the alternative text and the caption as
``alt=`` and ``caption=``, which it hands to :func:`vaelite.book.explore.explore`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vaelite.book.chapter import number
from vaelite.book.explore import (
    Control,
    Curve,
    Drawing,
    Network,
    Panel,
    Point,
    Points,
    Slider,
    ellipse,
    explore,
    sigmoid,
)
from vaelite.book.figures import BLACK, BLUE, GREEN, GREY, ORANGE, class_colour
from vaelite.book.latent_grid import LatentGrid
from vaelite.vae import VAE

SHOWN = (0, 1, 4, 6)  # the digits with a colour of their own in a cloud of codes
LOG_TWO_PI = math.log(2 * math.pi)


def cloud_of_digits(codes: np.ndarray, labels: np.ndarray) -> list[Points]:
    """Return codes ``(N, 2)`` as points, a few digits in their colours and the rest in grey."""
    rest = ~np.isin(labels, SHOWN)
    groups = [Points(*codes[rest].T, label="other digits", colour=GREY)]
    for digit in SHOWN:
        chosen = codes[labels == digit].T
        groups.append(Points(*chosen, label=str(digit), colour=class_colour(digit)))
    return groups


def gaussian_density(z: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Return N(z; mean, deviation squared); inputs of a live figure do as well as numbers."""
    return np.exp(-0.5 * ((z - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def posterior_and_q(
    z: np.ndarray,
    posterior: np.ndarray,
    q: tuple[float, float],
    ylim: tuple[float, float],
    text: str,
) -> Panel:
    """Draw a posterior over ``z`` and a Gaussian q whose mean a reader drags.

    Args:
        z: ``(N,)``, the axis.
        posterior: ``(N,)``, its density there.
        q: mean and standard deviation.
        ylim: limits of the density's axis.
        text: what the panel says.
    """
    mean, deviation = q
    return Panel(
        curves=[
            Curve(z, posterior, label="posterior", colour=BLUE),
            Curve(z, gaussian_density(z, mean, deviation), label="q", colour=ORANGE),
        ],
        points=[Points(mean, 0.0, colour=ORANGE)],
        xlabel="z",
        ylabel="density",
        xlim=(z[0], z[-1]),
        ylim=ylim,
        text=text,
    )


def explore_flat_sheet(
    mean: np.ndarray, fixed: np.ndarray, codes: np.ndarray, labels: np.ndarray, **about: str
) -> None:
    """Walk on the sheet of PCA: the mean picture plus two fixed pictures, weighted.

    Args:
        mean: ``(64,)``, the mean picture.
        fixed: ``(2, 64)``.
        codes: ``(N, 2)``, the weights of some digits.
        labels: ``(N,)``, which digits they are.
        **about: ``alt`` and ``caption``.
    """
    cloud, reach = cloud_of_digits(codes, labels), 3.6

    def walk(place):
        ink = np.clip(mean + place @ fixed, 0.0, 1.0).reshape(8, 8)
        here = Points(place[0], place[1], label="you", colour=BLACK)
        limits = {"xlim": (-reach, reach), "ylim": (-reach, reach), "equal_aspect": True}
        sheet = Panel(
            points=[*cloud, here], xlabel="first number", ylabel="second number", **limits
        )
        return [sheet, Panel(image=1 - ink, title="rebuilt by PCA")]

    start = codes[labels == 1].mean(0).round(1)
    explore(walk, place=Point("the two numbers", start=tuple(start)), **about)


def explore_lucky_draws(
    sigma2: float, rng: np.random.Generator, draws: int = 10_000, **about: str
) -> None:
    """Watch the naive estimate of the evidence run, for factor analysis with W = I.

    Args:
        sigma2: noise variance of every pixel.
        rng: where the draws come from.
        draws: length of a run.
        **about: ``alt`` and ``caption``.
    """
    latents, runs = [1, 2, 4, 8], list(range(1, 9))
    pixel = math.sqrt(1 + sigma2)  # an average picture
    z = rng.standard_normal((len(runs), draws, max(latents)))
    # Log of likelihood over evidence, summed over the latents in use.
    log_ratio = -0.5 * (np.log(sigma2 / (1 + sigma2)) + (pixel - z) ** 2 / sigma2 - 1)
    log_ratio = {count: log_ratio[:, :, :count].sum(2) for count in latents}
    shown = np.unique(np.logspace(0, np.log10(draws), 220).astype(int))

    def run(count, number):
        log_terms = log_ratio[count][number - 1]
        log_sums = np.logaddexp.accumulate(log_terms)
        estimate = (log_sums - np.log(np.arange(1, draws + 1)))[shown - 1] / np.log(10)
        estimate = np.where(estimate < -8, np.nan, estimate)
        best = np.exp(log_terms.max() - log_sums[-1])
        ratio = np.exp(log_sums[-1]) / draws
        text = f"after {draws:,} draws {ratio:.2g} of the truth; "
        text += f"the luckiest draw alone gave {best:.0%} of it"
        curves = [
            Curve(np.log10(shown), estimate, label="estimate", colour=BLUE),
            Curve([0, np.log10(draws)], [0, 0], label="truth", colour=BLACK, dashed=True),
        ]
        return Panel(
            curves=curves,
            xlabel="log₁₀ of the number of draws",
            ylabel="log₁₀ of estimate / truth",
            ylim=(-8, 2),
            text=text,
        )

    explore(run, count=Control(latents, "latents", start=1), number=Control(runs, "run"), **about)


def explore_hand_made_q(
    posterior_mean: float, posterior_var: float, log_evidence: float, **about: str
) -> None:
    """Move a Gaussian q over a Gaussian posterior, and watch the bound.

    Args:
        posterior_mean: of a model with one latent.
        posterior_var: its variance.
        log_evidence: log p(x).
        **about: ``alt`` and ``caption``.
    """
    z = np.linspace(-1.5, 3.0, 121)
    posterior = gaussian_density(z, posterior_mean, math.sqrt(posterior_var))
    means, widths = (-1.2, 2.8), (0.1, 1.4)

    def divergence(mean, width):
        spread = width**2 / posterior_var
        return 0.5 * (spread + (mean - posterior_mean) ** 2 / posterior_var - 1 - np.log(spread))

    across, up = np.meshgrid(np.linspace(*means, 120), np.linspace(*widths, 90)[::-1])
    landscape = (np.floor(divergence(across, up) / 0.5) * 0.07).clip(0, 0.85)

    def bound(mean, width):
        gap = divergence(mean, width)
        truth = number(log_evidence, ".2f")
        text = f"ELBO {log_evidence - gap:.2f} + KL {gap:.2f} = log p(x) {truth}"
        densities = posterior_and_q(z, posterior, (mean, width), (-0.1, 2.2), text)
        choice = Panel(
            points=[Points(mean, width, label="your q", colour=ORANGE)],
            image=1 - landscape,
            xlabel="mean of q",
            ylabel="standard deviation of q",
            xlim=means,
            ylim=widths,
            title="ELBO: the lighter, the higher",
        )
        return [densities, choice]

    explore(
        bound,
        mean=Slider(*means, "mean of q", start=0.0),
        width=Slider(*widths, "standard deviation of q", start=1.0),
        **about,
    )


def explore_score_and_path(rng: np.random.Generator, **about: str) -> None:
    """Compare three estimates of one gradient: score function, with a baseline, path.

    The model is factor analysis with W = I, noise variance 0.5 and every pixel 1; q is the prior,
    and the true derivative of the bound with respect to the first mean is 2.

    Args:
        rng: where the draws come from.
        **about: ``alt`` and ``caption``.
    """
    latents, averaged = [1, 2, 4, 8, 16], [2, 10, 100]
    repeats, steps, rate, noise = 60, 150, 0.02, 0.5

    def gradients(mean, epsilon):  # (D,), (repeats, draws, D) -> three of (repeats, D)
        z = mean + epsilon
        f = -0.5 * (LOG_TWO_PI + np.log(noise) + (1 - z) ** 2 / noise + z**2 - epsilon**2).sum(-1)
        draws = epsilon.shape[1]
        others = (f.sum(1, keepdims=True) - f) / (draws - 1)
        score = (f[..., None] * epsilon).mean(1)
        baseline = ((f - others)[..., None] * epsilon).mean(1)
        return score, baseline, ((1 - z) / noise - z).mean(1)

    rows = ((2, "score function", ORANGE), (1, "with baseline", BLUE), (0, "path", GREEN))
    jitter = rng.uniform(-0.25, 0.25, repeats)

    def compare(count, draws):
        epsilon = rng.standard_normal((repeats, draws, count))
        dots = [estimate[:, 0] for estimate in gradients(np.zeros(count), epsilon)]
        points = [
            Points(np.where(np.abs(dot) < 75, dot, np.nan), row + jitter, label=name, colour=colour)
            for dot, (row, name, colour) in zip(dots, rows, strict=True)
        ]
        text = "standard deviation " + ", ".join(f"{dot.std():.2g}" for dot in dots)
        strips = Panel(
            points=points,
            curves=[Curve([2, 2], [-0.4, 2.4], colour=BLACK, dashed=True)],
            xlabel="estimate of the derivative (dashed: the truth)",
            ylabel="one row a method",
            xlim=(-75, 75),
            ylim=(-0.6, 2.6),
            text=text,
        )
        curves = []
        for which, (_, name, colour) in enumerate(rows):
            mean, climb = np.zeros(count), []
            for _ in range(steps):
                step = gradients(mean, rng.standard_normal((1, draws, count)))[which][0]
                mean = np.clip(mean + rate * step, -1e3, 1e3)
                climb.append(mean[0] if -1.5 < mean[0] < 2.5 else np.nan)
            curves.append(Curve(np.arange(1, steps + 1), climb, label=name, colour=colour))
        best = Curve([1, steps], [2 / 3, 2 / 3], colour=BLACK, dashed=True)
        climbs = Panel(
            curves=[*curves, best],
            xlabel="step",
            ylabel="first mean of q (dashed: the best)",
            ylim=(-1.5, 2.5),
        )
        return [strips, climbs]

    explore(
        compare,
        count=Control(latents, "latents D", start=4),
        draws=Control(averaged, "draws averaged", start=10),
        **about,
    )


def explore_draw_a_digit(
    model: VAE, codes: np.ndarray, labels: np.ndarray, examples: dict[str, np.ndarray], **about: str
) -> None:
    """Draw a digit, see the encoder's q, drag z, see what the decoder draws.

    Args:
        model: a trained VAE of 64 binary pixels with two latents.
        codes: ``(N, 2)``, codes of digits for the map.
        labels: ``(N,)``, which digits they are.
        examples: drawings to begin with, ``(8, 8)`` by name.
        **about: ``alt`` and ``caption``.
    """
    encoder, decoder = Network(model.encoder), Network(model.decoder)
    cloud, reach = cloud_of_digits(codes, labels), 3.6

    def answer(digit, shift):
        black = np.where(digit > 0.5, 1.0, 0.0)  # as in the training pictures
        mean, log_var = encoder(black.reshape(64))
        z = mean + np.exp(0.5 * log_var) * shift
        q = Curve(*ellipse(mean, log_var), label="q(z | x)", colour=ORANGE)
        here = Points(z[0], z[1], label="z", colour=BLACK)
        limits = {"xlim": (-reach, reach), "ylim": (-reach, reach), "equal_aspect": True}
        plane = Panel(points=[*cloud, here], curves=[q], xlabel="z₁", ylabel="z₂", **limits)
        return [plane, Panel(image=1 - sigmoid(decoder(z)).reshape(8, 8), title="decoded from z")]

    explore(answer, digit=Drawing(8, "Draw a digit", examples), shift=Point("z"), **about)


def explore_gaps_of_digits(
    grid: LatentGrid,
    x: Tensor,
    encoded: tuple[Tensor, Tensor],
    best: tuple[Tensor, Tensor],
    gaps: tuple[np.ndarray, np.ndarray],
    count: int = 30,
    **about: str,
) -> None:
    """Slide through pictures in the order of their inference gaps, with their posteriors.

    Args:
        grid: the model's grid.
        x: ``(B, L)``, pictures.
        encoded: mean and log variance of the encoder, each ``(B, 2)``.
        best: the same of the best Gaussian.
        gaps: approximation and amortisation gap, each ``(B,)``.
        count: how many of them are shown, evenly over the order.
        **about: ``alt`` and ``caption``.
    """
    order = np.argsort(gaps[0] + gaps[1])[np.linspace(0, len(x) - 1, count).round().astype(int)]
    half = round(
        2.0 / grid.area**0.5
    )  # points of the grid from the middle of the window to its edge
    reach = half * grid.area**0.5
    styles = ((encoded, "encoder", ORANGE, False), (best, "best Gaussian", BLUE, True))

    def show(rank):
        i = order[rank - 1]
        middle = [int((grid.axis - place).abs().argmin()) for place in encoded[0][i]]
        columns, rows = (slice(max(0, at - half), at + half + 1) for at in middle)
        density = grid.square(grid.log_joint(x[i : i + 1])[0].softmax(0))
        seen = torch.zeros(2 * half + 1, 2 * half + 1)  # what lies beyond the grid stays empty
        part = density[rows, columns]
        top, left = (max(0, half - at) for at in middle[::-1])
        seen[top : top + part.shape[0], left : left + part.shape[1]] = part
        shade = (1 - 0.75 * seen / density.max()).flip(0).double().numpy()
        centre = np.array([grid.axis[at].item() for at in middle])
        ellipses = []
        for (mean, log_var), name, colour, dashed in styles:
            places = ellipse(mean[i].numpy() - centre, log_var[i].numpy())
            ellipses.append(Curve(*places, label=name, colour=colour, dashed=dashed))
        side = round(x.shape[1] ** 0.5)
        plane = Panel(
            curves=ellipses,
            image=shade,
            xlabel="z₁, from the encoder's mean",
            ylabel="z₂, likewise",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            equal_aspect=True,
            text=f"approximation {number(gaps[0][i], '.2f')}, "
            f"amortisation {number(gaps[1][i], '.2f')} nats",
        )
        return [plane, Panel(image=1 - x[i].reshape(side, side).double().numpy(), title="x")]

    explore(
        show, rank=Control(list(range(1, count + 1)), "digit, by its gap", start=count - 3), **about
    )


def explore_narrowing_average(rng: np.random.Generator, draws: int = 65_536, **about: str) -> None:
    """See the logarithm of an average weight narrow and rise as more weights are averaged.

    The posterior is N(0, 1), q is N(0.5, width squared).

    Args:
        rng: where the draws come from.
        draws: number of weights in all.
        **about: ``alt`` and ``caption``.
    """
    sizes, widths, shift = [1, 2, 4, 16, 64, 256], [0.8, 1.5, 3.0], 0.5
    noise = rng.standard_normal(draws)
    edges = np.linspace(-4, 2, 61)
    middles = (edges[:-1] + edges[1:]) / 2

    def averages(size, width):
        z = shift + width * noise
        w = np.exp(0.5 * noise**2 - 0.5 * z**2 + np.log(width))
        return np.log(w.reshape(-1, size).mean(1))

    def narrow(size, width):
        log_average = averages(size, width)
        heights = np.histogram(log_average, edges)[0] / len(log_average) / (edges[1] - edges[0])
        bounds = [averages(each, width).mean() for each in sizes]
        here = bounds[sizes.index(size)]
        outside = float((log_average < edges[0]).mean())
        text = f"mean {number(here, '.3f')}, standard deviation {log_average.std():.2f}"
        text += f"; {outside:.0%} lie further left" if outside > 0.005 else ""
        top = 2.2
        histogram = Panel(
            curves=[
                Curve(middles, np.minimum(heights, top), label="log of the average", colour=BLUE),
                Curve([here, here], [0, top], label="its mean, the bound", colour=ORANGE),
                Curve([0, 0], [0, top], label="log p(x)", colour=BLACK, dashed=True),
            ],
            xlabel="nats above log p(x)",
            ylabel="density",
            xlim=(-4, 2),
            ylim=(0, top),
            text=text,
        )
        exponents = np.log2(sizes)
        climb = Panel(
            curves=[
                Curve(exponents, bounds, label="bound", colour=ORANGE),
                Curve([0, 8], [0, 0], label="log p(x)", colour=BLACK, dashed=True),
            ],
            points=[Points(np.log2(size), here, colour=ORANGE)],
            xlabel="log₂ S",
            ylabel="nats above log p(x)",
            xlim=(-0.3, 8.3),
            ylim=(-3.3, 0.2),
        )
        return [histogram, climb]

    explore(
        narrow,
        size=Control(sizes, "weights averaged, S", start=1),
        width=Control(widths, "width of q / posterior", start=1.5),
        **about,
    )


def explore_width_of_q(rng: np.random.Generator, draws: int = 20_480, **about: str) -> None:
    """Turn the width of q and the number of latents: bound, and share of useful draws.

    Args:
        rng: where the draws come from.
        draws: number of weights in all, a multiple of 1,024.
        **about: ``alt`` and ``caption``.
    """
    ratios, latents = [0.3, 0.5, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0], [1, 2, 5, 10]
    sizes = 2 ** np.arange(0, 11, 2)  # 1, 4, ..., 1024
    exponents = np.log2(sizes)
    noise = rng.standard_normal((draws, max(latents)))

    def widths(ratio, count):
        w = np.exp(0.5 * (noise[:, :count] ** 2 * (1 - ratio) + np.log(ratio)).sum(1))
        bounds = [np.log(w.reshape(-1, size).mean(1)).mean() for size in sizes]
        groups = [w.reshape(-1, size) for size in sizes]
        shares = [(g.sum(1) ** 2 / (g**2).sum(1)).mean() / g.shape[1] for g in groups]
        square = (ratio / np.sqrt(2 * ratio - 1)) ** count if ratio > 0.5 else np.inf
        rule = -(square - 1) / (2 * sizes) if np.isfinite(square) else np.full(len(sizes), np.nan)
        bound = Panel(
            curves=[
                Curve(exponents, bounds, label="bound", colour=ORANGE),
                Curve(
                    exponents,
                    np.where(rule > -4, rule, np.nan),
                    label="rule v / 2S",
                    colour=GREY,
                    dashed=True,
                ),
            ],
            xlabel="log₂ S",
            ylabel="nats above log p(x)",
            ylim=(-4, 0.2),
            text=f"at S = 1024: {number(bounds[-1], '.3f')} nats",
        )
        share = Panel(
            curves=[
                Curve(exponents, shares, label="useful draws", colour=BLUE),
                Curve(
                    exponents,
                    np.full(len(sizes), 1 / square),
                    label="its limit",
                    colour=GREY,
                    dashed=True,
                ),
            ],
            xlabel="log₂ S",
            ylabel="share of useful draws",
            ylim=(0, 1.05),
            text=f"limit {1 / square:.3f}",
        )
        return [bound, share]

    explore(
        widths,
        ratio=Control(ratios, "variance of q / posterior", start=2.0),
        count=Control(latents, "latents", start=5),
        **about,
    )


def explore_two_peaks(rng: np.random.Generator, draws: int = 400, **about: str) -> None:
    """Move q over a posterior with two peaks; watch the estimate and its effective sample size.

    The pixel x = 2 has the density N(x; abs z, 0.01) under a standard normal prior.

    Args:
        rng: where the draws come from.
        draws: S.
        **about: ``alt`` and ``caption``.
    """
    noise = rng.standard_normal(draws)
    z_axis, step = np.linspace(-3.6, 3.6, 481, retstep=True)

    def log_joint(z):
        likelihood = LOG_TWO_PI + math.log(0.01) + (2 - np.abs(z)) ** 2 / 0.01
        return -0.5 * (likelihood + LOG_TWO_PI + z**2)

    log_evidence = math.log(np.exp(log_joint(z_axis)).sum() * step)
    posterior = np.exp(log_joint(z_axis) - log_evidence)

    def look(mean, width):
        z = mean + width * noise
        log_q = -0.5 * (LOG_TWO_PI + 2 * np.log(width) + noise**2)
        log_w = log_joint(z) - log_q - log_evidence
        top = np.max(log_w)
        scaled = np.exp(log_w - top)
        error = top + np.log(np.mean(scaled))
        share = np.sum(scaled) ** 2 / np.sum(scaled**2) / draws
        text = f"useful draws {share:.0%}; estimate minus truth {error:+.2f} nats"
        densities = posterior_and_q(z_axis, posterior, (mean, width), (-0.2, 4.3), text)
        weights = Panel(
            points=[
                Points(z, np.minimum(np.exp(log_w), 6.0), label="weight / p(x)", colour=ORANGE)
            ],
            curves=[
                Curve(
                    [-3.6, 3.6],
                    [1, 1],
                    label="all, if q were the posterior",
                    colour=BLACK,
                    dashed=True,
                )
            ],
            xlabel="z",
            ylabel="weight / p(x), cut at 6",
            xlim=(-3.6, 3.6),
            ylim=(-0.2, 6.2),
        )
        return [densities, weights]

    explore(
        look,
        mean=Slider(-3.0, 3.0, "mean of q", start=0.0),
        width=Slider(0.1, 2.5, "standard deviation of q", start=1.0),
        **about,
    )


def explore_holes(
    grid: LatentGrid, model: VAE, mean: Tensor, log_var: Tensor, **about: str
) -> None:
    """Walk through the landscape of the aggregate posterior with the decoder.

    Args:
        grid: the model's grid.
        model: a trained VAE of 64 binary pixels with two latents.
        mean: ``(N, 2)``, of the encodings that make the landscape.
        log_var: ``(N, 2)``.
        **about: ``alt`` and ``caption``.
    """
    decoder = Network(model.decoder)
    inside = (grid.axis.abs() <= 3.5).nonzero()[:, 0][::2]
    reach = float(grid.axis[inside[-1]])
    log_all = torch.logsumexp(grid.log_gaussian(mean, log_var), 0) - math.log(len(mean))
    density = grid.square(log_all.exp())[inside][:, inside]
    shade = (1 - 0.75 * (density / density.max()).sqrt()).flip(0).double().numpy()
    centres, log_vars = mean.double().numpy(), log_var.double().numpy()
    angle = np.linspace(0, 2 * np.pi, 73)
    circles = [
        Curve(r * np.cos(angle), r * np.sin(angle), label=label, colour=ORANGE, dashed=True)
        for r, label in ((1, "prior, 1 and 2 deviations"), (2, ""))
    ]

    def walk(place):
        square = (place - centres) ** 2 * np.exp(-log_vars)
        each = np.exp(-0.5 * np.sum(square + log_vars, axis=1))
        ratio = np.mean(each) / np.exp(-0.5 * np.sum(place**2))  # the constants cancel
        here = Points(place[0], place[1], label="z", colour=BLACK)
        plane = Panel(
            curves=circles,
            points=[here],
            image=shade,
            xlabel="z₁",
            ylabel="z₂",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            equal_aspect=True,
            text=f"here q(z) is {ratio:.2f} times p(z)",
        )
        return [plane, Panel(image=1 - sigmoid(decoder(place)).reshape(8, 8), title="decoded")]

    explore(walk, place=Point("z", start=(0.0, 0.0)), **about)

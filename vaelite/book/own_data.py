"""What the template notebook needs: the models of the decision page, ready for a reader's array.

The models take data in different forms, pairs, masks, one set a population.  :class:`Chosen` knows
the form, so that the notebook can encode, decode and score any of them in one way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.batches import Unpaired
from vaelite.book import figures
from vaelite.book.figures import BLUE, GREY
from vaelite.cpvae import CPVAE
from vaelite.disentangle import BetaTCVAE
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE, held, pretrain, seed
from vaelite.factvae import FactVAE
from vaelite.history import History
from vaelite.isa import ISAPrior
from vaelite.metrics import log_marginal_likelihood
from vaelite.nets import evaluated
from vaelite.optimal_prior import OptimalPriorVAE
from vaelite.training import Phase, fit
from vaelite.vae import VAE, Gaussian

MODELS = ("vae", "beta-tcvae", "isa-vae", "mixture", "optimal prior", "cpvae", "factvae")
WITH_LABELS = ("optimal prior", "cpvae")
MAY_HAVE_LABELS = ("mixture", *WITH_LABELS)


@dataclass
class Chosen:
    """A model with the data that it is trained on, in the form that it takes.

    Attributes:
        name: one of ``MODELS``.
        model: the model.
        x: ``(N, D)``, the training data; NaN where a value is missing.
        labels: ``(N,)`` integers (population, task or class; -1 where a class is unknown), or None.
        groups: the sizes of the parts of a datum, for the factVAE.
    """

    name: str
    model: nn.Module
    x: Tensor
    labels: Tensor | None
    groups: tuple[int, ...]

    def fit(self, steps: int, batch_size: int = 64, seed: int = 0, **options) -> History:
        """Train with progress, all phases, and normalise a learned prior.

        Args:
            steps: of all phases together.
            batch_size: at most the number of data, or that of the smallest population.
            seed: of batches and noise.
            **options: of :func:`vaelite.training.fit`.
        """
        check_count("steps", steps)
        data, sizes = self.x, [len(self.x)]
        if self.name == "cpvae":
            sets = [self.x[self.labels == k] for k in range(self.model.populations)]
            data, sizes = Unpaired(*sets), list(map(len, sets))
        elif self.name == "mixture" and self.labels is not None:
            data = (self.x, self.labels.unsqueeze(1))
        elif self.name in ("optimal prior", "factvae"):
            data = self.batch(self.x, self.labels)
        if self.name == "mixture":
            first, second = max(1, steps // 10), max(1, steps // 50)
            options["phases"] = [
                Phase(first, before=pretrain),
                Phase(second, before=_seeded, schedules={"lr": held}),
                Phase(max(1, steps - first - second)),
            ]
        else:
            options["steps"] = steps
        history = fit(self.model, data, batch_size=min(batch_size, *sizes), seed=seed, **options)
        if self.name == "optimal prior":  # a learned ratio is no density before this
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                codes = gaussian.reparameterize(*self.encode(self.x, self.labels))
                self.model.prior.normalize(codes=codes)
        return history

    def batch(self, x: Tensor, labels: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        """Return data in the form that the model is scored on."""
        if self.name in WITH_LABELS:
            return x, labels
        if self.name == "factvae":
            parts = x.split(self.groups, 1)
            observed = torch.stack([~part.isnan().any(1) for part in parts], 1)
            return *(part.nan_to_num(0.0) for part in parts), observed
        if self.name == "mixture" and self.labels is not None:  # never told of a class
            return x, torch.full((len(x), 1), -1)
        return x

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), ``(N, latents)``; a CPVAE's private code last."""
        with evaluated(self.model):
            if self.name == "optimal prior":
                return self.model.encode(x, labels)
            if self.name == "cpvae":
                mean, log_var, own_mean, own_log_var = self.model.encode(x)
                rows = torch.arange(len(x))
                return (
                    torch.cat([mean, own_mean[labels, rows]], 1),
                    torch.cat([log_var, own_log_var[labels, rows]], 1),
                )
            return self.model.encode(self.batch(x, labels))

    @torch.no_grad()
    def decode(self, z: Tensor, label: int | None = None) -> Tensor:
        """Return the means of p(x|z), ``(B, latents) -> (B, D)``, of a population or task."""
        with evaluated(self.model):
            if self.name == "factvae":
                pairs = zip(self.model.likelihoods, self.model.decode(z), strict=True)
                return torch.cat([likelihood.mean(part) for likelihood, part in pairs], 1)
            if self.name == "optimal prior":
                parameters = self.model.decode(z, label)
            elif self.name == "cpvae":
                shared = self.model.shared_dim
                parameters = self.model.decode(z[:, :shared], z[:, shared:], label)
            else:
                parameters = self.model.decode(z)
            return self.model.likelihood.mean(parameters)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Encode, and decode the posterior means, ``(B, D)``; fills in what is missing."""
        z, _ = self.encode(x, labels)
        if self.name not in WITH_LABELS:
            return self.decode(z)
        return torch.cat([self.decode(z[n : n + 1], int(label)) for n, label in enumerate(labels)])

    def log_likelihood(self, x: Tensor, labels: Tensor | None, samples: int) -> Tensor:
        """Return the importance-sampled ln p(x), ``(N,)`` nats, of what is there."""
        return log_marginal_likelihood(self.model, self.batch(x, labels), samples)

    def baseline(self, x: Tensor) -> Tensor:
        """Return what a model without latents reaches, ``(N,)``: each feature by itself.

        Missing values, and with them the rest of their group, count nothing, as for the factVAE.
        """
        known = self.x.nan_to_num(0.0)
        there = (~self.x.isnan()).sum(0).clamp(min=1)
        mean = known.sum(0) / there
        if is_intensity(self.x):
            mean = mean.clamp(1 / (2 * len(known)), 1 - 1 / (2 * len(known)))
            density = x * mean.log() + (1 - x) * (1 - mean).log()
        else:
            centred = torch.where(self.x.isnan(), 0.0, self.x - mean)
            variance = (centred.square().sum(0) / there).clamp(min=Gaussian.FLOOR)
            density = -0.5 * (gaussian.LOG_TWO_PI + variance.log() + (x - mean).square() / variance)
        if self.name == "factvae":
            *_, observed = self.batch(x, None)
            sizes = torch.tensor(self.groups)
            density = density.masked_fill(~observed.repeat_interleave(sizes, 1), 0.0)
        return density.sum(1)


def choose(
    name: str,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    latent_dim: int = 8,
    hidden: int = 128,
    groups: Sequence[int] = (),
    seed: int = 0,
) -> Chosen:
    """Build one of the decision page's models for some data.

    Values from 0 to 1 get a Bernoulli likelihood, others a normal one whose variances are learned.

    Args:
        name: one of ``MODELS``.
        x: ``(N, D)`` floats, standardised where they are no intensities; NaN only for the factVAE.
        labels: ``(N,)``: the population of each datum for the CPVAE, the task for the optimal
            prior, the class for the mixture, -1 where unknown.
        latent_dim: number of latents; a CPVAE has half as many private ones beside them.
        hidden: width of the hidden layer.
        groups: sizes of the parts of a datum, in order, for the factVAE.
        seed: of the weights.

    Raises:
        ValueError: if there is no such model, it needs labels or groups that are not given, or
            ``x`` is not ``(N, D)`` or has missing values that the model cannot take.
    """
    if name not in MODELS:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(MODELS)}.")
    if x.ndim != 2:
        raise ValueError(f"x must be (N, D), such as data.flat(); got {tuple(x.shape)}.")
    if name != "factvae" and bool(x.isnan().any()):
        raise ValueError(f"x has missing values, which {name} does not take; factvae does.")
    if name in WITH_LABELS and labels is None:
        raise ValueError(f"{name} needs labels: the population or task of each datum.")
    if name not in MAY_HAVE_LABELS:
        labels = None
    groups = tuple(groups)
    if name == "factvae" and (len(groups) < 2 or sum(groups) != x.shape[1]):
        raise ValueError(
            f"factvae needs groups: two sizes or more whose sum is the {x.shape[1]} columns; "
            f"got {groups}."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _built(name, x, labels, check_count("latent_dim", latent_dim), hidden, groups)
    return Chosen(name, model, x, labels, groups)


def _built(
    name: str,
    x: Tensor,
    labels: Tensor | None,
    latents: int,
    hidden: int,
    groups: tuple[int, ...],
) -> nn.Module:
    rows, columns = x.shape
    intensity = is_intensity(x)
    likelihood = "bernoulli" if intensity else Gaussian(torch.ones(columns), learned=True)
    options, classes = {"likelihood": likelihood}, 0
    if labels is not None:
        classes = int(labels.max()) + 1
    if name == "vae":
        return VAE.mlp(columns, hidden, latents, **options)
    if name == "beta-tcvae":
        return BetaTCVAE.mlp(columns, hidden, latents, beta=4.0, dataset_size=rows, **options)
    if name == "isa-vae":
        sizes = [2] * (latents // 2) + [1] * (latents % 2)
        prior = ISAPrior(sizes, estimator="without score")
        return VAE.mlp(columns, hidden, latents, prior=prior, **options)
    if name == "mixture":
        prior = FactorialMixture([classes or 10], latents, labelled=int(classes > 0))
        weight = 50.0 if classes else 0.0
        return FactorialMixtureVAE.mlp(
            columns, hidden, latents, prior=prior, dataset_size=rows, label_weight=weight, **options
        )
    if name == "optimal prior":
        return OptimalPriorVAE.mlp(classes, columns, hidden, latents, **options)
    if name == "cpvae":
        return CPVAE.mlp(classes, columns, hidden, latents, max(1, latents // 2), **options)
    likelihoods = ["bernoulli"] * len(groups) if intensity else None
    return FactVAE(groups, latents, (hidden,), likelihoods=likelihoods)


def _seeded(model: FactorialMixtureVAE, data: Tensor | Sequence[Tensor]) -> None:
    """Seed the mixture from all data that have a label, where labels are few."""
    labels = model.labels(data)
    if labels is None:
        seed(model, data)
        return
    known = labels[:, 0] >= 0
    rest = (~known).nonzero()[:, 0]
    rows = torch.cat([known.nonzero()[:, 0], rest[: max(0, 10_000 - int(known.sum()))]])
    seed(model, (data[0][rows], labels[rows]), rows=len(rows))


def is_intensity(x: Tensor) -> bool:
    """Tell whether all values that are there lie from 0 to 1."""
    known = x[~x.isnan()]
    return bool(((known >= 0) & (known <= 1)).all())


# Pictures.


def losses(history: History) -> Figure:
    """Draw the loss over the steps, without the first tenth, which would hide the rest."""
    figure, axes = figures.subplots(height=2.6)
    shown = slice(len(history.steps) // 10, None)
    axes.plot(history.steps[shown], history["loss"][shown], color=BLUE)
    axes.set(xlabel="step", ylabel="loss, nats a datum")
    return figure


def signals(mean: Tensor, log_var: Tensor) -> Figure:
    """Draw the share of each latent's variance that its mean carries, and the line of a tenth."""
    signal = mean.var(0)
    share = (signal / (signal + log_var.exp().mean(0))).sort(descending=True)
    figure, axes = figures.subplots(height=2.6)
    axes.bar(range(len(share.values)), share.values, color=BLUE)
    axes.axhline(0.1, color=GREY, ls="--")
    axes.set_xticks(range(len(share.values)), [str(int(d)) for d in share.indices])
    axes.set(xlabel="latent", ylabel="share of signal", ylim=(0, 1))
    return figure


def rows_of(blocks: Sequence[Tensor], shape: Sequence[int]) -> Figure:
    """Draw data: one row of pictures for each block; where they are no images, one strip each.

    Args:
        blocks: each ``(n, D)``.
        shape: of one datum: ``(H, W)``, ``(3, H, W)``, or another, drawn as strips.
    """
    shown = [block.nan_to_num(0.0).numpy() for block in blocks]
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 3):
        images = [block.reshape(-1, *shape) for block in shown]
        if len(shape) == 3:
            images = [np.moveaxis(block, 1, -1) for block in images]
        widest = max(map(len, images))
        gaps = [figures.image_grid(block, columns=widest, fill=1.0) for block in images]
        line = np.ones((2, *gaps[0].shape[1:]), dtype=gaps[0].dtype)
        picture = np.concatenate([part for gap in gaps for part in (gap, line)][:-1])
        low, high = (0.0, 1.0) if shown[0].min() >= 0 else np.quantile(shown[0], [0.02, 0.98])
        look = {"vmin": low, "vmax": max(high, low + 1e-6), "cmap": "gray"}
        height = 5.2 * picture.shape[0] / picture.shape[1]
    else:
        gap = np.full((1, shown[0].shape[1]), np.nan)
        picture = np.concatenate([part for block in shown for part in (block, gap)][:-1])
        top = max(1e-6, float(np.nanmax(np.abs(picture))))
        look = {"vmin": -top, "vmax": top, "cmap": "RdBu_r", "aspect": "auto"}
        height = min(6.0, 0.6 + 0.16 * len(picture))
    if picture.ndim == 3:  # colours are drawn as they are
        picture = ((picture - low) / (look["vmax"] - low)).clip(0, 1)
    figure, axes = figures.subplots(height=height)
    axes.imshow(picture, interpolation="nearest", **look)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def traversals(
    chosen: Chosen, mean: Tensor, latents: Sequence[int], label: int | None = None, steps: int = 7
) -> list[Tensor]:
    """Decode walks along single latents, from the mean code, over the range that codes take.

    Args:
        chosen: the model.
        mean: ``(N, latents)``, the codes of the data.
        latents: which to walk along.
        label: as which population or task to decode.
        steps: how many, between the fifth and the ninety-fifth percentile.

    Returns:
        ``(steps, D)`` for each latent.
    """
    walks = []
    for d in latents:
        z = mean.mean(0).repeat(steps, 1)
        low, high = mean[:, d].quantile(torch.tensor([0.05, 0.95]))
        z[:, d] = torch.linspace(float(low), float(high), steps)
        walks.append(chosen.decode(z, label))
    return walks

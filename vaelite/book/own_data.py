"""What the template notebook needs: the models of the decision page, ready for a reader's array.

The models take data in different forms, pairs, masks, one set a population.  :class:`Chosen` knows
the form, so that the notebook can encode, decode and score any of them in one way.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.batches import Unpaired
from vaelite.cpvae import CPVAE
from vaelite.disentangle import BetaTCVAE
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE, held, pretrain, seed
from vaelite.factvae import FactVAE
from vaelite.files import replacing
from vaelite.isa import ISAPrior
from vaelite.metrics import log_marginal_likelihood
from vaelite.nets import evaluated
from vaelite.optimal_prior import CVAE, OptimalPriorVAE
from vaelite.training import Phase, fit
from vaelite.vae import VAE, Gaussian

MODELS = ("vae", "beta-tcvae", "isa-vae", "mixture", "optimal prior", "cvae", "cpvae", "factvae")
WITH_TASKS = ("optimal prior", "cvae")
WITH_LABELS = (*WITH_TASKS, "cpvae")
MAY_HAVE_LABELS = ("mixture", *WITH_LABELS)
LOOKS = 20  # at the likelihood, while a model is trained


class Curve(NamedTuple):
    """The likelihood while a model was trained, in nats a datum; three arrays ``(T,)``."""

    steps: np.ndarray  # of the looks, each a quarter later than the one before
    training: np.ndarray  # of up to 1,000 data that it was trained on
    stopping: np.ndarray  # of up to 1,000 that it was not

    @property
    def best(self) -> int:
        """At how many steps the data to stop by were most likely."""
        return int(self.steps[self.stopping.argmax()])


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

    def fit(
        self,
        steps: int,
        stopping: tuple[Tensor, Tensor | None],
        batch_size: int = 64,
        seed: int = 0,
        checkpoint: str | os.PathLike | None = None,
        resume: bool = False,
        **options,
    ) -> Curve:
        """Train with progress, all phases, and keep the weights that were best on the way.

        Args:
            steps: of all phases together.
            stopping: ``(x, labels)`` of data that say which weights are best.
            batch_size: at most the number of data, or that of the smallest population.
            seed: of batches and noise.
            checkpoint: as for :func:`vaelite.training.fit`; the best weights stand beside it.
            resume: go on from there.
            **options: of :func:`vaelite.training.fit`.
        """
        check_count("steps", steps)
        data, sizes = self.x, [len(self.x)]
        if self.name == "cpvae":
            sets = [self.x[self.labels == k] for k in range(self.model.populations)]
            data, sizes = Unpaired(*sets), list(map(len, sets))
        elif self.name == "mixture" and self.labels is not None:
            data = (self.x, self.labels.unsqueeze(1))
        elif self.name in (*WITH_TASKS, "factvae"):
            data = self.batch(self.x, self.labels)
        phases, done = [], 0
        if self.name == "mixture":  # there is no likelihood before the mixture is seeded
            first, second = max(1, steps // 10), max(1, steps // 50)
            phases = [
                Phase(first, before=pretrain),
                Phase(second, before=_seeded, schedules={"lr": held}),
            ]
            done = first + second
        points = sorted({max(done + 1, round(steps * 0.8**k)) for k in range(LOOKS)})
        looks = _Looks(self, stopping, seed, checkpoint, resume)
        for point in points:
            before = partial(looks.look, done) if point != points[0] else None
            phases.append(Phase(point - done, before=before))
            done = point
        fit(
            self.model,
            data,
            phases=phases,
            batch_size=min(batch_size, *sizes),
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            **options,
        )
        looks.look(done)
        self.model.load_state_dict(looks.weights)
        return looks.curve()

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
            if self.name in WITH_TASKS:
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
            if self.name in WITH_TASKS:
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
        rebuilt = torch.empty_like(x)
        for label in labels.unique():
            rebuilt[labels == label] = self.decode(z[labels == label], int(label))
        return rebuilt

    def log_likelihood(self, x: Tensor, labels: Tensor | None, samples: int) -> Tensor:
        """Return the importance-sampled ln p(x), ``(N,)`` nats, of what is there."""
        return log_marginal_likelihood(self.model, self.batch(x, labels), samples)

    def baseline(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what a model without latents reaches, ``(N,)``: each feature by itself.

        Where the model is told the population or task, each has its own means.  Missing values,
        and with them the rest of their group, count nothing, as for the factVAE.
        """
        residual = x - self._mean(labels)
        if is_intensity(self.x):
            least = 1 / (2 * len(self.x))
            mean = self._mean(labels).clamp(least, 1 - least)
            density = x * mean.log() + (1 - x) * (1 - mean).log()
        else:
            own = self.x - self._mean(self.labels)
            variance = own.square().nanmean(0).nan_to_num(1.0).clamp(min=Gaussian.FLOOR)
            density = -0.5 * (gaussian.LOG_TWO_PI + variance.log() + residual.square() / variance)
        if self.name == "factvae":
            *_, observed = self.batch(x, None)
            sizes = torch.tensor(self.groups)
            density = density.masked_fill(~observed.repeat_interleave(sizes, 1), 0.0)
        return density.sum(1)

    def probabilistic_pca(
        self, stopping: tuple[Tensor, Tensor | None], x: Tensor, labels: Tensor | None = None
    ) -> tuple[int, Tensor] | None:
        """Return the components and the log density, ``(N,)``, of the model in which all is linear.

        As many components as the data to stop by like best, at most the model's latents; means as
        for :meth:`baseline`.  None where there is no density, for intensities and missing values.
        """
        if is_intensity(self.x) or bool(self.x.isnan().any()):
            return None
        own, stop, new = (
            (some - self._mean(of)).numpy()
            for some, of in ((self.x, self.labels), stopping, (x, labels))
        )
        found = []
        for components in range(1, min(self.latents, *(side - 1 for side in own.shape)) + 1):
            pca = PCA(components).fit(own)
            if pca.noise_variance_ > Gaussian.FLOOR:  # below it no model here may go either
                found.append((pca.score(stop), components, pca))
        if not found:
            return None
        _, components, pca = max(found, key=lambda one: one[0])
        return components, torch.from_numpy(pca.score_samples(new))

    def rebuilt_by_pca(
        self, components: int, x: Tensor, labels: Tensor | None = None
    ) -> Tensor | None:
        """Return what is left of data in so many principal components; None with missing values."""
        components = min(components, *self.x.shape)
        if not components or bool(self.x.isnan().any()):
            return None
        pca = PCA(components).fit((self.x - self._mean(self.labels)).numpy())
        codes = pca.transform((x - self._mean(labels)).numpy())
        return self._mean(labels) + torch.from_numpy(pca.inverse_transform(codes)).to(x)

    @property
    def latents(self) -> int:
        """How many latents a datum has."""
        if self.name == "cpvae":
            return self.model.shared_dim + self.model.private_dim
        return self.model.latent_dim

    def _mean(self, labels: Tensor | None) -> Tensor:
        """Return the training data's mean, of all or of each label's, ``(1, D)`` or ``(N, D)``."""
        if self.name not in WITH_LABELS:
            return self.x.nanmean(0, keepdim=True).nan_to_num(0.0)
        each = [self.x[self.labels == k].mean(0) for k in range(int(self.labels.max()) + 1)]
        return torch.stack(each)[labels]

    def __str__(self) -> str:
        """Name the model, and say what it leaves out of data with missing values."""
        said = f"{type(self.model).__name__}, {self.latents} latents"
        if self.name != "factvae":
            return said
        *_, observed = self.batch(self.x, None)
        missing = self.x.isnan()
        if not bool(missing.any()):
            return said
        lost = ~observed.repeat_interleave(torch.tensor(self.groups), 1) & ~missing
        return (
            f"{said}\n{missing.float().mean():.0%} of the cells are missing, and with them "
            f"{(~observed).float().mean():.0%} of the parts: a part that lacks a cell is left out, "
            f"so {lost.float().mean():.0%} of the cells are known and not used."
        )


class _Looks:
    """Looks at the likelihood during training, and keeps the best weights.

    With a checkpoint, both are kept in a file beside it.
    """

    def __init__(
        self,
        chosen: Chosen,
        stopping: tuple[Tensor, Tensor | None],
        seed: int,
        checkpoint: str | os.PathLike | None,
        resume: bool,
    ) -> None:
        some = torch.randperm(len(chosen.x), generator=torch.Generator().manual_seed(seed))[:1000]
        labels = None if chosen.labels is None else chosen.labels[some]
        self.chosen, self.seed = chosen, seed
        self.sets = (
            (chosen.x[some], labels),
            tuple(s if s is None else s[:1000] for s in stopping),
        )
        self.seen: dict[int, list[float]] = {}
        self.weights: dict[str, Tensor] = {}
        self.path = None if checkpoint is None else Path(f"{checkpoint}.best")
        if resume and Path(checkpoint).exists() and self.path.exists():
            self.seen, self.weights = torch.load(self.path, weights_only=True)

    @torch.no_grad()
    def look(self, step: int, *_: object) -> None:
        """Score both sets, by ten draws a datum; leave the run's noise as it is."""
        best = max((stop for _, stop in self.seen.values()), default=-math.inf)
        chosen = self.chosen
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            if chosen.name == "optimal prior":  # a learned ratio is no density before this
                codes = gaussian.reparameterize(*chosen.encode(chosen.x, chosen.labels))
                chosen.model.prior.normalize(codes=codes)
            self.seen[step] = []
            for x, labels in self.sets:
                torch.manual_seed(self.seed)
                score = chosen.log_likelihood(x, labels, 10).mean()
                self.seen[step].append(float(score))
        if self.seen[step][1] > best or not self.weights:
            state = chosen.model.state_dict()
            self.weights = {name: value.detach().clone() for name, value in state.items()}
        if self.path is not None:
            with replacing(self.path) as file:
                torch.save((self.seen, self.weights), file)

    def curve(self) -> Curve:
        """Return what was seen."""
        steps = sorted(self.seen)
        training, stopping = np.array([self.seen[step] for step in steps]).T
        return Curve(np.array(steps), training, stopping)


def split(
    name: str, x: Tensor, labels: Tensor | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Split data at random: three fifths to train on, a fifth to stop by, a fifth held out.

    Args:
        name: one of ``MODELS``; where it is told labels, all three parts have their share of each.
        x: ``(N, ...)``.
        labels: ``(N,)``, or None.
        seed: of the split.

    Returns:
        The rows of each part.

    Raises:
        ValueError: if there are fewer than ten data, or the labels are not what the model needs:
            one for each datum, two different ones or more, each with five data.
    """
    if len(x) < 10:
        raise ValueError(f"there are {len(x)} data; it takes ten to split them into three.")
    _check_labels(name, labels, least=5)
    kinds = labels.numpy() if name in WITH_LABELS else None
    rest, held_out = train_test_split(
        np.arange(len(x)), test_size=0.2, random_state=seed, stratify=kinds
    )
    training, stopping = train_test_split(
        rest, test_size=0.25, random_state=seed, stratify=None if kinds is None else kinds[rest]
    )
    return tuple(map(torch.from_numpy, (training, stopping, held_out)))


def standardised(x: Tensor, training: Tensor) -> Tensor:
    """Return intensities as they are, other data by mean and deviation of the training rows."""
    if is_intensity(x):
        return x
    mean = x[training].nanmean(0).nan_to_num(0.0)
    variance = (x[training] - mean).square().nanmean(0).nan_to_num(1.0)
    return (x - mean) / variance.sqrt().clamp(1e-6)


def _check_labels(name: str, labels: Tensor | None, least: int = 1) -> None:
    if name not in WITH_LABELS:
        return
    kind = "population" if name == "cpvae" else "task"
    if labels is None:
        raise ValueError(f"{name} needs labels: the {kind} of each datum.")
    if unknown := int((labels < 0).sum()):
        raise ValueError(
            f"{name} needs the {kind} of each datum; {unknown} of {len(labels)} have none "
            "(-1, or an empty cell)."
        )
    counts = labels.bincount()
    if len(counts) < 2:
        raise ValueError(f"{name} needs two {kind}s or more; every label is 0.")
    if counts.min() < least:
        raise ValueError(
            f"{kind} {int(counts.argmin())} has {int(counts.min())} data; labels count from 0, and "
            f"each needs {least} or more."
        )


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
            prior and the CVAE, the class for the mixture, -1 where unknown.
        latent_dim: number of latents; a CPVAE has an eighth as many private ones beside them.
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
    _check_labels(name, labels)
    if name not in MAY_HAVE_LABELS or (labels is not None and int(labels.max()) < 0):
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
    if name == "cvae":
        return CVAE.mlp(classes, columns, hidden, latents, **options)
    if name == "cpvae":
        return CPVAE.mlp(classes, columns, hidden, latents, max(1, latents // 8), **options)
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

r"""One family: the five papers as choices of one model.

A VAE is four choices, a prior, a posterior, a decoder and an objective, and some papers move their
prior or their weights by a second update.  Here each paper is the lines in which it differs from
the plain VAE, on data of one kind: scenes of several views, some missing, from two populations.

======================  ==========================================================================
``vae``                 N(0, I), one encoder, one decoder, the ELBO
``isa``                 the prior: subspaces, exponents learned (:mod:`vaelite.isa`)
``mixture``             the prior: a factorial mixture, by natural gradients
                        (:mod:`vaelite.factorial_mixture`)
``optimal prior``       the prior: the aggregate posterior, as a ratio learned beside the networks,
                        which are told the population (:mod:`vaelite.optimal_prior`)
``cross-population``    the decoder and the objective: what is shared and what is private
                        (:mod:`vaelite.cpvae`)
``multi-aspect``        the posterior: a product of one expert a view; the decoder: sparse columns,
                        by proximal steps (:mod:`vaelite.factvae`)
======================  ==========================================================================

And because choices are objects, they combine:

======================  ==========================================================================
``shared mixture``      the cross-population VAE, its shared prior a factorial mixture
``shared ratio``        the same, its shared prior the aggregate of the shared codes, as a ratio
``shared sparsity``     the same, its shared decoder with a sparse column for each view and latent
======================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite.batches import Unpaired
from vaelite.cpvae import CPVAE
from vaelite.factorial_mixture import (
    FactorialMixture,
    FactorialMixtureVAE,
    PointMixture,
    held,
    pretrain,
    seed,
)
from vaelite.factvae import FactVAE, GroupMLP, group_lasso_prox
from vaelite.isa import ISAPrior
from vaelite.nets import evaluated, mlp_trunk
from vaelite.optimal_prior import OptimalPriorVAE, RatioPrior
from vaelite.phases import Phase
from vaelite.vae import VAE, Gaussian


class Scenes(NamedTuple):
    """What every model is given: scenes of G views of P numbers, and their populations."""

    x: Tensor  # (N, G P); a view that is missing holds -1 everywhere
    population: Tensor  # (N,)
    observed: Tensor  # (N, G) bool

    @property
    def views(self) -> tuple[Tensor, ...]:
        """The views side by side and the mask, as :mod:`vaelite.factvae` takes them."""
        return *self.x.chunk(self.observed.shape[1], -1), self.observed

    def of(self, population: int) -> Tensor:
        """Return the scenes of one population."""
        return self.x[self.population == population]


class Seen(Gaussian):
    """A normal likelihood that scores what was seen: where a number is -1, nothing was."""

    def log_density(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the log density of every feature, zero where it is missing."""
        return super().log_density(x, mean).masked_fill(x == -1.0, 0.0)


class Sizes(NamedTuple):
    """How large the models are: the same for all."""

    views: int = 7
    pixels: int = 144
    hidden: int = 128
    shared: int = 6
    private: int = 2
    noise: float = 0.01  # variance of a pixel, where training begins
    components: int = 8  # of each factor of a mixture
    data: int = 2000

    @property
    def latents(self) -> int:
        """How many latents a model without private ones has."""
        return self.shared + self.private


# The family.


def build(name: str, sizes: Sizes) -> nn.Module:
    """Build a member of the family.

    Args:
        name: one of :data:`FAMILY`.
        sizes: those of the networks and codes.

    Raises:
        ValueError: if there is no such member.
    """
    if name not in FAMILY:
        raise ValueError(f"there is no model {name!r}; there are: {', '.join(FAMILY)}.")
    return FAMILY[name](sizes)


def vae(sizes: Sizes, kind: type[VAE] = VAE, *first: Any, **choices: Any) -> VAE:
    """Build the plain VAE, or what differs from it by some choices."""
    choices = {"likelihood": Seen(sizes.noise, learned=True), **choices}
    return kind.mlp(*first, sizes.views * sizes.pixels, sizes.hidden, sizes.latents, **choices)


def isa(sizes: Sizes) -> VAE:
    """Change the prior: subspaces of two latents."""
    return vae(sizes, prior=ISAPrior([2] * (sizes.latents // 2), learned=True))


def mixture(sizes: Sizes) -> VAE:
    """Change the prior, and how it is moved: two factors of several components."""
    prior = FactorialMixture([sizes.components] * 2, sizes.latents // 2)
    return vae(sizes, FactorialMixtureVAE, prior=prior, dataset_size=sizes.data, delay=100.0)


def optimal_prior(sizes: Sizes) -> VAE:
    """Change the prior, and tell both networks the population."""
    return vae(sizes, OptimalPriorVAE, 2)


def cross_population(sizes: Sizes, kind: type[CPVAE] = CPVAE, **choices: Any) -> CPVAE:
    """Change decoder and objective: a shared part and a private one of each population."""
    choices = {"likelihood": Seen(sizes.noise, learned=True), **choices}
    width = sizes.views * sizes.pixels
    return kind.mlp(2, width, sizes.hidden, sizes.shared, sizes.private, **choices)


def multi_aspect(sizes: Sizes) -> FactVAE:
    """Change posterior and decoder: an expert for each view, and sparse columns."""
    likelihood = Gaussian(sizes.noise, learned=True)  # one for all views, as the others have it
    return FactVAE(
        [sizes.pixels] * sizes.views,
        sizes.latents,
        [sizes.hidden],
        likelihoods=[likelihood] * sizes.views,
        sparsity=SPARSITY,
        phi_lr=STEP_SIZE,
        drop=DROP,
    )


SPARSITY, STEP_SIZE = 1.0, 3e-4  # lambda beside a loss in nats a datum, and eta
DROP = 0.3  # chance to hide a view that is there, about that of a camera to fail


# The combinations.


def shared_mixture(sizes: Sizes) -> CPVAE:
    """Combine: the shared prior is a product of mixtures, its parameters learned with the rest."""
    return cross_population(sizes, prior=PointMixture([sizes.components] * 2, sizes.shared // 2))


class RatioCPVAE(CPVAE):
    """The cross-population VAE whose shared prior is a ratio learned beside it."""

    def loss(self, batch: Sequence[Tensor], noise: Tensor | None = None) -> tuple:
        """Return what is minimised, its parts, and nothing to carry."""
        return *super().loss(batch, noise), None

    @torch.no_grad()
    def after_step(self, batch: Sequence[Tensor], carry: None) -> None:
        """Let the estimator take a step, on fresh shared codes of the batch."""
        mean, log_var, _, _ = self.encode(torch.cat(list(batch)))
        z = gaussian.reparameterize(mean, log_var)
        self.prior.ratio.step(z, torch.randn_like(z))


def shared_ratio(sizes: Sizes) -> CPVAE:
    """Combine: the shared prior is the aggregate posterior of the shared codes."""
    return cross_population(sizes, RatioCPVAE, prior=RatioPrior(sizes.shared))


class SparseViews(nn.Module):
    """A decoder with a part for each view, behind a matrix with sparse columns (factVAE, eq. 5)."""

    def __init__(self, dim: int, sizes: Sizes) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(sizes.views, dim, dim) / dim**0.5)
        ends = [sizes.pixels] * sizes.views
        self.net = GroupMLP([dim] * sizes.views, [sizes.hidden], ends)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``(..., D) -> (..., G P)``."""
        views = self.net(torch.einsum("gpk,bk->gbp", self.W, z.reshape(-1, z.shape[-1])))
        return views.transpose(0, 1).reshape(*z.shape[:-1], -1)


class SparseCPVAE(CPVAE):
    """The cross-population VAE whose shared decoder has sparse columns."""

    def after_step_parameters(self) -> list[nn.Parameter]:
        """Return what Adam must not touch."""
        return [self.shared_decoder.W]

    @torch.no_grad()
    def after_step(self, batch: Sequence[Tensor], carry: None = None) -> None:
        """Move the matrices: a plain gradient step, then the proximal operator."""
        W = self.shared_decoder.W
        moved = group_lasso_prox(W - STEP_SIZE * W.grad, STEP_SIZE * SPARSITY)
        self.shared_decoder.W = nn.Parameter(moved)


def shared_sparsity(sizes: Sizes) -> CPVAE:
    """Combine: the shared decoder has a sparse column for each view and latent."""
    width = sizes.views * sizes.pixels
    trunk, layers = mlp_trunk(width, sizes.hidden)
    plain = cross_population(sizes)
    return SparseCPVAE(
        trunk,
        layers[-1],
        SparseViews(sizes.shared, sizes),
        plain.private_decoders,
        sizes.shared,
        sizes.private,
        (width,),
        likelihood=Seen(sizes.noise, learned=True),
    )


FAMILY: dict[str, Callable[[Sizes], nn.Module]] = {
    "vae": vae,
    "isa": isa,
    "mixture": mixture,
    "optimal prior": optimal_prior,
    "cross-population": cross_population,
    "multi-aspect": multi_aspect,
    "shared mixture": shared_mixture,
    "shared ratio": shared_ratio,
    "shared sparsity": shared_sparsity,
}
PAPERS = tuple(FAMILY)[1:6]
COMBINATIONS = tuple(FAMILY)[6:]


# What differs outside of the model: how it is fed, and what is asked of it.


def training_data(model: nn.Module, scenes: Scenes) -> Any:
    """Return scenes as a model's ``fit`` takes them."""
    if isinstance(model, CPVAE):
        return Unpaired(scenes.of(0), scenes.of(1))
    if isinstance(model, OptimalPriorVAE):
        return scenes.x, scenes.population
    return scenes.views if isinstance(model, FactVAE) else scenes.x


def phases(model: nn.Module, steps: int) -> list[Phase]:
    """Return the phases of training: a mixture begins with N(0, I), and is then seeded."""
    first, second = max(1, steps // 4), max(1, steps // 20)
    if isinstance(model, FactorialMixtureVAE):
        return [
            Phase(first, before=pretrain),
            Phase(second, before=seed, schedules={"lr": held}),
            Phase(steps - first - second),
        ]
    if isinstance(getattr(model, "prior", None), PointMixture):
        return [Phase(first), Phase(steps - first, before=seed_shared)]
    return [Phase(steps)]


@torch.no_grad()
def seed_shared(model: CPVAE, data: Sequence[Tensor]) -> None:
    """Seed the mixture of the shared codes from those of all scenes."""
    x = torch.cat(list(data))
    mean, log_var, _, _ = model.encode(x)
    model.prior.seed(mean, log_var.exp(), len(x))


class Found(NamedTuple):
    """What a model makes of scenes."""

    shared: Tensor  # (N, D_s), the means of what all populations share
    whole: Tensor  # (N, D), the means of all that is used for the scene
    picture: Tensor  # (N, G P), their decoding: all views, whether or not they were seen


@torch.no_grad()
def look(model: nn.Module, scenes: Scenes) -> Found:
    """Encode scenes by what is seen of them, and decode the means into all views."""
    x, population = scenes.x, scenes.population
    with evaluated(model):
        if isinstance(model, CPVAE):
            z, _, t, _ = model.encode(x)
            own = t[population, torch.arange(len(x), device=x.device)]
            private = torch.stack([decoder(own) for decoder in model.private_decoders])
            chosen = private[population, torch.arange(len(x), device=x.device)]
            return Found(z, torch.cat([z, own], -1), model.shared_decoder(z) + chosen)
        if isinstance(model, FactVAE):
            z, _ = model.encode(scenes.views)
            return Found(z, z, torch.cat(model.decode(z), -1))
        told = (population,) if isinstance(model, OptimalPriorVAE) else ()
        z, _ = model.encode(x, *told)
        return Found(z, z, model.decode(z, *told))


def likelihood_batch(model: nn.Module, scenes: Scenes) -> Any:
    """Return scenes as a model's ``log_weights`` takes them."""
    if isinstance(model, (CPVAE, OptimalPriorVAE)):
        return scenes.x, scenes.population
    return scenes.views if isinstance(model, FactVAE) else scenes.x

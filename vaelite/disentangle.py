r"""Objectives that reweight the KL term: beta-TCVAE and FactorVAE.

Averaged over the data, the KL term of the ELBO splits into three (ISA-VAE paper, eq. 3):

.. math::
    \mathbb E_{p(x)} \mathrm{KL}(q(z|x) \,\|\, p(z))
    = \underbrace{I_q(x; z)}_{\text{index-code}}
    + \underbrace{\mathrm{KL}\Big(q(z) \,\Big\|\, \prod_d q(z_d)\Big)}_{\text{total correlation}}
    + \underbrace{\mathbb E_{q(z)}\Big[\sum_d \ln q(z_d) - \ln p(z)\Big]}_{\text{dimension-wise}}

with the aggregate posterior :math:`q(z) = \frac1N \sum_n q(z|x_n)`.  Its density needs all N data;
a minibatch estimates it.  The beta-VAE is :class:`vaelite.vae.VAE` with another ``beta``.

Sources: Chen et al. (2018), section 3 and appendix C; Kim and Mnih (2018).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.density_ratio import DensityRatio, frozen
from vaelite.vae import VAE


class KLTerms(NamedTuple):
    """The three terms of eq. 3, each ``(B,)`` in nats; their sum is ln q(z|x) - ln p(z)."""

    index_code: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def pairwise_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return ln q(z_i,d | x_j) for all pairs: three tensors ``(B, D)`` -> ``(B, B, D)``."""
    distance = (z.unsqueeze(1) - mean).square() * torch.exp(-log_var)
    return -0.5 * (gaussian.LOG_TWO_PI + log_var + distance)


def log_stratified_weights(batch_size: int, dataset_size: int, **options) -> Tensor:
    r"""Log weights ``(B, B)`` with which a minibatch estimates the aggregate posterior.

    Row i belongs to the sample :math:`z_i \sim q(z|x_i)`.  In :math:`q(z_i) = \frac1N \sum_n
    q(z_i|x_n)` the datum i itself has weight 1/N, and is always in the batch; the other
    :math:`B - 1` stand for the :math:`N - 1` other data.  Hence

    .. math:: w_{ii} = \frac1N, \qquad w_{ij} = \frac{N - 1}{N (B - 1)} \quad (j \ne i),

    rows sum to one, and the estimate of :math:`q(z_i)` is unbiased.  Chen et al. give one of the
    others a weight of its own, :math:`\frac{N - B + 1}{N (B - 1)}`, and the rest
    :math:`\frac1{B - 1}`.  Averaged over which one that is, theirs is ours: the same mean, less
    variance.

    Args:
        batch_size: B.
        dataset_size: N.
        **options: ``dtype`` and ``device``.

    Raises:
        ValueError: unless 2 <= B <= N.
    """
    if not 2 <= batch_size <= dataset_size:
        raise ValueError(
            f"a batch needs between 2 and {dataset_size} data (dataset_size); got {batch_size}."
        )
    own = -math.log(dataset_size)
    other = math.log((dataset_size - 1) / (dataset_size * (batch_size - 1)))
    weights = torch.full((batch_size, batch_size), other, **options)
    return weights.fill_diagonal_(own)


def log_uniform_weights(batch_size: int, dataset_size: int, **options) -> Tensor:
    r"""Log weights of Chen et al.'s minibatch-weighted sampling, 1/(N B) for every pair.

    Rows sum to 1/N, not to one: the estimate of q(z) is smaller than that of stratified weights
    on the same batch by a factor c, on average between B (where the q(z|x) do not overlap) and N
    (where they are all alike).  The index-code term rises by ln c, and the total correlation by
    :math:`\sum_d \ln c_d - \ln c`, with the factors of the marginals.  Chen et al. rely on its
    gradient.

    Args:
        batch_size: B.
        dataset_size: N.
        **options: ``dtype`` and ``device``.
    """
    return torch.full((batch_size, batch_size), -math.log(batch_size * dataset_size), **options)


def kl_terms(
    z: Tensor, mean: Tensor, log_var: Tensor, log_prior: Tensor, log_weights: Tensor
) -> KLTerms:
    """Estimate the three terms of eq. 3 from one minibatch.

    Args:
        z: ``(B, D)``, one sample of each q(z|x).
        mean: ``(B, D)`` of q(z|x).
        log_var: ``(B, D)`` of q(z|x).
        log_prior: ``(B,)``, ln p(z).
        log_weights: ``(B, B)``, from one of the two functions above.

    Returns:
        The terms, ``(B,)`` each; their means over the batch are the estimates.

    Raises:
        ValueError: if ``log_prior`` or ``log_weights`` has another shape.
    """
    size = len(z)  # anything else would be broadcast, and come out wrong
    if log_prior.shape != (size,) or log_weights.shape != (size, size):
        raise ValueError(
            f"log_prior must have the shape {(size,)} and log_weights {(size, size)}; "
            f"got {tuple(log_prior.shape)} and {tuple(log_weights.shape)}."
        )
    pairs = pairwise_log_density(z, mean, log_var)
    log_q_given_x = gaussian.log_density(z, mean, log_var)
    log_q = torch.logsumexp(log_weights + pairs.sum(-1), dim=1)
    log_q_product = torch.logsumexp(log_weights.unsqueeze(-1) + pairs, dim=1).sum(-1)
    return KLTerms(log_q_given_x - log_q, log_q - log_q_product, log_q_product - log_prior)


class BetaTCVAE(VAE):
    """beta-TCVAE: the weight beta falls on the total correlation alone (Chen et al., 2018, eq. 4).

    The loss is reconstruction + index-code + beta * total correlation + dimension-wise, with
    stratified minibatch weights.  At beta = 1 it is a noisier estimate of the VAE's loss.

    With the ISA prior this is the ISA-TCVAE, which its paper names without writing it out: the
    total correlation does not see the prior, and the dimension-wise term does.

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        dataset_size: N, the number of training data.
        **options: as for :class:`vaelite.vae.VAE`.
    """

    def __init__(self, *args, dataset_size: int, **options) -> None:
        super().__init__(*args, **options)
        self.dataset_size = check_count("dataset_size", dataset_size)

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts in nats a datum; see :meth:`vaelite.vae.VAE.loss`."""
        draw = self.draw(batch, noise)
        z = draw.z
        weights = log_stratified_weights(len(z), self.dataset_size, dtype=z.dtype, device=z.device)
        terms = kl_terms(z, draw.mean, draw.log_var, self.prior.log_prob(z), weights)
        reconstruction = draw.reconstruction()
        index_code, total_correlation, dimension_wise = (term.mean() for term in terms)
        loss = reconstruction + index_code + self.beta * total_correlation + dimension_wise
        return loss, {
            "reconstruction": reconstruction,
            "index_code": index_code,
            "total_correlation": total_correlation,
            "dimension_wise": dimension_wise,
        }


def permute_dimensions(z: Tensor) -> Tensor:
    """Shuffle each dimension over the batch, on its own: samples of the product of marginals.

    ``(B, D) -> (B, D)``; uses torch's global generator.  Kim and Mnih (2018), algorithm 1.
    """
    order = torch.rand(z.shape, device=z.device).argsort(dim=0)
    return z.gather(0, order)


class FactorVAE(VAE):
    r"""FactorVAE: a discriminator estimates the total correlation (Kim and Mnih, 2018, eq. 2).

    .. math:: -\mathrm{ELBO} + \gamma \, \mathbb E_{q(z)}[T(z)]

    where T estimates :math:`\ln q(z) / \prod_d q(z_d)`.  The penalty comes on top of the whole KL,
    so :math:`\gamma` corresponds to :math:`\beta - 1` of the beta-TCVAE.  After each step of the
    VAE the discriminator takes one of its own, on fresh samples for the same batch: some as they
    are, some with their dimensions shuffled.

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        gamma: weight of the total correlation.
        discriminator_hidden: sizes of the discriminator's hidden layers; the ISA-VAE paper
            (appendix A.4) has one of 1000.
        **options: as for :class:`vaelite.vae.VAE`.
    """

    def __init__(
        self, *args, gamma: float = 1.0, discriminator_hidden: tuple[int, ...] = (1000,), **options
    ) -> None:
        super().__init__(*args, **options)
        self.gamma = gamma
        self.discriminator = DensityRatio(self.latent_dim, discriminator_hidden, lr=1e-4)

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts in nats a datum; see :meth:`vaelite.vae.VAE.loss`."""
        draw = self.draw(batch, noise)
        reconstruction, kl = draw.reconstruction(), draw.kl()
        with frozen(self.discriminator):
            total_correlation = self.discriminator.kl(draw.z)
        loss = reconstruction + self.beta * kl + self.gamma * total_correlation
        return loss, {
            "reconstruction": reconstruction,
            "kl": kl,
            "total_correlation": total_correlation,
        }

    @torch.no_grad()
    def after_step(self, batch: Tensor, carry: None = None) -> None:
        """Let the discriminator take its step, on fresh encodings by the moved encoder."""
        mean, log_var = self.encode(batch)
        first, second = (self.sample_posterior(mean, log_var) for _ in range(2))
        self.discriminator.step(first, permute_dimensions(second))

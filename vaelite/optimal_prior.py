r"""Optimal priors for task-invariant representations.

The paper: Takahashi et al. (2022).  Data x come from K tasks, s says from which.  The conditional
VAE tells both of its networks the task, and hopes that the code z does not repeat it:

.. math::
    \mathcal F_{\mathrm{CVAE}} = \mathbb E_{p_D(x, s)\, q(z|x, s)}[\ln p(x|z, s)] - \mathcal R,
    \qquad \mathcal R = \mathbb E_{p_D(x, s)} \mathrm{KL}(q(z|x, s) \,\|\, p(z))

Theorem 1 takes the penalty apart (:func:`kl_decomposition`),

.. math::
    \mathcal R = I(S; Z) + \mathrm{KL}(q(z) \,\|\, p(z)) + \sum_k \pi_k I(X^{(k)}; Z^{(k)}),

where q(z) is the aggregate posterior, pooled over the tasks, and :math:`\pi_k` the share of task k.
The middle term is in the way.  It vanishes for the prior q(z), and with that prior the bound is
(theorem 2)

.. math::
    \mathcal F_{\mathrm{Proposed}} = \mathcal F_{\mathrm{CVAE}} + \mathrm{KL}(q(z) \,\|\, p(z)).

=============================  ===============================================================
in the paper                   here
=============================  ===============================================================
CVAE                           :class:`CVAE`
theorem 1                      :func:`kl_decomposition`
q(z), from samples             :class:`RatioPrior`: p(z) e^T(z), T a density ratio
q(z), exactly                  :class:`AggregatePosterior`: a mixture over the training data
the proposed model             :class:`OptimalPriorVAE`
what else one would try        :class:`VampPriorCVAE`, :class:`HSICCVAE`
=============================  ===============================================================

The slides leave open how q(z)/p(z) is estimated in detail, and what the networks are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.density_ratio import DensityRatio, frozen
from vaelite.nets import MLP, Activation, GaussianEncoder
from vaelite.vae import VAE, Prior
from vaelite.vamp import VampPrior

# The conditional VAE.


class Labelled(NamedTuple):
    """Prepared data with their tasks."""

    x: Tensor  # (B, *data_shape)
    indicators: Tensor  # (B, K): one in the column of the datum's task


class CVAE(VAE):
    """Conditional VAE: encoder and decoder are told the task; the prior is not.

    A batch is a pair ``(x, task)``, with ``task`` ``(B,)`` of integers from 0 to K - 1; it is
    trained by ``fit(model, (x, task), ...)``.  Where all data are of one task, an integer will do.

    Args:
        encoder: maps ``(B, data_dim + K)``, flat data and K indicators of the task, to mean and
            log variance ``(B, D)``.
        decoder: maps ``(..., D + K)``, a code and the indicators, to ``(..., *data_shape)``.
        latent_dim: D.
        tasks: K.
        data_shape: shape of one datum.
        **options: ``likelihood``, ``prior`` and ``beta``, as for :class:`vaelite.vae.VAE`.

    Raises:
        TypeError: as :class:`vaelite.vae.VAE`.
        ValueError: as :class:`vaelite.vae.VAE`, or if ``tasks`` is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        tasks: int,
        data_shape: Sequence[int],
        **options,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, data_shape, **options)
        self.tasks = check_count("tasks", tasks)

    @classmethod
    def mlp(
        cls,
        tasks: int,
        data_dim: int,
        hidden: int | Sequence[int],
        latent_dim: int,
        *,
        activation: Activation = nn.ReLU,
        **options,
    ) -> CVAE:
        """Build it on flat data: one MLP to encode, its mirror image to decode.

        Args:
            tasks: K.
            data_dim: number of features.
            hidden: sizes of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: D.
            activation: what makes the module after a hidden layer.
            **options: ``likelihood``, ``prior`` and ``beta``; a subclass may take more.
        """
        for name, count in {"tasks": tasks, "data_dim": data_dim, "latent_dim": latent_dim}.items():
            check_count(name, count)
        hidden = list(hidden) if isinstance(hidden, Sequence) else [hidden]
        encoder = GaussianEncoder(MLP(data_dim + tasks, hidden, 2 * latent_dim, activation))
        decoder = MLP(latent_dim + tasks, hidden[::-1], data_dim, activation)
        return cls(encoder, decoder, latent_dim, tasks, (data_dim,), **options)

    # What the task changes in a VAE: the data are pairs, and both networks are told.

    def prepare(self, batch: tuple[Tensor, Tensor | int]) -> Labelled:
        """Return data in the model's shape and precision, with the indicators of their tasks.

        Raises:
            TypeError: if the batch is no pair of data and integers.
            ValueError: if a datum does not have the model's shape, or there are more or fewer
                tasks than data.
        """
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError("data must be a pair (x, task).")
        x = super().prepare(batch[0])
        task = batch[1]
        if isinstance(task, int):
            task = torch.full((len(x),), task, device=x.device)
        if not isinstance(task, Tensor) or task.is_floating_point() or task.dtype == torch.bool:
            kind = task.dtype if isinstance(task, Tensor) else type(task).__name__
            raise TypeError(f"task must be a tensor of integers; got {kind}.")
        if task.shape != x.shape[:1]:
            raise ValueError(
                f"task must have shape {tuple(x.shape[:1])}, one a datum; got {tuple(task.shape)}."
            )
        return Labelled(x, self._indicators(task, x))

    def _indicators(self, task: Tensor, like: Tensor) -> Tensor:
        """``(...) -> (..., K)``: one in the column of the task."""
        return (task.unsqueeze(-1) == torch.arange(self.tasks, device=like.device)).to(like.dtype)

    def validate(self, data: tuple[Tensor, Tensor]) -> None:
        """Check a whole data set once, before training.

        Raises:
            TypeError: as :meth:`prepare`.
            ValueError: as :meth:`prepare` and :meth:`vaelite.vae.DataModel.validate`, or if a task
                is not between 0 and K - 1.
        """
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise TypeError("data must be a pair (x, task).")
        x, task = data
        super().validate(x)
        first = task[:1] if isinstance(task, Tensor) and task.ndim else task
        self.prepare((x[:1], first))
        self._check_tasks(task)

    def _check_tasks(self, task: Tensor | int) -> None:
        low, high = (int(v) for v in torch.aminmax(torch.as_tensor(task)))
        if low < 0 or high >= self.tasks:
            raise ValueError(
                f"task must lie between 0 and {self.tasks - 1}; got values from {low} to {high}."
            )

    def encode(self, x: Tensor, task: Tensor | int) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x, s), each ``(B, D)``."""
        self._check_tasks(task)
        return self._encode(self.prepare((x, task)))

    def decode(self, z: Tensor, task: Tensor | int) -> Tensor:
        """Return the likelihood's parameters, ``(..., D) -> (..., *data_shape)``.

        Args:
            z: codes.
            task: an integer, or one for each code of the last batch dimension, ``(B,)``.
        """
        self._check_tasks(task)
        return self._decode(z, self._indicators(torch.as_tensor(task, device=z.device), z))

    def log_likelihood(self, x: Tensor, z: Tensor, task: Tensor | int) -> Tensor:
        """Return ln p(x|z, s), summed over features, ``(B, ...), (..., B, D) -> (..., B)``."""
        self._check_tasks(task)
        return self._log_likelihood(self.prepare((x, task)), z)

    def forward(self, batch: tuple[Tensor, Tensor | int]) -> Tensor:
        """Encode a batch, draw a code each and decode it as data of its task."""
        draw = self.draw(batch)
        return self._decode(draw.z, draw.x.indicators)

    def _encode(self, batch: Labelled) -> tuple[Tensor, Tensor]:
        return self.encoder(torch.cat([batch.x.flatten(1), batch.indicators], -1))

    def _decode(self, z: Tensor, indicators: Tensor) -> Tensor:
        return self.decoder(torch.cat([z, indicators.expand(*z.shape[:-1], self.tasks)], -1))

    def _log_likelihood(self, batch: Labelled, z: Tensor) -> Tensor:
        return self.log_density(batch.x, self._decode(z, batch.indicators))

    @torch.no_grad()
    def sample(self, count: int, task: int, *, noisy: bool = False) -> Tensor:
        """Draw codes from the prior and decode them as data of one task, ``(count, *data_shape)``.

        Args:
            count: how many.
            task: which task.
            noisy: draw from p(x|z, s); by default return its mean.
        """
        parameters = self.decode(self.prior.sample(count), task)
        return self.likelihood.sample(parameters) if noisy else self.likelihood.mean(parameters)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, task: Tensor | int, to: Tensor | int | None = None) -> Tensor:
        """Encode, and decode the posterior mean, as data of the same task or of another.

        Args:
            x: ``(B, ...)``.
            task: of the data.
            to: the task to decode as; by default that of the data.
        """
        mean, _ = self.encode(x, task)
        return self.likelihood.mean(self.decode(mean, task if to is None else to))


# Theorem 1.


class KLDecomposition(NamedTuple):
    """Theorem 1, in nats: the terms, each a scalar, and their sum R."""

    task_information: Tensor
    marginal_kl: Tensor
    data_information: Tensor
    total: Tensor


@torch.no_grad()
def kl_decomposition(
    mean: Tensor,
    log_var: Tensor,
    task: Tensor,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> KLDecomposition:
    r"""Take the CVAE's penalty apart (theorem 1 of the paper).

    .. math::
        \underbrace{\mathbb E_{p_D} \mathrm{KL}(q(z|x, s) \,\|\, \mathcal N(0, I))}_{\mathcal R}
        = \underbrace{\mathbb E \ln \frac{q_s(z)}{q(z)}}_{I(S; Z)}
        + \underbrace{\mathbb E \ln \frac{q(z)}{\mathcal N(z; 0, I)}}_{
            \mathrm{KL}(q(z) \| \mathcal N(0, I))}
        + \underbrace{\mathbb E \ln \frac{q(z|x, s)}{q_s(z)}}_{\sum_k \pi_k I(X^{(k)}; Z^{(k)})}

    The data are the N that are given: q(z) is the mixture of their N encodings,
    :math:`q_k(z)` that of task k, and :math:`\pi_k` its share.  Their densities are exact.  The
    two informations are Monte Carlo means over z drawn from each encoding.  R has a closed form,
    and the middle term is what is left of it, so that the sum is exact.

    An information about N data cannot exceed ln N.  Where encodings hardly overlap, as with many
    latents, all terms speak of the sample: the data information is at that ceiling, and the task
    information at the entropy of the tasks, even if both have the same distribution of codes.
    What a permuted ``task`` gives is due to the sample.

    Args:
        mean: ``(N, D)`` of q(z|x, s), over a sample of data.
        log_var: ``(N, D)``.
        task: ``(N,)`` integers.
        samples: codes drawn from each encoding.
        generator: where the draws come from; by default torch's global generator.

    Raises:
        TypeError: if the encodings are no floating-point tensors, or the tasks no integers.
        ValueError: if the shapes do not fit together, an encoding is not finite, or ``samples``
            is not positive.
    """
    check_count("samples", samples)
    if not isinstance(task, Tensor) or task.is_floating_point() or task.dtype == torch.bool:
        kind = task.dtype if isinstance(task, Tensor) else type(task).__name__
        raise TypeError(f"task must be a tensor of integers; got {kind}.")
    kl = gaussian.kl_standard_normal(mean, log_var)
    if mean.ndim != 2 or mean.shape != log_var.shape or task.shape != mean.shape[:1]:
        raise ValueError(
            "mean and log_var must be (N, D) and task (N,); "
            f"got {tuple(mean.shape)}, {tuple(log_var.shape)} and {tuple(task.shape)}."
        )
    if not bool(kl.isfinite().all()):
        raise ValueError("mean and log_var must be finite.")
    noise = torch.randn(
        (samples, *mean.shape), generator=generator, dtype=mean.dtype, device=mean.device
    )
    z = gaussian.reparameterize(mean, log_var, noise)  # (S, N, D)
    log_task, log_all = torch.empty_like(z[..., 0]), []
    for k in task.unique():
        members = task == k
        log_q_k = gaussian.log_mixture_density(z, mean[members], log_var[members])  # (S, N)
        log_task[:, members] = log_q_k[:, members]
        log_all.append(log_q_k + math.log(members.double().mean()))
    log_own = gaussian.log_density(z, mean, log_var).mean()  # E ln q(z|x, s)
    log_task = log_task.mean()  # E ln q_s(z)
    log_pooled = torch.stack(log_all).logsumexp(0).mean()  # E ln q(z)
    total = kl.mean()
    marginal_kl = total - (log_own - log_pooled)
    return KLDecomposition(log_task - log_pooled, marginal_kl, log_own - log_task, total)


# The optimal prior, twice: exactly, and as a ratio learned from samples.


class AggregatePosterior(Prior):
    r"""The optimal prior, exactly: :math:`q(z) = \frac1N \sum_n q(z \mid x_n, s_n)`.

    Args:
        mean: ``(N, D)``, the training data's encodings.
        log_var: ``(N, D)``.

    Raises:
        ValueError: if the shapes do not fit together.
    """

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        super().__init__(mean.shape[-1])
        if mean.ndim != 2 or mean.shape != log_var.shape:
            raise ValueError(
                "mean and log_var must share a shape (N, D); "
                f"got {tuple(mean.shape)} and {tuple(log_var.shape)}."
            )
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("log_var", log_var.detach().clone())

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln q(z), ``(..., D) -> (...)``; the time grows with N."""
        return gaussian.log_mixture_density(z, self.mean, self.log_var)

    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)``: encodings at random, and a code of each."""
        rows = torch.randint(len(self.mean), (count,), device=self.mean.device)
        return gaussian.reparameterize(self.mean[rows], self.log_var[rows])


class RatioPrior(Prior):
    r"""The optimal prior from samples: the standard normal times a learned ratio.

    .. math::
        p_T(z) = \frac{\mathcal N(z; 0, I) \, e^{T(z)}}{\mathbb E_{\mathcal N(0, I)}[e^T]},
        \qquad T(z) \approx \ln \frac{q(z)}{\mathcal N(z; 0, I)}

    T never sees the task: the paper's q(z) pools all tasks.  The KL term of training is

    .. math:: \mathrm{KL}(q(z|x, s) \,\|\, \mathcal N(0, I)) - T(z),

    whose first part has a closed form.  It takes T at its word: the normaliser of :math:`p_T`,
    which is one for the true ratio, is left out.

    Args:
        dim: D.
        hidden: sizes of the estimator's hidden layers.
        lr: step size of its own Adam.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (64, 64), lr: float = 1e-3) -> None:
        super().__init__(dim)
        self.ratio = DensityRatio(dim, hidden, lr=lr)
        self.register_buffer("log_constant", torch.tensor(math.nan))

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL(q(z|x, s) || N(0, I)) - T(z), ``(B,)``; T is held, gradients reach z."""
        return gaussian.kl_standard_normal(mean, log_var) - self.log_ratio(z)

    def log_ratio(self, z: Tensor) -> Tensor:
        """Return T(z), ``(..., D) -> (...)``, with the estimator held."""
        with frozen(self.ratio):
            return self.ratio.log_ratio(z)

    @torch.no_grad()
    def log_normalizer(self, samples: int, codes: Tensor | None = None) -> Tensor:
        r"""Estimate :math:`\ln \mathbb E_{\mathcal N(0, I)}[e^{T}]`.

        From draws of N(0, I) the estimate is too low on average, and a likelihood that subtracts it
        too high.  The more q(z) differs from N(0, I), and the more latents there are, the worse:
        the draws that would matter are rare.  With codes, half of the draws come from where they
        matter, a normal of the codes' mean and 1.5 times their covariance, and all are weighed for
        it (importance sampling from the mixture of both).

        Args:
            samples: how many draws.
            codes: ``(N, D)`` samples of q(z), more of them than latents.
        """
        check_count("samples", samples)
        like = self.log_constant
        z = torch.randn(samples, self.dim, dtype=like.dtype, device=like.device)
        log_weight = torch.zeros_like(z[:, 0])
        if codes is not None:
            near = MultivariateNormal(codes.mean(0), 1.5 * torch.cov(codes.mT).view(self.dim, -1))
            z[::2] = near.sample(z[::2].shape[:1])
            log_normal = gaussian.log_standard_normal(z)
            log_weight = log_normal - torch.logaddexp(log_normal, near.log_prob(z)) + math.log(2)
        log_ratio = torch.cat([self.log_ratio(some) for some in z.split(_AT_ONCE)])
        return (log_ratio + log_weight).logsumexp(0) - math.log(samples)

    def normalize(self, samples: int = 100_000, codes: Tensor | None = None) -> None:
        """Estimate the normaliser for the ratio as it is now, and keep it for :meth:`log_prob`."""
        self.log_constant.copy_(self.log_normalizer(samples, codes))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the logarithm of the normalised density, ``(..., D) -> (...)``.

        Raises:
            RuntimeError: before :meth:`normalize` was called.
        """
        if bool(self.log_constant.isnan()):
            raise RuntimeError("the prior has no normaliser yet; call normalize() after training.")
        log_normal = gaussian.log_standard_normal(z)
        return log_normal + self.log_ratio(z) - self.log_constant

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)``, nearly: 100 standard normal draws for each, chosen by e^T."""
        like = self.log_constant
        drawn = torch.randn(100 * count, self.dim, dtype=like.dtype, device=like.device)
        log_ratio = torch.cat([self.log_ratio(some) for some in drawn.split(_AT_ONCE)])
        # One of each 100: no draw can be chosen for two codes, as it could if all were pooled.
        chosen = torch.multinomial(log_ratio.view(count, 100).softmax(-1), 1)
        return drawn.view(count, 100, -1)[torch.arange(count, device=drawn.device), chosen[:, 0]]


_AT_ONCE = 2**16


# Theorem 2.


class OptimalPriorVAE(CVAE):
    r"""The proposed model: the CVAE under the prior q(z), whose ratio is learned beside it.

    .. math::
        \mathcal F_{\mathrm{Proposed}} = \mathbb E[\ln p(x|z, s)]
        - \mathbb E\,\mathrm{KL}(q(z|x, s) \,\|\, \mathcal N(0, I)) + \mathbb E_{q(z)}[T(z)]

    Two phases alternate, one step each.  The networks take theirs with T held, the gradient of T
    with respect to z included.  Then the estimator takes ``ratio_steps`` of its own, on fresh codes
    of the same data, held, against as many fresh draws of N(0, I).

    Args:
        *args: as for :class:`CVAE`.
        ratio_hidden: sizes of the estimator's hidden layers.
        ratio_lr: step size of its Adam.
        ratio_steps: how many steps it takes after each of the networks'.
        **options: ``likelihood``.
    """

    prior: RatioPrior

    def __init__(
        self,
        *args,
        ratio_hidden: Sequence[int] = (64, 64),
        ratio_lr: float = 1e-3,
        ratio_steps: int = 1,
        **options,
    ) -> None:
        super().__init__(*args, **options)
        self.prior = RatioPrior(self.latent_dim, ratio_hidden, ratio_lr)
        self.ratio_steps = check_count("ratio_steps", ratio_steps)

    def loss(
        self, batch: tuple[Tensor, Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor]]:
        """Return the negative bound, its parts in nats a datum, and the encodings.

        The parts are ``reconstruction``, ``kl`` (to N(0, I)) and ``log_ratio``, the mean of T; the
        loss is the first two less the third.
        """
        draw = self.draw(batch, noise)
        reconstruction = draw.reconstruction()
        kl = gaussian.kl_standard_normal(draw.mean, draw.log_var).mean()
        log_ratio = self.prior.log_ratio(draw.z).mean()
        parts = {"reconstruction": reconstruction, "kl": kl, "log_ratio": log_ratio}
        return reconstruction + self.beta * (kl - log_ratio), parts, (draw.mean, draw.log_var)

    @torch.no_grad()
    def after_step(self, batch: tuple[Tensor, Tensor], carry: tuple[Tensor, Tensor]) -> None:
        """Let the estimator take its steps, on fresh codes of the step's encodings."""
        for _ in range(self.ratio_steps):
            z = self.sample_posterior(*carry)
            self.prior.ratio.step(z, torch.randn_like(z))


# What else one would try.


class VampPriorCVAE(CVAE):
    """The CVAE with a VampPrior, which is trained with it.

    Args:
        *args: as for :class:`CVAE`.
        pseudo_inputs: ``(M, ...)`` where the pseudo-inputs start: training data at random.
        pseudo_tasks: ``(M,)``, their tasks; these stay.
        **options: ``likelihood`` and ``beta``.
    """

    def __init__(self, *args, pseudo_inputs: Tensor, pseudo_tasks: Tensor, **options) -> None:
        super().__init__(*args, **options)
        self.validate((pseudo_inputs, pseudo_tasks))
        inputs = self.prepare((pseudo_inputs, pseudo_tasks)).x
        self.prior = VampPrior(self, inputs, pseudo_tasks)


class HSICCVAE(CVAE):
    """The CVAE with a penalty on the dependence between code and task.

    The loss is the CVAE's plus ``weight`` times :func:`hsic` of the batch's codes.  Fairness work
    uses such penalties for the same aim; Louizos et al. (2016) have the maximum mean discrepancy.

    Args:
        *args: as for :class:`CVAE`.
        weight: of the penalty.
        **options: as for :class:`CVAE`.
    """

    def __init__(self, *args, weight: float = 1.0, **options) -> None:
        super().__init__(*args, **options)
        self.weight = weight

    def loss(
        self, batch: tuple[Tensor, Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts; ``hsic`` beside those of :meth:`vaelite.vae.VAE.loss`."""
        draw = self.draw(batch, noise)
        reconstruction, kl = draw.reconstruction(), draw.kl()
        dependence = _hsic(draw.z, draw.x.indicators)
        parts = {"reconstruction": reconstruction, "kl": kl, "hsic": dependence}
        return reconstruction + self.beta * kl + self.weight * dependence, parts


def hsic(z: Tensor, task: Tensor) -> Tensor:
    r"""Measure the dependence between codes and tasks (Gretton et al., 2005, eq. 9).

    .. math:: \mathrm{HSIC} = \frac1{B^2} \operatorname{tr}(K H L H), \qquad
        H = I - \tfrac1B \mathbf 1 \mathbf 1^\top

    K is a normal kernel whose squared width is the median squared distance of the codes, L says
    which codes share a task.  It is zero, as B grows, only where code and task are independent;
    its size has no unit.

    Args:
        z: ``(B, D)``.
        task: ``(B,)`` integers.

    Returns:
        A scalar.  The width is taken as a constant by gradients.

    Raises:
        ValueError: if the shapes do not fit, or there are fewer than two codes.
    """
    if z.ndim != 2 or task.shape != z.shape[:1] or len(z) < 2:
        raise ValueError(
            "z must be (B, D) and task (B,) with at least two codes; "
            f"got {tuple(z.shape)} and {tuple(task.shape)}."
        )
    return _hsic(z, (task.unsqueeze(-1) == task.unique()).to(z.dtype))


def _hsic(z: Tensor, indicators: Tensor) -> Tensor:
    distance = (z.unsqueeze(1) - z).square().sum(-1)  # (B, B)
    width = distance.detach().flatten().median().clamp(min=1e-12)
    kernel = torch.exp(-0.5 * distance / width)
    centred = indicators - indicators.mean(0)  # H L H = centred centred^T
    return (kernel * (centred @ centred.mT)).mean()

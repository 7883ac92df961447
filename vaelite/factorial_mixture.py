r"""A factorial mixture prior: discrete properties, each in a subspace of its own.

The paper: Paquet, Ghaisas and Tieleman (2018).  The code is cut into I parts of D latents each,
:math:`z = [z_1, \dots, z_I]`, and each part has a Gaussian mixture of its own (eq. 1),

.. math::
    p(r, z \mid \xi) = \prod_i \prod_k \pi_{ik}^{r_{ik}} \,
    \mathcal N\big(z_i; \mu_{ik}, \operatorname{diag}(\alpha_{ik})^{-1}\big)^{r_{ik}},

whose parameters :math:`\xi` are random variables too, with conjugate hyperpriors (eq. 2).  The
posterior of everything is a product (eq. 3): an encoder for z, responsibilities :math:`\gamma` for
r, and for :math:`\xi` Normal-Gammas with parameters m, s, a, b and Dirichlets with c.

==========================  ==================================================================
in the paper                here
==========================  ==================================================================
eq. 1 to 3                  :class:`FactorialMixture`, its factors :class:`ConjugateFactor`
eq. 4, the four KLs         ``kl_z``, ``kl_r``, ``kl_components``, ``kl_weights``
eq. 5 and 6                 ``responsibilities``, ``expected_log_likelihood``
eq. 7, 13 and 14            ``natural_step``, :func:`step_size`
eq. 8, labels               :class:`FirstOrderFactor`, :meth:`FactorialMixtureVAE.loss`
eq. 9 and 10, Student's t   ``log_prob``, ``sample``
eq. 11                      ``kl``, :meth:`FactorialMixtureVAE.bound`
section 2.4, three steps    :class:`FactorialMixtureVAE`
and its phases              :func:`pretrain`, :func:`seed`, :func:`held`
GMM SVAE                    ``FactorialMixture([K], D)``
VaDE                        ``PointMixture([K], D)`` in the prior's place
==========================  ==================================================================

A model is trained in three phases, the last of which is the paper's algorithm::

    prior = FactorialMixture([64], 64)
    model = FactorialMixtureVAE.mlp(784, 512, prior.dim, prior=prior, dataset_size=len(x))
    fit(model, x, batch_size=64, phases=[
        Phase(2000, before=pretrain, schedules={"beta": Linear(0, 1, 500)}),
        Phase(400, before=seed, schedules={"lr": held}),
        Phase(4000),
    ])

Nothing ever enumerates the product of the K_i: factors are independent given the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import StudentT

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.distributions import NormalGamma
from vaelite.vae import VAE, Prior

# Equations 1 to 3: one factor, and what is believed of it.


class Hyperprior(NamedTuple):
    r"""p(xi) of section 2.2: a Normal-Gamma for each mean and precision, a Dirichlet for weights.

    .. math::
        p(\mu, \alpha) = \mathcal N(\mu; m_0, (s_0 \alpha)^{-1}) \,
        \mathrm{Gamma}(\alpha; a_0, b_0), \qquad p(\pi) = \mathrm{Dirichlet}(\pi; c_0 \mathbf 1)
    """

    m0: float = 0.0
    s0: float = 1.0
    a0: float = 0.01
    b0: float = 0.01
    c0: float = 1.0


DEFAULT = Hyperprior()


class Expected(NamedTuple):
    """What eq. 4 to 7 need of q(xi), computed in double precision; a step asks for it once."""

    natural: Tensor  # (K, 2 D), E[alpha mu] and -E[alpha] / 2, the factors of z and its square
    constant: Tensor  # (K,), what eq. 6 has beside them
    log_weights: Tensor  # (K,), E ln pi
    kl_components: Tensor  # (), line (4d)
    kl_weights: Tensor  # (), line (4e)
    q: tuple[Tensor, ...] = ()  # m, s, a, b and c; nothing for numbers that have no posterior

    def log_likelihood(self, moments: Tensor) -> Tensor:
        """Return eq. 6, ``(B, 2 D) -> (B, K)``; see :meth:`Factor.expected_log_likelihood`."""
        return torch.addmm(self.constant, moments, self.natural.mT)


def code_moments(mean: Tensor, var: Tensor) -> Tensor:
    """Return the means of z and of its square under q(z|x), ``(B, 2 D)``, in double precision."""
    mean = mean.double()
    return torch.cat([mean, mean.square() + var], -1)


class Factor(nn.Module):
    """One mixture of K normals in D dimensions; subclasses say what is known of its parameters.

    Args:
        components: K.
        dim: D.
        hyperprior: p(xi).
    """

    def __init__(self, components: int, dim: int, hyperprior: Hyperprior) -> None:
        super().__init__()
        self.components = check_count("components", components)
        self.dim = check_count("dim", dim)
        self.hyperprior = hyperprior

    @property
    def by_gradient(self) -> bool:
        """Whether the optimiser moves the factor, not natural gradients."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def expected(self) -> Expected:
        """Return what eq. 4 to 6 need."""
        raise NotImplementedError

    def expected_log_likelihood(self, mean: Tensor, var: Tensor) -> Tensor:
        r"""Return eq. 6 for each datum and component, ``(B, D), (B, D) -> (B, K)``, in double.

        .. math::
            \mathbb E_{q(z|x) q(\mu_k, \alpha_k)} \ln \mathcal N(z; \mu_k, \alpha_k^{-1})
            = \tfrac12 \sum_d \Big( \psi(a_{kd}) - \ln b_{kd} - \ln 2\pi - \frac1{s_{kd}}
            - \frac{a_{kd}}{b_{kd}} \big( (\mu_d - m_{kd})^2 + \sigma_d^2 \big) \Big)

        The square is expanded, so that a matrix product for z and one for its square, B x D by
        D x K, are all there is (taken side by side): no tensor of B x K x D.  Large numbers cancel
        in it where a / b is large; hence the double precision.

        Args:
            mean: ``(B, D)`` of q(z|x), this factor's part.
            var: ``(B, D)``, the variances.
        """
        return self.expected().log_likelihood(code_moments(mean, var))


class ConjugateFactor(Factor):
    r"""A mixture whose parameters have a posterior (eq. 3), moved by natural gradients.

    .. math:: q(\xi_i) = \mathrm{Dirichlet}(\pi; c) \prod_{k,d}
        \mathcal N\big(\mu_{kd}; m_{kd}, (s_{kd} \alpha_{kd})^{-1}\big) \,
        \mathrm{Gamma}(\alpha_{kd}; a_{kd}, b_{kd})

    It begins as the hyperprior: all components are alike, and would stay so without a seed.

    Attributes:
        m: ``(K, D)``, as ``s``, ``a`` and ``b``; ``c`` is ``(K,)``.  Buffers.
    """

    def __init__(self, components: int, dim: int, hyperprior: Hyperprior) -> None:
        super().__init__(components, dim, hyperprior)
        m0, s0, a0, b0, c0 = hyperprior
        for name, value in zip("msab", (m0, s0, a0, b0), strict=True):
            self._make(name, torch.full((components, dim), value))
        self._make("c", torch.full((components,), c0))

    def _make(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def _put(self, name: str, value: Tensor) -> None:
        getattr(self, name).copy_(value)

    def _doubles(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, name).double() for name in "msabc")

    def posterior(self) -> NormalGamma:
        """Return the Normal-Gammas of all components and dimensions, in double precision."""
        return NormalGamma(*self._doubles()[:4], validate_args=False)

    def expected(self) -> Expected:
        r"""See :class:`Expected`.

        All of it follows from expected statistics: those of eq. 12 (C.1), of :math:`\ln \alpha`,
        :math:`\alpha`, :math:`\alpha\mu` and :math:`\alpha\mu^2`, here :math:`t_1` to :math:`t_4`,
        and :math:`\mathbb E \ln \pi` (C.3).  The divergences are those of exponential families, so
        that C.1 is

        .. math:: \sum_{k,d} \Big( (a - a_0) t_1 + a (\ln b - 1) - \ln\Gamma(a)
            + \tfrac12 \ln s + (b_0 + \tfrac12 s_0 m_0^2) t_2 - s_0 m_0 t_3 + \tfrac12 s_0 t_4
            + \text{const} \Big) .
        """
        m, s, a, b, c = q = self._doubles()
        m0, s0, a0, b0, c0 = self.hyperprior
        log_b = b.log()
        log_precision, precision = torch.digamma(a) - log_b, a / b
        weighted = precision * m
        square = torch.addcmul(1 / s, weighted, m)
        constant = 0.5 * (log_precision - square - gaussian.LOG_TWO_PI).sum(-1)
        total = c.sum()
        log_weights = torch.digamma(c) - torch.digamma(total)
        kl = torch.addcmul(-torch.lgamma(a), a - a0, log_precision).addcmul(a, log_b - 1)
        kl = kl.add(s.log(), alpha=0.5).add(precision, alpha=b0 + 0.5 * s0 * m0**2)
        kl = kl.sub(weighted, alpha=s0 * m0).add(square, alpha=0.5 * s0)
        of_prior = math.lgamma(a0) - a0 * math.log(b0) - 0.5 * (math.log(s0) + 1)
        kl_weights = torch.addcmul(-torch.lgamma(c), c - c0, log_weights).sum()
        kl_weights = kl_weights + torch.lgamma(total)
        return Expected(
            torch.cat([weighted, -0.5 * precision], -1),
            constant,
            log_weights,
            (kl.sum() + kl.numel() * of_prior).to(self.m.dtype),
            (kl_weights + (len(c) * math.lgamma(c0) - math.lgamma(len(c) * c0))).to(self.m.dtype),
            q,
        )

    @torch.no_grad()
    def natural_step(
        self,
        moments: Tensor,
        responsibilities: Tensor,
        scale: float,
        rho: float | Tensor,
        q: Sequence[Tensor] = (),
    ) -> None:
        r"""Move q(xi) towards the batch's optimum by a share :math:`\rho` (eq. 7, 13 and 14).

        .. math::
            \lambda^*_1 &= a_0 + \tfrac12 \textstyle\sum_n \gamma_{nk} - \tfrac12, &
            \lambda^*_2 &= -\big(b_0 + \tfrac12 s_0 m_0^2
            + \tfrac12 \textstyle\sum_n \gamma_{nk} (\mu_n^2 + \sigma_n^2)\big), \\
            \lambda^*_3 &= s_0 m_0 + \textstyle\sum_n \gamma_{nk} \mu_n, &
            \lambda^*_4 &= -\tfrac12 \big(s_0 + \textstyle\sum_n \gamma_{nk}\big), \\
            \lambda &\leftarrow (1 - \rho) \lambda + \rho \lambda^*, &
            c &\leftarrow (1 - \rho) c + \rho \big(c_0 + \textstyle\sum_n \gamma_{nk}\big),

        where every sum over the batch is multiplied by N / B.  It is the natural parameters that
        are interpolated, not m, s, a and b.

        Args:
            moments: ``(B, 2 D)``, what :func:`code_moments` returns for this factor's part.
            responsibilities: ``(B, K)``.
            scale: N / B.
            rho: from 0 to 1.
            q: m, s, a, b and c in double precision, if they are at hand.
        """
        gamma = scale * responsibilities.double()
        m0, s0, a0, b0, c0 = self.hyperprior
        m, s, a, b, c = q or self._doubles()
        counts = gamma.sum(0)  # (K,)
        rows = counts.unsqueeze(-1)
        first, second = (moments.mT @ gamma).mT.chunk(2, -1)  # (K, D), of z and its square
        # Eq. 12's natural parameters, in turn lambda_1 + 1/2, -lambda_2, lambda_3, -2 lambda_4.
        product = s * m
        energy = torch.addcmul(b, product, m, value=0.5)
        a = a.lerp(0.5 * rows + a0, rho)
        energy = energy.lerp(0.5 * second + (b0 + 0.5 * s0 * m0**2), rho)
        product = product.lerp(first + s0 * m0, rho)
        s = s.lerp(rows + s0, rho)
        m = product / s
        b = torch.addcmul(energy, product, m, value=-0.5)
        for name, value in zip("msabc", (m, s, a, b, c.lerp(counts + c0, rho)), strict=True):
            self._put(name, value)

    def seed(self, moments: Tensor, responsibilities: Tensor, scale: float) -> None:
        """Set q(xi) to its optimum given these: a natural step of length one."""
        self.natural_step(moments, responsibilities, scale, 1.0)

    # Equation 10.

    def mixing(self) -> Tensor:
        """Return the mean of q(pi), ``(K,)``."""
        return self.c / self.c.sum()

    def used(self, least: float) -> Tensor:
        """Return which components have ``least`` data or more, ``(K,)`` bool."""
        return self.c - self.hyperprior.c0 >= least

    def _student(self) -> StudentT:
        q = self.posterior()
        scale = ((q.s + 1) / q.s * q.b / q.a).sqrt()
        return StudentT(2 * q.a, q.m, scale, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        r"""Return the log density of one code with q(xi) integrated out, ``(..., D) -> (...)``.

        .. math:: \ln \sum_k \frac{c_k}{\sum_j c_j} \prod_d \mathcal T\Big(z_d; m_{kd},
            \frac{s_{kd} + 1}{s_{kd}} \frac{b_{kd}}{a_{kd}}, 2 a_{kd}\Big)

        Constants are computed in double precision: two log-gammas of thousands cancel in them.
        """
        t = self._student()
        normaliser = (
            torch.lgamma(0.5 * t.df)
            - torch.lgamma(0.5 * (t.df + 1))
            + 0.5 * (t.df * math.pi).log()
            + t.scale.log()
        )
        constant = (self.mixing().double().log() - normaliser.sum(-1)).to(z.dtype)  # (K,)
        centre, power = t.loc.to(z.dtype), 0.5 * (t.df + 1).to(z.dtype)
        width = (t.df.sqrt() * t.scale).to(z.dtype)
        points = z.reshape(-1, 1, self.dim)
        pieces = []
        for some in points.split(max(1, _AT_ONCE // centre.numel())):
            distance = ((some - centre) / width).square()  # (some, K, D)
            pieces.append((constant - (power * distance.log1p()).sum(-1)).logsumexp(-1))
        return torch.cat(pieces).reshape(z.shape[:-1])

    def draw(self, index: Tensor) -> Tensor:
        """Draw codes of given components from eq. 10, ``(count,) -> (count, D)``."""
        t = self._student()
        chosen = StudentT(t.df[index], t.loc[index], t.scale[index], validate_args=False)
        return chosen.sample().to(self.m.dtype)


# Triples of a code, a component and a dimension that are looked at together.
_AT_ONCE = 2**21


class FirstOrderFactor(ConjugateFactor):
    """The same posterior as parameters: what section 2.5 does to factors that have labels.

    The classification term of eq. 8 is not conjugate, so the optimiser moves m and the logarithms
    of s, a, b and c by their gradients.  Frozen (``requires_grad_(False)``), the factor is moved by
    natural gradients again, as the paper leaves open once the term's weight is zero.
    """

    def _make(self, name: str, value: Tensor) -> None:
        if name == "m":
            self.m = nn.Parameter(value)
        else:
            setattr(self, f"log_{name}", nn.Parameter(value.log()))

    @torch.no_grad()
    def _put(self, name: str, value: Tensor) -> None:
        if name == "m":
            self.m.copy_(value)
        else:
            getattr(self, f"log_{name}").copy_(value.log())

    @property
    def s(self) -> Tensor:
        """``(K, D)``, positive."""
        return self.log_s.exp()

    @property
    def a(self) -> Tensor:
        """``(K, D)``, positive."""
        return self.log_a.exp()

    @property
    def b(self) -> Tensor:
        """``(K, D)``, positive."""
        return self.log_b.exp()

    @property
    def c(self) -> Tensor:
        """``(K,)``, positive."""
        return self.log_c.exp()


class PointFactor(Factor):
    r"""A mixture whose parameters are numbers (Jiang et al., 2017): the limit of a certain q(xi).

    Attributes:
        mean: ``(K, D)``, the components' means.
        log_var: ``(K, D)``, their log variances.
        logits: ``(K,)``, the weights' logarithms up to a constant.
    """

    def __init__(self, components: int, dim: int, hyperprior: Hyperprior) -> None:
        super().__init__(components, dim, hyperprior)
        self.mean = nn.Parameter(torch.zeros(components, dim))
        self.log_var = nn.Parameter(torch.zeros(components, dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def expected(self) -> Expected:
        """See :class:`Expected`."""
        mean, log_var = self.mean.double(), self.log_var.double()
        precision = (-log_var).exp()
        weighted = precision * mean
        natural = torch.cat([weighted, -0.5 * precision], -1)
        constant = -0.5 * (log_var + weighted * mean + gaussian.LOG_TWO_PI).sum(-1)
        nothing = self.mean.new_zeros(())  # a number has no posterior
        log_weights = self.logits.double().log_softmax(-1)
        return Expected(natural, constant, log_weights, nothing, nothing)

    @torch.no_grad()
    def seed(self, moments: Tensor, responsibilities: Tensor, scale: float) -> None:
        """Take the centres, variances and weights that a seeded posterior expects."""
        q = ConjugateFactor(self.components, self.dim, self.hyperprior).to(self.mean)
        q.seed(moments, responsibilities, scale)
        self.mean.copy_(q.m)
        self.log_var.copy_((q.b / q.a).log())
        self.logits.copy_(q.c.log())

    def mixing(self) -> Tensor:
        """Return the weights, ``(K,)``."""
        return self.logits.softmax(-1)

    def used(self, least: float) -> Tensor:
        """Return ones, ``(K,)`` bool: numbers do not know how many data they stand for."""
        return torch.ones_like(self.logits, dtype=torch.bool)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of the mixture, ``(..., D) -> (...)``."""
        return gaussian.log_mixture_density(z, self.mean, self.log_var, self.logits.log_softmax(-1))

    def draw(self, index: Tensor) -> Tensor:
        """Draw codes of given components, ``(count,) -> (count, D)``."""
        return gaussian.reparameterize(self.mean[index], self.log_var[index])


# Equations 4 to 14 for the product of all factors.


def _log_likelihoods(moments: list[Tensor], expected: Sequence[Expected]) -> list[Tensor]:
    """Return eq. 6 for each factor, I times ``(B, K_i)``."""
    return [own.log_likelihood(m) for m, own in zip(moments, expected, strict=True)]


def _log_joint(likelihoods: list[Tensor], expected: Sequence[Expected]) -> list[Tensor]:
    """Return the logarithm of eq. 5's unnormalised responsibilities, I times ``(B, K_i)``."""
    return [like + own.log_weights for like, own in zip(likelihoods, expected, strict=True)]


def _log_responsibilities(log_joint: list[Tensor], labels: Tensor | None) -> list[Tensor]:
    r"""Return :math:`\ln \gamma` of eq. 5, clamped where there are labels, in double precision."""
    logs = [joint.log_softmax(-1) for joint in log_joint]
    if labels is None:
        return logs
    for i, label in enumerate(labels.unbind(-1)):
        one_hot = label.unsqueeze(-1) == torch.arange(logs[i].shape[-1], device=label.device)
        known = (label >= 0).unsqueeze(-1)
        logs[i] = logs[i].masked_fill(known & one_hot, 0.0).masked_fill(known & ~one_hot, _LOG_ZERO)
    return logs


# A logarithm of zero that zero times it is zero.
_LOG_ZERO = -1e300


def _kl_r(
    responsibilities: Sequence[Tensor], logs: Sequence[Tensor], expected: Sequence[Expected]
) -> Tensor:
    """Return line (4c), ``(B, I)``."""
    found = [
        (gamma * (log - own.log_weights)).sum(-1)
        for gamma, log, own in zip(responsibilities, logs, expected, strict=True)
    ]
    return torch.stack(found, -1)


class LocalTerms(NamedTuple):
    """What a batch contributes to eq. 4 and 8, in nats."""

    kl_z: Tensor  # (B, I), line (4b)
    kl_r: Tensor  # (B, I), line (4c)
    cross_entropy: Tensor | None  # (B, labelled factors), eq. 8's -ln g; zero without a label


class FactorialPrior(Prior):
    r"""A product of I mixtures as a prior of the house.

    ``log_prob`` is exact, and ``kl`` is the bound of eq. 11 at its best responsibilities,

    .. math:: \mathrm{KL}[z] + \mathrm{KL}[r] \ge \mathbb E_{q(z|x)}[\ln q(z|x) - \ln p(z)],

    so that any objective of the book may have this prior; it then stays as it is.  To move it takes
    :class:`FactorialMixtureVAE`.  With an estimator of :class:`vaelite.vae.Prior` in place of
    ``closed``, ``kl`` is a sample of the right-hand side.

    Responsibilities are lists of I tensors ``(B, K_i)``.  Encodings are ``(B, I D)``, factor after
    factor.

    Args:
        factors: I mixtures of D dimensions each.
        labelled: how many of them, from the first, may have labels.
        estimator: of ``kl``.
    """

    ESTIMATORS = ("closed", *Prior.ESTIMATORS)

    def __init__(self, factors: Sequence[Factor], labelled: int, estimator: str) -> None:
        super().__init__(sum(factor.dim for factor in factors), estimator)
        self.factors = nn.ModuleList(factors)
        self.components = tuple(factor.components for factor in factors)
        self.factor_dim = factors[0].dim
        self.labelled = labelled

    def parts(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the factors' parts of codes, ``(..., I D) -> I times (..., D)``.

        Raises:
            ValueError: if the codes have another dimension.
        """
        if z.shape[-1:] != (self.dim,):
            raise ValueError(
                f"codes must be (..., {self.dim}), {len(self.factors)} factors of "
                f"{self.factor_dim} latents; got {tuple(z.shape)}."
            )
        return z.split(self.factor_dim, -1) if len(self.factors) > 1 else (z,)

    # Equations 5 and 6.

    def expected(self) -> list[Expected]:
        """Return what eq. 4 to 6 need of each factor's q(xi)."""
        return [factor.expected() for factor in self.factors]

    def _moments(self, mean: Tensor, var: Tensor) -> list[Tensor]:
        """Return each factor's :func:`code_moments`, I times ``(B, 2 D)``."""
        return list(map(code_moments, self.parts(mean), self.parts(var)))

    def responsibilities(
        self, mean: Tensor, var: Tensor, labels: Tensor | None = None
    ) -> list[Tensor]:
        r"""Return the optimal q(r), eq. 5: :math:`\gamma_{ik} \propto \tilde\gamma_{ik}`.

        Args:
            mean: ``(B, I D)`` of q(z|x).
            var: ``(B, I D)``, the variances.
            labels: ``(B, L)`` integers for the first L factors; a component clamps its factor's
                responsibilities to one and zeros, -1 leaves them free.

        Returns:
            I tensors ``(B, K_i)``, whose rows sum to one.

        Raises:
            ValueError: if the shapes do not fit together.
        """
        _check_pair(mean, var, "var")
        expected = self.expected()
        likelihoods = _log_likelihoods(self._moments(mean, var), expected)
        logs = _log_responsibilities(_log_joint(likelihoods, expected), labels)
        return [log.exp().to(mean.dtype) for log in logs]

    # Equation 4, line by line.

    def kl_z(self, mean: Tensor, log_var: Tensor, responsibilities: Sequence[Tensor]) -> Tensor:
        r"""Return line (4b), ``(B, I)``: the KL of z, averaged over components and q(xi) (C.2).

        .. math:: \sum_k \gamma_{ik} \, \mathbb E_{q(\mu_{ik}, \alpha_{ik})}
            \mathrm{KL}\big(q(z_i | x) \,\|\, p(z_i | \mu_{ik}, \alpha_{ik})\big)

        Args:
            mean: ``(B, I D)`` of q(z|x).
            log_var: ``(B, I D)``.
            responsibilities: I times ``(B, K_i)``.
        """
        _check_pair(mean, log_var, "log_var")
        self._check_responsibilities(responsibilities, len(mean))
        moments = self._moments(mean, log_var.exp())
        likelihoods = _log_likelihoods(moments, self.expected())
        return self._kl_z(likelihoods, log_var, responsibilities)

    def _kl_z(
        self, likelihoods: list[Tensor], log_var: Tensor, responsibilities: Sequence[Tensor]
    ) -> Tensor:
        found = [
            -(gamma * like).sum(-1).to(own.dtype) - gaussian.entropy(own)
            for like, gamma, own in zip(
                likelihoods, responsibilities, self.parts(log_var), strict=True
            )
        ]
        return torch.stack(found, -1)

    def kl_r(self, responsibilities: Sequence[Tensor]) -> Tensor:
        r"""Return line (4c), ``(B, I)``: the KL of r, averaged over q(pi) (C.3).

        .. math:: \sum_k \gamma_{ik} \big(\ln \gamma_{ik} - \mathbb E \ln \pi_{ik}\big)

        Args:
            responsibilities: I times ``(B, K_i)``; zeros count nothing.
        """
        self._check_responsibilities(responsibilities, len(responsibilities[0]))
        gammas = [gamma.double() for gamma in responsibilities]
        logs = [gamma.log().clamp(min=_LOG_ZERO) for gamma in gammas]
        return _kl_r(gammas, logs, self.expected()).to(responsibilities[0].dtype)

    def kl_components(self) -> Tensor:
        """Return line (4d) of each factor, ``(I,)``; the objective divides it by N."""
        return torch.stack([own.kl_components for own in self.expected()])

    def kl_weights(self) -> Tensor:
        """Return line (4e) of each factor, ``(I,)``; the objective divides it by N."""
        return torch.stack([own.kl_weights for own in self.expected()])

    def local_terms(
        self,
        mean: Tensor,
        log_var: Tensor,
        labels: Tensor | None = None,
        expected: Sequence[Expected] | None = None,
    ) -> LocalTerms:
        """Return lines (4b) and (4c) at the responsibilities of eq. 5, and the term of eq. 8.

        The responsibilities are held: since they are optimal at beta = 1, their own
        gradient is zero there.

        Args:
            mean: ``(B, I D)`` of q(z|x).
            log_var: ``(B, I D)``.
            labels: as for :meth:`responsibilities`.
            expected: what :meth:`expected` returns, if it is at hand.
        """
        expected = expected or self.expected()
        likelihoods = _log_likelihoods(self._moments(mean, log_var.exp()), expected)
        log_joint = _log_joint(likelihoods, expected)
        held = [joint.detach() for joint in log_joint]
        logs = _log_responsibilities(held, labels)
        gammas = [log.exp() for log in logs]
        errors = None
        if labels is not None:
            # A label's responsibilities are one and zeros.
            pairs = zip(gammas, log_joint[: labels.shape[-1]], strict=False)
            errors = [-(gamma * joint.log_softmax(-1)).sum(-1) for gamma, joint in pairs]
            errors = torch.where(labels >= 0, torch.stack(errors, -1).to(mean.dtype), 0.0)
        kl_r = _kl_r(gammas, logs, expected).to(mean.dtype)
        return LocalTerms(self._kl_z(likelihoods, log_var, gammas), kl_r, errors)

    # Equations 7, 13 and 14.

    @torch.no_grad()
    def natural_step(
        self,
        mean: Tensor,
        var: Tensor,
        responsibilities: Sequence[Tensor],
        dataset_size: int,
        rho: float | Tensor,
    ) -> None:
        """Move q(xi) of all factors that no optimiser moves; :meth:`ConjugateFactor.natural_step`.

        Args:
            mean: ``(B, I D)`` of q(z|x).
            var: ``(B, I D)``, the variances.
            responsibilities: I times ``(B, K_i)``.
            dataset_size: N; sums over the batch are multiplied by N / B.
            rho: step size, above 0 and at most 1.

        Raises:
            ValueError: if the shapes do not fit together, ``dataset_size`` is not positive, or
                ``rho`` is out of range.
        """
        _check_pair(mean, var, "var")
        self._check_responsibilities(responsibilities, len(mean))
        scale = check_count("dataset_size", dataset_size) / len(mean)
        if not torch.is_tensor(rho) and not 0 < rho <= 1:
            raise ValueError(f"rho must be above 0 and at most 1; got {rho}.")
        pairs = zip(self.factors, self._moments(mean, var), responsibilities, strict=True)
        for factor, moments, gamma in pairs:
            if not factor.by_gradient:
                factor.natural_step(moments, gamma, scale, rho)

    @torch.no_grad()
    def third_step(
        self,
        mean: Tensor,
        var: Tensor,
        dataset_size: int,
        rho: float | Tensor,
        labels: Tensor | None,
        expected: Sequence[Expected],
    ) -> None:
        """Recompute responsibilities and take a natural step, the third of section 2.4.

        What :meth:`responsibilities` and then :meth:`natural_step` do, with moments of z taken
        once.  ``expected`` is what :meth:`expected` returns.
        """
        moments = self._moments(mean, var)
        log_joint = _log_joint(_log_likelihoods(moments, expected), expected)
        logs = _log_responsibilities(log_joint, labels)
        for factor, own, log, of_q in zip(self.factors, moments, logs, expected, strict=True):
            if not factor.by_gradient:
                factor.natural_step(own, log.exp(), dataset_size / len(mean), rho, of_q.q)

    def _check_responsibilities(self, responsibilities: Sequence[Tensor], rows: int) -> None:
        found = [tuple(gamma.shape) for gamma in responsibilities]
        wanted = [(rows, components) for components in self.components]
        if found != wanted:
            raise ValueError(f"responsibilities must have the shapes {wanted}; got {found}.")

    # Equations 9 to 11.

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z) with r and q(xi) summed and integrated out, ``(..., I D) -> (...)``.

        Under q(xi) the factors are independent, and so are the components' parameters: for one
        code, eq. 9's sum over all combinations is a product of I sums.
        """
        return sum(
            factor.log_prob(own) for factor, own in zip(self.factors, self.parts(z), strict=True)
        )

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL[z] + KL[r] of eq. 11, ``(B,)``, or an estimate at ``z``; see the class."""
        if self.estimator != "closed":
            return super().kl(mean, log_var, z)
        terms = self.local_terms(mean, log_var)
        return (terms.kl_z + terms.kl_r).sum(-1)

    def used(self, least: float = 1.0) -> list[Tensor]:
        """Return which components have so many data of all N, I times ``(K_i,)`` bool.

        A component without data keeps the hyperprior: its Student's t has 0.02 degrees of freedom,
        and its samples reach 1e18 and more.
        """
        return [factor.used(least) for factor in self.factors]

    @torch.no_grad()
    def sample(
        self, count: int, clamped: Mapping[int, int] | None = None, least: float = 1.0
    ) -> Tensor:
        """Draw codes as in section 2.6: a component of each factor, then Student's t (eq. 10).

        Components with fewer than ``least`` data are dropped, and the others' probabilities
        divided by their sum; :meth:`used` says which, and ``least=0`` drops none.

        Args:
            count: how many.
            clamped: component by factor, for factors that are not drawn: ``{0: 3}``.
            least: data that a component must have.

        Returns:
            ``(count, I D)``.

        Raises:
            ValueError: if a clamped factor or component does not exist, or the component is unused.
            RuntimeError: if no component of a factor is in use.
        """
        check_count("count", count)
        clamped = dict(clamped or {})
        for i, k in clamped.items():
            if not 0 <= i < len(self.factors) or not 0 <= k < self.components[i]:
                raise ValueError(
                    f"clamped is {clamped}; factors go from 0 to {len(self.factors) - 1}, with "
                    f"{self.components} components, counted from 0."
                )
        parts = []
        for i, factor in enumerate(self.factors):
            used = factor.used(least)
            if not bool(used.any()):
                raise RuntimeError(
                    f"no component of factor {i} has {least:g} data; the prior is not seeded."
                )
            if i in clamped and not bool(used[clamped[i]]):
                raise ValueError(
                    f"component {clamped[i]} of factor {i} has fewer than {least:g} data; "
                    "its samples would be of any size."
                )
            if i in clamped:
                index = torch.full((count,), clamped[i], device=used.device)
            else:
                index = torch.multinomial(factor.mixing() * used, count, replacement=True)
            parts.append(factor.draw(index))
        return torch.cat(parts, -1)

    # Section 2.4: seeds.

    @torch.no_grad()
    def seed(
        self, mean: Tensor, var: Tensor, dataset_size: int, labels: Tensor | None = None
    ) -> None:
        """Set all factors from encodings, which breaks the symmetry of their components.

        The paper does not say how.  Here the components of a factor begin at K encodings, drawn far
        from each other (k-means++: each with a chance that grows with its squared distance from
        those drawn); every encoding goes to the nearest, and q(xi) to its optimum given that.
        Where there are labels, the components begin at the data that carry theirs.

        Args:
            mean: ``(B, I D)``: encodings of some data.
            var: ``(B, I D)``, their variances.
            dataset_size: N.
            labels: ``(B, L)``, as for :meth:`responsibilities`.

        Raises:
            ValueError: if there are fewer different encodings than components, or a component of a
                labelled factor has no datum.
        """
        _check_pair(mean, var, "var")
        pairs = zip(self.factors, self.parts(mean), self.parts(var), strict=True)
        for i, (factor, own, spread) in enumerate(pairs):
            if labels is not None and i < labels.shape[-1]:
                known = labels[:, i] >= 0
                own, spread, index = own[known], spread[known], labels[known, i]
                if len(index.unique()) < factor.components:
                    raise ValueError(
                        f"factor {i} has {factor.components} components, but "
                        f"{len(index.unique())} of them have labels among the data to seed from."
                    )
            else:
                centres = _spread_out(own, factor.components)
                index = torch.cdist(own, centres).argmin(-1)
            gamma = index.unsqueeze(-1) == torch.arange(factor.components, device=own.device)
            factor.seed(code_moments(own, spread), gamma, dataset_size / len(own))


class FactorialMixture(FactorialPrior):
    """The paper's prior: I Gaussian mixtures with posteriors of their parameters.

    Args:
        components: K_i for each of the I factors.
        dim: D, the latents of one factor; the code has I D.
        labelled: how many factors, from the first, have labels.  Their q(xi) is moved by the
            optimiser (:class:`FirstOrderFactor`), that of the others by natural gradients.
        hyperprior: m0, s0, a0, b0 and c0.
        estimator: of ``kl``; see :class:`FactorialPrior`.

    Attributes:
        m: I tensors ``(K_i, D)``, as ``s``, ``a`` and ``b``; ``c`` is I tensors ``(K_i,)``.

    Raises:
        ValueError: if a number of components, ``dim`` or ``labelled`` is out of range, or a
            parameter of the hyperprior is not positive (m0: not finite).
    """

    def __init__(
        self,
        components: Sequence[int],
        dim: int,
        *,
        labelled: int = 0,
        hyperprior: Hyperprior = DEFAULT,
        estimator: str = "closed",
    ) -> None:
        components = _checked_components(components)
        if isinstance(labelled, bool) or not 0 <= labelled <= len(components):
            raise ValueError(
                f"labelled must lie between 0 and the {len(components)} factors; got {labelled}."
            )
        hyperprior = Hyperprior(*hyperprior)
        if not all(map(math.isfinite, hyperprior)) or min(hyperprior[1:]) <= 0:
            raise ValueError(f"s0, a0, b0 and c0 must be positive and finite; got {hyperprior}.")
        kinds = [FirstOrderFactor] * labelled + [ConjugateFactor] * (len(components) - labelled)
        factors = [
            kind(count, dim, hyperprior) for kind, count in zip(kinds, components, strict=True)
        ]
        super().__init__(factors, labelled, estimator)

    def _each(self, name: str) -> tuple[Tensor, ...]:
        return tuple(getattr(factor, name) for factor in self.factors)

    m = property(lambda self: self._each("m"))
    s = property(lambda self: self._each("s"))
    a = property(lambda self: self._each("a"))
    b = property(lambda self: self._each("b"))
    c = property(lambda self: self._each("c"))


class PointMixture(FactorialPrior):
    """The same product of mixtures with parameters that are numbers, learned by gradients.

    With one factor in :class:`FactorialMixtureVAE` this is VaDE (Jiang et al., 2017), whose
    responsibilities are here those of eq. 5, the optimal ones; VaDE takes them at a sample of z.

    Args:
        components: K_i for each of the I factors.
        dim: D, the latents of one factor.
        estimator: of ``kl``; see :class:`FactorialPrior`.

    Raises:
        ValueError: if a number of components or ``dim`` is not positive.
    """

    def __init__(self, components: Sequence[int], dim: int, *, estimator: str = "closed") -> None:
        components = _checked_components(components)
        factors = [PointFactor(count, dim, DEFAULT) for count in components]
        super().__init__(factors, 0, estimator)


def _checked_components(components: Sequence[int]) -> list[int]:
    if isinstance(components, str) or not isinstance(components, Sequence) or not components:
        raise ValueError(
            f"components must be a list of K_i, one for each factor; got {components!r}."
        )
    return [check_count("components", count) for count in components]


def _check_pair(mean: Tensor, other: Tensor, name: str) -> None:
    if mean.ndim != 2 or mean.shape != other.shape:
        raise ValueError(
            f"mean and {name} must share a shape (B, I D); "
            f"got {tuple(mean.shape)} and {tuple(other.shape)}."
        )


def _spread_out(points: Tensor, count: int) -> Tensor:
    """Draw ``count`` of the points ``(n, D)`` far from each other: k-means++."""
    chosen = [points[torch.randint(len(points), (), device=points.device)]]
    nearest = (points - chosen[0]).square().sum(-1)
    while len(chosen) < count:
        if not bool((nearest > 0).any()):
            raise ValueError(
                f"a factor of {count} components must be seeded by as many different encodings; "
                f"there are {len(chosen)}."
            )
        chosen.append(points[torch.multinomial(nearest, 1)[0]])
        nearest = torch.minimum(nearest, (points - chosen[-1]).square().sum(-1))
    return torch.stack(chosen)


def step_size(step: float | Tensor, delay: float = 2000.0, forgetting: float = 0.7) -> Any:
    r"""Return the step size of a natural gradient, :math:`\rho_\tau = (\tau_0 + \tau)^{-\kappa}`.

    It must fall: the sum of all steps is infinite, that of their squares is not.  The paper prints
    kappa with both signs, and its initial step, 0.01, is none of what its settings give: 0.0049
    for kappa = 0.7 and 0.019 for kappa = 0.52, at a delay of 2000.

    Args:
        step: tau, counted from 1.
        delay: tau_0, not negative.
        forgetting: kappa, above 1/2 and at most 1.
    """
    return (delay + step) ** -forgetting


# The model: section 2.4's three steps, and labels.


class Bound(NamedTuple):
    """Equation 11 for each datum, ``(B,)`` in nats: the bound is the first less the others."""

    log_likelihood: Tensor
    kl_z: Tensor
    kl_r: Tensor


class FactorialMixtureVAE(VAE):
    r"""A VAE whose factorial mixture learns with it, in three steps a batch (section 2.4).

    1. Responsibilities take their optimum (eq. 5).
    2. Encoder and decoder take a gradient step on eq. 4, with the labels' term of eq. 8:

       .. math:: \mathcal F = \mathcal L + \Delta \sum_{n \in \Omega} \sum_{i \in \Pi(n)}
           \ln g^{(n)}_{i, y_i}

    3. The batch is encoded again by the moved encoder, responsibilities are recomputed, and q(xi)
       takes a natural gradient step (eq. 14).

    What ``fit`` minimises is :math:`-\mathcal F / N`.  Data are a tensor, or with labelled factors
    a pair ``(x, labels)``, the labels ``(N, L)`` integers: a component, or -1 where unknown.

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        prior: a :class:`FactorialMixture`, or a :class:`PointMixture`, which has no third step.
        dataset_size: N, the number of training data.
        label_weight: Delta, in nats a label.
        delay: tau_0 of :func:`step_size`.
        forgetting: kappa of :func:`step_size`.
        reencode: whether the third step encodes again, as in the paper; otherwise it takes the
            encodings of the second, which saves a pass through the encoder.
        **options: ``likelihood``; ``beta`` weighs the KL of z, line (4b), alone, and in
            pretraining the KL to N(0, I).

    Attributes:
        stage: ``"new"``, ``"pretraining"`` or ``"mixture"``; the phases set it.

    Raises:
        TypeError: as :class:`vaelite.vae.VAE`, or if the prior is no factorial mixture.
        ValueError: as :class:`vaelite.vae.VAE`, or if a number is out of range.
    """

    prior: FactorialPrior

    def __init__(
        self,
        *args,
        prior: FactorialPrior,
        dataset_size: int,
        label_weight: float = 0.0,
        delay: float = 2000.0,
        forgetting: float = 0.7,
        reencode: bool = True,
        **options,
    ) -> None:
        if not isinstance(prior, FactorialPrior):
            raise TypeError(f"prior must be a FactorialMixture or PointMixture; got {prior!r}.")
        super().__init__(*args, prior=prior, **options)
        self.dataset_size = check_count("dataset_size", dataset_size)
        if not 0 <= label_weight < math.inf:
            raise ValueError(f"label_weight must not be negative; got {label_weight}.")
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must not be negative; got {delay}.")
        if not 0.5 < forgetting <= 1:
            raise ValueError(
                "forgetting must lie above 0.5 and at most at 1, where the step size "
                f"(delay + step)^-forgetting falls; got {forgetting}."
            )
        self.label_weight, self.delay, self.forgetting = label_weight, delay, forgetting
        self.reencode = reencode
        self.stage = "new"
        self.register_buffer("step", torch.zeros(()))

    # Data with labels.

    def prepare(self, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """Return data in the model's shape and precision, without their labels."""
        return super().prepare(batch[0] if isinstance(batch, (tuple, list)) else batch)

    @staticmethod
    def labels(batch: Tensor | Sequence[Tensor]) -> Tensor | None:
        """Return the labels of a batch, ``(B, L)``, or None."""
        return batch[1] if isinstance(batch, (tuple, list)) else None

    def validate(self, data: Tensor | Sequence[Tensor]) -> None:
        """Check a whole data set once, before training.

        Raises:
            TypeError: if there are labels and no labelled factor, or the other way round, or the
                labels are no integers.
            ValueError: as :meth:`vaelite.vae.DataModel.validate`; or if the labels have another
                shape than they should or name a component that does not exist.
        """
        count = self.prior.labelled
        pair = isinstance(data, (tuple, list))
        if pair != bool(count) or (pair and len(data) != 2):
            wanted = "a pair (x, labels)" if count else "a tensor"
            raise TypeError(f"data must be {wanted}: the prior has {count} labelled factors.")
        super().validate(data[0] if pair else data)
        if not pair:
            return
        labels = data[1]
        if not isinstance(labels, Tensor) or labels.dtype not in (torch.int64, torch.int32):
            kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
            raise TypeError(f"labels must be a tensor of integers; got {kind}.")
        if labels.ndim != 2 or labels.shape[1] != count:
            raise ValueError(f"labels must be (N, {count}); got {tuple(labels.shape)}.")
        for i, column in enumerate(labels.unbind(1)):
            low, high = (int(value) for value in torch.aminmax(column))
            if low < -1 or high >= self.prior.components[i]:
                raise ValueError(
                    f"labels of factor {i} must lie between 0 and {self.prior.components[i] - 1}, "
                    f"or be -1 where unknown; got values from {low} to {high}."
                )

    # Steps 1 and 2.

    def loss(
        self, batch: Tensor | Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Any]:
        """Return -F / N, its parts in nats a datum, and what step 3 takes from here.

        The parts are ``reconstruction``, ``kl_z``, ``kl_r``, ``kl_components``, ``kl_weights``, the
        last two divided by N, and with labels ``cross_entropy``; in pretraining ``reconstruction``
        and ``kl``.  With all weights one, their sum without the cross-entropy is minus eq. 4.
        """
        draw = self.draw(batch, noise)
        reconstruction = draw.reconstruction()
        if self.stage == "pretraining":
            kl = gaussian.kl_standard_normal(draw.mean, draw.log_var).mean()
            return (
                reconstruction + self.beta * kl,
                {"reconstruction": reconstruction, "kl": kl},
                None,
            )
        expected = self.prior.expected()
        terms = self.prior.local_terms(draw.mean, draw.log_var, self.labels(batch), expected)
        components, weights = zip(*((q.kl_components, q.kl_weights) for q in expected), strict=True)
        parts = {
            "reconstruction": reconstruction,
            "kl_z": terms.kl_z.sum(-1).mean(),
            "kl_r": terms.kl_r.sum(-1).mean(),
            "kl_components": reduce(torch.add, components) / self.dataset_size,
            "kl_weights": reduce(torch.add, weights) / self.dataset_size,
        }
        rest = parts["kl_r"] + parts["kl_components"] + parts["kl_weights"]
        loss = reconstruction + self.beta * parts["kl_z"] + rest
        if self.prior.labelled:
            parts["cross_entropy"] = terms.cross_entropy.sum(-1).mean()
            loss = loss + self.label_weight * parts["cross_entropy"]
        # q(xi) rests until step 3, which need not compute what is expected of it again.
        encoded = () if self.reencode else (draw.mean, draw.log_var)
        return loss, parts, (expected, *encoded)

    # Step 3.

    @torch.no_grad()
    def after_step(
        self, batch: Tensor | Sequence[Tensor], carry: tuple[list[Expected], *tuple[Tensor]] | None
    ) -> None:
        """Take the natural gradient step, at the responsibilities of the moved encoder.

        Raises:
            RuntimeError: if the mixture is not seeded, and this is no pretraining.
        """
        if self.stage == "new":
            raise RuntimeError(
                "the mixture is not seeded: its phases begin with before=pretrain and before=seed "
                "(or set model.stage = 'mixture' after loading weights)."
            )
        if self.stage == "pretraining" or all(f.by_gradient for f in self.prior.factors):
            return
        expected, *encoded = carry
        mean, log_var = encoded or self.encode(batch)
        var = log_var.exp()
        self.step.add_(1)
        rho = step_size(self.step, self.delay, self.forgetting)
        self.prior.third_step(mean, var, self.dataset_size, rho, self.labels(batch), expected)

    # What follows.

    @torch.no_grad()
    def responsibilities(self, batch: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Return the factors' responsibilities, I times ``(B, K_i)``; labels are not looked at."""
        mean, log_var = self.encode(batch)
        return self.prior.responsibilities(mean, log_var.exp())

    @torch.no_grad()
    def bound(self, batch: Tensor | Sequence[Tensor], noise: Tensor | None = None) -> Bound:
        """Return the predictive bound, eq. 11, at one sample of z; labels are not looked at.

        Args:
            batch: ``(B, ...)`` data.
            noise: ``(B, I D)``, as in :meth:`vaelite.vae.VAE.draw`.
        """
        draw = self.draw(batch, noise)
        terms = self.prior.local_terms(draw.mean, draw.log_var)
        log_likelihood = self._log_likelihood(draw.x, draw.z)
        return Bound(log_likelihood, terms.kl_z.sum(-1), terms.kl_r.sum(-1))

    @torch.no_grad()
    def sample(
        self,
        count: int,
        clamped: Mapping[int, int] | None = None,
        *,
        noisy: bool = False,
        least: float = 1.0,
    ) -> Tensor:
        """Draw codes from the prior, some factors clamped, and decode them.

        Args:
            count: how many.
            clamped: as for :meth:`FactorialPrior.sample`.
            noisy: draw from p(x|z); by default return its mean.
            least: as for :meth:`FactorialPrior.sample`.

        Returns:
            ``(count, *data_shape)``.
        """
        parameters = self.decode(self.prior.sample(count, clamped, least))
        return self.likelihood.sample(parameters) if noisy else self.likelihood.mean(parameters)


# What phases call before their first step, and the schedule of the step size while seeding.


def pretrain(model: FactorialMixtureVAE, data: Any) -> None:
    """Begin the first phase: the prior of the objective is N(0, I), and the mixture rests."""
    model.stage = "pretraining"


@torch.no_grad()
def seed(model: FactorialMixtureVAE, data: Any, rows: int = 10_000) -> None:
    """Begin the mixture: set it from encodings of up to ``rows`` data, drawn at random.

    From here on every step moves q(xi), and with ``schedules={"lr": held}`` nothing else: steps 1
    and 3 of section 2.4 alone.  The count of steps begins anew.
    """
    labels = model.labels(data)
    x = data if labels is None else data[0]
    chosen = torch.randperm(len(x), device=x.device)[:rows]
    encoded = [model.encode(x[some]) for some in chosen.split(1000)]
    mean, log_var = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    known = None if labels is None else labels[chosen]
    model.prior.seed(mean, log_var.exp(), model.dataset_size, known)
    model.stage = "mixture"
    model.step.zero_()


def held(step: int) -> float:
    """Return zero: the schedule of a step size with which Adam moves nothing."""
    return 0.0

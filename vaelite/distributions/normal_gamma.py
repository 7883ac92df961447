r"""The Normal-Gamma distribution: a mean and a precision that are not known.

The paper: Paquet, Ghaisas and Tieleman (2018), appendices B and C.1.

It is the conjugate prior of a normal's mean and precision, which is to say: written as an
exponential family (eq. 12), what data add to it are numbers added to its natural parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints, register_kl

_TWO_PI = 2 * math.pi


class NormalGamma(Distribution):
    r"""A precision, and a mean whose spread the precision scales.

    .. math:: p(\mu, \alpha) = \mathcal N\big(\mu; m, (s \alpha)^{-1}\big) \,
        \mathrm{Gamma}(\alpha; a, b)

    with rate b, so that :math:`\mathbb E\,\alpha = a / b`.  A value is a pair
    :math:`(\mu, \alpha)` in the last dimension, ``(..., 2)``.

    Args:
        m: where the mean is expected, any shape.
        s: how many observations that expectation is worth; positive.
        a: shape of the precision's gamma distribution; positive.
        b: its rate; positive.  All four are broadcast; numbers have torch's default dtype.
        validate_args: as in ``torch.distributions``.

    Raises:
        TypeError: if a parameter is neither a number nor a tensor.
        ValueError: if a parameter is not finite, or ``s``, ``a`` or ``b`` is not positive.
    """

    arg_constraints = {  # noqa: RUF012
        "m": constraints.real,
        "s": constraints.positive,
        "a": constraints.positive,
        "b": constraints.positive,
    }
    support = constraints.stack([constraints.real, constraints.positive], dim=-1)
    has_rsample = True

    def __init__(self, m: Any, s: Any, a: Any, b: Any, validate_args: bool | None = None) -> None:
        """See the class."""
        given = {"m": m, "s": s, "a": a, "b": b}
        floats = (v for v in given.values() if torch.is_tensor(v) and v.is_floating_point())
        like = next(floats, torch.empty(()))
        look = Distribution._validate_args if validate_args is None else validate_args
        values = [_checked(name, value, like, look) for name, value in given.items()]
        self.m, self.s, self.a, self.b = torch.broadcast_tensors(*values)
        super().__init__(self.m.shape, torch.Size([2]), validate_args=False)
        self._validate_args = look

    def expand(self, batch_shape: Sequence[int], _instance=None) -> NormalGamma:
        """Return the same distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(NormalGamma, _instance)
        batch_shape = torch.Size(batch_shape)
        for name in "msab":
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(NormalGamma, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    # The exponential family of eq. 12.

    def natural_parameters(self) -> Tensor:
        r"""Return eq. 12's :math:`\lambda`, ``(*batch_shape, 4)``.

        .. math:: \lambda = \big[a - \tfrac12, \; -(b + \tfrac12 s m^2), \; s m, \;
            -\tfrac12 s\big]
        """
        product = self.s * self.m
        return torch.stack(
            [self.a - 0.5, -(self.b + 0.5 * product * self.m), product, -0.5 * self.s], -1
        )

    @classmethod
    def from_natural_parameters(
        cls, natural: Tensor, validate_args: bool | None = None
    ) -> NormalGamma:
        r"""Return the distribution of natural parameters, ``(..., 4)``: eq. 12 backwards.

        .. math:: s = -2 \lambda_4, \quad m = \lambda_3 / s, \quad a = \lambda_1 + \tfrac12,
            \quad b = -\lambda_2 - \tfrac12 s m^2

        The last difference cancels where m is far from zero: pass double precision.

        Args:
            natural: ``(..., 4)``.
            validate_args: as in ``torch.distributions``.

        Raises:
            ValueError: if the last dimension is not 4, or a parameter is out of range.
        """
        if natural.shape[-1:] != (4,):
            raise ValueError(f"natural must be (..., 4); got {tuple(natural.shape)}.")
        first, second, third, fourth = natural.unbind(-1)
        s = -2 * fourth
        m = third / s
        return cls(m, s, first + 0.5, -second - 0.5 * third * m, validate_args)

    @staticmethod
    def sufficient_statistics(value: Tensor) -> Tensor:
        r"""Return :math:`t = [\ln \alpha, \alpha, \alpha \mu, \alpha \mu^2]` of eq. 12,
        ``(..., 2) -> (..., 4)``."""
        mu, alpha = value.unbind(-1)
        return torch.stack([alpha.log(), alpha, alpha * mu, alpha * mu.square()], -1)

    def expected_statistics(self) -> Tensor:
        r"""Return the mean of the sufficient statistics (C.1), ``(*batch_shape, 4)``.

        .. math:: \mathbb E\,t = \Big[\psi(a) - \ln b, \; \frac ab, \; m \frac ab, \;
            \frac1s + m^2 \frac ab\Big]

        It is the gradient of :attr:`log_normalizer` with respect to the natural parameters.
        """
        precision = self.a / self.b
        first = torch.digamma(self.a) - self.b.log()
        second_moment = 1 / self.s + self.m.square() * precision
        return torch.stack([first, precision, self.m * precision, second_moment], -1)

    @property
    def log_normalizer(self) -> Tensor:
        r""":math:`A = \ln\Gamma(a) - a \ln b + \tfrac12 \ln 2\pi - \tfrac12 \ln s`, so that
        :math:`\ln p = \lambda^\top t - A`; ``batch_shape``."""
        gamma = torch.lgamma(self.a) - self.a * self.b.log()
        return gamma + 0.5 * (_TWO_PI / self.s).log()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats; ``(..., *batch_shape, 2) -> (..., *batch_shape)``."""
        if self._validate_args:
            self._validate_sample(value)
        mu, alpha = value.unbind(-1)
        # The square is not expanded, as it is in eq. 12: it would cancel.
        energy = alpha * (self.b + 0.5 * self.s * (mu - self.m).square())
        log_density = (self.a - 0.5) * alpha.log() - energy - self.log_normalizer
        return log_density.to(value.dtype)

    def entropy(self) -> Tensor:
        r"""Differential entropy in nats, ``batch_shape``: :math:`A - \lambda^\top \mathbb E\,t`."""
        log_alpha = torch.digamma(self.a) - self.b.log()
        # E alpha (b + s (mu - m)^2 / 2) = a + 1/2.
        return self.log_normalizer - (self.a - 0.5) * log_alpha + self.a + 0.5

    # Moments and samples.

    @property
    def mean(self) -> Tensor:
        r"""``(*batch_shape, 2)``: m, and a / b; that of :math:`\mu` is NaN for a up to 1/2."""
        mu = torch.where(self.a > 0.5, self.m, math.nan)
        return torch.stack([mu, self.a / self.b], -1)

    @property
    def mode(self) -> Tensor:
        """``(*batch_shape, 2)``; for a up to 1/2 the density has none, and is infinite at zero."""
        return torch.stack([self.m, (self.a - 0.5).clamp(min=0) / self.b], -1)

    @property
    def variance(self) -> Tensor:
        r"""``(*batch_shape, 2)``: :math:`b / (s (a - 1))`, and :math:`a / b^2`.

        The first is that of Student's t with 2a degrees of freedom: infinite for a up to 1, and
        NaN up to 1/2.
        """
        mu = self.b / (self.s * (self.a - 1))
        mu = torch.where(self.a > 1, mu, math.inf)
        mu = torch.where(self.a > 0.5, mu, math.nan)
        return torch.stack([mu, self.a / self.b.square()], -1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw the precision, then the mean; ``(*sample_shape, *batch_shape, 2)``."""
        alpha = Gamma(self.a, self.b, validate_args=False).rsample(sample_shape)
        mu = self.m + torch.randn_like(alpha) / (self.s * alpha).sqrt()
        return torch.stack([mu, alpha], -1)


def _checked(name: str, value: Any, like: Tensor, look: bool) -> Tensor:
    """Return a parameter as a tensor; its values are looked at unless that is switched off."""
    if not torch.is_tensor(value):
        try:
            value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number or a tensor; got {value!r}.") from None
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor; got {value.dtype}.")
    if look:
        positive = name != "m"
        if not bool(value.isfinite().all() and (not positive or (value > 0).all())):
            wanted = "positive and finite" if positive else "finite"
            found = value.item() if value.ndim == 0 else f"a minimum of {value.min().item():g}"
            raise ValueError(f"{name} must be {wanted}; got {found}.")
    return value


@register_kl(NormalGamma, NormalGamma)
def _kl_normal_gamma(q: NormalGamma, p: NormalGamma) -> Tensor:
    r"""Appendix C.1, whose print has the digamma function twice where log-gamma belongs.

    .. math:: \tfrac12 \Big(s_0 \frac{a}{b} (m - m_0)^2 + \frac{s_0}{s} - \ln \frac{s_0}{s} - 1
        \Big) + a_0 \ln \frac{b}{b_0} - \big(\ln\Gamma(a) - \ln\Gamma(a_0)\big)
        + (a - a_0) \psi(a) - (b - b_0) \frac ab
    """
    precision, ratio = q.a / q.b, p.s / q.s
    normal = 0.5 * (p.s * precision * (q.m - p.m).square() + ratio - ratio.log() - 1)
    gamma = p.a * (q.b / p.b).log() - torch.lgamma(q.a) + torch.lgamma(p.a)
    return normal + gamma + (q.a - p.a) * torch.digamma(q.a) - (q.b - p.b) * precision

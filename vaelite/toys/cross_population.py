r"""The linear-Gaussian CPVAE: every term of its objective, every information, in closed form.

The model (CPVAE, equation 1, with linear maps and :math:`g(a, b) = a + b`) draws for a datum of
population :math:`k`

.. math::
    z, t \sim N(0, I), \qquad x_k \sim N(A z + B_k t,\; \mathrm{diag}(\texttt{noise\_var})),

and its encoder is linear too, :math:`q(z \mid x) = N(R x, \mathrm{diag}(v))` and
:math:`q_k(t \mid x) = N(S_k x, \mathrm{diag}(w_k))`.  The data of population :math:`k` have mean
zero and covariance :math:`C_k`, which is all that the objective depends on.

Shapes: ``A`` ``(L, D_s)``, ``B`` ``(K, L, D_t)``, ``noise_var`` ``(L,)``, ``R`` ``(D_s, L)``,
``shared_var`` ``(D_s,)``, ``S`` ``(K, D_t, L)``, ``private_var`` ``(K, D_t)``, ``C`` ``(K, L, L)``.
All results are in nats a datum; all functions but :func:`maximise` and :func:`private_code` can be
differentiated by autograd.  What arguments may be, and what is raised where they do not fit, is as
in :mod:`vaelite.toys.factor_analysis`; a covariance must be symmetric as well.
"""

from __future__ import annotations

from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from autograd import value_and_grad
from scipy.optimize import minimize

from ._validation import checked


class Model(NamedTuple):
    """A linear CPVAE: decoders, noise, and the encoder's heads."""

    A: onp.ndarray
    """Shared decoder ``(L, D_s)``."""
    B: onp.ndarray
    """Private decoders ``(K, L, D_t)``."""
    noise_var: onp.ndarray
    """Noise variances ``(L,)``."""
    R: onp.ndarray
    """Shared head ``(D_s, L)``."""
    shared_var: onp.ndarray
    """Variances of the shared code ``(D_s,)``."""
    S: onp.ndarray
    """Private heads ``(K, D_t, L)``."""
    private_var: onp.ndarray
    """Variances of the private codes ``(K, D_t)``."""


class Terms(NamedTuple):
    """What :func:`objective_terms` returns; KLs are positive."""

    reconstruction: float
    """Expected log-likelihood."""
    shared_kl: float
    """Divergence of the shared code from its prior."""
    cross_kl: float
    """Divergence of each private head's code of the *other* populations' data from the prior."""
    private_kl: float
    """Divergence of each private head's code of its own population's data from the prior."""
    objective: float
    """Equation 6: reconstruction - shared_kl - alpha cross_kl."""
    elbo: float
    """Equation 3: reconstruction - shared_kl - private_kl."""


class PrivateCode(NamedTuple):
    """What :func:`private_code` returns."""

    noise: float
    """Noise of the code, as a variance in the units of the data; infinite where it is blind."""
    own_information: float
    """Nats that the code holds about a datum of its own population."""
    other_information: float
    """Nats that it holds about a datum of another population."""
    own_variance: float
    """Variance of the code over its own population; the prior has 1."""
    decoder_variance: float
    """What the decoder adds to the variance of the data, for codes from the prior."""
    cost: float
    """Squared error over twice the noise, plus alpha times the divergence."""


def covariances(A, B, noise_var):
    r"""Covariance :math:`A A^\top + B_k B_k^\top + \Psi` of each population, ``(K, L, L)``.

    All that the likelihood depends on: whatever moves between :math:`A` and the :math:`B_k`
    without changing these sums leaves it alone.

    Args:
        A: shared decoder ``(L, D_s)``.
        B: private decoders ``(K, L, D_t)``.
        noise_var: noise variances ``(L,)``.
    """
    A, B, noise_var = checked(A=A, B=B, noise_var=noise_var)
    return A @ A.T + B @ np.swapaxes(B, 1, 2) + np.diag(noise_var)


def log_evidence(C, A, B, noise_var):
    r"""Expected log evidence of each population's data, ``(K,)``.

    .. math::
        -\tfrac12 \big( \log\det(2\pi M_k) + \mathrm{tr}(M_k^{-1} C_k) \big), \qquad
        M_k = A A^\top + B_k B_k^\top + \Psi

    Args:
        C: covariances of the data ``(K, L, L)``.
        A: shared decoder ``(L, D_s)``.
        B: private decoders ``(K, L, D_t)``.
        noise_var: noise variances ``(L,)``.
    """
    C, A, B, noise_var = checked(C=C, A=A, B=B, noise_var=noise_var)
    _symmetric("C", C)
    model = covariances(A, B, noise_var)
    fit = np.sum(np.linalg.inv(model) * C, axis=(1, 2))
    return -0.5 * (np.linalg.slogdet(2 * np.pi * model)[1] + fit)


def kl(weights, variances, covariance):
    r"""Mean divergence of a head's code from the prior, over data of a given covariance.

    .. math::
        E_x \mathrm{KL}\big( N(S x, \mathrm{diag}(w)) \,\|\, N(0, I) \big)
        = \tfrac12 \Big( \mathrm{tr}(S C S^\top) + \sum_d (w_d - 1 - \log w_d) \Big)

    Args:
        weights: the head's weights :math:`S`, ``(D, L)``.
        variances: its variances :math:`w`, ``(D,)``.
        covariance: of the data, ``(L, L)``.
    """
    weights, variances, covariance = _head(weights, variances, covariance)
    spread = np.sum((weights @ covariance) * weights)
    return 0.5 * (spread + np.sum(variances - 1 - np.log(variances)))


def aggregate_kl(weights, variances, covariance):
    r"""Divergence from the prior of the code's distribution over all data, :math:`q(t)`.

    :math:`q(t) = N(0, S C S^\top + \mathrm{diag}(w))`.  Arguments as in :func:`kl`.
    """
    weights, variances, covariance = _head(weights, variances, covariance)
    aggregate = weights @ covariance @ weights.T + np.diag(variances)
    return 0.5 * (np.trace(aggregate) - len(variances) - np.linalg.slogdet(aggregate)[1])


def information(weights, variances, covariance):
    r"""Mutual information between Gaussian data and their code.

    .. math:: I(x; t) = \tfrac12 \log \frac{\det(S C S^\top + \mathrm{diag}(w))}{\prod_d w_d}

    It is :func:`kl` minus :func:`aggregate_kl` (CPVAE, equation 5).  Arguments as in :func:`kl`.
    """
    weights, variances, covariance = _head(weights, variances, covariance)
    aggregate = weights @ covariance @ weights.T + np.diag(variances)
    return 0.5 * (np.linalg.slogdet(aggregate)[1] - np.sum(np.log(variances)))


def objective_terms(C, model, sizes=None, alpha=1.0):
    r"""Equations 3 and 6 of the CPVAE paper, term by term, divided by the number of data.

    Args:
        C: covariances of the data ``(K, L, L)``, of at least two populations.
        model: a :class:`Model`.
        sizes: the :math:`n_k`, ``(K,)``; default: all equal.
        alpha: weight of the cross term.

    Returns:
        :class:`Terms`.

    Raises:
        ValueError: if there is one population only.
    """
    C, A, B, noise_var, R, shared_var, S, private_var = checked(C=C, **Model(*model)._asdict())
    _symmetric("C", C)
    K, L = len(C), len(noise_var)
    if K < 2:
        raise ValueError("C must hold the covariances of two or more populations; got one.")
    sizes = np.ones(K) if sizes is None else sizes
    C, sizes, alpha = checked(C=C, sizes=sizes, alpha=alpha)
    share = sizes / np.sum(sizes)  # (K,)

    decoded = A @ R + B @ S  # (K, L, L)
    left = np.eye(L) - decoded
    error = np.sum((left @ C) * left, axis=2) + np.sum(A**2 * shared_var, axis=1)  # (K, L)
    error = error + np.sum(B**2 * private_var[:, None], axis=2)
    reconstructions = -0.5 * np.sum(np.log(2 * np.pi * noise_var) + error / noise_var, axis=1)
    shared = 0.5 * (np.sum((R @ C) * R, axis=(1, 2)) + _excess(shared_var))  # (K,)
    moments = np.sum((S[:, None] @ C[None]) * S[:, None], axis=(2, 3))
    heads = 0.5 * (moments + _excess(private_var)[:, None])  # (K heads, K populations)

    reconstruction, shared_kl = np.sum(share * reconstructions), np.sum(share * shared)
    private_kl = np.sum(share * np.diag(heads))
    others = (np.sum(heads, axis=1) - np.diag(heads)) / (K - 1)
    cross_kl = np.sum(share * others)
    return Terms(
        reconstruction,
        shared_kl,
        cross_kl,
        private_kl,
        objective=reconstruction - shared_kl - alpha * cross_kl,
        elbo=reconstruction - shared_kl - private_kl,
    )


def maximise(C, start, alpha=1.0, mutual_information=1.0, sizes=None, tolerance=1e-13):
    r"""Climb from ``start`` to a maximum of the objective; the noise stays as it is.

    The objective is :math:`(1 - \lambda)` times equation 3 plus :math:`\lambda` times equation 6.
    It has several maxima, and which one is reached depends on the start.

    Args:
        C: covariances of the data ``(K, L, L)``.
        start: a :class:`Model`.
        alpha: weight of the cross term.
        mutual_information: :math:`\lambda` in [0, 1]; 0 is the ELBO.
        sizes: the :math:`n_k`; default: all equal.
        tolerance: relative improvement at which the search ends.

    Returns:
        :class:`Model`.

    Raises:
        ValueError: if ``mutual_information`` lies outside [0, 1].
    """
    if not 0 <= mutual_information <= 1:
        raise ValueError(f"mutual_information must lie in [0, 1]; got {mutual_information}.")

    def loss(free):
        terms = objective_terms(C, unpacked(free, start), sizes, alpha)
        return -(1 - mutual_information) * terms.elbo - mutual_information * terms.objective

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": tolerance, "gtol": 1e-8}
    found = minimize(
        value_and_grad(loss), packed(start), jac=True, method="L-BFGS-B", options=options
    )
    return unpacked(found.x, start)


def packed(model):
    """Return the free parameters of a :class:`Model` in one vector, variances as logarithms."""
    A, B, _, R, shared_var, S, private_var = model
    free = (A, B, R, onp.log(shared_var), S, onp.log(private_var))
    return onp.concatenate([onp.ravel(onp.asarray(part, float)) for part in free])


def unpacked(free, model):
    """Return the :class:`Model` with these free parameters, shaped like ``model``."""
    A, B, noise_var, R, shared_var, S, private_var = model
    parts, at = [], 0
    for part in (A, B, R, shared_var, S, private_var):
        size = int(onp.size(part))
        parts.append(np.reshape(free[at : at + size], onp.shape(part)))
        at += size
    A, B, R, log_shared, S, log_private = parts
    return Model(A, B, noise_var, R, np.exp(log_shared), S, np.exp(log_private))


def private_code(own, other, noise, alpha=1.0):
    r"""The best private code of one direction that no other code reads, in closed form.

    Along the direction the own population has the variance ``own``, the others ``other``.  A code
    that reads it with noise :math:`\tau` (in the units of the data) and the best decoder costs

    .. math::
        \frac{1}{2\sigma^2} \frac{c\, \tau}{c + \tau}
        + \frac{\alpha}{2} \log \frac{c' + \tau}{\tau},

    once its scale is such that the *others'* codes have variance 1.  The best :math:`\tau` solves
    a quadratic equation.  With ``other = own`` and ``alpha = 1`` it is the code of the ELBO,
    private or shared.

    Args:
        own: :math:`c`, the own population's variance along the direction, noise included.
        other: :math:`c'`, that of the others.
        noise: :math:`\sigma^2`, the noise variance of the model.
        alpha: weight of the cross term.

    Returns:
        :class:`PrivateCode`.
    """
    c, other, noise, alpha = checked(own=own, other=other, noise=noise, alpha=alpha)
    if not alpha > 0:
        raise ValueError(f"alpha must be positive; got {alpha}.")

    def cost(tau):
        return c * tau / (c + tau) / (2 * noise) + alpha / 2 * onp.log1p(other / tau)

    roots = onp.roots(
        [
            c**2 - alpha * other * noise,
            c * other * (c - 2 * alpha * noise),
            -alpha * other * noise * c**2,
        ]
    )
    roots = [root.real for root in roots if abs(root.imag) < 1e-9 * abs(root) and root.real > 0]
    tau = min(roots, key=cost, default=onp.inf)
    if not roots or cost(tau) >= c / (2 * noise):
        return PrivateCode(onp.inf, 0.0, 0.0, 1.0, 0.0, c / (2 * noise))
    return PrivateCode(
        noise=float(tau),
        own_information=float(0.5 * onp.log1p(c / tau)),
        other_information=float(0.5 * onp.log1p(other / tau)),
        own_variance=float((c + tau) / (other + tau)),
        decoder_variance=float(c**2 * (other + tau) / (c + tau) ** 2),
        cost=float(cost(tau)),
    )


def _excess(variances):
    """Sum of ``w - 1 - log w`` over the last axis."""
    return np.sum(variances - 1 - np.log(variances), axis=-1)


def _head(weights, variances, covariance):
    weights, variances, covariance = checked(
        weights=weights, variances=variances, covariance=covariance
    )
    _symmetric("covariance", covariance)
    return weights, variances, covariance


def _symmetric(name, covariance):
    if isinstance(covariance, onp.ndarray):  # autograd's boxes are none
        turned = onp.swapaxes(covariance, -1, -2)
        if not onp.allclose(covariance, turned, atol=1e-9 * onp.abs(covariance).max()):
            raise ValueError(f"{name} must be symmetric.")

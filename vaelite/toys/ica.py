r"""Independent component analysis with Student-t sources, fitted by mean-field inference.

The model (ISA-VAE, B.7) draws :math:`z_{nk} \sim \text{Student-t}(0, s, \nu)` and
:math:`x_n \sim N(W z_n, D)`. Each datum has its own Gaussian
:math:`q(z_{nk}) = N(m_{nk}, v_{nk})`: nothing is amortised. Of the free energy, reconstruction and
entropy are analytic; the cross-entropy with the prior is a one-dimensional integral per latent
variable and datum. The paper calls that slow; one Gauss-Hermite rule does all of them at once.

Shapes: ``X`` ``(N, L)``, ``W`` ``(L, K)``, ``noise_var`` ``(L,)``, ``q_mean`` and ``q_var``
``(N, K)``. All results are in nats. :func:`log_prior`, :func:`cross_entropy` and
:func:`free_energy` can be differentiated by autograd. What arguments may be, and what is raised
where they do not fit, is as in :mod:`vaelite.toys.factor_analysis`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from scipy.optimize import brentq
from scipy.special import betaln, logsumexp

from ._validation import checked

NODES = 64


class Fit(NamedTuple):
    """What :func:`fit` returns."""

    W: onp.ndarray
    """Weights ``(L, K)``."""
    q_mean: onp.ndarray
    """Means of q, ``(N, K)``."""
    q_var: onp.ndarray
    """Variances of q, ``(N, K)``."""
    history: onp.ndarray
    """Free energy at the start and after each accepted step; it never falls."""
    converged: bool
    """Whether no step could improve the free energy by more than the tolerance."""


def sample(W, noise_var, n, dof, rng, scale=1.0):
    r"""Draw ``n`` data from the model (ISA-VAE, B.7).

    Args:
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        n: number of data.
        dof: degrees of freedom :math:`\nu` of the sources.
        rng: ``numpy.random.Generator``.
        scale: scale :math:`s` of the sources.

    Returns:
        Observations ``(n, L)`` and the sources ``(n, K)`` behind them.
    """
    W, noise_var, n, dof, scale = checked(W=W, noise_var=noise_var, n=n, dof=dof, scale=scale)
    L, K = onp.shape(W)
    Z = scale * rng.standard_t(dof, (n, K))
    X = Z @ onp.transpose(W) + onp.sqrt(noise_var) * rng.standard_normal((n, L))
    return X, Z


@lru_cache
def _gauss_hermite(nodes: int):
    """Return nodes and weights of the rule for expectations under a standard normal."""
    t, weight = onp.polynomial.hermite_e.hermegauss(nodes)
    return t, weight / weight.sum()


def _log_prior_constant(dof, scale):
    # the ratio of gamma functions as a beta function: nothing cancels for a large dof
    return -betaln(dof / 2, 0.5) - 0.5 * onp.log(dof) - onp.log(scale)


def log_prior(z, dof, scale=1.0):
    r"""Log-density of the Student-t sources, elementwise.

    .. math::
        \log \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2}) \sqrt{\nu \pi}\, s}
        - \frac{\nu + 1}{2} \log\Big(1 + \frac{z^2}{\nu s^2}\Big)

    Args:
        z: any shape.
        dof: degrees of freedom :math:`\nu`.
        scale: scale :math:`s`.
    """
    z, dof, scale = checked(z=z, dof=dof, scale=scale)
    return _log_prior_constant(dof, scale) - (dof + 1) / 2 * np.log1p(z**2 / (dof * scale**2))


def cross_entropy(q_mean, q_var, dof, scale=1.0, nodes=NODES):
    r"""Cross-entropy :math:`-E_{N(m, v)}[\log p(z)]` for all elements at once, by quadrature.

    .. math:: -\sum_j w_j \log p(m + \sqrt{v}\, t_j)

    with the nodes :math:`t_j` and weights :math:`w_j` of one Gauss-Hermite rule. The rule is exact
    up to rounding for small variances. Its error grows with :math:`v / (\nu s^2)`: with 64 nodes
    and :math:`\nu = 3.5` it is below 1e-9 nats at :math:`v = s^2`, 1e-6 at :math:`4 s^2`, 1e-4 at
    :math:`10 s^2`, 0.04 at :math:`100 s^2`, and it never exceeds 0.6.

    Args:
        q_mean: means of q, ``(N, K)``.
        q_var: variances of q, ``(N, K)``.
        dof: degrees of freedom of the sources.
        scale: scale of the sources.
        nodes: number of nodes.

    Returns:
        ``(N, K)``, in nats.
    """
    q_mean, q_var, nodes = checked(q_mean=q_mean, q_var=q_var, nodes=nodes)
    t, weight = _gauss_hermite(nodes)
    z = np.expand_dims(q_mean, -1) + np.expand_dims(np.sqrt(q_var), -1) * t  # (N, K, nodes)
    return -np.dot(log_prior(z, dof, scale), weight)


def cross_entropy_loop(q_mean, q_var, dof, scale=1.0, points=2001):
    r"""Cross-entropy by one numerical integration after another, the reference.

    Each integral is a sum over a regular grid that reaches ten standard deviations of q to either
    side.  The paper integrates numerically, too (B.7).  :func:`cross_entropy` gives the same
    numbers far faster.

    Args:
        q_mean: means of q, ``(N, K)``.
        q_var: variances of q, ``(N, K)``.
        dof: degrees of freedom of the sources.
        scale: scale of the sources.
        points: number of grid points.

    Returns:
        ``(N, K)``, in nats.
    """
    q_mean, q_var, points = checked(q_mean=q_mean, q_var=q_var, points=points)
    result = onp.empty(onp.shape(q_mean))
    for index in onp.ndindex(result.shape):
        mean, deviation = q_mean[index], onp.sqrt(q_var[index])
        z = onp.linspace(mean - 10 * deviation, mean + 10 * deviation, points)
        q = onp.exp(-0.5 * ((z - mean) / deviation) ** 2) / (onp.sqrt(2 * onp.pi) * deviation)
        result[index] = -onp.sum(q * log_prior(z, dof, scale)) * (z[1] - z[0])
    return result


def free_energy(X, W, noise_var, q_mean, q_var, dof, scale=1.0, beta=1.0):
    r"""Free energy of the mean-field approximation: reconstruction - beta KL.

    .. math::
        \sum_n E_q[\log p(x_n \mid z_n)] + \beta \sum_{nk} \Big( \tfrac12 \log(2 \pi e\, v_{nk})
        + E_q[\log p(z_{nk})] \Big)

    Reconstruction and entropy are analytic; the last term is :func:`cross_entropy`. For ``beta`` of
    at least 1 this is a lower bound on the log-likelihood, for any q.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        q_mean: means of q, ``(N, K)``.
        q_var: variances of q, ``(N, K)``.
        dof: degrees of freedom of the sources.
        scale: scale of the sources.
        beta: weight of the KL divergence.

    Returns:
        The total over the data, in nats.
    """
    X, W, noise_var, q_mean, q_var, beta = checked(
        X=X, W=W, noise_var=noise_var, q_mean=q_mean, q_var=q_var, beta=beta
    )
    residual = X - q_mean @ np.transpose(W)
    spread = np.sum(np.transpose(W) ** 2 / noise_var, axis=1)  # (K,), diagonal of W' D^-1 W
    constant = onp.shape(X)[0] * np.sum(np.log(2 * np.pi * noise_var))
    reconstruction = -0.5 * (constant + np.sum(residual**2 / noise_var) + np.sum(q_var * spread))
    entropy = 0.5 * np.log(2 * np.pi * np.e * q_var)
    return reconstruction + beta * np.sum(entropy - cross_entropy(q_mean, q_var, dof, scale))


def log_likelihood(X, W, noise_var, dof, scale=1.0):
    r"""Log-likelihood :math:`\sum_n \log p(x_n)`, the quantity that the free energy bounds.

    A Student-t source is a Gaussian with random precision :math:`\tau_k / s^2`, where
    :math:`\tau_k \sim \text{Gamma}(\nu / 2, \text{rate } \nu / 2)`. Given the precisions, the data
    are Gaussian, and what remains is an integral over :math:`K` precisions:

    .. math:: p(x) = E_\tau[N(x; 0, s^2 W \mathrm{diag}(\tau)^{-1} W^\top + D)]

    The trapezoidal rule in :math:`\log \tau` does it, with errors below 1e-4 nats a datum for
    :math:`\nu = 3.5` and 1e-3 for :math:`\nu = 2`. It leaves out precisions whose density is below
    e^-18 of the largest, and so misjudges data that are as improbable. Its cost grows
    exponentially with :math:`K`: this is for three components or so.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        dof: degrees of freedom of the sources, at least 2.
        scale: scale of the sources.

    Returns:
        The total over the data, in nats.

    Raises:
        ValueError: if ``dof`` is below 2.
    """
    X, W, noise_var, dof, scale = checked(X=X, W=W, noise_var=noise_var, dof=dof, scale=scale)
    if dof < 2:
        raise ValueError(f"dof must be at least 2 here; got {dof}.")
    root = onp.sqrt(noise_var)
    log_tau, log_weight = _log_precision_rule(dof)
    grid = onp.meshgrid(*[log_tau] * W.shape[1], indexing="ij")
    variance = scale**2 * onp.exp(-onp.stack(grid).reshape(W.shape[1], -1).T)  # (T, K)
    weight = sum(onp.meshgrid(*[log_weight] * W.shape[1], indexing="ij")).ravel()  # (T,)
    V, X = W / root[:, None], X / root  # noise variance 1 in these units
    covariance = V * variance[:, None, :] @ V.T + onp.eye(len(V))  # (T, L, L)
    variances, axes = onp.linalg.eigh(covariance)
    variances = onp.maximum(variances, 1)  # as they are, but for rounding
    whiten = onp.swapaxes(axes, 1, 2) / onp.sqrt(variances)[:, :, None]
    constant = weight - 0.5 * onp.sum(onp.log(variances), axis=1)
    constant -= onp.sum(onp.log(root)) + 0.5 * len(V) * onp.log(2 * onp.pi)
    return float(
        sum(
            logsumexp(
                constant[:, None] - 0.5 * onp.sum((whiten @ some.T) ** 2, axis=1), axis=0
            ).sum()
            for some in onp.array_split(X, -(-len(X) // 100))
        )
    )


@lru_cache
def _log_precision_rule(dof: float):
    """Return nodes in log(tau) and log-weights of the trapezoidal rule for tau ~ Gamma."""

    def negative_log_density(u):  # up to a constant; zero at its minimum u = 0
        return dof / 2 * (onp.exp(u) - 1 - u)

    low = brentq(lambda u: negative_log_density(u) - 18, -60, 0)
    high = brentq(lambda u: negative_log_density(u) - 18, 0, 60)
    spacing = 0.85 * min(1.0, onp.sqrt(2 / dof))
    nodes = onp.linspace(low, high, int(onp.ceil((high - low) / spacing)) + 1)
    weight = -negative_log_density(nodes)
    return nodes, weight - logsumexp(weight)


def optimal_weights(X, q_mean, q_var):
    r"""Weights that maximise the free energy for fixed q: a least-squares solution.

    .. math:: W = \Big(\sum_n x_n m_n^\top\Big)
        \Big(\sum_n m_n m_n^\top + \mathrm{diag}(v_n)\Big)^{-1}

    Neither ``beta`` nor the noise appears in it: for fixed q, the weight of the KL divergence is
    irrelevant (ISA-VAE, 2.4). What ``beta`` changes is q.

    Args:
        X: data ``(N, L)``.
        q_mean: means of q, ``(N, K)``.
        q_var: variances of q, ``(N, K)``.

    Returns:
        ``(L, K)``.
    """
    X, q_mean, q_var = checked(X=X, q_mean=q_mean, q_var=q_var)
    return onp.linalg.solve(_second_moment(q_mean, q_var), onp.transpose(q_mean) @ X).T


def _second_moment(q_mean, q_var):
    return onp.transpose(q_mean) @ q_mean + onp.diag(onp.sum(q_var, axis=0))


def improve_q(X, W, noise_var, q_mean, q_var, dof, scale=1.0, beta=1.0):
    r"""One step on every q at once that never lowers the free energy, with no step size.

    A Student-t variable is a Gaussian of random precision. At each node :math:`z_j` of the
    quadrature its expected precision is :math:`r_j = (\nu + 1) / (\nu s^2 + z_j^2)`, and

    .. math::
        \log p(z) \ge \log p(z_j) - \tfrac12 r_j (z^2 - z_j^2)

    is a bound that touches at :math:`z = z_j`. With it, the free energy is quadratic in the means
    and, but for the entropy, in the standard deviations: a linear system and a quadratic equation
    solve for them.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        q_mean: means of q, ``(N, K)``.
        q_var: variances of q, ``(N, K)``.
        dof: degrees of freedom of the sources.
        scale: scale of the sources.
        beta: weight of the KL divergence.

    Returns:
        Better means and variances, ``(N, K)`` each.
    """
    arguments = checked(
        X=X, W=W, noise_var=noise_var, q_mean=q_mean, q_var=q_var, dof=dof, scale=scale, beta=beta
    )
    return _improve_q(*arguments)


def _improve_q(X, W, noise_var, q_mean, q_var, dof, scale, beta):
    """Do what :func:`improve_q` says, unchecked: for the loops of :func:`fit`."""
    t, weight = _gauss_hermite(NODES)
    deviation = onp.sqrt(q_var)
    z = q_mean[..., None] + deviation[..., None] * t
    precision = (dof + 1) / (dof * scale**2 + z**2)  # (N, K, nodes)
    r0, r1, r2 = (onp.dot(precision, weight * t**power) for power in range(3))  # (N, K) each
    scaled = onp.transpose(W) / noise_var  # (K, L)
    gram = scaled @ W
    system = gram + beta * r0[:, None, :] * onp.eye(len(gram))  # (N, K, K)
    target = X @ scaled.T - beta * r1 * deviation
    q_mean = onp.linalg.solve(system, target[..., None])[..., 0]
    # deviation solves a s^2 + b s = beta; written so that nothing cancels when b is large
    a, b = onp.diag(gram) + beta * r2, beta * r1 * q_mean
    root = onp.sqrt(b**2 + 4 * a * beta)
    deviation = onp.where(b > 0, 2 * beta / (b + root), (root - b) / (2 * a))
    return q_mean, deviation**2


def _optimise_q(X, W, noise_var, q_mean, q_var, dof, scale, beta, tolerance, max_steps=2000):
    """Step as :func:`improve_q` does, for each datum until its means and deviations stand still."""
    q_mean, q_var = q_mean.copy(), q_var.copy()
    moving = onp.arange(len(X))
    for _ in range(max_steps):
        old_mean, old_var = q_mean[moving], q_var[moving]
        mean, var = _improve_q(X[moving], W, noise_var, old_mean, old_var, dof, scale, beta)
        q_mean[moving], q_var[moving] = mean, var
        change = onp.abs(mean - old_mean) + onp.abs(onp.sqrt(var) - onp.sqrt(old_var))
        moving = moving[change.max(axis=1) > tolerance * scale]
        if len(moving) == 0:
            break
    return q_mean, q_var


def angles_between(W):
    r"""Angles between the directions of the columns of ``W``, in degrees, each in [0, 90].

    A component has no sign, so an angle is one between lines.

    Args:
        W: weights ``(L, K)``.

    Returns:
        One angle per pair, ``(K (K - 1) / 2,)``, in the order (0, 1), (0, 2), ..., (1, 2), ...;
        NaN where a column is zero.
    """
    (W,) = checked(W=W)
    angles = []
    for i, j in combinations(range(W.shape[1]), 2):
        a, b = W[:, i], W[:, j]
        if not (a.any() and b.any()):
            angles.append(onp.nan)
            continue
        a, b = a / onp.linalg.norm(a), b / onp.linalg.norm(b)
        b = b if a @ b >= 0 else -b
        # accurate for small angles, where the arc cosine is not
        angles.append(onp.degrees(2 * onp.arctan2(onp.linalg.norm(a - b), onp.linalg.norm(a + b))))
    return onp.array(angles)


def pruned(W, threshold=0.05, longest=None):
    r"""Which components have been pruned: those that no longer reach the observed variables.

    Args:
        W: weights ``(L, K)``.
        threshold: a column counts as pruned when its norm is below ``threshold * longest``.
        longest: the length to compare with, by default that of the longest column of ``W``. Give
            that of the true weights where all columns may have been pruned.

    Returns:
        ``(K,)`` bool.
    """
    W, threshold = checked(W=W, threshold=threshold)
    norms = onp.linalg.norm(W, axis=0)
    if longest is None:
        longest = norms.max()
    else:
        (longest,) = checked(longest=longest)
    return norms <= threshold * longest


def fit(X, W, noise_var, dof, scale=1.0, beta=1.0, max_steps=200, tolerance=1e-7):
    r"""Maximise the free energy over weights and q, from ``W``, accepting only improving steps.

    Starting at the true weights and accepting only improving steps are the paper's rules (B.7);
    where q starts (here at its optimum for the weights) and the optimiser are ours. Each trial
    weight is judged with q at its optimum for it, so that the problem has the few dimensions of
    ``W``; the gradient is that of :func:`free_energy` at this q. The first step is the
    least-squares solution (:func:`optimal_weights`); curvature is learned from the accepted steps
    (BFGS), and a step that does not improve the free energy is halved. What is found is a local
    maximum, the one uphill from ``W``.

    Args:
        X: data ``(N, L)``.
        W: weights to start at, ``(L, K)``.
        noise_var: noise variances ``(L,)``, not fitted.
        dof: degrees of freedom of the sources.
        scale: scale of the sources.
        beta: weight of the KL divergence.
        max_steps: how many accepted steps at most.
        tolerance: stop when a step promises less than this many nats per datum.

    Returns:
        A :class:`Fit`.
    """
    X, W, noise_var, dof, scale, beta, max_steps, tolerance = checked(
        X=X,
        W=W,
        noise_var=noise_var,
        dof=dof,
        scale=scale,
        beta=beta,
        max_steps=max_steps,
        tolerance=tolerance,
    )
    (N, L), K = X.shape, W.shape[1]

    def evaluate(W, q_mean, q_var):
        q = _optimise_q(X, W, noise_var, q_mean, q_var, dof, scale, beta, 1e-6)
        return free_energy(X, W, noise_var, *q, dof, scale, beta), q

    def gradient(W, q):
        return ((X.T @ q[0] - W @ _second_moment(*q)) / noise_var[:, None]).ravel()

    def least_squares_metric(q):
        # the step from W to the least-squares solution is this matrix times the gradient
        return onp.kron(onp.diag(noise_var), onp.linalg.inv(_second_moment(*q)))

    value, q = evaluate(W, onp.zeros((N, K)), onp.full((N, K), scale**2))
    slope, metric, learned = gradient(W, q), least_squares_metric(q), False
    history, converged = [value], False
    while len(history) <= max_steps and not converged:
        direction = metric @ slope
        promise = slope @ direction
        step = 1.0
        while improvable := step * promise > tolerance * N:
            trial = W + step * direction.reshape(L, K)
            trial_value, trial_q = evaluate(trial, *q)
            if trial_value > value + 1e-4 * step * promise:
                break
            step /= 2
        if not improvable:
            converged, metric, learned = not learned, least_squares_metric(q), False
            continue
        trial_slope = gradient(trial, trial_q)
        move, change = step * direction, slope - trial_slope
        if move @ change > 1e-10 * onp.linalg.norm(move) * onp.linalg.norm(change):
            left = onp.eye(L * K) - onp.outer(move, change) / (move @ change)
            metric = left @ metric @ left.T + onp.outer(move, move) / (move @ change)
            learned = True
        W, q, value, slope = trial, trial_q, trial_value, trial_slope
        history.append(value)
    return Fit(W, *q, onp.array(history), converged)

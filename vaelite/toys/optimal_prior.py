r"""A conditional VAE on several tasks in one dimension, where every term of the bound is exact.

All tasks have the same classes, each task with its own frequencies of them:

.. math::
    s \sim \pi, \qquad c \mid s = k \sim f_k, \qquad
    x \mid c, k \sim N(\texttt{centres}_c + \texttt{shifts}_k,\; \texttt{variance}).

The encoder and the decoder are linear and know the task,

.. math::
    q(z \mid x, k) = N\big(a (x - b_k),\; v\big), \qquad p(x \mid z, k) = N(w z + d_k,\; \sigma^2),

so that the codes of a task, :math:`q_k(z)`, and of all tasks, :math:`q(z)`, are mixtures of normals
with the one variance :math:`a^2\, \texttt{variance} + v`.  What a mixture makes of a logarithm is
integrated numerically, to about ten digits.

Only the ratio :math:`\tau = v / a^2`, the *blur* of the code in the units of the data, decides what
a decoder can make of it.

Shapes: ``shares`` ``(K,)``, ``frequencies`` ``(K, C)``, ``centres`` ``(C,)``, ``shifts``,
``offsets`` and ``biases`` ``(K,)``; the rest are numbers.  All results are in nats a datum.  What
arguments may be, and what is raised where they do not fit, is as in
:mod:`vaelite.toys.factor_analysis`; shares, and the frequencies of each task, must sum to one.
"""

from __future__ import annotations

from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from autograd import value_and_grad
from autograd.tracer import getval, isbox
from scipy.optimize import minimize

from ._validation import checked


class World(NamedTuple):
    """The data: tasks that share their classes."""

    shares: onp.ndarray
    """Share of each task ``(K,)``."""
    frequencies: onp.ndarray
    """Frequency of each class in each task ``(K, C)``."""
    centres: onp.ndarray
    """Where the classes lie ``(C,)``."""
    shifts: onp.ndarray
    """How far each task moves them ``(K,)``."""
    variance: float
    """Variance within a class."""


class Model(NamedTuple):
    """The linear encoder and decoder."""

    scale: float
    """What the encoder multiplies by, a."""
    offsets: onp.ndarray
    """What it takes away first, b ``(K,)``."""
    code_var: float
    """Variance of a code, v."""
    weight: float
    """What the decoder multiplies by, w."""
    biases: onp.ndarray
    """What it adds, d ``(K,)``."""
    noise: float
    """Variance of the decoder's noise."""


class Terms(NamedTuple):
    """What :func:`terms` returns; theorem 1 is kl = the sum of the three before it."""

    reconstruction: float
    """Expected log-likelihood."""
    task_information: float
    """I(S; Z), what a code knows about its task."""
    marginal_kl: float
    """KL(q(z) || N(0, 1))."""
    data_information: float
    """What a code knows about its datum within a task, averaged over tasks."""
    kl: float
    """Mean divergence of the encoder from N(0, 1), in closed form."""
    simple: float
    """Bound of the CVAE: reconstruction - kl."""
    optimal: float
    """Bound with q(z) for a prior: reconstruction - task_information - data_information."""


def sample(world, n, rng):
    """Draw ``n`` data.

    Returns:
        x ``(n,)``, task ``(n,)`` and class ``(n,)``.
    """
    shares, frequencies, centres, shifts, variance = _world(world)
    (n,) = checked(n=n)
    task = rng.choice(len(shares), n, p=shares)
    edges = onp.cumsum(frequencies, axis=1)[:, :-1]
    label = (rng.random(n)[:, None] > edges[task]).sum(1)
    x = centres[label] + shifts[task] + onp.sqrt(variance) * rng.standard_normal(n)
    return x, task, label


def codes(world, model):
    r"""Return the means of :math:`q(z \mid c, k)`, ``(K, C)``, and the one variance of all."""
    _, _, centres, shifts, variance = _world(world)
    scale, offsets, code_var, *_ = _model(model, shifts)
    means = scale * (centres + (shifts - offsets)[:, None])
    return means, scale**2 * variance + code_var


def densities(z, world, model):
    """Return the density of each task's codes at z, ``(M,) -> (K, M)``."""
    means, variance = codes(world, model)
    (z,) = checked(z=z)
    return np.exp(_log_mixture(z, np.log(_positive(world.frequencies)), means, variance))


def terms(world, model):
    r"""Theorem 1 and both bounds, term by term.

    .. math::
        \mathbb E\, \mathrm{KL}\big(q(z \mid x, s) \,\|\, p\big)
        = I(S; Z) + \mathrm{KL}\big(q(z) \,\|\, p\big) + \sum_k \pi_k I(X^{(k)}; Z^{(k)})

    The left side comes from a closed form, the three terms on the right from entropies of mixtures.

    Args:
        world: a :class:`World`.
        model: a :class:`Model`.

    Returns:
        :class:`Terms`.
    """
    shares, frequencies, centres, shifts, variance = _world(world)
    scale, _, code_var, weight, biases, noise = _model(model, shifts)
    means, spread = codes(world, model)

    of_tasks = np.array(
        [_entropy(_positive(frequencies[k]), means[k], spread) for k in range(len(shares))]
    )
    joint = _positive(shares[:, None] * frequencies)
    of_all = _entropy(joint.ravel(), means.ravel(), spread)
    of_code = 0.5 * np.log(2 * np.pi * np.e * code_var)
    moment = np.sum(joint * means**2) + spread  # of q(z), about zero

    left = centres + shifts[:, None] - biases[:, None] - weight * means  # (K, C)
    error = np.sum(joint * left**2)
    error = error + (1 - weight * scale) ** 2 * variance + weight**2 * code_var
    reconstruction = -0.5 * (np.log(2 * np.pi * noise) + error / noise)

    task_information = of_all - np.sum(shares * of_tasks)
    marginal_kl = 0.5 * (np.log(2 * np.pi) + moment) - of_all
    data_information = np.sum(shares * of_tasks) - of_code
    kl = 0.5 * (np.sum(joint * means**2) + scale**2 * variance + code_var - 1 - np.log(code_var))
    return Terms(
        reconstruction,
        task_information,
        marginal_kl,
        data_information,
        kl,
        simple=reconstruction - kl,
        optimal=reconstruction - task_information - data_information,
    )


def log_evidence(world, model, prior):
    r"""Expected log evidence :math:`\mathbb E \log \int p(x \mid z, s)\, p(z)\, dz` of the data.

    Args:
        world: a :class:`World`.
        model: a :class:`Model`.
        prior: ``"simple"``, N(0, 1), or ``"optimal"``, the model's own q(z).

    Raises:
        ValueError: if the prior is neither.
    """
    shares, frequencies, centres, shifts, variance = _world(world)
    *_, weight, biases, noise = _model(model, shifts)
    if prior == "simple":
        where, logs = np.zeros(1), np.zeros(1)
        spread = weight**2 + noise
    elif prior == "optimal":
        means, of_codes = codes(world, model)
        where, logs = weight * means.ravel(), np.log(_positive(shares[:, None] * frequencies))
        logs, spread = logs.ravel(), weight**2 * of_codes + noise
    else:
        raise ValueError(f"prior must be 'simple' or 'optimal'; got {prior!r}.")
    total = 0.0
    for k in range(len(shares)):
        own = centres + shifts[k]
        x, step = _grid(own, variance)
        data = np.exp(_log_mixture(x, np.log(_positive(frequencies[k])), own, variance))
        total = total + shares[k] * step * np.sum(
            data * _log_mixture(x, logs, where + biases[k], spread)
        )
    return total


def class_information(world, model):
    """Return I(C; Z): what the codes of all tasks together know about the class."""
    shares, frequencies, *_ = _world(world)
    means, spread = codes(world, model)
    joint = _positive(shares[:, None] * frequencies)
    known = 0.0
    for c in range(joint.shape[1]):
        of_class = np.sum(joint[:, c])
        known = known + of_class * _entropy(joint[:, c] / of_class, means[:, c], spread)
    return _entropy(joint.ravel(), means.ravel(), spread) - known


def labels_information(world):
    """Return I(S; C): what the class of a datum says about its task, whatever the codes."""
    shares, frequencies, *_ = _world(world)
    joint = _positive(shares[:, None] * frequencies)
    return np.sum(joint * np.log(joint / (shares[:, None] * np.sum(joint, axis=0))))


def task_means(world):
    """Return the mean of each task's data ``(K,)``."""
    _, frequencies, centres, shifts, _ = _world(world)
    return np.sum(frequencies * centres, axis=1) + shifts


def fitted(world, offsets, blur, noise):
    r"""Return the model with given offsets and blur in which all else is best.

    The decoder is the linear regression of x on z with an intercept for each task.  Scale and mean
    of the codes are those that N(0, 1) likes best, mean 0 and variance 1 over all tasks; the
    optimal prior does not care.

    Args:
        world: a :class:`World`.
        offsets: ``(K,)``; only their differences matter, since the mean of all codes is set to 0.
        blur: :math:`\tau = v / a^2`.
        noise: variance of the decoder's noise, :math:`\sigma^2`.

    Returns:
        :class:`Model`.
    """
    shares, frequencies, centres, shifts, variance = _world(world)
    offsets, blur, noise = checked(offsets=offsets, blur=blur, noise=noise)
    if len(offsets) != len(shares):
        raise ValueError(f"offsets must have {len(shares)} values, one a task; got {len(offsets)}.")
    average = task_means(world)
    within = variance + np.sum(
        shares[:, None] * frequencies * (centres + shifts[:, None] - average[:, None]) ** 2
    )
    offsets = offsets + np.sum(shares * (average - offsets))
    total = within + np.sum(shares * (average - offsets) ** 2) + blur
    scale = 1 / np.sqrt(total)
    weight = within / (within + blur) / scale
    biases = average - weight * scale * (average - offsets)
    return Model(scale, offsets, blur * scale**2, weight, biases, noise)


def maximise(world, start, prior, tolerance=1e-13):
    """Climb from ``start`` to a maximum of the bound with this prior; the noise stays as it is.

    With the optimal prior there are several maxima, and which one is reached depends on the start.

    Args:
        world: a :class:`World`.
        start: a :class:`Model`.
        prior: ``"simple"`` or ``"optimal"``.
        tolerance: relative improvement at which the search ends.

    Returns:
        :class:`Model`.

    Raises:
        ValueError: if the prior is neither.
    """
    if prior not in ("simple", "optimal"):
        raise ValueError(f"prior must be 'simple' or 'optimal'; got {prior!r}.")
    tasks = len(_world(world)[0])
    scale, offsets, code_var, weight, biases, noise = _model(start, _world(world)[3])

    def unpacked(free):
        return Model(
            np.exp(free[0]),
            free[3 : 3 + tasks],
            np.exp(free[1]),
            free[2],
            free[3 + tasks :],
            noise,
        )

    def loss(free):
        return -getattr(terms(world, unpacked(free)), prior)

    packed = onp.concatenate([[onp.log(scale), onp.log(code_var), weight], offsets, biases])
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": tolerance, "gtol": 1e-9}
    found = minimize(value_and_grad(loss), packed, jac=True, method="L-BFGS-B", options=options)
    return unpacked(found.x)


def _world(world):
    arguments = checked(**World(*world)._asdict())
    shares, frequencies = arguments[:2]
    for name, values in (("shares", shares), ("each row of frequencies", frequencies)):
        if not isbox(values) and not (
            onp.all(values >= 0) and onp.allclose(onp.sum(values, -1), 1, atol=1e-9)
        ):
            raise ValueError(f"{name} must hold no negative number and sum to one; got {values}.")
    return arguments


def _model(model, shifts):
    arguments = checked(**Model(*model)._asdict())
    if len(arguments[1]) != len(shifts):
        raise ValueError(
            f"the model has offsets for {len(arguments[1])} tasks; the world has {len(shifts)}."
        )
    return arguments


def _positive(frequencies):
    """A class that a task lacks gets a weight that no digit shows: its logarithm stays finite."""
    return np.maximum(np.asarray(frequencies) if not isbox(frequencies) else frequencies, 1e-300)


def _log_mixture(z, log_weights, means, variance):
    """Log density at ``(M,)`` of mixtures ``(..., C)`` of normals of one variance: ``(..., M)``."""
    exponents = log_weights[..., None] - 0.5 * (
        (z - means[..., None]) ** 2 / variance + np.log(2 * np.pi * variance)
    )
    top = np.max(exponents, axis=-2, keepdims=True)
    return np.log(np.sum(np.exp(exponents - top), axis=-2)) + top[..., 0, :]


def _grid(means, variance):
    """Points that cover a mixture to 12 deviations, 16 to a deviation, and their distance.

    The trapezoidal rule on them is exact to rounding: all integrands are analytic and vanish.
    """
    deviation = np.sqrt(variance)
    low, high = np.min(means) - 12 * deviation, np.max(means) + 12 * deviation
    count = int(onp.ceil(16 * getval((high - low) / deviation))) + 1
    return low + (high - low) * onp.linspace(0, 1, count), (high - low) / (count - 1)


def _entropy(weights, means, variance):
    """Entropy of a mixture of normals of one variance, ``(C,), (C,), () -> ()``."""
    z, step = _grid(means, variance)
    log_density = _log_mixture(z, np.log(weights), means, variance)
    return -step * np.sum(np.exp(log_density) * log_density)

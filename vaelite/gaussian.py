r"""Pure functions on diagonal Gaussians.

A Gaussian is a pair of tensors, ``mean`` and ``log_var``, whose last dimension holds the features;
all dimensions before it are batch dimensions and broadcast.  Every function sums over features and
returns nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
# Pairs of a point and a component whose densities are evaluated at once.
_PAIRS = 2**21


def kl_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence to the standard normal.

    .. math::
        \mathrm{KL}\bigl(\mathcal N(\mu, \operatorname{diag} \sigma^2) \,\|\, \mathcal N(0, I)\bigr)
        = \tfrac12 \sum_d \bigl(\mu_d^2 + \sigma_d^2 - 1 - \ln \sigma_d^2\bigr)

    Args:
        mean: ``(..., D)``, the means.
        log_var: ``(..., D)``, the logarithms of the variances.

    Returns:
        ``(...)`` nats, never negative beyond rounding.

    Raises:
        TypeError: if an argument is not a floating-point tensor.
        ValueError: if the shapes do not fit together.
    """
    _check(mean=mean, log_var=log_var)
    # expm1 keeps the digits that exp(log_var) - 1 loses where the variance is close to one.
    return 0.5 * (mean.square() + torch.expm1(log_var) - log_var).sum(-1)


def kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence between two diagonal Gaussians.

    .. math::
        \mathrm{KL}(q \,\|\, p) = \tfrac12 \sum_d \Bigl(
        \frac{(\mu_d^q - \mu_d^p)^2}{v_d^p} + \frac{v_d^q}{v_d^p} - 1 - \ln \frac{v_d^q}{v_d^p}
        \Bigr)

    Args:
        mean_q: ``(..., D)``, the means of q.
        log_var_q: ``(..., D)``, the log variances of q.
        mean_p: ``(..., D)``, the means of p.
        log_var_p: ``(..., D)``, the log variances of p.

    Returns:
        ``(...)`` nats.

    Raises:
        TypeError: if an argument is not a floating-point tensor.
        ValueError: if the shapes do not fit together.
    """
    _check(mean_q=mean_q, log_var_q=log_var_q, mean_p=mean_p, log_var_p=log_var_p)
    log_ratio = log_var_q - log_var_p
    distance = (mean_q - mean_p).square() * torch.exp(-log_var_p)
    return 0.5 * (distance + torch.expm1(log_ratio) - log_ratio).sum(-1)


def log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Logarithm of the density.

    .. math::
        \ln \mathcal N(z; \mu, \operatorname{diag} \sigma^2) = -\tfrac12 \sum_d \Bigl(
        \ln 2\pi + \ln \sigma_d^2 + \frac{(z_d - \mu_d)^2}{\sigma_d^2} \Bigr)

    Args:
        z: ``(..., D)``, where to evaluate; for example ``(S, B, D)`` for S samples a datum.
        mean: ``(..., D)``, the means.
        log_var: ``(..., D)``, the log variances.

    Returns:
        ``(...)`` nats.

    Raises:
        TypeError: if an argument is not a floating-point tensor.
        ValueError: if the shapes do not fit together.
    """
    _check(z=z, mean=mean, log_var=log_var)
    return -0.5 * (LOG_TWO_PI + log_var + (z - mean).square() * torch.exp(-log_var)).sum(-1)


def log_standard_normal(z: Tensor) -> Tensor:
    r"""Logarithm of the density of the standard normal.

    .. math::
        \ln \mathcal N(z; 0, I) = -\tfrac12 \sum_d \bigl( \ln 2\pi + z_d^2 \bigr)

    Args:
        z: ``(..., D)``, where to evaluate.

    Returns:
        ``(...)`` nats.

    Raises:
        TypeError: if ``z`` is not a floating-point tensor.
        ValueError: if ``z`` has no dimension.
    """
    _check(z=z)
    return -0.5 * (z.square() + LOG_TWO_PI).sum(-1)


def log_mixture_density(
    z: Tensor, mean: Tensor, log_var: Tensor, log_weights: Tensor | None = None
) -> Tensor:
    r"""Logarithm of the density of a mixture of diagonal Gaussians.

    .. math::
        \ln \sum_{n=1}^N w_n \, \mathcal N(z; \mu_n, \operatorname{diag} \sigma_n^2)

    With the encodings of N data as components it is the aggregate posterior q(z), exactly.  All
    pairs of a point and a component are looked at, some millions at a time, so that memory does
    not grow with their number.  The squares are expanded into two matrix products, which are
    computed in double precision, since large numbers cancel in them: variances a million million
    times smaller than the squares of the means leave three digits after the point.

    Args:
        z: ``(..., D)``, where to evaluate.
        mean: ``(N, D)``, the means.
        log_var: ``(N, D)``, the log variances.
        log_weights: ``(N,)``, logarithms of the weights; by default all are 1/N.

    Returns:
        ``(...)`` nats.

    Raises:
        TypeError: if an argument is not a floating-point tensor.
        ValueError: if the shapes do not fit together, or there is no component.
    """
    _check(z=z[..., :1, :] if z.ndim > 1 else z, mean=mean[:1], log_var=log_var[:1])
    if mean.ndim != 2 or mean.shape != log_var.shape or not len(mean):
        raise ValueError(
            "mean and log_var must share a shape (N, D), one component at least; "
            f"got {tuple(mean.shape)} and {tuple(log_var.shape)}."
        )
    if log_weights is None:
        log_weights = mean.new_full((len(mean),), -math.log(len(mean)))
    elif log_weights.shape != mean.shape[:1]:
        raise ValueError(
            f"log_weights must have shape {tuple(mean.shape[:1])}, one a component; "
            f"got {tuple(log_weights.shape)}."
        )
    precision = torch.exp(-log_var.double())  # (N, D)
    scaled = precision * mean.double()
    constant = log_weights - 0.5 * (LOG_TWO_PI + log_var + mean * scaled).sum(-1)  # (N,)
    points = z.reshape(-1, z.shape[-1]).double()
    pieces = []
    for some in points.split(max(1, _PAIRS // len(mean))):
        pairs = some @ scaled.mT - 0.5 * some.square() @ precision.mT + constant
        pieces.append(pairs.to(z.dtype).logsumexp(-1))
    return torch.cat(pieces).reshape(z.shape[:-1])


def entropy(log_var: Tensor) -> Tensor:
    r"""Differential entropy.

    .. math::
        H = \tfrac12 \sum_d \bigl(1 + \ln 2\pi + \ln \sigma_d^2\bigr)

    Args:
        log_var: ``(..., D)``, the log variances.

    Returns:
        ``(...)`` nats; negative where the variances are small.

    Raises:
        TypeError: if ``log_var`` is not a floating-point tensor.
        ValueError: if ``log_var`` has no dimension.
    """
    _check(log_var=log_var)
    return 0.5 * (1 + LOG_TWO_PI + log_var).sum(-1)


def reparameterize(
    mean: Tensor,
    log_var: Tensor,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw a sample through which gradients flow.

    .. math::
        z = \mu + \sigma \odot \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I)

    Args:
        mean: ``(..., D)``, the means.
        log_var: ``(..., D)``, the log variances.
        noise: ``(..., D)``, standard normal draws, possibly with further leading dimensions, such
            as ``(S, B, D)`` for S samples a datum; by default one fresh draw.
        generator: where the fresh draw comes from; by default torch's global generator.

    Returns:
        The sample, in the broadcast shape of all three.

    Raises:
        TypeError: if an argument is not a floating-point tensor.
        ValueError: if the shapes do not fit together.
    """
    if noise is None:
        shape = _check(mean=mean, log_var=log_var)
        # torch.compile knows no generator, not even None.
        source = {} if generator is None else {"generator": generator}
        noise = torch.randn(shape, dtype=mean.dtype, device=mean.device, **source)
    else:
        _check(mean=mean, log_var=log_var, noise=noise)
    return mean + torch.exp(0.5 * log_var) * noise


def product_of_experts(
    mean: Tensor, precision: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Multiply Gaussian experts and the standard normal prior, which enters exactly once.

    .. math::
        \mathcal N(z; \mu, v) \propto \mathcal N(z; 0, I) \prod_{g\,:\,m_g = 1}
        \mathcal N(z; \mu_g, \tau_g^{-1}), \qquad
        v = \Bigl(1 + \sum_g m_g \tau_g\Bigr)^{-1}, \quad \mu = v \sum_g m_g \tau_g \mu_g

    A group that the mask hides has no influence, whatever its values: NaN included.  Gradients do
    not pass through a hidden group either, but a network that *produced* the NaN turns the zero
    gradient into NaN again: replace missing values before the network.

    Args:
        mean: ``(G, ..., D)``, one mean a group.
        precision: ``(G, ..., D)``, inverse variances, not negative; zero means no opinion.
        mask: ``(G, ...)`` bool, true where the group is observed; by default all are.

    Returns:
        The mean and the *variance* of the product, both ``(..., D)``.  Where nothing is observed
        they are the prior's, 0 and 1.

    Raises:
        TypeError: if ``mean`` or ``precision`` is not a floating-point tensor, or ``mask`` is
            not a tensor of bools.
        ValueError: if the shapes do not fit together.
    """
    _check(mean=mean, precision=precision)
    if mean.shape != precision.shape or mean.ndim < 2:
        raise ValueError(
            "mean and precision must share a shape (G, ..., D); "
            f"got {tuple(mean.shape)} and {tuple(precision.shape)}."
        )
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask must be a tensor of bools; got {kind}.")
        if mask.shape != mean.shape[:-1]:
            raise ValueError(
                f"mask must have shape {tuple(mean.shape[:-1])}, one entry a group and datum; "
                f"got {tuple(mask.shape)}."
            )
        hidden = ~mask.unsqueeze(-1)
        mean = mean.masked_fill(hidden, 0.0)
        precision = precision.masked_fill(hidden, 0.0)
    variance = 1 / (1 + precision.sum(0))
    # Weights that sum to less than one: precision * mean alone may overflow.
    return (precision * variance * mean).sum(0), variance


def _check(**tensors: Tensor) -> torch.Size:
    """Return the broadcast shape; insist on floating point and on one number of features."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {kind}.")
        if tensor.ndim == 0:
            raise ValueError(f"{name} must have a last dimension of features; got a scalar.")
    shapes = [tensor.shape for tensor in tensors.values()]
    if len({shape[-1] for shape in shapes}) == 1:
        try:
            # Much faster than torch.broadcast_shapes, and this runs at every training step.
            return torch.broadcast_tensors(*tensors.values())[0].shape
        except RuntimeError:
            pass
    listed = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    raise ValueError(f"the shapes do not fit together: {listed}; they want one last dimension.")

"""Numbers that tell models apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Pixels that one chunk decodes by default: a few megabytes of activations, which stay in a CPU's
# cache; a GPU wants more to do at once.
_PIXELS_ON_CPU = 2**20
_PIXELS_ON_GPU = 2**26


@torch.no_grad()
def log_marginal_likelihood(
    model: nn.Module, x: Tensor, samples: int, chunk: int | None = None
) -> Tensor:
    r"""Importance-sampled estimate of the log marginal likelihood.

    .. math::
        \ln \hat p(x) = \ln \frac1S \sum_{s=1}^S \frac{p(x \mid z_s)\, p(z_s)}{q(z_s \mid x)},
        \qquad z_s \sim q(z \mid x)

    In expectation a lower bound of :math:`\ln p(x)`, which tightens as S grows (Burda et al.,
    2016); S = 1 is the ELBO.  The sum runs over chunks, so that memory does not grow with the
    number of samples or of data.  The model is evaluated in ``eval()`` mode and without
    gradients, and its mode is restored.

    Args:
        model: anything with ``log_weights(batch, samples) -> (samples, B)``.
        x: ``(B, ...)`` data.
        samples: S.
        chunk: how many pairs of a datum and a sample to decode at once; the default suits the
            device.  A smaller one saves memory and draws other random numbers.

    Returns:
        ``(B,)`` nats.

    Raises:
        ValueError: if ``samples`` or ``chunk`` is not positive.
    """
    if samples < 1:
        raise ValueError(f"samples must be positive; got {samples}.")
    if chunk is None:
        budget = _PIXELS_ON_GPU if x.device.type == "cuda" else _PIXELS_ON_CPU
        chunk = max(1, budget // max(1, x[:1].numel()))
    if chunk < 1:
        raise ValueError(f"chunk must be positive; got {chunk}.")
    # All samples of a few data: then each datum is encoded once.
    samples_at_once = min(samples, chunk)
    data_at_once = max(1, chunk // samples_at_once)
    was_training = model.training
    model.eval()
    try:
        estimates = [
            _log_mean_weight(model, block, samples, samples_at_once)
            for block in x.split(data_at_once)
        ]
    finally:
        model.train(was_training)
    return torch.cat(estimates)


def _log_mean_weight(model: nn.Module, x: Tensor, samples: int, at_once: int) -> Tensor:
    """Return the logarithm of the mean weight of each datum, summed chunk by chunk."""
    total = None
    for start in range(0, samples, at_once):
        weights = model.log_weights(x, min(at_once, samples - start))
        part = torch.logsumexp(weights, dim=0)
        total = part if total is None else torch.logaddexp(total, part)
    return total - math.log(samples)

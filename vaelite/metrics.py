"""Numbers that tell models apart."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vaelite._validation import check_count
from vaelite.nets import evaluated

# Pixels that one chunk decodes by default: a few megabytes of activations, which stay in a CPU's
# cache; a GPU wants more to do at once.
_PIXELS_ON_CPU = 2**20
_PIXELS_ON_GPU = 2**26
# Pairs of a sample and a normal whose densities are evaluated at once: a few megabytes.
_PAIRS = 2**18


@torch.no_grad()
def log_marginal_likelihood(
    model: nn.Module, x: Any, samples: int, chunk: int | None = None
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
        x: ``(B, ...)`` data; or a tuple of such tensors, where the model takes data with their
            population, task or mask.
        samples: S.
        chunk: how many pairs of a datum and a sample to decode at once; the default suits the
            device.  A smaller one saves memory and draws other random numbers.

    Returns:
        ``(B,)`` nats.

    Raises:
        TypeError: if ``x`` is neither a tensor nor a tuple of tensors.
        ValueError: if ``samples`` or ``chunk`` is not positive, the tensors of a tuple have
            different numbers of rows or hold NaN or infinite values, or the model refuses the data.
    """
    data = x if isinstance(x, tuple) else (x,)
    _check_data(data)
    if hasattr(model, "validate") and isinstance(x, Tensor):
        model.validate(x)
    check_count("samples", samples)
    if chunk is None:
        budget = _PIXELS_ON_GPU if data[0].device.type == "cuda" else _PIXELS_ON_CPU
        chunk = max(1, budget // max(1, *(tensor[:1].numel() for tensor in data)))
    check_count("chunk", chunk)
    # All samples of a few data: then each datum is encoded once.
    samples_at_once = min(samples, chunk)
    data_at_once = max(1, chunk // samples_at_once)
    with evaluated(model):
        estimates = [
            _log_mean_weight(
                model, block if isinstance(x, tuple) else block[0], samples, samples_at_once
            )
            for block in zip(*(tensor.split(data_at_once) for tensor in data), strict=True)
        ]
    return torch.cat(estimates)


def _check_data(data: tuple) -> None:
    for tensor in data:
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"x must be a tensor, or a tuple of tensors; got {kind}.")
    if len(data) == 1:  # the model judges it
        return
    sizes = [len(tensor) if tensor.ndim else 0 for tensor in data]
    if len(set(sizes)) != 1 or not sizes[0]:
        raise ValueError(
            f"the tensors of x must have equally many rows, one at least; got {sizes}."
        )
    if not all(bool(t.isfinite().all()) for t in data if t.is_floating_point()):
        raise ValueError("x must be finite; it holds NaN or infinite values.")


def _log_mean_weight(model: nn.Module, x: Any, samples: int, at_once: int) -> Tensor:
    """Return the logarithm of the mean weight of each datum, summed chunk by chunk."""
    total = None
    for start in range(0, samples, at_once):
        weights = model.log_weights(x, min(at_once, samples - start))
        part = torch.logsumexp(weights, dim=0)
        total = part if total is None else torch.logaddexp(total, part)
    return total - math.log(samples)


# Share of a latent's variance that its mean must carry for the latent to count as active.
ACTIVE = 0.1


def active_latents(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Tell which latents are in use: their means carry more than a tenth of their variance.

    .. math::
        \mathrm{Var}_n[\mu_d(x_n)] > \tfrac1{10} \big( \mathrm{Var}_n[\mu_d(x_n)]
        + \mathbb E_n[\sigma_d^2(x_n)] \big)

    The share on the left is the latent's signal.  No scale of the prior can change it.

    Args:
        mean: ``(N, D)`` means of q(z|x) over the data.
        log_var: ``(N, D)`` logarithms of its variances.

    Returns:
        ``(D,)`` bool.
    """
    signal, noise = mean.var(0), log_var.exp().mean(0)
    return signal > ACTIVE * (signal + noise)


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> float:
    r"""Mutual information gap of codes, from histograms.

    .. math:: \mathrm{MIG} = \frac{1}{V} \sum_{v} \frac{1}{H(v)}
        \Big( I(z_{j_1}; v) - I(z_{j_2}; v) \Big)

    where :math:`j_1` and :math:`j_2` are the codes with the largest and the second largest mutual
    information with factor v.  Each code is cut into ``bins`` intervals of equal width.  A
    histogram overestimates a mutual information by about (bins - 1)(classes - 1) / (2N) nats.

    The intervals stretch to each code's own range.  So a pruned latent counts in full, however
    little its mean moves: a copy of another code, scaled by 1e-4, has all of its information, and
    the gap of that factor is zero.  Where latents are pruned, compute the gap of the active ones
    too, or use :func:`mutual_information_gap_from_posterior`, which sees the noise.

    Args:
        codes: ``(N, D)``, real: the posterior means, say.
        factors: ``(N, V)``, integer classes.  A factor with one class has no entropy and is left
            out.
        bins: intervals per code.

    Returns:
        The mean over the factors that vary, between 0 and 1.  With a single code the second
        largest information is zero.

    Raises:
        ValueError: if the shapes do not fit, the codes are not finite, there are fewer than two
            bins, or no factor varies.

    Source: Chen et al. (2018), section 4; the histograms are those of Locatello et al. (2019).
    """
    codes, factors = _check_codes(codes, factors, "codes")
    if bins < 2:
        raise ValueError(f"bins must be at least 2; got {bins}.")
    low, high = codes.amin(0), codes.amax(0)
    width = torch.where(high > low, high - low, torch.ones_like(high))
    cells = ((codes - low) / width * bins).long().clamp(0, bins - 1)  # (N, D)
    return _gap(torch.stack([_information(cells, bins, v) for v in factors.unbind(1)]), factors)


def mutual_information_gap_from_posterior(
    mean: Tensor, std: Tensor, factors: Tensor, *, samples: int = 2_000, seed: int = 0
) -> float:
    r"""Mutual information gap of the encoder's distributions, after Chen et al.

    The information of code j about factor v is :math:`H(z_j) - H(z_j | v)`, where both entropies
    are those of mixtures of the encoder's normals: over all data, and over the data that share a
    class of v.  Each entropy is a Monte Carlo average of the exact log density of its mixture.

    Args:
        mean: ``(N, D)`` means of q(z|x).
        std: ``(N, D)`` standard deviations, not variances.
        factors: ``(N, V)``, integer classes; the data should cover their combinations evenly.
        samples: Monte Carlo samples per entropy (per class, in proportion to its size, but at
            least 100).  Time is proportional to N times this; memory is bounded.
        seed: seed of the samples.

    Returns:
        The mean over the factors that vary, between 0 and 1 but for Monte Carlo error.

    Raises:
        ValueError: if the shapes do not fit, a standard deviation is not positive, a value is not
            finite, ``samples`` is not positive, or no factor varies.

    Source: Chen et al. (2018), section 4 and appendix C.
    """
    mean, factors = _check_codes(mean, factors, "mean")
    std = torch.as_tensor(std).detach().to(mean)
    if std.shape != mean.shape:
        raise ValueError(f"std must have mean's shape {tuple(mean.shape)}; got {tuple(std.shape)}.")
    if not bool((std > 0).all() and std.isfinite().all()):
        raise ValueError(f"std must be positive and finite; got a minimum of {std.min():g}.")
    if samples < 1:
        raise ValueError(f"samples must be positive; got {samples}.")
    generator = torch.Generator(mean.device).manual_seed(seed)
    everything = torch.arange(len(mean), device=mean.device)
    marginal = _mixture_entropy(mean, std, everything, samples, generator)
    information = []
    for factor in factors.unbind(1):
        conditional = torch.zeros_like(marginal)
        for value in factor.unique():
            members = (factor == value).nonzero().squeeze(1)
            share = len(members) / len(mean)
            count = max(100, round(samples * share))
            conditional += share * _mixture_entropy(mean, std, members, count, generator)
        information.append(marginal - conditional)
    return _gap(torch.stack(information).cpu(), factors)


def _check_codes(codes: Tensor, factors: Tensor, name: str) -> tuple[Tensor, Tensor]:
    if factors is None:
        raise ValueError("factors are None: the data set has none; its labels may do instead.")
    codes, factors = torch.as_tensor(codes).detach(), torch.as_tensor(factors)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or not len(codes):
        raise ValueError(
            f"{name} must be (N, D) and factors (N, V); "
            f"got {tuple(codes.shape)} and {tuple(factors.shape)}."
        )
    if factors.is_floating_point():
        raise ValueError(f"factors must be integer classes; got {factors.dtype}.")
    if not bool(codes.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values.")
    return codes.double(), factors.to(codes.device)


def _gap(information: Tensor, factors: Tensor) -> float:
    """``(V, D)`` informations -> mean normalised gap over the factors that vary."""
    padded = torch.nn.functional.pad(information.clamp(min=0), (0, 1))  # a code that knows nothing
    first, second = padded.topk(2, dim=1).values.cpu().unbind(1)
    entropies = [_entropy(factor.unique(return_counts=True)[1]).item() for factor in factors.mT]
    gaps = [
        gap / entropy
        for gap, entropy in zip((first - second).tolist(), entropies, strict=True)
        if entropy > 0
    ]
    if not gaps:
        raise ValueError("no factor varies, so there is no information to share.")
    return sum(gaps) / len(gaps)


def _entropy(counts: Tensor, dims: tuple[int, ...] = (-1,)) -> Tensor:
    """Entropy of the distribution that counts describe, over the given dimensions."""
    shares = counts.double() / counts.sum(dims, keepdim=True)
    return -torch.xlogy(shares, shares).sum(dims)


def _information(cells: Tensor, bins: int, factor: Tensor) -> Tensor:
    """``(N, D)`` cells and ``(N,)`` classes -> ``(D,)`` plug-in estimates of the information."""
    classes, labels = factor.unique(return_inverse=True)
    codes = torch.arange(cells.shape[1], device=cells.device)
    flat = (codes * bins + cells) * len(classes) + labels.unsqueeze(1)
    counts = flat.flatten().bincount(minlength=cells.shape[1] * bins * len(classes))
    counts = counts.view(-1, bins, len(classes))  # (D, bins, classes)
    return _entropy(counts.sum(2)) + _entropy(counts.sum(1)) - _entropy(counts, (-2, -1))


def _mixture_entropy(
    mean: Tensor, std: Tensor, members: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """``(D,)``: entropy of each coordinate of the equal mixture of the members' normals."""
    mean, std = mean[members], std[members]
    # As many samples of each normal as of any other, give or take one.
    order = torch.randperm(len(mean), generator=generator, device=mean.device)
    pick = order.repeat(-(-samples // len(mean)))[:samples]
    noise = torch.randn(
        (samples, mean.shape[1]), generator=generator, device=mean.device, dtype=mean.dtype
    )
    z = mean[pick] + std[pick] * noise
    rows = max(1, _PAIRS // len(mean))
    entropies = []
    for column, centre, scale in zip(z.unbind(1), mean.unbind(1), std.unbind(1), strict=True):
        inverse, log_scale = 1 / scale, scale.log()
        total = torch.zeros((), dtype=mean.dtype, device=mean.device)
        for block in column.split(rows):
            pairs = (block.unsqueeze(1) - centre).mul_(inverse)  # (rows, members)
            total += pairs.square_().mul_(-0.5).sub_(log_scale).logsumexp(1).sum()
        entropies.append(math.log(len(mean)) - total / samples)
    return torch.stack(entropies) + 0.5 * math.log(2 * math.pi)

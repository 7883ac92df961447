r"""What the ISA-VAE experiments share: models, trials, measurements, statistics.

The first are ``isa_sprites`` (figures 5a, 5b and 8 to 16 of the paper), ``isa_heads`` (5c and 7)
and ``isa_cars`` (6); others look again, with fresh seeds, other networks or more arms.  A trial is
a method, a strength (beta, or gamma for FactorVAE) and a seed.  All methods share, seed by seed,
the initial weights, the batches and the number of steps, so two of them are compared by paired
differences.

**Methods.**  ``beta-vae``, ``beta-tcvae``, ``factor-vae``, ``isa-vae``, ``isa-tcvae`` and
``isa-vae learned`` are the paper's.  At beta = 1 the two TC methods have the losses of ``beta-vae``
and ``isa-vae`` but for the noise of their estimates, so they start above 1.  Three more are
controls that the paper lacks, the first two of them at beta = 1 and above:

- ``vae sampled-kl``: the normal prior, its KL term estimated at one sample as ISA-VAE must do.  Is
  it the prior, or the noise of eq. 12?
- ``isa-vae matched-scale``: the paper never gives s of eq. 11.  ``isa-vae`` takes s = 1, the
  density as printed, whose variance is not 1.  Scaling all codes by a constant, in prior and
  posterior alike, leaves the KL term as it is, and the networks' outer layers absorb it; so s
  cannot move the optimum, only the start and the step size in units of the prior.  This control
  has the s with which the mean variance is 1.
- ``ica-vae p=4``: every latent on its own with the exponent 4, variance 1.  The paper's exponents
  are so close to 2 that the prior is nearly a normal.  Would a prior far from it do more?

Two more have other estimators of a sampled KL term (:class:`vaelite.vae.Prior`): a method that
ends in ``without score``, and ``vae independent-kl``, ``vae sampled-kl`` with noise of its own.

**Layout.**  The paper has five subspaces of four (figure 5), five of five for a latent dimension of
20 (A.5), and three subspaces for a latent dimension of 10 (A.2).  Full runs on sprites have five of
four, as figure 5 and table 1 agree; smaller ones keep five subspaces, of two.  Three subspaces of
10 latents have sizes 4, 3 and 3, on heads in both designs (nothing is said of Cars3D's).

**What is measured**, on all data: MIG from the posterior (the estimator of Chen et al., which the
paper cites) and from histograms of the posterior means; the reconstruction E_q[ln p(x|z)], the KL
term and the ELBO at beta = 1, at one sample a datum; the exponents; and the active latents.  A
latent counts as active if its mean's variance over the data is more than a tenth of the variance
of its samples, which no scale of the prior can change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import data
from vaelite.data import Dataset
from vaelite.disentangle import BetaTCVAE, FactorVAE
from vaelite.experiments.networks import device, fit_together
from vaelite.isa import ISAPrior
from vaelite.metrics import (
    active_latents,
    mutual_information_gap,
    mutual_information_gap_from_posterior,
)
from vaelite.nets import MLP, GaussianEncoder
from vaelite.profile import seed
from vaelite.training import History
from vaelite.vae import VAE

WITHOUT_SCORE = " without score"

# What tables 1 and 2 and appendix A.4 have in common.
PAPER = {
    "encoder": [1200, 1200],
    "decoder": [1200, 1200, 1200],
    "discriminator": 1000,
    "batch_size": 2048,
    "lr": 1e-3,
    "mig_samples": 500,
}


def runs(
    methods: Sequence[str], betas: Sequence[float], seeds: int, first_seed: int = 0
) -> list[dict[str, Any]]:
    """Entries of ``settings["runs"]``: each method at each beta, seeds ``first_seed`` to ``seeds``.

    All methods come at the first beta, then all at the next, so that what is compared is done
    early.
    """
    return [
        {"method": method, "beta": [beta], "first_seed": first_seed, "seeds": seeds}
        for beta in betas
        for method in methods
    ]


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One training run per method, strength and seed, in the order of ``settings["runs"]``."""
    return [
        {"method": run["method"], key: strength, "seed": seed(repeat)}
        for run in settings["runs"]
        for key in ("beta", "gamma")
        for strength in run.get(key, [])
        for repeat in range(run.get("first_seed", 0), run["seeds"])
    ]


def train(
    group: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    checkpoint: str | os.PathLike | None = None,
) -> tuple[list[VAE], list[History]]:
    """Train the models of trials that differ in the seed alone."""
    images = dataset(settings).x
    flat = images.flatten(1) if isinstance(images, Tensor) else images
    return fit_together(group, settings, make_model, flat, checkpoint)


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> VAE:
    """Build a trial's model: rectifiers to encode, tanh to decode, as in appendix A.4.

    The initial weights come from torch's global generator.

    Raises:
        ValueError: if there is no such method.
    """
    images = dataset(settings).x
    pixels, dataset_size = math.prod(images.shape[1:]), len(images)
    method, sizes = trial["method"], settings["sizes"]
    latent_dim = sum(sizes)
    encoder = GaussianEncoder(MLP(pixels, settings["encoder"], 2 * latent_dim))
    decoder = MLP(latent_dim, settings["decoder"], pixels, activation=nn.Tanh)
    parts = (encoder, decoder, latent_dim, (pixels,))
    beta = trial.get("beta", 1.0)
    p0, p = settings["exponents"]
    if method == "beta-vae":
        return VAE(*parts, beta=beta)
    if method == "beta-tcvae":
        return BetaTCVAE(*parts, beta=beta, dataset_size=dataset_size)
    if method == "isa-tcvae":
        prior = ISAPrior(sizes, p0, p)
        return BetaTCVAE(*parts, prior=prior, beta=beta, dataset_size=dataset_size)
    if method == "factor-vae":
        hidden = (settings["discriminator"],)
        return FactorVAE(*parts, gamma=trial["gamma"], discriminator_hidden=hidden)
    estimator = "independent" if method == "vae independent-kl" else "sampled"
    if method.endswith(WITHOUT_SCORE):
        estimator = "without score"
    priors = {
        "isa-vae": (p0, p),
        "isa-vae learned": (p0, 2.0),
        "isa-vae matched-scale": (p0, p, matched_scale(sizes, p0, p)),
        "vae sampled-kl": (2.0, 2.0, 2.0),
        "vae independent-kl": (2.0, 2.0, 2.0),
        "ica-vae p=4": (4.0, 4.0, matched_scale(sizes, 4.0, 4.0)),
    }
    name = method.removesuffix(WITHOUT_SCORE)
    if name not in priors:
        known = ", ".join(["beta-vae", "beta-tcvae", "isa-tcvae", "factor-vae", *priors])
        raise ValueError(f"there is no method {method!r}; there are: {known}.")
    learned = name == "isa-vae learned"
    prior = ISAPrior(sizes, *priors[name], learned=learned, estimator=estimator)
    return VAE(*parts, prior=prior, beta=beta)


def matched_scale(sizes: Sequence[int], p0: float, p: float) -> float:
    r"""Return the s of eq. 11 with which the mean of the coordinates' variances is 1.

    With the exact sampler's radius and direction, a coordinate of a subspace of n has the variance

    .. math:: s^{2/p_0} \, \frac{\Gamma((n + 2)/p_0)}{\Gamma(n/p_0)} \cdot
        \frac{\Gamma(3/p) \, \Gamma(n/p)}{\Gamma(1/p) \, \Gamma((n + 2)/p)}.
    """
    total = 0.0
    for n in sizes:
        radius = math.lgamma((n + 2) / p0) - math.lgamma(n / p0)
        direction = math.lgamma(3 / p) + math.lgamma(n / p)
        direction -= math.lgamma(1 / p) + math.lgamma((n + 2) / p)
        total += n * math.exp(radius + direction)
    return (sum(sizes) / total) ** (p0 / 2)


@torch.no_grad()
@torch.random.fork_rng()
def measure(model: VAE, trial: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what the module's docstring lists, on all data; the trial's seed draws the noise."""
    data_set, seed = dataset(settings), trial["seed"]
    device = data_set.x.device
    torch.manual_seed(seed)  # an independent sample of the KL term comes from here
    model.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    means, log_vars, sums = [], [], torch.zeros(2, dtype=torch.float64, device=device)
    for rows in torch.arange(len(data_set), device=device).split(4096):
        x = data_set.images(rows)
        mean, log_var = model.encode(x)
        noise = torch.randn(mean.shape, generator=generator, device=device)
        z = model.sample_posterior(mean, log_var, noise)
        sums += torch.stack(
            [model.log_likelihood(x, z).sum(), model.prior.kl(mean, log_var, z).sum()]
        ).double()
        means.append(mean)
        log_vars.append(log_var)
    reconstruction, kl = (sums / len(data_set)).tolist()
    mean, log_var = torch.cat(means), torch.cat(log_vars)
    chosen = [data_set.factor_names.index(name) for name in settings["factors"]]
    factors = data_set.factors[:, chosen]
    gaps = [mutual_information_gap(mean, column[:, None]) for column in factors.unbind(1)]
    exponents = model.prior.p.tolist() if isinstance(model.prior, ISAPrior) else None
    return {
        "mig": mutual_information_gap_from_posterior(
            mean, (0.5 * log_var).exp(), factors, samples=settings["mig_samples"], seed=seed
        ),
        "mig_histogram": sum(gaps) / len(gaps),
        "mig_histogram_by_factor": gaps,
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": reconstruction - kl,
        "exponents": exponents,
        "active": int(active_latents(mean, log_var).sum()),
    }


@torch.no_grad()
def histogram_gaps(model: VAE, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the MIG from histograms with all latents, and with the active ones alone.

    Histograms stretch to each mean's range, so a pruned latent may come second.  Without an active
    latent the gap is 0.
    """
    data_set = dataset(settings)
    model.to(data_set.x.device)
    rows = torch.arange(len(data_set), device=data_set.x.device).split(4096)
    encoded = [model.encode(data_set.images(some)) for some in rows]
    mean, log_var = (torch.cat(part) for part in zip(*encoded, strict=True))
    chosen = [data_set.factor_names.index(name) for name in settings["factors"]]
    factors = data_set.factors[:, chosen]
    active = active_latents(mean, log_var)
    return {
        "all": mutual_information_gap(mean, factors),
        "active": mutual_information_gap(mean[:, active], factors) if active.any() else 0.0,
    }


def representative(mig: Sequence[float], reconstruction: Sequence[float]) -> int:
    """Return the index of the run that stands for its setting, as appendix A.5 chooses it.

    Of the runs in the upper half of MIG, the one with the least Mahalanobis distance from their
    mean in (MIG, reconstruction), "defined by mean and variance": the covariance is left out.  With
    an odd number the middle run belongs to the upper half.

    Raises:
        ValueError: if the two are not of one positive length.
    """
    points = np.stack([np.asarray(mig, float), np.asarray(reconstruction, float)], 1)
    if points.ndim != 2 or not len(points):
        raise ValueError(f"mig and reconstruction must be (N,) with N at least 1; got {points.T}.")
    upper = np.argsort(points[:, 0], kind="stable")[len(points) // 2 :]
    distance = points[upper] - points[upper].mean(0)
    variance = points[upper].var(0)
    # Where all are equal there is no distance to divide.
    scaled = np.divide(distance**2, variance, out=np.zeros_like(distance), where=variance > 0)
    return int(upper[np.argmin(scaled.sum(1))])


def representative_text(results: Mapping[str, Any] | None, setting: Mapping[str, Any]) -> str:
    """Return MIG and reconstruction of the run that stands for a setting, or "not run yet"."""
    from vaelite.experiments.comparison import NOT_RUN, values  # matplotlib, which no run needs

    mig, reconstruction = (values(results, setting, key) for key in ("mig", "reconstruction"))
    if not len(mig):
        return NOT_RUN
    chosen = representative(mig, reconstruction)
    return f"{mig[chosen]:.2f}, {reconstruction[chosen]:.2f} (of {len(mig)})"


def upper_half(values: np.ndarray) -> np.ndarray:
    """Return the larger half of the values in rising order, with the middle one of an odd number.

    It is the half from which :func:`representative` chooses.
    """
    return np.sort(values)[len(values) // 2 :]


def dataset(settings: Mapping[str, Any]) -> Dataset:
    """Load the data of an experiment; they stay in memory until another experiment's are asked."""
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings["data"].items()
    }
    return _load(tuple(options.items()))


@lru_cache(maxsize=1)  # a grid of heads takes seconds to draw
def _load(options: tuple) -> Dataset:
    return data.load(**dict(options), device=device())

"""Every latent of a fine grid: what a VAE with two latents lets one compute exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vaelite.vae import VAE, Bernoulli


class LatentGrid:
    r"""A grid over the plane of latents of a VAE with binary pixels.

    .. math::
        p(x) = \int p(x \mid z)\, p(z)\, dz
        \approx a \sum_g e^{\ln p(x, z_g)}

    with a the area that each of the grid's points stands for, and a standard normal prior.  Grid
    points are in the order of ``torch.cartesian_prod``: the second latent runs fastest.

    Args:
        model: a VAE with two latents, flat data and a Bernoulli likelihood.
        points: points on each axis.
        reach: the axes run from ``-reach`` to ``reach``.

    Attributes:
        axis: ``(points,)``.
        z: ``(G, 2)``, all points of the grid, ``G = points ** 2``.
        area: a.
        log_prior: ``(G,)``.
        logits: ``(G, L)``, what the decoder says at each point.

    Raises:
        ValueError: if the model has another number of latents or another likelihood.
    """

    def __init__(self, model: VAE, points: int = 201, reach: float = 5.0) -> None:
        if model.latent_dim != 2 or not isinstance(model.likelihood, Bernoulli):
            raise ValueError(
                "model must have two latents and a Bernoulli likelihood; it has "
                f"{model.latent_dim} and {type(model.likelihood).__name__}."
            )
        self.axis = torch.linspace(-reach, reach, points)
        self.z = torch.cartesian_prod(self.axis, self.axis)
        self.area = (self.axis[1] - self.axis[0]).item() ** 2
        self.log_prior = -0.5 * (self.z**2 + math.log(2 * math.pi)).sum(-1)
        with torch.no_grad():
            self.logits = model.decode(self.z)

    def log_joint(self, x: Tensor) -> Tensor:
        """Return ln p(x, z) at every point: ``(B, L) -> (B, G)``."""
        log_likelihood = x @ self.logits.T - softplus(self.logits).sum(-1)
        return log_likelihood + self.log_prior

    def log_evidence(self, x: Tensor) -> Tensor:
        """Return ln p(x): ``(B, L) -> (B,)``."""
        return torch.logsumexp(self.log_joint(x), -1) + math.log(self.area)

    def log_gaussian(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """Return ln q(z) of diagonal Gaussians at every point: ``(B, 2), (B, 2) -> (B, G)``."""
        off = self.z - mean[:, None]  # (B, G, 2)
        off = off * torch.exp(-0.5 * log_var[:, None])
        return -0.5 * (off**2 + log_var[:, None] + math.log(2 * math.pi)).sum(-1)

    def elbo(self, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """Return the ELBO of diagonal Gaussians, without drawing: ``-> (B,)``."""
        log_q = self.log_gaussian(mean, log_var)
        return (self.area * log_q.exp() * (self.log_joint(x) - log_q)).sum(-1)

    def square(self, density: Tensor) -> Tensor:
        """Lay a density out as a picture: ``(G,) -> (points, points)``.

        The first latent runs to the right, the second upwards from row 0, as ``contourf`` and
        ``imshow(origin="lower")`` want.
        """
        return density.reshape(len(self.axis), len(self.axis)).T

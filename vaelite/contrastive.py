r"""The contrastive VAE: what a target set has that a background set lacks.

The target's data are generated from two codes, the background's from the first alone:

.. math::
    x \mid z, s \sim p\big(x \mid f(z, s)\big), \qquad b \mid z \sim p\big(b \mid f(z, 0)\big)

Both bounds are maximised together, in the mean over a datum of either set:

.. math::
    \mathbb E_q[\ln p(x \mid z, s)] - \mathrm{KL}(q(z|x) \,\|\, p) - \mathrm{KL}(q(s|x) \,\|\, p)
    \qquad \mathbb E_q[\ln p(b \mid z)] - \mathrm{KL}(q(z|b) \,\|\, p)

Here it is the yardstick of the cross-population VAE (:mod:`vaelite.cpvae`), and has networks like
its own: one trunk with two heads, where the original has two encoders.  The original's penalty on
the total correlation between the codes, an option there, is left out.

Source: Abid and Zou (2019), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.nets import MLP, Activation, mlp_trunk
from vaelite.vae import DataModel, Gaussian, Likelihood


class ContrastiveVAE(DataModel):
    """Contrastive VAE, trained on ``Unpaired(target, background)``.

    Args:
        trunk: what both codes share of the encoder, ``(B, *data_shape) -> (B, trunk_dim)``.
        trunk_dim: size of its output.
        decoder: f, ``(..., D_z + D_s) -> (..., *data_shape)``.
        background_dim: D_z, of the code that both sets have.
        salient_dim: D_s, of the code that the target has alone.
        data_shape: shape of one datum.
        likelihood: by default a normal whose one variance is learned.
    """

    def __init__(
        self,
        trunk: nn.Module,
        trunk_dim: int,
        decoder: nn.Module,
        background_dim: int,
        salient_dim: int,
        data_shape: Sequence[int],
        *,
        likelihood: str | Likelihood | None = None,
    ) -> None:
        super().__init__(data_shape, Gaussian(learned=True) if likelihood is None else likelihood)
        self.background_dim = check_count("background_dim", background_dim)
        self.salient_dim = check_count("salient_dim", salient_dim)
        self.trunk = trunk
        self.background_head = nn.Linear(check_count("trunk_dim", trunk_dim), 2 * background_dim)
        self.salient_head = nn.Linear(trunk_dim, 2 * salient_dim)
        self.decoder = decoder

    @classmethod
    def mlp(
        cls,
        data_dim: int,
        hidden: int | Sequence[int],
        background_dim: int,
        salient_dim: int,
        *,
        activation: Activation = nn.ReLU,
        **options,
    ) -> ContrastiveVAE:
        """Build it on flat data; ``hidden`` are the trunk's layers, and the decoder's in reverse.

        Args:
            data_dim: number of features.
            hidden: sizes of the hidden layers; empty for linear maps.
            background_dim: D_z.
            salient_dim: D_s.
            activation: what makes the module after a hidden layer.
            **options: ``likelihood``.
        """
        check_count("background_dim", background_dim)
        check_count("salient_dim", salient_dim)
        trunk, sizes = mlp_trunk(data_dim, hidden, activation)
        decoder = MLP(background_dim + salient_dim, sizes[:0:-1], data_dim, activation)
        parts = (trunk, sizes[-1], decoder, background_dim, salient_dim)
        return cls(*parts, (data_dim,), **options)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean and log variance of q(z|x), ``(B, D_z)``, and of q(s|x), ``(B, D_s)``."""
        features = self._features(self.prepare(x))
        return (*self.background_head(features).chunk(2, -1), *self._salient(features))

    def _features(self, x: Tensor) -> Tensor:
        features, wanted = self.trunk(x), (len(x), self.background_head.in_features)
        if features.shape != wanted:
            found = tuple(features.shape)
            raise ValueError(f"trunk must return {wanted}, (B, trunk_dim); got {found}.")
        return features

    def _salient(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.salient_head(features).chunk(2, -1)

    def decode(self, z: Tensor, s: Tensor | None = None) -> Tensor:
        """Return the likelihood's parameters; without ``s``, those of background data.

        Raises:
            ValueError: if ``s`` has another shape than it should beside ``z``, or the decoder
                does not make data.
        """
        shape = (*z.shape[:-1], self.salient_dim)
        if s is None:
            s = z.new_zeros(shape)
        elif s.shape != shape:
            raise ValueError(f"s must have shape {shape} beside z; got {tuple(s.shape)}.")
        image = self.decoder(torch.cat([z, s], -1))
        if image.shape[-len(self.data_shape) :] != self.data_shape:  # else it would be broadcast
            raise ValueError(
                f"decoder must make data of shape {self.data_shape}; it makes {tuple(image.shape)}."
            )
        return image

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative sum of both bounds and its parts, in nats a datum of either set.

        Args:
            batch: target ``(B, ...)`` and background ``(B', ...)``.
        """
        _check_pair(batch)
        target, background = (self.prepare(x) for x in batch)
        rows = [len(target), len(background)]
        features = self._features(torch.cat([target, background]))
        mean, log_var = self.background_head(features).chunk(2, -1)
        salient_mean, salient_log_var = self._salient(features[: rows[0]])
        z, z_background = gaussian.reparameterize(mean, log_var).split(rows)
        s = gaussian.reparameterize(salient_mean, salient_log_var)
        shared_kl, background_kl = gaussian.kl_standard_normal(mean, log_var).split(rows)
        parts = {
            "reconstruction": -self.log_density(target, self.decode(z, s)).mean(),
            "shared_kl": shared_kl.mean(),
            "private_kl": gaussian.kl_standard_normal(salient_mean, salient_log_var).mean(),
            "background": -self.log_density(background, self.decode(z_background)).mean(),
            "background_kl": background_kl.mean(),
        }
        return sum(parts.values()), parts

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check both sets once, before training.

        Raises:
            TypeError: if the data are not a target and a background.
            ValueError: if they are unfit for the model.
        """
        _check_pair(data)
        for x in data:
            super().validate(x)


def _check_pair(data: Sequence[Tensor]) -> None:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError("data must be Unpaired(target, background).")

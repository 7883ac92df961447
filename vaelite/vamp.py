r"""The VampPrior: a prior made of the encoder itself (Tomczak and Welling, 2018, eq. 9).

.. math:: p(z) = \frac1M \sum_m q(z \mid u_m)

The pseudo-inputs :math:`u_m` are parameters.  With all training data in their place it would be the
aggregate posterior, and as expensive.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite.vae import VAE, Prior


class VampPrior(Prior):
    """The mixture of a model's encodings of M pseudo-inputs.

    Args:
        model: whose encoder it is.
        inputs: ``(M, *data_shape)`` where the pseudo-inputs start.
        task: ``(M,)`` integers for an encoder that is told a task; these stay.
    """

    def __init__(self, model: VAE, inputs: Tensor, task: Tensor | None = None) -> None:
        super().__init__(model.latent_dim)
        self._model = (model,)  # in a tuple: it is no part of the prior
        self.inputs = nn.Parameter(inputs.clone())
        self.register_buffer("task", None if task is None else task.clone())

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``(..., D) -> (...)``, with gradients to encoder and inputs."""
        return gaussian.log_mixture_density(z, *self._components())

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)``: pseudo-inputs at random, and a code of each."""
        mean, log_var = self._components()
        rows = torch.randint(len(mean), (count,), device=mean.device)
        return gaussian.reparameterize(mean[rows], log_var[rows])

    def _components(self) -> tuple[Tensor, Tensor]:
        (model,) = self._model
        batch = self.inputs if self.task is None else (self.inputs, self.task)
        return model._encode(model.prepare(batch))


class VampPriorVAE(VAE):
    """The VAE with a VampPrior, which is trained with it.

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        pseudo_inputs: ``(M, ...)`` where the pseudo-inputs start: training data at random.
        **options: ``likelihood`` and ``beta``.
    """

    def __init__(self, *args, pseudo_inputs: Tensor, **options) -> None:
        super().__init__(*args, **options)
        self.validate(pseudo_inputs)
        self.prior = VampPrior(self, self.prepare(pseudo_inputs))

r"""The density-ratio trick: a classifier that learns :math:`\ln q(z) / p(z)` from samples of both.

Label samples of q with 1 and as many samples of p with 0.  The best classifier has the logit

.. math:: T(z) = \ln \frac{q(z)}{p(z)}, \qquad \mathrm{KL}(q \,\|\, p) = \mathbb E_q[T(z)].

FactorVAE estimates a total correlation this way, and the optimal prior a KL divergence to the
aggregate posterior.

Sources: Sugiyama, Suzuki and Kanamori (2012); Kim and Mnih (2018), section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite._validation import check_count
from vaelite.nets import MLP


class DensityRatio(nn.Module):
    """A network T(z) that estimates ln q(z)/p(z); q carries the label 1.

    Args:
        dim: D, dimension of z.
        hidden: sizes of the hidden layers, each followed by a leaky rectifier of slope 0.2.
        lr: step size of the estimator's own Adam.

    Raises:
        ValueError: if a size or the step size is not positive.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (64, 64), *, lr: float = 1e-3) -> None:
        super().__init__()
        if not 0 < lr < math.inf:
            raise ValueError(f"lr must be positive and finite; got {lr}.")
        self.dim = dim
        self.lr = lr
        self.net = MLP(dim, hidden, 1, activation=lambda: nn.LeakyReLU(0.2))
        self._optimizer: torch.optim.Adam | None = None

    def log_ratio(self, z: Tensor) -> Tensor:
        """Return T(z) in nats, ``(..., D) -> (...)``; gradients flow to z."""
        if z.shape[-1:] != (self.dim,):
            raise ValueError(f"z must end in {self.dim} coordinates; got {tuple(z.shape)}.")
        return self.net(z).squeeze(-1)

    def kl(self, samples_q: Tensor) -> Tensor:
        r"""Return the estimate :math:`\frac1S \sum_s T(z_s)` of KL(q||p) in nats, a scalar.

        Use samples that the estimator was not fitted to: on its own training samples it is too
        high.  Gradients flow to the samples.
        """
        return self.log_ratio(samples_q).mean()

    def loss(self, samples_q: Tensor, samples_p: Tensor) -> Tensor:
        r"""Return the cross-entropy of the two labels in nats.

        .. math:: -\tfrac12 \mathbb E_q[\ln \sigma(T)] - \tfrac12 \mathbb E_p[\ln(1 - \sigma(T))]

        It is ln 2 for a network that knows nothing, and for the truth it is ln 2 minus the
        Jensen-Shannon divergence.
        """
        q, p = self.log_ratio(samples_q), self.log_ratio(samples_p)
        return 0.5 * (F.softplus(-q).mean() + F.softplus(p).mean())

    def step(self, samples_q: Tensor, samples_p: Tensor) -> Tensor:
        """Take one Adam step on detached samples; return the loss before it.

        This is the second update of a model that trains its estimator beside itself.
        """
        with torch.enable_grad():
            loss = self.loss(samples_q.detach(), samples_p.detach())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.optimizer.step()
        return loss.detach()

    @property
    def optimizer(self) -> torch.optim.Adam:
        """The estimator's own Adam, made when it is first needed: by then the device is known."""
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return self._optimizer

    def memory(self) -> dict:
        """Return Adam's memory, which a checkpoint keeps beside the weights."""
        return self.optimizer.state_dict()

    def remember(self, memory: dict) -> None:
        """Take Adam's memory back, so that a resumed run goes on as it was."""
        self.optimizer.load_state_dict(copy.deepcopy(memory))

    def fit(
        self,
        samples_q: Tensor,
        samples_p: Tensor,
        *,
        batch_size: int = 256,
        held_out: float = 0.2,
        patience: int = 10,
        max_epochs: int = 200,
        seed: int = 0,
    ) -> list[float]:
        """Fit to samples of both, and stop when the loss on held-out samples no longer falls.

        Without the stop the network learns its samples by heart, and the KL comes out too high.

        Args:
            samples_q: ``(N, D)`` from q.
            samples_p: ``(N, D)`` from p, as many.
            batch_size: samples of each kind per step.
            held_out: share of the samples that is kept for deciding when to stop.
            patience: epochs without a new best before it stops; the best state is restored.
            max_epochs: a bound on the epochs.
            seed: seed of the split and of the batches.

        Returns:
            The held-out loss after each epoch, in nats.

        Raises:
            TypeError: if the samples are not tensors of the estimator's precision.
            ValueError: if the samples do not have the shape, are not finite, or are too few to
                hold any out, or ``batch_size`` or ``max_epochs`` is not positive.
            FloatingPointError: if the held-out loss becomes NaN or infinite.
        """
        check_count("batch_size", batch_size)
        check_count("max_epochs", max_epochs)
        dtype = next(self.parameters()).dtype
        for name, samples in (("samples_q", samples_q), ("samples_p", samples_p)):
            if not isinstance(samples, Tensor) or samples.dtype != dtype:
                kind = samples.dtype if isinstance(samples, Tensor) else type(samples).__name__
                raise TypeError(f"{name} must be a tensor of {dtype}; got {kind}.")
            if samples.ndim != 2 or samples.shape[1] != self.dim:
                raise ValueError(f"{name} must be (N, {self.dim}); got {tuple(samples.shape)}.")
            if not bool(samples.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinite values.")
        if len(samples_q) != len(samples_p):
            raise ValueError(
                f"there must be as many samples of q as of p; got {len(samples_q)} and "
                f"{len(samples_p)}: the ratio would absorb the difference."
            )
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1; got {held_out}.")
        count = round(held_out * len(samples_q))
        if not 1 <= count < len(samples_q):
            raise ValueError(
                f"held_out = {held_out} of {len(samples_q)} samples leaves one part empty."
            )
        generator = torch.Generator().manual_seed(seed)
        splits = []
        for samples in (samples_q.detach(), samples_p.detach()):
            order = torch.randperm(len(samples), generator=generator).to(samples.device)
            splits.append((samples[order[count:]], samples[order[:count]]))
        (train_q, test_q), (train_p, test_p) = splits

        losses: list[float] = []
        best = self._kept()
        while len(losses) < max_epochs and len(losses) - _index_of_minimum(losses) <= patience:
            orders = [
                torch.randperm(len(train), generator=generator).to(train.device)
                for train in (train_q, train_p)
            ]
            for of_q, of_p in zip(*(order.split(batch_size) for order in orders), strict=True):
                self.step(train_q[of_q], train_p[of_p])
            with torch.no_grad():
                losses.append(self.loss(test_q, test_p).item())
            if not math.isfinite(losses[-1]):
                self._restore(best)
                raise FloatingPointError(
                    f"the density ratio diverged in epoch {len(losses)}: the held-out loss is "
                    f"{losses[-1]:g}; try a smaller step size."
                )
            if _index_of_minimum(losses) == len(losses) - 1:
                best = self._kept()
        self._restore(best)
        return losses

    def _kept(self) -> tuple[dict, dict]:
        return copy.deepcopy((self.state_dict(), self.memory()))

    def _restore(self, kept: tuple[dict, dict]) -> None:
        weights, memory = kept
        self.load_state_dict(weights)
        self.remember(memory)


def _index_of_minimum(losses: list[float]) -> int:
    return losses.index(min(losses)) if losses else 0


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep a module's parameters out of the graph; gradients still flow through it."""
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in zip(module.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)

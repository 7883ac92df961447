r"""ISA-VAE: a prior whose subspaces are independent, and which is not blind to rotations.

The paper: Stühmer, Turner and Nowozin (2020), section 3.  The prior changes, and with it the KL
term, which has no closed form any more.  Posterior, decoder and the rest of the objective stay.

The ISA-VAE (eq. 12) is ``VAE(..., prior=ISAPrior(sizes))``,

.. math:: \mathbb E_{q(z|x)}\big[\ln p(x|z) - \beta (\ln q(z|x) - \ln p_{\mathrm{ISA}}(z))\big],

and the ISA-TCVAE is ``BetaTCVAE(..., prior=ISAPrior(sizes))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite.distributions import IndependentSubspaces
from vaelite.distributions.lp_nested import log_abs, log_area, log_radii
from vaelite.vae import Prior


class ISAPrior(Prior):
    r"""The prior of eq. 7 to 11, with exponents that may be learned.

    Learned exponents start from the given ones and stay positive: the parameter is the inverse of
    softplus.  The density's normaliser depends on the exponents and is differentiated with them,
    at each step.  Of fixed exponents it is computed once, and again where they, ``p0`` or
    ``scale`` are assigned, loaded, or moved to another device or precision.

    Args:
        sizes: number of latents of each subspace.
        p0: exponent that joins the subspaces; never learned, as in the paper.
        p: exponent within the subspaces, one for all or one each.
        scale: s of eq. 11.
        learned: learn one exponent per subspace.
        estimator: of the KL term, as for :class:`vaelite.vae.Prior`; eq. 12 is ``sampled``.

    Raises:
        ValueError: as :class:`vaelite.distributions.IndependentSubspaces` and
            :class:`vaelite.vae.Prior` do.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        p0: float = 2.1,
        p: float | Sequence[float] = 2.2,
        scale: float = 1.0,
        *,
        learned: bool = False,
        estimator: str = "sampled",
    ) -> None:
        checked = IndependentSubspaces(sizes, p0, p, scale)
        super().__init__(sum(checked.sizes), estimator)
        self.sizes = checked.sizes
        self.p0, self.scale = float(p0), float(scale)
        start = checked.p.to(torch.get_default_dtype())
        raw = start + torch.log(-torch.expm1(-start))  # softplus(raw) == start
        self._learned = learned
        if learned:
            self.raw_p = nn.Parameter(raw)
        else:
            self.register_buffer("raw_p", raw)
        # What is the same at each step; nothing that a checkpoint needs.
        self.register_buffer("counts", raw.new_tensor(self.sizes), persistent=False)
        self.register_buffer("constant", torch.empty_like(raw), persistent=False)
        self._renew()

    @torch.no_grad()
    def _renew(self) -> None:
        """Compute the normaliser, or with learned exponents its part without them."""
        distribution = self.distribution
        part = distribution.log_radial if self._learned else distribution.log_normalizer
        self.constant.copy_(part)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign; the normaliser follows."""
        super().__setattr__(name, value)
        if name in ("p0", "scale", "raw_p") and "constant" in self._buffers:
            self._renew()

    def _apply(self, *args: Any, **options: Any) -> ISAPrior:
        """Move to another device or precision, where the normaliser has other digits."""
        super()._apply(*args, **options)
        self._renew()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        """Load; a state holds no normaliser."""
        super()._load_from_state_dict(*args)
        self._renew()

    @property
    def p(self) -> Tensor:
        """``(K,)``: the exponents of the subspaces, positive."""
        return F.softplus(self.raw_p)

    @property
    def distribution(self) -> IndependentSubspaces:
        """The prior at the present exponents; gradients flow to learned ones."""
        return IndependentSubspaces(self.sizes, self.p0, self.p, self.scale, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z) of eq. 7, ``(..., D) -> (...)``.

        Raises:
            ValueError: if ``z`` does not end in D coordinates.
        """
        # As IndependentSubspaces.log_prob, without its checks and with what stays the same.
        if z.shape[-1:] != (self.dim,):
            raise ValueError(f"z must end in {self.dim} coordinates; got {tuple(z.shape)}.")
        p = self.p
        energy = torch.exp(self.p0 * log_radii(log_abs(z), self.sizes, p.to(z))) / self.scale
        normalizer = self.constant
        if self._learned:
            normalizer = normalizer + log_area(self.counts, p)
        return -(energy + normalizer.to(z)).sum(-1)

    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)`` codes, by Algorithm 1."""
        return self.distribution.sample((count,))

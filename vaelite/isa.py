r"""ISA-VAE: a prior whose subspaces are independent, and which is not blind to rotations.

The paper: Stühmer, Turner and Nowozin (2020), section 3.  The prior changes, and with it the KL
term, which has no closed form any more.  Posterior, decoder and the rest of the objective stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite.disentangle import BetaTCVAE
from vaelite.distributions import IndependentSubspaces
from vaelite.vae import VAE


class ISAPrior(nn.Module):
    r"""The prior of eq. 7 to 11 as a module, with exponents that may be learned.

    Learned exponents start from the given ones and stay positive: the parameter is the inverse of
    softplus.  The density's normaliser depends on the exponents and is differentiated with them,
    at each step.

    Args:
        sizes: number of latents of each subspace.
        p0: exponent that joins the subspaces; never learned, as in the paper.
        p: exponent within the subspaces, one for all or one each.
        scale: s of eq. 11.
        learned: learn one exponent per subspace.

    Raises:
        ValueError: as :class:`vaelite.distributions.IndependentSubspaces` does.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        p0: float = 2.1,
        p: float | Sequence[float] = 2.2,
        scale: float = 1.0,
        *,
        learned: bool = False,
    ) -> None:
        super().__init__()
        checked = IndependentSubspaces(sizes, p0, p, scale)
        self.sizes = checked.sizes
        self.p0, self.scale = float(p0), float(scale)
        start = checked.p.to(torch.get_default_dtype())
        raw = start + torch.log(-torch.expm1(-start))  # softplus(raw) == start
        if learned:
            self.raw_p = nn.Parameter(raw)
        else:
            self.register_buffer("raw_p", raw)

    @property
    def p(self) -> Tensor:
        """``(K,)``: the exponents of the subspaces, positive."""
        return F.softplus(self.raw_p)

    @property
    def distribution(self) -> IndependentSubspaces:
        """The prior at the present exponents; gradients flow to learned ones."""
        return IndependentSubspaces(self.sizes, self.p0, self.p, self.scale, validate_args=False)


class _WithISAPrior:
    """What changes in a VAE when its prior does; combine with :class:`vaelite.vae.VAE`."""

    def __init__(self, *args, prior: ISAPrior, **options) -> None:
        super().__init__(*args, **options)
        if not isinstance(prior, ISAPrior):
            raise TypeError(f"prior must be an ISAPrior; got {type(prior).__name__}.")
        if sum(prior.sizes) != self.latent_dim:
            raise ValueError(
                f"the subspace sizes {prior.sizes} sum to {sum(prior.sizes)}; "
                f"the latent dimension is {self.latent_dim}."
            )
        self.prior = prior

    def log_prior(self, z: Tensor) -> Tensor:
        """Return ln p(z) of eq. 7, ``(..., D) -> (...)``."""
        return self.prior.distribution.log_prob(z)

    def sample_prior(self, count: int) -> Tensor:
        """Draw ``(count, D)`` codes from the prior, by Algorithm 1."""
        return self.prior.distribution.sample((count,))

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Estimate KL(q(z|x) || p(z)) at the sample z, ``(B,)``, as eq. 12 does."""
        return self.log_posterior(z, mean, log_var) - self.log_prior(z)


class ISAVAE(_WithISAPrior, VAE):
    r"""The ISA-VAE, eq. 12.

    .. math:: \mathbb E_{q(z|x)}\big[\ln p(x|z) - \beta (\ln q(z|x) - \ln p_{\mathrm{ISA}}(z))\big]

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        prior: the :class:`ISAPrior`; its sizes sum to the latent dimension.
        **options: as for :class:`vaelite.vae.VAE`.

    Raises:
        ValueError: if the subspace sizes do not sum to the latent dimension.
    """


class ISATCVAE(_WithISAPrior, BetaTCVAE):
    r"""The ISA-TCVAE: the beta-TCVAE's objective with the ISA prior.

    The paper names the combination without writing it out.  The total correlation does not see
    the prior, so it is the beta-TCVAE's; the dimension-wise term becomes
    :math:`\mathbb E_{q(z)}[\sum_d \ln q(z_d) - \ln p_{\mathrm{ISA}}(z)]`.  At beta = 1 the
    objective is that of the ISA-VAE.

    Args:
        *args: as for :class:`vaelite.vae.VAE`.
        prior: the :class:`ISAPrior`.
        dataset_size: N, as for :class:`vaelite.disentangle.BetaTCVAE`.
        **options: as for :class:`vaelite.vae.VAE`.
    """

r"""Many aspects of one thing: views, limbs, modalities, of which some may be missing.

The paper: Ainsworth, Foti and Fox (2018), "Disentangled VAE representations for multi-aspect and
missing data" (factVAE), with its relatives.  A datum is :math:`x = (x^{(1)}, \dots, x^{(G)})`; the
groups share one code z, and each has a decoder and an encoder of its own.

**The decoder** of a group sees the code through a matrix (eq. 5), and **the encoder** of a group
has an opinion about it, a normal with a diagonal precision:

.. math::
    x^{(g)} \sim p\big(x^{(g)} \mid f_g(W^{(g)} z)\big), \qquad
    q_g(z \mid x^{(g)}) = \mathcal N\big(\mu_g(x^{(g)}), \; \Lambda_g^{-1}\big), \quad
    \Lambda_g = \operatorname{diag} |V^{(g)} \varphi_g(x^{(g)})|

**The experts multiply** (eq. 6), the prior N(0, I) among them once, and only groups that are there:
:func:`vaelite.gaussian.product_of_experts`.

**One pattern of zeros** for both: column j of :math:`\Phi^{(g)} = [W^{(g)\top}, V^{(g)}]^\top` is
all that ties latent j to group g.  A group lasso shrinks its norm (eq. 7 to 9, algorithm 1).

======================  ==========================================================================
:class:`FactVAE`        product of experts, sparsity on W and V jointly; lambda = 0 for none
:class:`OIVAE`          one encoder for all groups together, sparsity on W (Ainsworth et al., 2018)
:class:`JMVAEPlus`      a uniform mixture of the experts, by the bound that its convexity gives
:class:`MMVAE`          the same mixture, by its own density (Shi et al., 2019)
:class:`MVAE`           product of experts, and the bounds of subsets (Wu and Goodman, 2018)
======================  ==========================================================================

A batch is a flat tuple ``(x_1, ..., x_G, observed)``: a tensor ``(B, d_g)`` for each group, and a
mask ``(B, G)`` of bools.  What stands in a group that is not observed is never looked at, NaN
included.  There are two masks: the model infers z from the groups of one, and is scored on those
of the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count
from vaelite.nets import MLP, Activation, GaussianEncoder, as_float
from vaelite.vae import Gaussian, Likelihood, likelihood_of

# Networks, one for each group.


class GroupMLP(nn.Module):
    """One multilayer perceptron for each of G groups, all evaluated together.

    Groups of fewer features than the widest are padded with zeros, whose weights never matter.

    Args:
        in_features: G sizes.
        hidden: sizes of the hidden layers, the same in every group.
        out_features: G sizes.
        activation: what makes the module after a hidden layer.
        last: whether an activation follows the last layer too.
    """

    def __init__(
        self,
        in_features: Sequence[int],
        hidden: Sequence[int],
        out_features: Sequence[int],
        activation: Activation = nn.ReLU,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.out_features = tuple(check_count("out_features", size) for size in out_features)
        sizes = [tuple(in_features), *((size,) * len(in_features) for size in hidden)]
        sizes.append(self.out_features)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            bound = torch.tensor([size**-0.5 for size in before]).view(-1, 1, 1)
            shape = (len(before), max(before), max(after))
            self.weights.append(bound * (2 * torch.rand(shape) - 1))
            self.biases.append(bound * (2 * torch.rand(shape[0], 1, shape[2]) - 1))
        self.activation, self.last = activation(), last

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(G, B, in) -> (G, B, out)``, both as wide as the widest group."""
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if self.last or index + 1 < len(self.weights):
                x = self.activation(x)
        return x


class GroupConvEncoder(nn.Module):
    """Features of images, one convolutional network for each of G groups, all evaluated together.

    The paper adapts DCGAN (Radford, Metz and Chintala, 2016) and does not say how.  Here strided
    convolutions halve the image, and all but the first double the channels, until its shorter side
    has four pixels; then a linear layer.  There is no batch normalisation: the blanks that stand
    for missing images would change the features of those that are there.

    Args:
        groups: G.
        image_shape: ``(C, H, W)`` of each group; H and W are powers of two from 8.
        out_features: H, features of each group.
        width: channels of the first convolution, in each group.

    Raises:
        ValueError: if a number is not positive, or the shape is another.
    """

    def __init__(
        self, groups: int, image_shape: Sequence[int], out_features: int, width: int = 32
    ) -> None:
        super().__init__()
        groups, channels, start = _pyramid(groups, image_shape, width)
        self.out_features = (check_count("out_features", out_features),) * groups
        self.image_shape = tuple(image_shape)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers.append(nn.Conv2d(groups * before, groups * after, **_WINDOW, groups=groups))
            layers.append(nn.LeakyReLU(0.2))
        self.convolutions = nn.Sequential(*layers)
        self.last = GroupMLP([math.prod(start)] * groups, [], self.out_features, last=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(G, B, C H W) -> (G, B, out_features)``."""
        return self.last(_apart(self.convolutions(_together(x, self.image_shape)), len(x)))


class GroupConvDecoder(nn.Module):
    """Images from codes, one convolutional network for each of G groups, all evaluated together.

    The mirror image of :class:`GroupConvEncoder`: a linear layer, then transposed convolutions.

    Args:
        groups: G.
        in_features: p, of each group's code.
        image_shape: ``(C, H, W)`` of each group; H and W are powers of two from 8.
        width: channels of the last hidden layer, in each group.

    Raises:
        ValueError: if a number is not positive, or the shape is another.
    """

    def __init__(
        self, groups: int, in_features: int, image_shape: Sequence[int], width: int = 32
    ) -> None:
        super().__init__()
        groups, channels, self.start = _pyramid(groups, image_shape, width)
        check_count("in_features", in_features)
        self.out_features = (math.prod(image_shape),) * groups
        sizes = [math.prod(self.start)] * groups
        self.first = GroupMLP([in_features] * groups, [], sizes, last=True)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels[::-1]):
            layers.append(
                nn.ConvTranspose2d(groups * before, groups * after, **_WINDOW, groups=groups)
            )
            layers.append(nn.ReLU())
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, code: Tensor) -> Tensor:
        """Return ``(G, B, p) -> (G, B, C H W)``."""
        return _apart(self.convolutions(_together(self.first(code), self.start)), len(code))


_WINDOW = {"kernel_size": 4, "stride": 2, "padding": 1}  # halves, or doubles, each side


def _pyramid(
    groups: int, image_shape: Sequence[int], width: int
) -> tuple[int, list[int], tuple[int, int, int]]:
    """Return G, the channels from image to smallest layer, and the shape of the smallest layer."""
    shape = tuple(image_shape)
    sides = [check_count("a size of image_shape", size) for size in shape][1:]
    if len(shape) != 3 or any(side < 8 or side & (side - 1) for side in sides):
        raise ValueError(
            f"image_shape must be (C, H, W), H and W powers of two from 8; got {image_shape}."
        )
    halvings = (min(sides) // 4).bit_length() - 1
    channels = [shape[0], *(check_count("width", width) * 2**i for i in range(halvings))]
    rows, columns = (side >> halvings for side in sides)
    return check_count("groups", groups), channels, (channels[-1], rows, columns)


def _together(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Put groups beside each other, as channels: ``(G, B, C H W) -> (B, G C, H, W)``."""
    return x.transpose(0, 1).reshape(x.shape[1], -1, *shape[1:])


def _apart(x: Tensor, groups: int) -> Tensor:
    """Undo :func:`_together`."""
    return x.reshape(len(x), groups, -1).transpose(0, 1)


# The proximal operator of the group lasso.


def group_lasso_prox(phi: Tensor, threshold: float) -> Tensor:
    r"""Shrink each column's norm by a threshold, to exact zero below it (algorithm 1).

    .. math::
        \operatorname{prox}(\Phi)_{\cdot j} = \Phi_{\cdot j} \,
        \Big(1 - \frac{t}{\lVert \Phi_{\cdot j} \rVert_2}\Big)_+
        = \arg\min_u \tfrac12 \lVert u - \Phi_{\cdot j} \rVert^2 + t \lVert u \rVert

    Args:
        phi: ``(..., p, K)``.
        threshold: t, step size times penalty; not negative.

    Raises:
        ValueError: if the threshold is negative or not finite.
    """
    if not 0 <= threshold < math.inf:
        raise ValueError(f"threshold must be finite and not negative; got {threshold}.")
    if threshold == 0:
        return phi
    norms = phi.norm(dim=-2, keepdim=True)
    # A difference first: 1 - t / t is not zero where t / t is a reciprocal and a product.
    left = (norms - threshold).clamp(min=0)
    return phi * (left / norms.clamp(min=torch.finfo(phi.dtype).tiny))


class Prepared(NamedTuple):
    """Groups of zeros where nothing was observed, and the mask."""

    x: tuple[Tensor, ...]  # G times (B, d_g)
    mask: Tensor  # (G, B)


# The generator, which all of them share.


class GroupedVAE(nn.Module):
    r"""A VAE whose decoder has a part for each group, behind a matrix with sparse columns.

    .. math:: x^{(g)} \sim p\big(x^{(g)} \mid f_g(W^{(g)} z)\big), \qquad z \sim \mathcal N(0, I)

    Subclasses say how z is inferred.  The matrices are moved by algorithm 1, not by Adam: a plain
    gradient step, then the proximal operator, both with the step size ``phi_lr``.

    Args:
        sizes: number of features d_g of each group.
        latent_dim: K.
        hidden: sizes of the encoders' hidden layers; the decoders have them in reverse.
        rank: p, the rows of each W; by default K.
        likelihoods: one for each group, by name or as an instance; by default a normal with a
            learned variance for each feature.  Groups of one model may have different ones.
        sparsity: lambda, the weight of the columns' norms beside a loss in nats a datum.  The
            paper's objective is that of all N data: its lambda is N times this one.
        phi_lr: eta, step size of the matrices.
        drop: chance with which training hides an observed group from inference.
        dataset_size: N; with it the weights of the networks have the prior N(0, I), whose log
            density counts once for all N data.  By default they have none.
        activation: what makes the module after a hidden layer.
        decoder: what decodes ``(G, B, p) -> (G, B, widest)``, with ``out_features`` of each group,
            such as :class:`GroupConvDecoder`; by default a :class:`GroupMLP`.

    Raises:
        ValueError: if a size is not positive, there are not as many likelihoods as groups,
            ``sparsity``, ``phi_lr`` or ``drop`` is out of range, or a given network has other sizes
            than it should.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (64,),
        *,
        rank: int | None = None,
        likelihoods: Sequence[str | Likelihood] | None = None,
        sparsity: float = 0.0,
        phi_lr: float = 1e-2,
        drop: float = 0.5,
        dataset_size: int | None = None,
        activation: Activation = nn.ReLU,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.sizes = tuple(check_count("sizes", size) for size in sizes)
        self.latent_dim = check_count("latent_dim", latent_dim)
        for name, value, top in (
            ("sparsity", sparsity, math.inf),
            ("phi_lr", phi_lr, math.inf),
            ("drop", drop, 1.0),
        ):
            if not 0 <= value < top:
                raise ValueError(f"{name} must lie from 0 to below {top}; got {value}.")
        if dataset_size is not None:
            check_count("dataset_size", dataset_size)
        self.sparsity, self.phi_lr, self.drop = sparsity, phi_lr, drop
        self.dataset_size = dataset_size
        rank = check_count("rank", latent_dim if rank is None else rank)
        groups = len(self.sizes)
        self.W = nn.Parameter(torch.randn(groups, rank, latent_dim) / math.sqrt(latent_dim))
        if decoder is None:
            decoder = GroupMLP([rank] * groups, hidden[::-1], self.sizes, activation)
        if decoder.out_features != self.sizes:
            raise ValueError(f"decoder must give {self.sizes}; it gives {decoder.out_features}.")
        self.decoder = decoder
        if likelihoods is None:
            likelihoods = [Gaussian(torch.ones(size), learned=True) for size in self.sizes]
        if len(likelihoods) != groups:
            raise ValueError(f"there are {groups} groups and {len(likelihoods)} likelihoods.")
        self.likelihoods = nn.ModuleList(
            likelihood_of(given, (size,))
            for given, size in zip(likelihoods, self.sizes, strict=True)
        )

    # Data and the two masks.

    def prepare(self, batch: Sequence[Tensor]) -> Prepared:
        """Return the groups side by side, zero where nothing was observed, and the mask.

        Raises:
            TypeError: if the batch is no tuple of G tensors and a mask of bools.
            ValueError: if a group or the mask has another shape than it should.
        """
        groups = len(self.sizes)
        if not isinstance(batch, (tuple, list)) or len(batch) != groups + 1:
            raise TypeError(f"data must be a tuple of {groups} groups and a mask.")
        *parts, observed = batch
        if not isinstance(observed, Tensor) or observed.dtype != torch.bool:
            raise TypeError("the last of the tuple must be the mask, a tensor of bools.")
        rows = len(observed) if observed.ndim else 0
        if observed.shape != (rows, groups) or not rows:
            raise ValueError(f"the mask must be (B, {groups}); got {tuple(observed.shape)}.")
        mask = observed.mT  # (G, B)
        values = []
        for part, size, there in zip(parts, self.sizes, mask, strict=True):
            x = as_float(part, self.W.dtype)
            if x.shape != (rows, size):
                raise ValueError(f"a group must be {(rows, size)}; got {tuple(x.shape)}.")
            # Before the network: its output would turn a NaN's zero gradient into NaN again.
            values.append(x.masked_fill(~there.unsqueeze(-1), 0.0))
        return Prepared(tuple(values), mask)

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check a whole data set once, before training.

        Raises:
            TypeError: as :meth:`prepare`.
            ValueError: as :meth:`prepare`; or if an observed value is NaN, infinite, or outside
                the support of its group's likelihood; or if a group is never observed.
        """
        prepared = self.prepare(data)
        for g, (x, there) in enumerate(zip(prepared.x, prepared.mask, strict=True)):
            if not bool(there.any()):
                raise ValueError(f"group {g} is not observed in any datum.")
            if not bool(x.isfinite().all()):
                raise ValueError(f"group {g} holds NaN or infinite values where it is observed.")
            seen = x[there]
            self.likelihoods[g].check(seen.min().item(), seen.max().item())

    def inferred_from(self, mask: Tensor) -> Tensor:
        """Hide each observed group with the chance ``drop`` in training; ``(G, B)``."""
        if not self.training or not self.drop:
            return mask
        return mask & (torch.rand(mask.shape, device=mask.device) >= self.drop)

    # The generator, eq. 5.

    def decode(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return each group's likelihood parameters, ``(..., K) -> G times (..., d_g)``."""
        flat = z.reshape(-1, self.latent_dim)
        out = self.decoder(torch.einsum("gpk,bk->gbp", self.W, flat))  # (G, ..., widest)
        return tuple(
            out[g, :, :size].reshape(*z.shape[:-1], size) for g, size in enumerate(self.sizes)
        )

    def log_likelihoods(self, x: Sequence[Tensor], z: Tensor) -> Tensor:
        """Return ln p(x_g | z) of each group, ``(G, ..., B)``; ``x`` is prepared."""
        return torch.stack(
            [
                likelihood.log_density(part, parameters).sum(-1)
                for likelihood, part, parameters in zip(
                    self.likelihoods, x, self.decode(z), strict=True
                )
            ]
        )

    def log_likelihood(self, prepared: Prepared, z: Tensor) -> Tensor:
        """Return the observed groups' ln p(x | z), ``(..., B)``."""
        scored = self.log_likelihoods(prepared.x, z)
        mask = prepared.mask.view(len(self.sizes), *[1] * (z.ndim - 2), -1)
        return scored.masked_fill(~mask, 0.0).sum(0)

    # The prior on the weights, and algorithm 1.

    def columns(self) -> Tensor:
        """Return Phi, ``(G, rows, K)``: what ties each latent to each group."""
        return self.W

    def _put(self, phi: Tensor) -> None:
        self.W = nn.Parameter(phi)

    def _slopes(self) -> Tensor:
        return self.W.grad

    def norms(self) -> Tensor:
        """Return the columns' norms, ``(G, K)``: exact zeros where a latent has no part."""
        return self.columns().norm(dim=-2)

    def after_step_parameters(self) -> list[nn.Parameter]:
        """Return what Adam must not touch."""
        return [self.W]

    @torch.no_grad()
    def after_step(self, batch: Sequence[Tensor], carry: None = None) -> None:
        """Move the matrices: a plain gradient step, then the proximal operator."""
        moved = self.columns() - self.phi_lr * self._slopes()
        self._put(group_lasso_prox(moved, self.phi_lr * self.sparsity))

    def _with_priors(self, bound: Tensor, parts: dict[str, Tensor]) -> tuple[Tensor, dict]:
        """Add what does not depend on the batch; the norms' gradient is the proximal step's."""
        penalty = self.sparsity * self.norms().sum().detach()
        loss, parts = bound + penalty, {**parts, "penalty": penalty}
        if self.dataset_size is not None:
            own = {id(parameter) for parameter in self.after_step_parameters()}
            weights = [
                parameter
                for module in (self.decoder, *self._encoders())
                for parameter in module.parameters()
                if id(parameter) not in own
            ]
            parts["weights"] = 0.5 * sum(w.square().sum() for w in weights) / self.dataset_size
            loss = loss + parts["weights"]
        return loss, parts

    def _encoders(self) -> list[nn.Module]:
        raise NotImplementedError

    # What follows.

    @torch.no_grad()
    def sample(self, count: int) -> tuple[Tensor, ...]:
        """Draw codes from the prior and decode them: the means of each group, ``(count, d_g)``."""
        z = torch.randn(count, self.latent_dim, dtype=self.W.dtype, device=self.W.device)
        return self._means(self.decode(z))

    def _means(self, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            likelihood.mean(one)
            for likelihood, one in zip(self.likelihoods, parameters, strict=True)
        )


# Inference by a product of experts.


class NormalVAE(GroupedVAE):
    """A model whose q(z|x) is one normal: what its bound and its weights are."""

    def infer(self, prepared: Prepared, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z | groups of the mask), each ``(B, K)``."""
        raise NotImplementedError

    def encode(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x) from all observed groups, each ``(B, K)``."""
        prepared = self.prepare(batch)
        return self.infer(prepared, prepared.mask)

    def loss(
        self, batch: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative of eq. 9 in nats a datum, and its parts.

        Args:
            batch: ``(x_1, ..., x_G, observed)``.
            noise: standard normal draws ``(B, K)``; by default fresh ones.

        Returns:
            The scalar, and ``reconstruction``, ``kl``, ``penalty``, and ``weights`` where the
            networks' weights have a prior.  The penalty is in the loss and not in its gradient.
        """
        prepared = self.prepare(batch)
        reconstruction, kl = self._bound(prepared, self.inferred_from(prepared.mask), noise)
        parts = {"reconstruction": reconstruction, "kl": kl}
        return self._with_priors(reconstruction + kl, parts)

    def _bound(
        self, prepared: Prepared, mask: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_var = self.infer(prepared, mask)
        z = gaussian.reparameterize(mean, log_var, noise)
        kl = gaussian.kl_standard_normal(mean, log_var).mean()
        return -self.log_likelihood(prepared, z).mean(), kl

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Infer z, draw it and decode it into the parameters of all groups, G times (B, d_g)."""
        return self.decode(gaussian.reparameterize(*self.encode(batch)))

    def log_weights(self, batch: Sequence[Tensor], samples: int) -> Tensor:
        """Draw log importance weights ``(S, B)``; their mean estimates p(observed groups)."""
        prepared = self.prepare(batch)
        mean, log_var = self.infer(prepared, prepared.mask)
        noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = gaussian.reparameterize(mean, log_var, noise)
        log_prior = gaussian.log_standard_normal(z)
        log_q = gaussian.log_density(z, mean, log_var)
        return self.log_likelihood(prepared, z) + log_prior - log_q

    @torch.no_grad()
    def reconstruct(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Infer z from the observed groups, and decode its mean into all groups."""
        mean, _ = self.encode(batch)
        return self._means(self.decode(mean))


class FactVAE(NormalVAE):
    r"""factVAE: an encoder for each group, their product, one pattern of zeros for both ends.

    .. math::
        q(z \mid x) \propto \mathcal N(0, I) \prod_{g \in \mathcal I}
        \mathcal N\big(z; \mu_g(x^{(g)}), \Lambda_g(x^{(g)})^{-1}\big), \qquad
        \Lambda_g = \operatorname{diag}|V^{(g)} \varphi_g(x^{(g)})|

    A zero in the precision is an infinite variance: the group says nothing about that latent.

    Args:
        *args: as for :class:`GroupedVAE`.
        features: what turns groups into features, ``(G, B, widest) -> (G, B, H)``, with
            ``out_features``, such as :class:`GroupConvEncoder`; by default a :class:`GroupMLP`.
        **options: as for :class:`GroupedVAE`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (64,),
        *,
        features: nn.Module | None = None,
        **options,
    ) -> None:
        super().__init__(sizes, latent_dim, hidden, **options)
        groups, activation = len(self.sizes), options.get("activation", nn.ReLU)
        if features is None:
            features = GroupMLP(
                self.sizes, hidden[:-1], [hidden[-1]] * groups, activation, last=True
            )
        self.features, width = features, _width(features, groups)
        self.means = GroupMLP([width] * groups, [], [latent_dim] * groups)
        self.V = nn.Parameter(torch.randn(groups, latent_dim, width) / math.sqrt(width))

    def experts(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Return each group's mean and precision, ``(G, B, K)`` each."""
        features = self.features(_side_by_side(prepared.x))
        precision = torch.einsum("gkh,gbh->gbk", self.V, features).abs()
        return self.means(features), precision

    def infer(self, prepared: Prepared, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the experts of the mask and the prior (eq. 6); ``(B, K)`` each."""
        mean, variance = gaussian.product_of_experts(*self.experts(prepared), mask)
        return mean, variance.log()

    def columns(self) -> Tensor:
        """Return Phi, W above the transpose of V, ``(G, p + H, K)``."""
        return torch.cat([self.W, self.V.mT], 1)

    def _put(self, phi: Tensor) -> None:
        rank = self.W.shape[1]
        self.W, self.V = nn.Parameter(phi[:, :rank]), nn.Parameter(phi[:, rank:].mT.contiguous())

    def _slopes(self) -> Tensor:
        return torch.cat([self.W.grad, self.V.grad.mT], 1)

    def after_step_parameters(self) -> list[nn.Parameter]:
        """Return what Adam must not touch."""
        return [self.W, self.V]

    def _encoders(self) -> list[nn.Module]:
        return [self.features, self.means]


class OIVAE(NormalVAE):
    """oi-VAE: the sparse decoder alone; one encoder looks at all groups, which must all be there.

    Args:
        *args: as for :class:`GroupedVAE`.
        **options: as for :class:`GroupedVAE`, without ``drop``.
    """

    def __init__(
        self, sizes: Sequence[int], latent_dim: int, hidden: Sequence[int] = (64,), **options
    ) -> None:
        super().__init__(sizes, latent_dim, hidden, drop=0.0, **options)
        activation = options.get("activation", nn.ReLU)
        self.encoder = GaussianEncoder(MLP(sum(self.sizes), hidden, 2 * latent_dim, activation))

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check a data set; beside the base class's reasons, a missing group is a ValueError."""
        super().validate(data)
        if not bool(data[-1].all()):
            raise ValueError("the oi-VAE has one encoder for all groups; none may be missing.")

    def infer(self, prepared: Prepared, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, ``(B, K)`` each, whatever the mask says."""
        return self.encoder(torch.cat(prepared.x, -1))

    def _encoders(self) -> list[nn.Module]:
        return [self.encoder]


class MVAE(FactVAE):
    r"""MVAE: the product of experts, trained on the bounds of subsets (Wu and Goodman, 2018).

    The loss sums the bound of all observed groups, that of each group alone, and that of
    ``subsets`` random ones; each is scored on its own groups, where factVAE is scored on all.

    Args:
        *args: as for :class:`FactVAE`.
        subsets: random subsets a step.
        **options: as for :class:`FactVAE`, without ``drop``.
    """

    def __init__(self, *args, subsets: int = 1, **options) -> None:
        super().__init__(*args, drop=0.0, **options)
        self.subsets = subsets

    def loss(
        self, batch: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the negative bounds, and the parts of the whole one's.

        Args:
            batch: ``(x_1, ..., x_G, observed)``.
            noise: standard normal draws ``(1 + G + subsets, B, K)``; by default fresh ones.
        """
        prepared = self.prepare(batch)
        whole, (mean, precision) = prepared.mask, self.experts(prepared)
        alone = torch.eye(len(self.sizes), dtype=torch.bool, device=whole.device).unsqueeze(-1)
        half = torch.rand((self.subsets, *whole.shape), device=whole.device) < 0.5
        sets = torch.cat([whole.unsqueeze(0), whole & alone, whole & half]).transpose(0, 1)
        shape = (*sets.shape, self.latent_dim)  # (G, S, B, K): all subsets by the same experts
        mean, variance = gaussian.product_of_experts(
            mean.unsqueeze(1).expand(shape), precision.unsqueeze(1).expand(shape), sets
        )
        log_var = variance.log()
        z = gaussian.reparameterize(mean, log_var, noise)  # (S, B, K)
        scored = self.log_likelihoods(prepared.x, z).masked_fill(~sets, 0.0)  # (G, S, B)
        reconstruction = -scored.sum(0).mean(-1)
        kl = gaussian.kl_standard_normal(mean, log_var).mean(-1)
        parts = {"reconstruction": reconstruction[0], "kl": kl[0]}
        return self._with_priors((reconstruction + kl).sum(), parts)


# Inference by a mixture of experts.


class MMVAE(GroupedVAE):
    r"""A uniform mixture of the groups' posteriors (Shi et al., 2019).

    .. math::
        q(z \mid x) = \frac1{|\mathcal O|} \sum_{g \in \mathcal O} q_g(z \mid x^{(g)}), \qquad
        \frac1{|\mathcal O|} \sum_{g \in \mathcal O} \mathbb E_{q_g}
        \big[\ln p(x \mid z) + \ln p(z) - \ln q(z \mid x)\big]

    One sample of each observed group's posterior stands for its expectation.

    Args:
        *args: as for :class:`GroupedVAE`.
        features: as for :class:`FactVAE`.
        **options: as for :class:`GroupedVAE`, without ``drop``: each code is inferred from one
            group in any case.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (64,),
        *,
        features: nn.Module | None = None,
        **options,
    ) -> None:
        super().__init__(sizes, latent_dim, hidden, drop=0.0, **options)
        groups, activation = len(self.sizes), options.get("activation", nn.ReLU)
        ends = [2 * latent_dim] * groups
        if features is None:
            self.encoder = GroupMLP(self.sizes, hidden, ends, activation)
        else:
            last = GroupMLP([_width(features, groups)] * groups, [], ends)
            self.encoder = nn.Sequential(features, last)

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check a data set; a datum without any group, which has no mixture, is a ValueError."""
        super().validate(data)
        if not bool(data[-1].any(1).all()):
            raise ValueError("a mixture of experts needs an observed group in each datum.")

    def experts(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Return each group's mean and log variance, ``(G, B, K)`` each."""
        return self.encoder(_side_by_side(prepared.x)).chunk(2, -1)

    def log_mixture(self, z: Tensor, experts: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Return ln q(z|x), ``(S, B, K) -> (S, B)``; as many experts as the mask observes."""
        log_q = gaussian.log_density(z.unsqueeze(1), *experts)  # (S, G, B)
        log_q = log_q.masked_fill(~mask, -math.inf).logsumexp(1)
        return log_q - mask.sum(0).log()

    def loss(
        self, batch: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative bound in nats a datum, and its parts.

        Args:
            batch: ``(x_1, ..., x_G, observed)``.
            noise: standard normal draws ``(G, B, K)``; by default fresh ones.
        """
        prepared = self.prepare(batch)
        mean, log_var = self.experts(prepared)
        z = gaussian.reparameterize(mean, log_var, noise)  # (G, B, K): one sample of each
        share = prepared.mask / prepared.mask.sum(0)  # (G, B)
        reconstruction = -(share * self.log_likelihood(prepared, z)).sum(0).mean()
        kl = (share * self._divergences(z, mean, log_var, prepared.mask)).sum(0).mean()
        parts = {"reconstruction": reconstruction, "kl": kl}
        return self._with_priors(reconstruction + kl, parts)

    def _divergences(self, z: Tensor, mean: Tensor, log_var: Tensor, mask: Tensor) -> Tensor:
        log_prior = gaussian.log_standard_normal(z)
        return self.log_mixture(z, (mean, log_var), mask) - log_prior

    def log_weights(self, batch: Sequence[Tensor], samples: int) -> Tensor:
        """Draw log importance weights ``(S, B)``, each code from one observed group at random."""
        prepared = self.prepare(batch)
        experts = self.experts(prepared)
        z = self._draw(experts, prepared.mask, samples)
        log_prior = gaussian.log_standard_normal(z)
        log_q = self.log_mixture(z, experts, prepared.mask)
        return self.log_likelihood(prepared, z) + log_prior - log_q

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Draw z from one observed group at random, and decode it into all groups' parameters."""
        prepared = self.prepare(batch)
        return self.decode(self._draw(self.experts(prepared), prepared.mask, 1)[0])

    def _draw(self, experts: tuple[Tensor, Tensor], mask: Tensor, samples: int) -> Tensor:
        """Draw codes ``(S, B, K)``, each from one observed group at random."""
        mean, log_var = experts
        chosen = torch.multinomial(mask.mT.to(mean.dtype), samples, replacement=True)
        rows = torch.arange(len(chosen), device=mean.device)
        pick = (chosen.mT, rows)  # (S, B) and (B,)
        return gaussian.reparameterize(mean[pick], log_var[pick])

    @torch.no_grad()
    def reconstruct(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Decode a sample's mean: that of one observed group at random, as a mixture has it."""
        prepared = self.prepare(batch)
        mean, _ = self.experts(prepared)
        chosen = torch.multinomial(prepared.mask.mT.to(mean.dtype), 1)[:, 0]
        return self._means(self.decode(mean[chosen, torch.arange(len(chosen))]))

    def _encoders(self) -> list[nn.Module]:
        return [self.encoder]


class JMVAEPlus(MMVAE):
    r"""JMVAE+: the mixture by a looser bound, in which the KL has a closed form.

    .. math::
        \mathrm{KL}\Big(\tfrac1{|\mathcal O|} \sum_g q_g \,\Big\|\, p\Big)
        \le \tfrac1{|\mathcal O|} \sum_g \mathrm{KL}(q_g \,\|\, p),

    since the divergence is convex.  The paper says that a further bound is needed, and not which.

    Args:
        *args: as for :class:`MMVAE`.
        **options: as for :class:`MMVAE`.
    """

    def _divergences(self, z: Tensor, mean: Tensor, log_var: Tensor, mask: Tensor) -> Tensor:
        return gaussian.kl_standard_normal(mean, log_var)


class Categorical(nn.Module):
    r"""One class of several, from logits: a label as a group beside an image.

    Data are indicators, one in the column of the class.
    """

    def log_density(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return x times ln softmax: its sum is the class's log probability."""
        return x * logits.log_softmax(-1)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the probabilities."""
        return logits.softmax(-1)

    def sample(self, logits: Tensor) -> Tensor:
        """Draw indicators."""
        classes = torch.distributions.Categorical(logits=logits).sample()
        return (classes.unsqueeze(-1) == torch.arange(logits.shape[-1])).to(logits.dtype)

    def check(self, low: float, high: float) -> None:
        """Raise ValueError if data are no indicators."""
        if low < 0 or high > 1:
            raise ValueError(f"indicators are 0 or 1; got values from {low:g} to {high:g}.")


def _width(features: nn.Module, groups: int) -> int:
    """Return H, the number of features of each group."""
    sizes = features.out_features
    if len(sizes) != groups or len(set(sizes)) > 1:
        raise ValueError(
            f"features must give {groups} groups as many features each; it gives {sizes}."
        )
    return sizes[0]


def _side_by_side(x: Sequence[Tensor]) -> Tensor:
    """Stack groups, each padded with zeros to the widest: ``(G, B, widest)``."""
    widest = max(part.shape[-1] for part in x)
    return torch.stack([nn.functional.pad(part, (0, widest - part.shape[-1])) for part in x])

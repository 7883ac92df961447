r"""Lp-nested symmetric distributions, and the prior of the ISA-VAE.

The paper: Stühmer, Turner and Nowozin (2020), section 3, equations 5 to 11, and Algorithm 1.

Every density here is evaluated in logarithms, from :math:`\log |z_j|` upwards, so that no power
overflows on the way and no gradient is NaN.  Coordinates closer to zero than the smallest normal
number are treated as lying there, with gradient zero: for an exponent below one the density has an
infinite slope at zero, and for two nested exponents the slope depends on the direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, Normal, constraints, register_kl

from vaelite._validation import check_count


def log_abs(z: Tensor) -> Tensor:
    """``log |z|``, finite at zero and with gradient zero there."""
    if not z.is_floating_point():
        raise TypeError(f"z must be a floating-point tensor; got {z.dtype}.")
    return z.abs().clamp_min(torch.finfo(z.dtype).tiny).log()


def sample_log_gamma(concentration: Tensor) -> Tensor:
    r"""Draw :math:`\log g` with :math:`g \sim \mathrm{Gamma}(a, 1)`, without underflow for small a.

    If :math:`h \sim \mathrm{Gamma}(a + 1)` and :math:`u` is uniform on (0, 1), then
    :math:`h u^{1/a} \sim \mathrm{Gamma}(a)`, and the logarithm of that product is harmless.
    """
    boosted = Gamma(concentration + 1, 1.0, validate_args=False).rsample()
    uniform = torch.rand_like(boosted).clamp_min(torch.finfo(boosted.dtype).tiny)
    return boosted.log() + uniform.log() / concentration


def random_signs(like: Tensor) -> Tensor:
    """Independent signs, +1 or -1 with equal probability, in the shape of ``like``."""
    return torch.randint_like(like, 2) * 2 - 1


def _positive(name: str, value: Any, values_too: bool = True) -> Tensor:
    """Check a parameter; Python numbers become float64, which promotes no tensor they meet.

    Values are worth a look where they come from a user.  In a training loop it costs a GPU a halt.
    """
    if not torch.is_tensor(value):
        try:
            value = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number or a tensor; got {value!r}.") from None
    if not value.is_floating_point():
        raise ValueError(f"{name} must be a float; got {value.dtype}.")
    if values_too and not bool((value > 0).all() and value.isfinite().all()):
        raise ValueError(f"{name} must be positive and finite; got {value.tolist()}.")
    return value


def _values_too(validate_args: bool | None) -> bool:
    """Whether a distribution is to look at the values of its parameters."""
    return Distribution._validate_args if validate_args is None else validate_args


def _sample_options(*given: Any) -> dict[str, Any]:
    """Samples live where the tensors among the parameters live, else where new tensors do."""
    like = next((value for value in given if torch.is_tensor(value)), torch.empty(0))
    return {"dtype": like.dtype, "device": like.device}


class ExponentialPower(Distribution):
    r"""The generalised normal distribution of eq. 5, in one dimension.

    .. math:: p(z) = \frac{p}{2 \, \Gamma(1/p) \, s^{1/p}} \exp\left(-\frac{|z|^p}{s}\right)

    With :math:`\tau = 1/s` this is the factor of the paper's ICA prior.  ``p = 1`` is Laplace's
    distribution, ``p = 2`` with ``scale = 2`` the standard normal; below 2 the tails are heavy
    (leptokurtic), above 2 they are light (platykurtic).

    Args:
        p: exponent, positive, any shape.
        scale: :math:`s`, positive, broadcastable with ``p``.
        validate_args: as in ``torch.distributions``.
    """

    arg_constraints = {"p": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, p: Any, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        """See the class."""
        self._options = _sample_options(p, scale)
        values_too = _values_too(validate_args)
        p, scale = _positive("p", p, values_too), _positive("scale", scale, values_too)
        self.p, self.scale = torch.broadcast_tensors(p, scale)
        super().__init__(self.p.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> ExponentialPower:
        """Return the same distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(ExponentialPower, _instance)
        batch_shape = torch.Size(batch_shape)
        new._options = self._options
        new.p, new.scale = self.p.expand(batch_shape), self.scale.expand(batch_shape)
        super(ExponentialPower, new).__init__(batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Zero, by symmetry."""
        return torch.zeros(self.batch_shape, **self._options)

    @property
    def mode(self) -> Tensor:
        """Zero."""
        return self.mean

    def _log_absolute_moment(self, k: Any) -> Tensor:
        r""":math:`\log \mathbb E |z|^k = \frac{k}{p} \log s + \log\Gamma(\frac{k + 1}{p})
        - \log\Gamma(\frac1p)`."""
        log_ratio = torch.lgamma((k + 1) / self.p) - torch.lgamma(1 / self.p)
        return log_ratio + k / self.p * self.scale.log()

    @property
    def variance(self) -> Tensor:
        r""":math:`s^{2/p} \, \Gamma(3/p) / \Gamma(1/p)`."""
        return self._log_absolute_moment(2).exp().to(**self._options)

    @property
    def excess_kurtosis(self) -> Tensor:
        r""":math:`\Gamma(5/p) \Gamma(1/p) / \Gamma(3/p)^2 - 3`; it does not depend on the scale."""
        logs = self._log_absolute_moment(4) - 2 * self._log_absolute_moment(2)
        return (logs.exp() - 3).to(**self._options)

    @property
    def log_normalizer(self) -> Tensor:
        r""":math:`\log(2/p) + \log\Gamma(1/p) + \frac1p \log s`: minus the log density at zero."""
        return (2 / self.p).log() + torch.lgamma(1 / self.p) + self.scale.log() / self.p

    def entropy(self) -> Tensor:
        """Differential entropy in nats: the log normaliser plus 1/p, the mean of the exponent."""
        return (self.log_normalizer + 1 / self.p).to(**self._options)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats; ``(..., *batch_shape)``."""
        if self._validate_args:
            self._validate_sample(z)
        p, scale, log_normalizer = (
            value.to(z) for value in (self.p, self.scale, self.log_normalizer)
        )
        return -torch.exp(p * log_abs(z)) / scale - log_normalizer

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Draw exactly: :math:`|z|^p / s \sim \mathrm{Gamma}(1/p)`, and the sign is a coin.

        Gradients flow to exponent and scale; ``sample`` is the same without gradients.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        p, scale = (value.to(**self._options).expand(shape) for value in (self.p, self.scale))
        radius = torch.exp((sample_log_gamma(1 / p) + scale.log()) / p)
        return radius * random_signs(radius)


class _NestedPrior(Distribution):
    """What both vector distributions share: one vector an event, symmetric about zero."""

    support = constraints.real_vector
    has_rsample = True
    _options: dict[str, Any]  # dtype and device of samples
    p0: Tensor
    scale: Tensor

    def expand(self, batch_shape: Sequence[int], _instance=None) -> _NestedPrior:
        """Return the same distribution for a batch of independent vectors."""
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = torch.empty(self.batch_shape).expand(batch_shape).shape
        return new

    @property
    def mean(self) -> Tensor:
        """Zero, by symmetry; ``(*batch_shape, n)``."""
        return torch.zeros(self.batch_shape + self.event_shape, **self._options)

    @property
    def mode(self) -> Tensor:
        """Zero; ``(*batch_shape, n)``."""
        return self.mean

    def _batched(self, value: Tensor, event_dim: int = 0) -> Tensor:
        """What does not depend on z, in a sample's dtype and for the whole batch."""
        shape = self.batch_shape + value.shape[value.ndim - event_dim :]
        return value.to(**self._options).expand(shape)

    def _log_radial_moment(self, n: Any, k: Any) -> Tensor:
        r""":math:`\log \mathbb E r^k` of eq. 11's radius in n dimensions,
        :math:`\frac{k}{p_0} \log s + \log\Gamma(\frac{n + k}{p_0})
        - \log\Gamma(\frac{n}{p_0})`."""
        log_ratio = torch.lgamma((n + k) / self.p0) - torch.lgamma(n / self.p0)
        return log_ratio + k / self.p0 * self.scale.log()

    def _per_vector(self, log_density: Tensor) -> Tensor:
        """Let one vector stand for the whole batch, as everywhere in ``torch.distributions``."""
        if not self.batch_shape:
            return log_density
        return log_density.expand(torch.broadcast_shapes(log_density.shape, self.batch_shape))

    def _log_abs(self, z: Tensor) -> Tensor:
        """``log |z|`` of vectors that have the right length."""
        if z.shape[-1:] != self.event_shape:
            raise ValueError(
                f"z must end in {self.event_shape[0]} coordinates; got {tuple(z.shape)}."
            )
        return log_abs(z)


class LpNested(_NestedPrior):
    r"""A general Lp-nested symmetric distribution with the radial density of eq. 11.

    The norm :math:`f` is a cascade of Lp norms along a tree (eq. 6); the density is

    .. math:: p(z) = \frac{\psi_0(f(z))}{f(z)^{n-1} S_f(1)}, \qquad \psi_0(v) =
        \frac{p_0 v^{n-1}}{\Gamma(n/p_0) \, s^{n/p_0}} \exp\left(-\frac{v^{p_0}}{s}\right)

    (eq. 7, 11), where :math:`S_f(1)` is the surface area of the unit sphere of :math:`f` (eq. 8).
    The two powers of :math:`f` cancel before anything is computed.

    Args:
        tree: ``(p, child, child, ...)``.  A child is a positive int (that many leaves) or again a
            tuple.  Equation 6 is ``(p0, 1, (p1, 2))``.  Exponents are positive floats, or
            zero-dimensional tensors, through which gradients flow.  Leaves take the coordinates
            of ``z`` from left to right.
        scale: :math:`s > 0`.  The exponent has no factor 1/2: ``LpNested((2.0, n), scale=2.0)`` is
            the standard normal.
        validate_args: as in ``torch.distributions``.

    Raises:
        ValueError: if an exponent or the scale is not positive, a node has no child, or a child is
            neither a positive int nor a tuple.
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012

    def __init__(self, tree: tuple, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        """See the class."""
        values_too = _values_too(validate_args)
        self.tree = _parse(tree, values_too)
        self.p0 = self.tree[0]
        self.scale = _positive("scale", scale, values_too)
        self._options = _sample_options(*_exponents(tree), scale)
        if self.scale.ndim:
            raise ValueError(f"scale must be a scalar; got shape {tuple(self.scale.shape)}.")
        super().__init__(torch.Size(), torch.Size([_leaves(self.tree)]), validate_args)

    def log_norm(self, z: Tensor) -> Tensor:
        r"""``(..., n) -> (...)``: :math:`\log f(z)`, by logsumexp from the leaves up."""
        return _log_norm(self.tree, self._log_abs(z))

    def norm(self, z: Tensor) -> Tensor:
        """``(..., n) -> (...)``: the nested norm f(z), eq. 6."""
        return self.log_norm(z).exp()

    @property
    def log_surface_area(self) -> Tensor:
        r"""Eq. 8 at radius 1, in logarithms.

        .. math:: \log S_f(1) = n \log 2 + \sum_i \Big[\sum_k \log\Gamma(n_{i,k} / p_i)
            - (l_i - 1) \log p_i - \log\Gamma(n_i / p_i)\Big]
        """
        return self.event_shape[0] * torch.log(self.scale.new_tensor(2.0)) + _log_area(self.tree)

    @property
    def log_normalizer(self) -> Tensor:
        r""":math:`\log\Gamma(\frac{n}{p_0}) - \log p_0 + \frac{n}{p_0} \log s + \log S_f(1)`, a
        scalar: minus the log density at zero."""
        p0, n = self.p0, self.event_shape[0]
        return torch.lgamma(n / p0) - p0.log() + n / p0 * self.scale.log() + self.log_surface_area

    def entropy(self) -> Tensor:
        """Differential entropy in nats, ``batch_shape``: the log normaliser plus n/p0."""
        return self._batched(self.log_normalizer + self.event_shape[0] / self.p0)

    @property
    def variance(self) -> Tensor:
        r"""``(*batch_shape, n)``: the radius's second moment, split at each node on the way.

        A branch with :math:`n_{i,k}` of a node's :math:`n_i` leaves gets the share
        :math:`\Gamma(\frac{n_{i,k} + 2}{p_i}) \Gamma(\frac{n_i}{p_i}) \big/
        \Gamma(\frac{n_{i,k}}{p_i}) \Gamma(\frac{n_i + 2}{p_i})`, a moment of Algorithm 1's
        Dirichlet variable.
        """
        radial = self._log_radial_moment(self.event_shape[0], 2)
        return self._batched(torch.exp(radial + _log_second_moments(self.tree)), 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats; ``(..., n) -> (...)``."""
        if self._validate_args:
            self._validate_sample(z)
        energy = torch.exp(self.p0.to(z) * self.log_norm(z)) / self.scale.to(z)
        return self._per_vector(-energy - self.log_normalizer.to(z))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Draw exactly (Algorithm 1); ``(*sample_shape, *batch_shape, n)``.

        At each inner node a Dirichlet variable with parameters :math:`n_{i,k} / p_i`, raised to
        :math:`1/p_i`, splits the node's radius among its children.  The first radius of the printed
        algorithm is divided out again, so it starts at 1 here.  Then the radius of eq. 11 is drawn:
        :math:`v_0^{p_0} / s \sim \mathrm{Gamma}(n / p_0)`.  Each coordinate gets a random sign.
        Gradients flow to exponents and scale; ``sample`` is the same without gradients.
        """
        shape = torch.Size(sample_shape) + self.batch_shape
        concentration = (self.event_shape[0] / self.p0).to(**self._options).expand(shape)
        log_scale, p0 = (value.to(**self._options) for value in (self.scale.log(), self.p0))
        log_radius = (sample_log_gamma(concentration) + log_scale) / p0
        z = torch.cat(_descend(self.tree, log_radius), dim=-1).exp()
        return z * random_signs(z)


def _parse(tree: Any, values_too: bool) -> tuple:
    """Check a tree and turn its exponents into tensors: ``(Tensor, child, ...)``."""
    if not isinstance(tree, tuple) or len(tree) < 2:
        raise ValueError(f"tree must be (p, child, ...) with at least one child; got {tree!r}.")
    p = _positive("an exponent of the tree", tree[0], values_too)
    if p.ndim:
        raise ValueError(f"an exponent of the tree must be a scalar; got shape {tuple(p.shape)}.")
    return (
        p,
        *(
            _parse(child, values_too)
            if isinstance(child, tuple)
            else check_count("a child of the tree", child)
            for child in tree[1:]
        ),
    )


def _exponents(tree: Any) -> list:
    if not isinstance(tree, tuple):
        return []
    return [tree[0], *(p for child in tree[1:] for p in _exponents(child))]


def _leaves(tree: tuple | int) -> int:
    return tree if isinstance(tree, int) else sum(map(_leaves, tree[1:]))


def _log_norm(tree: tuple, log_z: Tensor) -> Tensor:
    p, children = tree[0].to(log_z), tree[1:]
    parts = log_z.split([_leaves(child) for child in children], dim=-1)
    values = [
        part if isinstance(child, int) else _log_norm(child, part).unsqueeze(-1)
        for child, part in zip(children, parts, strict=True)
    ]
    return torch.logsumexp(p * torch.cat(values, dim=-1), dim=-1) / p


def _sizes(tree: tuple) -> list[int]:
    """Number of leaves below each branch of a node: an int child is that many branches."""
    sizes: list[int] = []
    for child in tree[1:]:
        sizes += [1] * child if isinstance(child, int) else [_leaves(child)]
    return sizes


def _log_area(tree: tuple) -> Tensor:
    p, sizes = tree[0], _sizes(tree)
    own = (
        torch.lgamma(p.new_tensor(sizes) / p).sum()
        - (len(sizes) - 1) * p.log()
        - torch.lgamma(sum(sizes) / p)
    )
    return own + sum(_log_area(child) for child in tree[1:] if isinstance(child, tuple))


def _log_second_moments(tree: tuple) -> Tensor:
    """Log of each leaf's mean square where the node's radius is 1, ``(leaves,)``."""
    p, sizes = tree[0], _sizes(tree)
    n, own = sum(sizes), tree[0].new_tensor(sizes)
    share = torch.lgamma((own + 2) / p) - torch.lgamma(own / p)
    share = share + torch.lgamma(n / p) - torch.lgamma((n + 2) / p)
    leaves, branch = [], 0
    for child in tree[1:]:
        if isinstance(child, int):
            leaves.append(share[branch : branch + child])
            branch += child
        else:
            leaves.append(share[branch] + _log_second_moments(child))
            branch += 1
    return torch.cat(leaves)


def _descend(tree: tuple, log_radius: Tensor) -> list[Tensor]:
    """Split a node's log radii ``(...)`` into log |z| of its leaves, ``(..., leaves)`` each."""
    p, sizes = tree[0].to(log_radius), _sizes(tree)
    concentration = (log_radius.new_tensor(sizes) / p).expand(*log_radius.shape, len(sizes))
    log_gamma = sample_log_gamma(concentration)
    log_share = (log_gamma - log_gamma.logsumexp(dim=-1, keepdim=True)) / p
    log_radii = log_radius.unsqueeze(-1) + log_share
    leaves, branch = [], 0
    for child in tree[1:]:
        if isinstance(child, int):
            leaves.append(log_radii[..., branch : branch + child])
            branch += child
        else:
            leaves += _descend(child, log_radii[..., branch])
            branch += 1
    return leaves


def log_radii(log_abs_z: Tensor, sizes: Sequence[int], p: Tensor) -> Tensor:
    """``(..., n), (K,) -> (..., K)``: the log of the p_k-norm of each subspace's coordinates."""
    if len(set(sizes)) == 1:  # one product instead of a loop
        powers = p.unsqueeze(-1) * log_abs_z.unflatten(-1, (len(sizes), -1))
        return powers.logsumexp(dim=-1) / p
    parts = zip(log_abs_z.split(sizes, dim=-1), p, strict=True)
    return torch.stack([torch.logsumexp(p * part, dim=-1) / p for part, p in parts], dim=-1)


def log_area(n: Tensor, p: Tensor) -> Tensor:
    """``(K,), (K,) -> (K,)``: log surface area of each unit sphere, the normaliser's part with p.

    Args:
        n: sizes of the subspaces, as floating-point numbers.
        p: their exponents.
    """
    return n * math.log(2.0) - (n - 1) * p.log() + n * torch.lgamma(1 / p) - torch.lgamma(n / p)


class IndependentSubspaces(_NestedPrior):
    r"""The ISA prior, eq. 7 with the two-level norm of eq. 9 and the radial density of eq. 11.

    With that radial density the subspaces are independent.  Writing :math:`r_k` for the
    :math:`p_k`-norm of :math:`z_k`, the coordinates of subspace k, and :math:`n_k` for its size,

    .. math::
        \log p(z) = \sum_k \Big[ &\log p_0 - \log\Gamma\Big(\frac{n_k}{p_0}\Big)
            - \frac{n_k}{p_0} \log s - \frac{r_k^{p_0}}{s} \\
            &- n_k \log 2 + (n_k - 1) \log p_k - n_k \log\Gamma\Big(\frac{1}{p_k}\Big)
            + \log\Gamma\Big(\frac{n_k}{p_k}\Big) \Big].

    Args:
        sizes: :math:`n_k`, the number of coordinates of each subspace.
        p0: exponent that joins the subspaces: a positive float or a zero-dimensional tensor.
        p: exponent within the subspaces: one for all, or one per subspace; gradients flow through
            tensors, the normaliser included.
        scale: :math:`s > 0` of eq. 11.  ``p0 = p = 2`` and ``scale = 2`` is the standard normal.
        validate_args: as in ``torch.distributions``.

    Raises:
        ValueError: if a size is not a positive integer, an exponent or the scale is not positive,
            or there is neither one exponent nor one per subspace.
    """

    arg_constraints = {  # noqa: RUF012
        "p0": constraints.positive,
        "p": constraints.independent(constraints.positive, 1),
        "scale": constraints.positive,
    }

    def __init__(
        self,
        sizes: Sequence[int],
        p0: Any,
        p: Any,
        scale: Any = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        """See the class."""
        self.sizes = tuple(check_count("a subspace's size", size) for size in sizes)
        if not self.sizes:
            raise ValueError("sizes is empty; there must be at least one subspace.")
        values_too = _values_too(validate_args)
        self.p0 = _positive("p0", p0, values_too)
        self.scale = _positive("scale", scale, values_too)
        several = p if isinstance(p, (list, tuple)) else [p]
        self._options = _sample_options(*several, p0, scale)
        for name in ("p0", "scale"):
            if getattr(self, name).ndim:
                raise ValueError(f"{name} must be a scalar.")
        if isinstance(p, (list, tuple)) and any(torch.is_tensor(value) for value in p):
            p = torch.stack([torch.as_tensor(value, **self._options) for value in p])
        p = _positive("p", p, values_too)
        if p.shape not in ((), (1,), (len(self.sizes),)):
            raise ValueError(
                f"p must be one exponent or {len(self.sizes)}, one per subspace; "
                f"got shape {tuple(p.shape)}."
            )
        self.p = p.expand(len(self.sizes))
        super().__init__(torch.Size(), torch.Size([sum(self.sizes)]), validate_args)

    def _n(self, like: Tensor) -> Tensor:
        return torch.tensor(self.sizes, dtype=like.dtype, device=like.device)

    def log_radii(self, z: Tensor) -> Tensor:
        r"""``(..., n) -> (..., K)``: :math:`\log r_k`, the log of each subspace's norm."""
        return log_radii(self._log_abs(z), self.sizes, self.p.to(z))

    @property
    def log_radial(self) -> Tensor:
        """``(K,)``: the part of the log normaliser that does not depend on p."""
        n, p0 = self._n(self.p), self.p0
        return torch.lgamma(n / p0) - p0.log() + n / p0 * self.scale.log()

    @property
    def log_normalizer(self) -> Tensor:
        """``(K,)``: what each subspace's density subtracts; differentiable in the exponents."""
        return self.log_radial + log_area(self._n(self.p), self.p)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats; ``(..., n) -> (...)``."""
        if self._validate_args:
            self._validate_sample(z)
        energy = torch.exp(self.p0.to(z) * self.log_radii(z)) / self.scale.to(z)
        return self._per_vector(-(energy + self.log_normalizer.to(z)).sum(-1))

    def entropy(self) -> Tensor:
        """Differential entropy in nats, ``batch_shape``: log normalisers plus n/p0."""
        return self._batched(self.log_normalizer.sum() + self.event_shape[0] / self.p0)

    @property
    def variance(self) -> Tensor:
        r"""``(*batch_shape, n)``; in subspace k it is :math:`s^{2/p_0} \,
        \frac{\Gamma((n_k + 2)/p_0)}{\Gamma(n_k/p_0)} \, \frac{\Gamma(3/p_k) \Gamma(n_k/p_k)}
        {\Gamma(1/p_k) \Gamma((n_k + 2)/p_k)}`: the radius times a direction's coordinate."""
        n, p = self._n(self.p), self.p
        direction = (
            torch.lgamma(3 / p)
            + torch.lgamma(n / p)
            - torch.lgamma(1 / p)
            - torch.lgamma((n + 2) / p)
        )
        each = torch.exp(self._log_radial_moment(n, 2) + direction)
        return self._batched(each.repeat_interleave(torch.tensor(self.sizes, device=p.device)), 1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Draw exactly; ``(*sample_shape, *batch_shape, n)``.

        In each subspace :math:`r = (s \, \mathrm{Gamma}(n_k / p_0))^{1/p_0}` and
        :math:`u_i = (g_i / \sum_j g_j)^{1/p_k}` with :math:`g_i \sim \mathrm{Gamma}(1/p_k)`; then
        :math:`z = \pm r u`.  Gradients flow to exponents and scale; ``sample`` is the same
        without gradients.
        """
        shape = torch.Size(sample_shape) + self.batch_shape
        p, p0, log_scale = (
            value.to(**self._options) for value in (self.p, self.p0, self.scale.log())
        )
        concentration = (self._n(p) / p0).expand(*shape, len(self.sizes))
        log_radius = (sample_log_gamma(concentration) + log_scale) / p0
        parts = []
        for k, size in enumerate(self.sizes):
            log_gamma = sample_log_gamma((1 / p[k]).expand(*shape, size))
            log_share = (log_gamma - log_gamma.logsumexp(-1, keepdim=True)) / p[k]
            parts.append(log_radius[..., k : k + 1] + log_share)
        z = torch.cat(parts, dim=-1).exp()
        return z * random_signs(z)


@register_kl(ExponentialPower, ExponentialPower)
def _kl_exponential_power(q: ExponentialPower, p: ExponentialPower) -> Tensor:
    """Minus the entropy of q, plus the mean energy under p, plus p's log normaliser."""
    energy = q._log_absolute_moment(p.p).exp() / p.scale
    return (p.log_normalizer + energy - q.log_normalizer - 1 / q.p).to(**q._options)


@register_kl(ExponentialPower, Normal)
def _kl_exponential_power_normal(q: ExponentialPower, p: Normal) -> Tensor:
    second_moment = q._log_absolute_moment(2).exp() + p.mean.square()
    cross_entropy = 0.5 * second_moment / p.variance - p.log_prob(p.mean)
    return (cross_entropy - q.log_normalizer - 1 / q.p).to(**q._options)


@register_kl(IndependentSubspaces, IndependentSubspaces)
def _kl_independent_subspaces(q: IndependentSubspaces, p: IndependentSubspaces) -> Tensor:
    """With equal subspaces and exponents within them, one radius serves both."""
    if q.sizes != p.sizes or not torch.equal(q.p.to(p.p), p.p):
        raise NotImplementedError(
            "KL(q || p) has a closed form where sizes and exponents within the subspaces agree; "
            f"got sizes {q.sizes} and {p.sizes}, exponents {q.p.tolist()} and {p.p.tolist()}."
        )
    energy = q._log_radial_moment(q._n(q.p), p.p0).exp() / p.scale
    terms = p.log_normalizer + energy - q.log_normalizer
    kl = (terms.sum() - q.event_shape[0] / q.p0).to(**q._options)
    return kl.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))

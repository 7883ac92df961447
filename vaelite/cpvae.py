r"""The cross-population VAE: what several populations share, and what each has for itself.

A datum of population k is generated from two codes, one decoder for all populations and one for
its own (the paper's eq. 1):

.. math::
    z \sim \mathcal N(0, I), \quad t \sim \mathcal N(0, I), \quad
    x_k \mid z, t \sim \mathcal N\big(g(f_s(z), f_k(t)), \Psi\big), \quad g(a, b) = a + b

The module follows the paper's equations: the model (eq. 1), the encoders (eq. 2), the objectives
(eq. 3, 4 and 6), the likelihood of a population (eq. 7 and 8), a further task (section 4.4).

Source: "Isolating latent structure with cross-population variational autoencoders", anonymous
manuscript under double-blind review; its equations, sections and appendices are cited here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_choice, check_count
from vaelite.density_ratio import frozen
from vaelite.nets import MLP, Activation, ConvDecoder, ConvEncoder, evaluated, mlp_trunk
from vaelite.vae import DataModel, Gaussian, Likelihood, Prior, checked_prior

PARTS = ("both", "shared", "private")


class CPVAE(DataModel):
    r"""Cross-population variational autoencoder.

    .. math::
        \mathcal L + \lambda \sum_k n_k \big( I_q(x_k; t_k) - I_q(x_{-k}; \tilde t_k) \big)

    with the ELBO :math:`\mathcal L` of the paper's eq. 3, and the informations of its eq. 4 as
    eq. 6 writes them.  :math:`\lambda = 1` is the paper's J, :math:`\lambda = 0` its eq. 3, the
    structure alone.

    It is trained on one data set for each population::

        fit(model, Unpaired(x_1, ..., x_K), batch_size=64, ...)

    All data of a step go through the trunk together, whatever their population; so if the trunk
    has batch normalisation, its statistics are those of the mixture.  The paper does not say.

    Args:
        trunk: the part of the inference network that all codes share, ``(B, *data_shape) ->
            (B, trunk_dim)``.
        trunk_dim: size of its output.
        shared_decoder: :math:`f_s`, ``(..., D_s) -> (..., *data_shape)``.
        private_decoders: :math:`f_k`, K modules ``(..., D_t) -> (..., *data_shape)``.
        shared_dim: D_s.
        private_dim: D_t, of every population.
        data_shape: shape of one datum.
        likelihood: by default a normal around :math:`g`, whose one variance is learned.
        prior: of the shared code, by default N(0, I).  That of the private codes is N(0, I).
        aggregate: g.  A part is decoded alone as :math:`g(f_s(z), 0)` or :math:`g(0, f_k(t))`.
        sizes: :math:`n_k`, the populations' numbers of data; by default those of each batch.
        mutual_information: :math:`\lambda`, an attribute that may change during training.
        alpha: weight of the cross term of the paper's eq. 6, an attribute that may change too.

    Raises:
        TypeError: if the prior is no prior, or ``aggregate`` no function.
        ValueError: if there are fewer than two populations, a size is not positive, or the prior
            has another dimension than the shared code.
    """

    def __init__(
        self,
        trunk: nn.Module,
        trunk_dim: int,
        shared_decoder: nn.Module,
        private_decoders: Sequence[nn.Module],
        shared_dim: int,
        private_dim: int,
        data_shape: Sequence[int],
        *,
        likelihood: str | Likelihood | None = None,
        prior: Prior | None = None,
        aggregate: Callable[[Tensor, Tensor], Tensor] = torch.add,
        sizes: Sequence[int] | None = None,
        mutual_information: float = 1.0,
        alpha: float = 1.0,
    ) -> None:
        super().__init__(data_shape, Gaussian(learned=True) if likelihood is None else likelihood)
        self.populations = len(private_decoders)
        if self.populations < 2:
            raise ValueError(f"a CPVAE needs two populations or more; got {self.populations}.")
        self.shared_dim = check_count("shared_dim", shared_dim)
        self.private_dim = check_count("private_dim", private_dim)
        self.sizes = None if sizes is None else _check_sizes(sizes, self.populations)
        self.trunk = trunk
        self.shared_head = nn.Linear(check_count("trunk_dim", trunk_dim), 2 * shared_dim)
        self.private_heads = nn.Linear(trunk_dim, self.populations * 2 * private_dim)
        self.shared_decoder = shared_decoder
        self.private_decoders = nn.ModuleList(private_decoders)
        self.prior = checked_prior(prior, shared_dim)
        if not callable(aggregate):
            raise TypeError(f"aggregate must be a function of two tensors; got {aggregate!r}.")
        self.aggregate = aggregate
        self.mutual_information = mutual_information
        self.alpha = alpha

    @classmethod
    def mlp(
        cls,
        populations: int,
        data_dim: int,
        hidden: int | Sequence[int],
        shared_dim: int,
        private_dim: int,
        *,
        activation: Activation = nn.ReLU,
        **options,
    ) -> CPVAE:
        """Build a CPVAE on flat data.

        Args:
            populations: K.
            data_dim: number of features.
            hidden: sizes of the trunk's layers, and in reverse of each decoder's; empty for
                linear maps.
            shared_dim: D_s.
            private_dim: D_t.
            activation: what makes the module after a hidden layer.
            **options: of :class:`CPVAE`.
        """
        _check_counts(populations, shared_dim, private_dim)
        trunk, sizes = mlp_trunk(data_dim, hidden, activation)

        def decoder(dim: int) -> nn.Module:
            return MLP(dim, sizes[:0:-1], data_dim, activation)

        private = [decoder(private_dim) for _ in range(populations)]
        parts = (trunk, sizes[-1], decoder(shared_dim), private, shared_dim, private_dim)
        return cls(*parts, (data_dim,), **options)

    @classmethod
    def conv(
        cls,
        populations: int,
        image_shape: tuple[int, int, int],
        shared_dim: int,
        private_dim: int,
        *,
        width: int = 32,
        batch_norm: bool = True,
        **options,
    ) -> CPVAE:
        """Build the convolutional CPVAE: strided, with batch normalisation and residual skips.

        Args:
            populations: K.
            image_shape: ``(C, H, W)`` with H and W divisible by four.
            shared_dim: D_s.
            private_dim: D_t.
            width: channels at half resolution.
            batch_norm: as the paper has it; off for comparisons.
            **options: of :class:`CPVAE`.
        """
        _check_counts(populations, shared_dim, private_dim)
        features = 16 * check_count("width", width)
        trunk = nn.Sequential(ConvEncoder(image_shape, features, width, batch_norm), nn.ReLU())

        def decoder(dim: int) -> nn.Module:
            return ConvDecoder(dim, image_shape, width, batch_norm)

        private = [decoder(private_dim) for _ in range(populations)]
        parts = (trunk, features, decoder(shared_dim), private, shared_dim, private_dim)
        return cls(*parts, image_shape, **options)

    # The model, eq. 1.

    def decode(self, z: Tensor, t: Tensor, population: int) -> Tensor:
        """Return the likelihood's parameters, ``(..., D_s), (..., D_t) -> (..., *data_shape)``.

        Raises:
            ValueError: if there is no such population, or the decoders do not make data.
        """
        self._check_population(population)
        return self._combine(self.shared_decoder(z), self.private_decoders[population](t))

    def _combine(self, shared: Tensor, private: Tensor) -> Tensor:
        image = self.aggregate(shared, private)
        if image.shape[-len(self.data_shape) :] != self.data_shape:  # else it would be broadcast
            raise ValueError(
                f"decoders and aggregate must make data of shape {self.data_shape}; they make "
                f"{tuple(image.shape)} of {tuple(shared.shape)} and {tuple(private.shape)}."
            )
        return image

    def decode_part(self, z: Tensor, t: Tensor, population: int, part: str = "both") -> Tensor:
        """Return the same, where ``part`` is ``shared`` or ``private`` without the other decoder.

        What a sum of decoders cannot tell is on which side a constant image lies.

        Raises:
            ValueError: if there is no such part or population.
        """
        check_choice("part", part, PARTS)
        self._check_population(population)
        if part == "both":
            return self.decode(z, t, population)
        if part == "shared":
            image = self.shared_decoder(z)
            return self._combine(image, torch.zeros_like(image))
        image = self.private_decoders[population](t)
        return self._combine(torch.zeros_like(image), image)

    @torch.no_grad()
    def sample(self, count: int, population: int, part: str = "both") -> Tensor:
        """Draw codes from the priors and decode them: ``(count, *data_shape)`` means of p(x|z, t).

        In ``eval()`` mode, which is restored, as in :meth:`reconstruct`.

        Args:
            count: how many.
            population: k, from 0.
            part: as in :meth:`decode_part` (figures 6 and 7 of the paper: ``both``, ``private``).
        """
        z = self.prior.sample(check_count("count", count))
        t = torch.randn(count, self.private_dim, dtype=z.dtype, device=z.device)
        with evaluated(self):
            return self.likelihood.mean(self.decode_part(z, t, population, part))

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Encode data with their populations, draw both codes and decode: ``(B, *data_shape)``.

        Args:
            batch: data ``(B, ...)`` and their populations ``(B,)``, as for :meth:`log_weights`.
        """
        x, population = batch
        z, _, t, _ = self._samples(self.prepare(x), 1)  # (1, B, D_s) and (K, 1, B, D_t)
        image = torch.stack([self.decode(z[0], t[k, 0], k) for k in range(self.populations)])
        return image[population, torch.arange(len(x), device=image.device)]

    # The encoders, eq. 2.

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean and log variance of q(z|x), and of every population's q_k(t|x).

        Returns:
            ``(B, D_s)`` twice and ``(K, B, D_t)`` twice.  Row k of the private ones is what
            population k's encoder makes of x, whether or not x is of population k.
        """
        return self._encode(self.prepare(x))

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = self.trunk(x)
        if features.shape != (len(x), self.shared_head.in_features):
            wanted = (len(x), self.shared_head.in_features)
            found = tuple(features.shape)
            raise ValueError(f"trunk must return {wanted}, (B, trunk_dim); got {found}.")
        mean, log_var = self.shared_head(features).chunk(2, -1)
        private = self.private_heads(features).unflatten(-1, (self.populations, 2, -1))
        private_mean, private_log_var = private.movedim(0, -2).unbind(1)  # (K, 2, B, D_t)
        return mean, log_var, private_mean, private_log_var

    @torch.no_grad()
    def reconstruct(self, x: Tensor, population: int, part: str = "both") -> Tensor:
        """Encode as a member of a population, and decode the posterior means.

        Another population's number shows what its decoder makes of the same x (figure 4).

        Args:
            x: ``(B, ...)``.
            population: k, from 0: whose private encoder and decoder.
            part: as in :meth:`decode_part` (figure 2).

        Returns:
            ``(B, *data_shape)``.
        """
        self._check_population(population)
        with evaluated(self):
            z, _, t, _ = self.encode(x)
            return self.likelihood.mean(self.decode_part(z, t[population], population, part))

    # The objective, eq. 3, 4 and 6.

    def loss(
        self, batch: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        r"""Return what is minimised and its parts, in nats a datum.

        .. math::
            \tfrac1N \big(- \text{reconstruction} + \text{shared KL}
            + (1 - \lambda) \, \text{private KL} + \lambda \alpha \, \text{cross KL}\big)

        Args:
            batch: K tensors ``(B_k, ...)``, one for each population.
            noise: standard normal draws ``(B_1 + ... + B_K, D_s + D_t)``; by default fresh ones.

        Returns:
            The scalar, and the parts ``reconstruction`` (the negative log-likelihood at one
            sample), ``shared_kl``, ``private_kl`` and ``cross_kl``.
        """
        terms = objective_terms(self, batch, self.sizes, self.alpha, noise=noise)
        return self._weighed(terms, sum(self.sizes or map(len, batch)))

    def _weighed(self, terms: ObjectiveTerms, total: int) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.mutual_information
        parts = {
            "reconstruction": -terms.reconstruction / total,
            "shared_kl": terms.shared_kl / total,
            "private_kl": terms.private_kl / total,
            "cross_kl": terms.cross_kl / total,
        }
        loss = parts["reconstruction"] + parts["shared_kl"]
        loss = loss + (1 - weight) * parts["private_kl"]
        return loss + weight * self.alpha * parts["cross_kl"], parts

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check all populations' data once, before training.

        Raises:
            TypeError: if the data are not one tensor for each population.
            ValueError: if ``sizes`` were given and are others, or data are unfit for the model.
        """
        _check_data(self, data, self.sizes)
        for x in data:
            super().validate(x)

    # The likelihood of a population, eq. 7 and 8.

    def log_weights(self, batch: tuple[Tensor, Tensor], samples: int) -> Tensor:
        r"""Draw log importance weights under each datum's own population.

        .. math::
            \ln w_s = \ln p(x \mid z_s, t_s) + \ln \frac{p(z_s)}{q(z_s \mid x)}
            + \ln \frac{p(t_s)}{q_k(t_s \mid x)}

        Args:
            batch: data ``(B, ...)`` and their populations ``(B,)``, integers from 0.
            samples: S.

        Returns:
            ``(S, B)``.

        Raises:
            TypeError: if the batch is not a pair of tensors.
            ValueError: if there are not as many populations as data, or no such population.
        """
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError("a likelihood needs data with their populations, (x, population).")
        x, population = self.prepare(batch[0]), torch.as_tensor(batch[1], device=batch[0].device)
        if population.shape != x.shape[:1]:
            raise ValueError(
                f"the populations must be ({len(x)},), one for each datum; "
                f"got {tuple(population.shape)}."
            )
        present = population.unique().tolist()
        for k in present:
            self._check_population(k)
        check_count("samples", samples)
        z, log_ratio, t, private_log_ratio = self._samples(x, samples)
        weights = torch.empty_like(log_ratio)
        for k in present:
            rows = (population == k).nonzero().squeeze(1)
            images = self.decode(z[:, rows], t[k][:, rows], k)
            weights[:, rows] = self.log_density(x[rows], images)
            weights[:, rows] += log_ratio[:, rows] + private_log_ratio[k][:, rows]
        return weights

    def _samples(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw codes from all encoders, with ln p/q of each.

        Returns:
            z ``(S, B, D_s)``, its ratio ``(S, B)``, t ``(K, S, B, D_t)``, its ratio ``(K, S, B)``.
        """
        mean, log_var, private_mean, private_log_var = self._encode(x)
        noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = gaussian.reparameterize(mean, log_var, noise)
        log_ratio = self.prior.log_prob(z) - gaussian.log_density(z, mean, log_var)
        private_mean, private_log_var = private_mean.unsqueeze(1), private_log_var.unsqueeze(1)
        shape = (self.populations, samples, *private_mean.shape[2:])
        t = private_mean + (0.5 * private_log_var).exp() * torch.randn(
            shape, dtype=mean.dtype, device=mean.device
        )
        private_log_ratio = gaussian.log_standard_normal(t)
        private_log_ratio -= gaussian.log_density(t, private_mean, private_log_var)
        return z, log_ratio, t, private_log_ratio

    def _check_population(self, population: int) -> None:
        number = isinstance(population, Integral) and not isinstance(population, bool)
        if not (number and 0 <= population < self.populations):
            raise ValueError(
                f"population must be an integer from 0 to {self.populations - 1}; "
                f"got {population!r}."
            )

    def _noise(self, noise: Tensor | None, mean: Tensor) -> tuple[Tensor, ...]:
        """Return the noise of both codes, ``(B, D_s)`` and ``(B, D_t)``, fresh if there is none."""
        shape = (len(mean), self.shared_dim + self.private_dim)
        if noise is None:
            noise = torch.randn(shape, dtype=mean.dtype, device=mean.device)
        elif noise.shape != shape:
            raise ValueError(f"noise must have shape {shape}; got {tuple(noise.shape)}.")
        return noise.split([self.shared_dim, self.private_dim], -1)


class ObjectiveTerms(NamedTuple):
    """The terms of the paper's eq. 6, and of its eq. 3; totals over the data, in nats.

    ``objective`` is reconstruction - shared_kl - alpha cross_kl, ``elbo`` reconstruction -
    shared_kl - private_kl.
    """

    reconstruction: Tensor
    shared_kl: Tensor
    cross_kl: Tensor
    private_kl: Tensor
    objective: Tensor
    elbo: Tensor


def objective_terms(
    model: CPVAE,
    batches: Sequence[Tensor],
    sizes: Sequence[int] | None = None,
    alpha: float = 1.0,
    *,
    noise: Tensor | None = None,
) -> ObjectiveTerms:
    r"""Evaluate the paper's eq. 6, term by term.

    Let :math:`D_{kj}` be the mean of :math:`\mathrm{KL}(q_k(t \mid x) \,\|\, p(t))` over the data x
    of population j.  Then

    .. math::
        \text{private KL} = \sum_k n_k D_{kk}, \qquad
        \text{cross KL} = \sum_k \frac{n_k}{K - 1} \sum_{j \ne k} D_{kj},

    so the diagonal of D belongs to eq. 3, everything off it to eq. 6.  With unequal sizes eq. 6 is
    not quite eq. 4, whose :math:`I_q(x_{-k}; \tilde t_k)` weighs the others by their sizes.

    Args:
        model: the model.
        batches: K tensors ``(B_k, ...)``: all data of a population, or a batch that stands for it.
        sizes: :math:`n_k`, by default the :math:`B_k`.
        alpha: weight of the cross term in ``objective``.
        noise: standard normal draws ``(B_1 + ... + B_K, D_s + D_t)``; by default fresh ones.

    Returns:
        Totals over the data, at one sample of the codes of each datum.

    Raises:
        TypeError: if ``batches`` are not one tensor for each population.
        ValueError: if there are not K positive sizes, or a batch does not fit the model.
    """
    _check_batches(model, batches)
    sizes = None if sizes is None else _check_sizes(sizes, model.populations)
    return _terms(model, batches, sizes, alpha, noise)


def _terms(
    model: CPVAE,
    batches: Sequence[Tensor],
    sizes: Sequence[int] | None,
    alpha: float,
    noise: Tensor | None,
) -> ObjectiveTerms:
    """Evaluate the terms for the first ``len(batches)`` populations, as if there were no others."""
    rows = [len(x) for x in batches]
    sizes = rows if sizes is None else sizes
    x = torch.cat([model.prepare(one) for one in batches])
    mean, log_var, private_mean, private_log_var = model._encode(x)
    z_noise, t_noise = model._noise(noise, mean)
    z = gaussian.reparameterize(mean, log_var, z_noise)
    shared = model.shared_decoder(z)
    shared_kl = model.prior.kl(mean, log_var, z)  # (B,)
    present = slice(len(batches))
    private_mean, private_log_var = private_mean[present], private_log_var[present]
    kl = gaussian.kl_standard_normal(private_mean, private_log_var)  # (K, B): each encoder, all x
    table = torch.stack([part.mean(1) for part in kl.split(rows, 1)], 1)  # D, (K, K)

    own = [slice(end - count, end) for end, count in zip(accumulate(rows), rows, strict=True)]
    t = gaussian.reparameterize(
        torch.cat([private_mean[k, rows_of_k] for k, rows_of_k in enumerate(own)]),
        torch.cat([private_log_var[k, rows_of_k] for k, rows_of_k in enumerate(own)]),
        t_noise,
    )
    private = torch.cat([model.private_decoders[k](t[one]) for k, one in enumerate(own)])
    fit = model.log_density(x, model._combine(shared, private))  # (B,)

    others = len(batches) - 1
    reconstruction = sum(n * fit[one].mean() for n, one in zip(sizes, own, strict=True))
    shared_total = sum(n * shared_kl[one].mean() for n, one in zip(sizes, own, strict=True))
    own_kl = table.diagonal()
    private_total = sum(n * own_kl[k] for k, n in enumerate(sizes))
    cross = (table.sum(1) - own_kl) / others
    cross_total = sum(n * cross[k] for k, n in enumerate(sizes))
    return ObjectiveTerms(
        reconstruction,
        shared_total,
        cross_total,
        private_total,
        objective=reconstruction - shared_total - alpha * cross_total,
        elbo=reconstruction - shared_total - private_total,
    )


def anneal(epoch: float) -> float:
    """Return the paper's weight of the cross term in an epoch: min(1.1^e, 1000) (appendix B.1).

    It is 2.6 in epoch 10, and reaches 1000 in epoch 73.
    """
    return min(1.1**epoch, 1000.0) if epoch < 100 else 1000.0


class ClassEvidence(NamedTuple):
    """What each population's model says of each datum; ``(B, K)`` all.

    ``log_likelihood`` is the importance-sampled ln p(x | population k), nats; ``effective_samples``
    the square of the weights' sum over the sum of their squares, between 1 and S;
    ``reconstruction`` the mean of ln p(x | z, t) over the samples, nats, in which the codes' prior
    has no say.
    """

    log_likelihood: Tensor
    effective_samples: Tensor
    reconstruction: Tensor


@torch.no_grad()
def class_log_likelihoods(
    model: CPVAE, x: Tensor, samples: int = 100, chunk: int | None = None
) -> ClassEvidence:
    r"""Score data under every population (the paper's eq. 7 and 8).

    .. math::
        \ln \hat p_k(x) = \ln \frac1S \sum_s p(x \mid z_s, t_{ks})
        \frac{p(z_s)}{q(z_s \mid x)} \frac{p(t_{ks})}{q_k(t_{ks} \mid x)}

    Each population's own encoder and decoder take part in its own score, at as many samples.  The
    samples of the shared code, and what the shared decoder makes of them, serve all populations.
    The most likely population is the class.  Evaluated in ``eval()`` mode, which is restored.

    Args:
        model: the model.
        x: ``(B, ...)``.
        samples: S.
        chunk: how many pairs of a datum and a sample to decode at once; the default takes a few
            megabytes.  A smaller one saves memory and draws other random numbers.

    Raises:
        ValueError: if ``samples`` or ``chunk`` is not positive, or the data are unfit.
    """
    check_count("samples", samples)
    DataModel.validate(model, x)
    if chunk is None:
        chunk = max(1, 2**20 // math.prod(model.data_shape))
    check_count("chunk", chunk)
    at_once = min(samples, chunk)
    with evaluated(model):
        scored = [
            _score(model, model.prepare(block), samples, at_once)
            for block in x.split(max(1, chunk // at_once))
        ]
    return ClassEvidence(*(torch.cat(part) for part in zip(*scored, strict=True)))


def _score(model: CPVAE, x: Tensor, samples: int, at_once: int) -> ClassEvidence:
    weights, log_densities = torch.empty(2, samples, len(x), model.populations).to(x)
    for start in range(0, samples, at_once):
        block = slice(start, min(start + at_once, samples))
        z, log_ratio, t, private_log_ratio = model._samples(x, block.stop - block.start)
        shared = model.shared_decoder(z)
        for k, decoder in enumerate(model.private_decoders):
            log_density = model.log_density(x, model._combine(shared, decoder(t[k])))  # (S, B)
            log_densities[block, :, k] = log_density
            weights[block, :, k] = log_density + log_ratio + private_log_ratio[k]
    effective_samples = 1 / weights.softmax(0).square().sum(0)
    log_likelihood = weights.logsumexp(0) - math.log(samples)
    return ClassEvidence(log_likelihood, effective_samples, log_densities.mean(0))


class FirstTasks(nn.Module):
    """A CPVAE of which only the first populations are there yet (section 4.4, first phase).

    Trained by ``fit(FirstTasks(model, 2), Unpaired(x_1, x_2), ...)``; the model itself is changed,
    in place.  The loss is the model's, as if it had no further population.

    Args:
        model: the model.
        populations: how many are there, from two to K.

    Raises:
        ValueError: if there are not as many.
    """

    def __init__(self, model: CPVAE, populations: int) -> None:
        super().__init__()
        if not 2 <= check_count("populations", populations) <= model.populations:
            raise ValueError(
                f"populations must be between 2 and {model.populations}; got {populations!r}."
            )
        self.model = model
        self.populations = populations

    def validate(self, data: Sequence[Tensor]) -> None:
        """Check the populations' data once, before training."""
        _check_data(self, data, self._sizes())
        for x in data:
            DataModel.validate(self.model, x)

    def loss(
        self, batch: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts as :meth:`CPVAE.loss` does."""
        model, sizes = self.model, self._sizes()
        _check_batches(self, batch)
        terms = _terms(model, batch, sizes, model.alpha, noise)
        return model._weighed(terms, sum(sizes or map(len, batch)))

    def _sizes(self) -> tuple[int, ...] | None:
        return self.model.sizes and self.model.sizes[: self.populations]


class NewTask(nn.Module):
    """A CPVAE that learns one more population, by the ELBO alone (section 4.4, second phase).

    Trained by ``fit(NewTask(model, 3), x, ...)`` on that population's data; the model itself is
    changed, in place.  Other populations' decoders get no gradient, their rows of the heads' layer
    one of zero, which a fresh Adam does not move.

    Args:
        model: the model, with a private part for the new population.
        population: k, from 0.
        train_shared: go on training what the populations share, as the paper does.  Otherwise
            everything but the population's own head and decoder stays as it is, batch statistics
            too, and earlier populations lose nothing, by construction.

    Raises:
        ValueError: if there is no such population.
    """

    def __init__(self, model: CPVAE, population: int, *, train_shared: bool = True) -> None:
        super().__init__()
        model._check_population(population)
        self.model = model
        self.population = population
        self.train_shared = train_shared
        self.train(model.training)

    def train(self, mode: bool = True) -> NewTask:
        """Set the mode, except of what stays as it is."""
        super().train(mode)
        if not self.train_shared:
            self.model.eval()
            self.model.private_decoders[self.population].train(mode)
        return self

    def validate(self, data: Tensor) -> None:
        """Check the population's data once, before training."""
        DataModel.validate(self.model, data)

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative ELBO of one population and its parts, in nats a datum.

        Args:
            batch: ``(B, ...)`` data of the population.
            noise: ``(B, D_s + D_t)``, by default fresh.
        """
        with ExitStack() as without_gradient:
            for name, part in self.model.named_children():
                if not (self.train_shared or name.startswith("private_")):
                    without_gradient.enter_context(frozen(part))
            return self._loss(batch, noise)

    def _loss(self, batch: Tensor, noise: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        model, k = self.model, self.population
        x = model.prepare(batch)
        mean, log_var, private_mean, private_log_var = model._encode(x)
        z_noise, t_noise = model._noise(noise, mean)
        z = gaussian.reparameterize(mean, log_var, z_noise)
        t = gaussian.reparameterize(private_mean[k], private_log_var[k], t_noise)
        parts = {
            "reconstruction": -model.log_density(x, model.decode(z, t, k)).mean(),
            "shared_kl": model.prior.kl(mean, log_var, z).mean(),
            "private_kl": gaussian.kl_standard_normal(private_mean[k], private_log_var[k]).mean(),
        }
        return sum(parts.values()), parts


def _check_counts(populations: int, shared_dim: int, private_dim: int) -> None:
    check_count("populations", populations)
    check_count("shared_dim", shared_dim)
    check_count("private_dim", private_dim)


def _check_sizes(sizes: Sequence[int], populations: int) -> tuple[int, ...]:
    checked = tuple(sizes) if isinstance(sizes, Iterable) else ()
    if len(checked) != populations:
        raise ValueError(f"sizes must be one for each of {populations} populations; got {sizes!r}.")
    return tuple(check_count("a size of sizes", size) for size in checked)


def _check_data(
    model: CPVAE | FirstTasks, data: Sequence[Tensor], sizes: tuple[int, ...] | None
) -> None:
    _check_batches(model, data)
    found = tuple(len(x) for x in data)
    if sizes is not None and sizes != found:
        raise ValueError(f"sizes are {sizes}, but the populations have {found} data.")


def _check_batches(model: CPVAE | FirstTasks, batches: Sequence[Tensor]) -> None:
    tensors = isinstance(batches, (tuple, list)) and all(isinstance(x, Tensor) for x in batches)
    if not tensors or len(batches) != model.populations:
        found = f"{len(batches)} of them" if tensors else type(batches).__name__
        raise TypeError(
            f"data must be one tensor for each of the {model.populations} populations, to train on "
            f"in vaelite.batches.Unpaired; got {found}."
        )
    if not all(x.ndim and len(x) for x in batches):
        raise ValueError("every population must have data; got an empty one.")

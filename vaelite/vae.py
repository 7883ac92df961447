r"""The variational autoencoder: four choices, each an object or a method that a paper changes.

===================  ======================================================  ===================
choice               where                                                   by default
===================  ======================================================  ===================
prior                ``prior``, a :class:`Prior`                             N(0, I)
posterior            ``encoder``, :meth:`VAE.sample_posterior`,              diagonal normal
                     :meth:`VAE.log_posterior`
decoder              ``decoder``, ``likelihood``                             Bernoulli
objective            :meth:`VAE.loss`                                        ELBO with weight beta
===================  ======================================================  ===================

Any prior meets any objective.

Sum over features, mean over the batch, nats throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_choice, check_count
from vaelite.nets import MLP, Activation, ConvDecoder, ConvEncoder, GaussianEncoder, as_float


class Bernoulli(nn.Module):
    r"""Independent binary features, from logits :math:`\ell`.

    .. math::
        \ln p(x \mid \ell) = x \ell - \ln(1 + e^\ell)

    The formula is also applied to grey values between 0 and 1, as is the custom; it is then no
    normalised density.
    """

    def log_density(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return the log probability of every feature, in the shape of ``logits``."""
        x = x.expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").neg_()

    def mean(self, logits: Tensor) -> Tensor:
        """Return the probabilities."""
        return torch.sigmoid(logits)

    def sample(self, logits: Tensor) -> Tensor:
        """Draw zeros and ones."""
        return torch.bernoulli(torch.sigmoid(logits))

    def check(self, low: float, high: float) -> None:
        """Raise ValueError if data from ``low`` to ``high`` leave the support."""
        if low < 0 or high > 1:
            raise ValueError(
                "data must lie between 0 and 1 for a Bernoulli likelihood; "
                f"got values from {low:g} to {high:g}."
            )


class Gaussian(nn.Module):
    r"""Independent normal features around the decoder's output :math:`\mu`.

    .. math::
        \ln p(x \mid \mu) = -\tfrac12 \bigl(\ln 2\pi v + (x - \mu)^2 / v\bigr)

    Args:
        variance: v, one number, or a tensor in the shape of one datum for noise per pixel.
        learned: train the variance beside the networks.  A learned variance stays above 1e-6,
            where a pixel that never varies would make the likelihood grow without bound.

    Raises:
        ValueError: if a variance is not positive and finite.
    """

    FLOOR = 1e-6

    def __init__(self, variance: float | Tensor = 1.0, *, learned: bool = False) -> None:
        super().__init__()
        variance = torch.as_tensor(variance, dtype=torch.get_default_dtype())
        if not ((variance > 0) & torch.isfinite(variance)).all():
            raise ValueError(f"variance must be positive and finite; got {_shown(variance)}.")
        self.learned = learned
        if learned:
            self.raw_log_var = nn.Parameter(variance.log())
        else:
            self.register_buffer("raw_log_var", variance.log())

    @property
    def log_var(self) -> Tensor:
        """The logarithm of the noise variance, a scalar or in the shape of one datum."""
        if self.learned:
            return self.raw_log_var.clamp(min=math.log(self.FLOOR))
        return self.raw_log_var

    def log_density(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the log density of every feature, in the shape of ``mean``."""
        log_var = self.log_var
        distance = (x - mean).square() * torch.exp(-log_var)
        return -0.5 * (gaussian.LOG_TWO_PI + log_var + distance)

    def mean(self, mean: Tensor) -> Tensor:
        """Return the decoder's output itself."""
        return mean

    def sample(self, mean: Tensor) -> Tensor:
        """Add noise to the decoder's output."""
        return mean + torch.exp(0.5 * self.log_var) * torch.randn_like(mean)

    def check(self, low: float, high: float) -> None:
        """Accept every finite value."""


Likelihood = Bernoulli | Gaussian


class Prior(nn.Module):
    r"""A prior p(z), and how the KL term of a diagonal normal q(z|x) to it is estimated.

    A subclass gives :meth:`log_prob` and :meth:`sample`.  Without a closed form, the KL term is
    estimated at one sample:

    .. math:: \mathrm{KL}(q \,\|\, p) = \mathbb E_q[\ln q(z|x) - \ln p(z)]
        \approx \ln q(z|x) - \ln p(z), \qquad z \sim q(z|x)

    ==================  =========================================================================
    estimator           the KL term
    ==================  =========================================================================
    ``sampled``         at the sample z that the decoder gets
    ``without score``   the same number; its gradient leaves out :math:`\partial \ln q / \partial
                        (\mu, \sigma)` at fixed z, whose mean is zero (Roeder et al., 2017)
    ``independent``     at a second sample of q(z|x), which the decoder does not see
    ==================  =========================================================================

    All three have one mean, and their gradients have; the noise differs.

    Args:
        dim: D, the number of latents.
        estimator: one of the names above; :class:`StandardNormal` has ``closed`` beside them.

    Raises:
        ValueError: if ``dim`` is not a positive integer, or there is no such estimator.
    """

    ESTIMATORS: tuple[str, ...] = ("sampled", "without score", "independent")

    def __init__(self, dim: int, estimator: str = "sampled") -> None:
        super().__init__()
        self.dim = check_count("dim", dim)
        check_choice("estimator", estimator, self.ESTIMATORS)
        self.estimator = estimator

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``(..., D) -> (...)``."""
        raise NotImplementedError

    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)`` codes from p(z)."""
        raise NotImplementedError

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL(q(z|x) || p(z)) or its estimate, ``(B,)`` nats.

        Args:
            mean: ``(B, D)`` of q(z|x).
            log_var: ``(B, D)`` of q(z|x).
            z: ``(B, D)``, the sample of q(z|x) that the decoder gets.
        """
        if self.estimator == "independent":
            z = gaussian.reparameterize(mean, log_var)
        elif self.estimator == "without score":
            mean, log_var = mean.detach(), log_var.detach()
        return gaussian.log_density(z, mean, log_var) - self.log_prob(z)


class StandardNormal(Prior):
    """N(0, I), whose KL term has a closed form.

    Args:
        dim: D, the number of latents.
        estimator: ``closed``, or one of :class:`Prior`'s.
    """

    ESTIMATORS = ("closed", *Prior.ESTIMATORS)

    def __init__(self, dim: int, estimator: str = "closed") -> None:
        super().__init__(dim, estimator)
        # Says where and in which precision samples are made; nothing that a checkpoint needs.
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``(..., D) -> (...)``."""
        return gaussian.log_standard_normal(z)

    def sample(self, count: int) -> Tensor:
        """Draw ``(count, D)`` codes."""
        return torch.randn(count, self.dim, dtype=self.zero.dtype, device=self.zero.device)

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL(q(z|x) || N(0, I)), ``(B,)``; the closed form does not look at ``z``."""
        if self.estimator == "closed":
            return gaussian.kl_standard_normal(mean, log_var)
        return super().kl(mean, log_var, z)


class DataModel(nn.Module):
    """A model of data of one shape: how they are checked, prepared and scored.

    Args:
        data_shape: shape of one datum, such as ``(784,)`` or ``(1, 28, 28)``.
        likelihood: ``"bernoulli"``, ``"gaussian"`` (variance 1), or an instance of
            :class:`Bernoulli` or :class:`Gaussian`.

    Raises:
        TypeError: if the likelihood is neither a name nor an instance.
        ValueError: if the likelihood is unknown, or its variance has another shape than a datum.
    """

    def __init__(self, data_shape: Sequence[int], likelihood: str | Likelihood) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)
        self.likelihood = likelihood_of(likelihood, self.data_shape)

    def log_density(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return ln p(x | parameters), summed over features; ``x`` is prepared.

        ``(B, *data_shape), (..., B, *data_shape) -> (..., B)``.
        """
        features = self.likelihood.log_density(x, parameters)
        return features.flatten(-len(self.data_shape)).sum(-1)

    def prepare(self, x: Tensor) -> Tensor:
        """Return data as ``(B, *data_shape)`` in the model's precision.

        Raises:
            TypeError: if ``x`` is not a tensor of floats, bools or uint8.
            ValueError: if a datum does not have the model's shape.
        """
        x = as_float(x, next(self.parameters()).dtype)
        shape, wanted = tuple(x.shape[1:]), self.data_shape
        if x.ndim and shape == wanted:
            return x
        same_size = x.ndim and math.prod(shape) == math.prod(wanted)
        # Never reshape (W, H) into (H, W): one of the two shapes must be flat.
        if same_size and (len(wanted) == 1 or len(shape) == 1 or wanted == (1, *shape)):
            return x.reshape(-1, *wanted)
        raise ValueError(
            f"data must have shape {_with_batch(wanted)}, as the model has; got {tuple(x.shape)}."
        )

    def validate(self, data: Tensor) -> None:
        """Check a whole data set once, before training.

        Args:
            data: ``(N, ...)``.

        Raises:
            TypeError: if the data are not a tensor of floats, bools or uint8.
            ValueError: if there are none, if they do not fit the model's shape, if any is NaN or
                infinite, if any lies outside the likelihood's support, or if they are bytes that
                hold nothing but 0 and 1.
        """
        # By this class: what a subclass prepares may be more than data.
        DataModel.prepare(self, data[:1] if isinstance(data, Tensor) and data.ndim else data)
        if not data.numel():
            raise ValueError(f"data must not be empty; got shape {tuple(data.shape)}.")
        if data.dtype == torch.bool:
            return
        low, high = (bound.item() for bound in torch.aminmax(data))
        if data.dtype == torch.uint8:
            if high == 1:
                raise ValueError(
                    "data of type uint8 hold intensities from 0 to 255, but these are all 0 or 1; "
                    "pass data.bool() or data * 255."
                )
            low, high = low / 255, high / 255
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = ~torch.isfinite(data)
            first = bad.flatten(1).any(1).nonzero()[0].item()
            raise ValueError(
                f"data must be finite; {int(bad.sum())} values are NaN or infinite, "
                f"the first in row {first}."
            )
        self.likelihood.check(low, high)


class VAE(DataModel):
    r"""Variational autoencoder with a diagonal normal posterior.

    .. math::
        \mathcal L_\beta(x) = \mathbb E_{q(z \mid x)}[\ln p(x \mid z)]
        - \beta \, \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \le \ln p(x) \quad (\beta \ge 1)

    At :math:`\beta = 1` this is the evidence lower bound.

    Every method takes data as ``(B, *data_shape)``; a flat model also takes images of as many
    pixels, a one-channel model images without a channel.  Bytes become intensities between 0 and
    1 (:func:`vaelite.nets.as_float`).

    Args:
        encoder: a module that maps ``(B, *data_shape)`` to mean and log variance ``(B, D)``.
        decoder: a module that maps ``(..., D)`` to likelihood parameters ``(..., *data_shape)``.
        latent_dim: D.
        data_shape: shape of one datum, such as ``(784,)`` or ``(1, 28, 28)``.
        likelihood: ``"bernoulli"``, ``"gaussian"`` (variance 1), or an instance of
            :class:`Bernoulli` or :class:`Gaussian`.
        prior: a :class:`Prior`, by default ``StandardNormal(latent_dim)``.
        beta: weight of the KL term, an attribute that may change during training.

    Raises:
        TypeError: if the likelihood is neither a name nor an instance, or the prior no prior.
        ValueError: if the likelihood is unknown, its variance has another shape than a datum, or
            the prior another dimension than the code.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        data_shape: Sequence[int],
        *,
        likelihood: str | Likelihood = "bernoulli",
        prior: Prior | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__(data_shape, likelihood)
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.prior = checked_prior(prior, latent_dim)
        self.beta = beta

    @classmethod
    def mlp(
        cls,
        data_dim: int,
        hidden: int | Sequence[int],
        latent_dim: int,
        *,
        activation: Activation = nn.ReLU,
        decoder_activation: Activation | None = None,
        **options,
    ) -> VAE:
        """Build the plain VAE on flat data: one MLP to encode, its mirror image to decode.

        Args:
            data_dim: number of features.
            hidden: sizes of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: D.
            activation: what makes the module after a hidden layer.
            decoder_activation: the same in the decoder, by default as in the encoder.
            **options: ``likelihood``, ``prior`` and ``beta``; a subclass may take more.
        """
        check_count("data_dim", data_dim)
        check_count("latent_dim", latent_dim)
        hidden = list(hidden) if isinstance(hidden, Sequence) else [hidden]
        encoder = GaussianEncoder(MLP(data_dim, hidden, 2 * latent_dim, activation))
        decoder = MLP(latent_dim, hidden[::-1], data_dim, decoder_activation or activation)
        return cls(encoder, decoder, latent_dim, (data_dim,), **options)

    @classmethod
    def conv(
        cls,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        width: int = 32,
        batch_norm: bool = False,
        **options,
    ) -> VAE:
        """Build the convolutional VAE on images.

        Args:
            image_shape: ``(C, H, W)`` with H and W divisible by four.
            latent_dim: D.
            width: channels at half resolution.
            batch_norm: normalise over the batch after each hidden layer.
            **options: ``likelihood``, ``prior`` and ``beta``; a subclass may take more.
        """
        check_count("latent_dim", latent_dim)
        encoder = GaussianEncoder(ConvEncoder(image_shape, 2 * latent_dim, width, batch_norm))
        decoder = ConvDecoder(latent_dim, image_shape, width, batch_norm)
        return cls(encoder, decoder, latent_dim, image_shape, **options)

    # The approximate posterior.

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each ``(B, D)``."""
        return self._encode(self.prepare(x))

    def sample_posterior(
        self, mean: Tensor, log_var: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Draw z from q(z|x) with gradients; ``noise`` as in ``gaussian.reparameterize``."""
        return gaussian.reparameterize(mean, log_var, noise)

    def log_posterior(self, z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """Return ln q(z|x), ``(..., B, D) -> (..., B)``."""
        return gaussian.log_density(z, mean, log_var)

    # The decoder.

    def decode(self, z: Tensor) -> Tensor:
        """Return the likelihood's parameters, ``(..., D) -> (..., *data_shape)``."""
        return self.decoder(z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return ln p(x|z), summed over features, ``(B, ...), (..., B, D) -> (..., B)``."""
        return self._log_likelihood(self.prepare(x), z)

    # The same two for data that are prepared, which happens once a step.

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(x)

    def _log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.log_density(x, self.decode(z))

    def forward(self, batch: Tensor) -> Tensor:
        """Encode a batch, draw a code each and decode it: ``(B, ...) -> (B, *data_shape)``.

        The likelihood's parameters, with gradients: what hooks, summaries and exporters look at.
        Training does not call it.
        """
        return self.decode(self.draw(batch).z)

    # The objective.

    def draw(self, batch: Tensor, noise: Tensor | None = None) -> Draw:
        """Encode a batch and sample codes: what every objective starts from.

        Args:
            batch: ``(B, ...)`` data.
            noise: standard normal draws, ``(B, D)`` or ``(S, B, D)``; by default ``(B, D)`` fresh
                ones from torch's global generator, exactly what ``torch.randn(B, D)`` would give.
        """
        x = self.prepare(batch)
        mean, log_var = self._encode(x)
        return Draw(self, x, mean, log_var, self.sample_posterior(mean, log_var, noise))

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative ELBO and its parts, in nats a datum.

        Args:
            batch: ``(B, ...)`` data.
            noise: ``(B, D)``, as in :meth:`draw`.

        Returns:
            The scalar to minimise, ``reconstruction + beta * kl``, and the parts:
            ``reconstruction`` (the negative log-likelihood at one sample) and ``kl``.
        """
        draw = self.draw(batch, noise)
        reconstruction, kl = draw.reconstruction(), draw.kl()
        return reconstruction + self.beta * kl, {"reconstruction": reconstruction, "kl": kl}

    # What follows from the four choices.

    def log_weights(self, batch: Tensor, samples: int) -> Tensor:
        r"""Draw log importance weights.

        .. math::
            \ln w_s = \ln p(x \mid z_s) + \ln p(z_s) - \ln q(z_s \mid x),
            \qquad z_s \sim q(z \mid x)

        Args:
            batch: ``(B, ...)`` data.
            samples: S, draws a datum.

        Returns:
            ``(S, B)``.  The mean of w estimates p(x) without bias;
            :func:`vaelite.metrics.log_marginal_likelihood` takes it safely.
        """
        x = self.prepare(batch)
        mean, log_var = self._encode(x)
        noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = self.sample_posterior(mean, log_var, noise)
        log_joint = self._log_likelihood(x, z) + self.prior.log_prob(z)
        return log_joint - self.log_posterior(z, mean, log_var)

    @torch.no_grad()
    def sample(self, count: int, *, noisy: bool = False) -> Tensor:
        """Draw codes from the prior and decode them.

        Args:
            count: how many.
            noisy: draw from p(x|z); by default return its mean, which makes better pictures.

        Returns:
            ``(count, *data_shape)``.
        """
        parameters = self.decode(self.prior.sample(count))
        return self.likelihood.sample(parameters) if noisy else self.likelihood.mean(parameters)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode, and decode the posterior mean: ``(B, ...) -> (B, *data_shape)``."""
        mean, _ = self.encode(x)
        return self.likelihood.mean(self.decode(mean))


class Draw(NamedTuple):
    """A batch, its encodings and one sample each: what an objective scores and weighs.

    The terms are methods, computed in the order in which an objective asks for them.
    """

    model: VAE
    x: Tensor  # (B, *data_shape), prepared
    mean: Tensor  # (B, D)
    log_var: Tensor  # (B, D)
    z: Tensor  # (B, D)

    def reconstruction(self) -> Tensor:
        """Return the negative log-likelihood of the batch at its samples, nats a datum."""
        return -self.model._log_likelihood(self.x, self.z).mean()

    def kl(self) -> Tensor:
        """Return the prior's KL term, nats a datum."""
        return self.model.prior.kl(self.mean, self.log_var, self.z).mean()


def checked_prior(prior: Prior | None, latent_dim: int) -> Prior:
    """Return the prior of a code, N(0, I) for none.

    Raises:
        TypeError: if it is no prior.
        ValueError: if it has another dimension than the code.
    """
    if prior is None:
        return StandardNormal(latent_dim)
    if not isinstance(prior, Prior):
        raise TypeError(f"prior must be a Prior, such as StandardNormal(D); got {prior!r}.")
    if prior.dim != latent_dim:
        raise ValueError(f"prior has dimension {prior.dim}; the latent dimension is {latent_dim}.")
    return prior


def likelihood_of(likelihood: str | Likelihood, data_shape: tuple[int, ...]) -> Likelihood:
    """Return a likelihood by its name, or the instance that was given.

    Raises:
        TypeError: if it is neither a name nor a module.
        ValueError: if there is no such name, or the variance has another shape than a datum.
    """
    known = {"bernoulli": Bernoulli, "gaussian": Gaussian}
    if isinstance(likelihood, nn.Module):
        # Of a wrong shape, broadcasting would make noise per datum, or images out of vectors.
        variance = getattr(likelihood, "raw_log_var", None)
        if variance is not None and variance.shape not in ((), data_shape):
            raise ValueError(
                f"variance must be one number or have the shape {data_shape} of a datum; "
                f"got {tuple(variance.shape)}."
            )
        return likelihood
    if not isinstance(likelihood, str):
        raise TypeError(
            f"likelihood must be one of {', '.join(known)}, or an instance such as Gaussian(); "
            f"got {likelihood!r}."
        )
    check_choice("likelihood", likelihood, known)
    return known[likelihood]()


def _with_batch(shape: tuple[int, ...]) -> str:
    return "(B, " + ", ".join(map(str, shape)) + ")"


def _shown(variance: Tensor) -> str:
    return f"{variance.item():g}" if variance.ndim == 0 else f"a minimum of {variance.min():g}"

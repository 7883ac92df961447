r"""The variational autoencoder: four choices, each in methods that a paper's module overrides.

===================  ======================================================  ===================
choice               methods                                                 here
===================  ======================================================  ===================
prior                :meth:`VAE.log_prior`, :meth:`VAE.sample_prior`,        N(0, I)
                     :meth:`VAE.kl`
posterior            :meth:`VAE.encode`, :meth:`VAE.sample_posterior`,       diagonal normal
                     :meth:`VAE.log_posterior`
decoder              :meth:`VAE.decode`, :meth:`VAE.log_likelihood`          network, likelihood
objective            :meth:`VAE.loss`                                        ELBO with weight beta
===================  ======================================================  ===================

Sum over features, mean over the batch, nats throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count
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
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")

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


class VAE(nn.Module):
    r"""Variational autoencoder with a standard normal prior and a diagonal normal posterior.

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
        beta: weight of the KL term, an attribute that may change during training.

    Raises:
        TypeError: if the likelihood is neither a name nor an instance.
        ValueError: if the likelihood is unknown, or its variance has another shape than a datum.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        data_shape: Sequence[int],
        *,
        likelihood: str | Likelihood = "bernoulli",
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.data_shape = tuple(data_shape)
        self.likelihood = _likelihood(likelihood, self.data_shape)
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
            **options: ``likelihood`` and ``beta``; a subclass may take more.
        """
        check_count("data_dim", data_dim)
        check_count("latent_dim", latent_dim)
        hidden = list(hidden) if isinstance(hidden, Sequence) else [hidden]
        encoder = GaussianEncoder(MLP(data_dim, hidden, 2 * latent_dim, activation))
        decoder = MLP(latent_dim, hidden[::-1], data_dim, decoder_activation or activation)
        return cls(encoder, decoder, latent_dim, (data_dim,), **options)

    @classmethod
    def conv(
        cls, image_shape: tuple[int, int, int], latent_dim: int, *, width: int = 32, **options
    ) -> VAE:
        """Build the convolutional VAE on images.

        Args:
            image_shape: ``(C, H, W)`` with H and W divisible by four.
            latent_dim: D.
            width: channels at half resolution.
            **options: ``likelihood`` and ``beta``; a subclass may take more.
        """
        check_count("latent_dim", latent_dim)
        encoder = GaussianEncoder(ConvEncoder(image_shape, 2 * latent_dim, width))
        decoder = ConvDecoder(latent_dim, image_shape, width)
        return cls(encoder, decoder, latent_dim, image_shape, **options)

    # The prior.

    def log_prior(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``(..., D) -> (...)``."""
        return -0.5 * (z.square() + gaussian.LOG_TWO_PI).sum(-1)

    def sample_prior(self, count: int) -> Tensor:
        """Draw ``(count, D)`` codes from p(z)."""
        reference = next(self.parameters())
        return torch.randn(count, self.latent_dim, dtype=reference.dtype, device=reference.device)

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL(q(z|x) || p(z)), ``(B,)``, in closed form.

        A prior without closed form overrides this with ``log_posterior(z) - log_prior(z)`` at the
        sample ``z``, which the closed form does not need.
        """
        return gaussian.kl_standard_normal(mean, log_var)

    # The approximate posterior.

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each ``(B, D)``."""
        return self.encoder(self.prepare(x))

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
        features = self.likelihood.log_density(self.prepare(x), self.decode(z))
        return features.flatten(-len(self.data_shape)).sum(-1)

    # The objective.

    def loss(self, batch: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative ELBO and its parts, in nats a datum.

        Args:
            batch: ``(B, ...)`` data.
            noise: ``(B, D)`` standard normal draws; by default fresh ones from torch's global
                generator, exactly what ``torch.randn(B, D)`` would give.

        Returns:
            The scalar to minimise, ``reconstruction + beta * kl``, and the parts:
            ``reconstruction`` (the negative log-likelihood at one sample) and ``kl``.
        """
        x = self.prepare(batch)
        mean, log_var = self.encode(x)
        z = self.sample_posterior(mean, log_var, noise)
        reconstruction = -self.log_likelihood(x, z).mean()
        kl = self.kl(mean, log_var, z).mean()
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
        mean, log_var = self.encode(x)
        noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = self.sample_posterior(mean, log_var, noise)
        return self.log_likelihood(x, z) + self.log_prior(z) - self.log_posterior(z, mean, log_var)

    @torch.no_grad()
    def sample(self, count: int, *, noisy: bool = False) -> Tensor:
        """Draw codes from the prior and decode them.

        Args:
            count: how many.
            noisy: draw from p(x|z); by default return its mean, which makes better pictures.

        Returns:
            ``(count, *data_shape)``.
        """
        parameters = self.decode(self.sample_prior(count))
        return self.likelihood.sample(parameters) if noisy else self.likelihood.mean(parameters)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode, and decode the posterior mean: ``(B, ...) -> (B, *data_shape)``."""
        mean, _ = self.encode(x)
        return self.likelihood.mean(self.decode(mean))

    # The data.

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
        self.prepare(data[:1] if isinstance(data, Tensor) and data.ndim else data)
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


def _likelihood(likelihood: str | Likelihood, data_shape: tuple[int, ...]) -> Likelihood:
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
    if likelihood not in known:
        raise ValueError(f"likelihood is {likelihood!r}; it must be one of {', '.join(known)}.")
    return known[likelihood]()


def _with_batch(shape: tuple[int, ...]) -> str:
    return "(B, " + ", ".join(map(str, shape)) + ")"


def _shown(variance: Tensor) -> str:
    return f"{variance.item():g}" if variance.ndim == 0 else f"a minimum of {variance.min():g}"

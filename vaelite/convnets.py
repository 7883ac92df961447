r"""The convolutional networks of the factorial mixture paper, and its noise for each pixel.

The paper: Paquet, Ghaisas and Tieleman (2018), sections 4.1 and 4.2.

For 28 x 28 it has 8 layers, "alternating strides of 1 and 2".  It prints 567,775 parameters for 64
latents.  Strict alternation ends at 2 x 2 pixels and at 419,521; with the last stride one, at 4 x 4
and at 567,745, which is that number but for one digit.  That is what stands here.  Its decoder
there is not described, and mirrors the encoder as that for 64 x 64 does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite._validation import check_count

# Channels and strides of each layer, all 3 x 3: for 28 x 28 (4.1), and for 64 x 64 (4.2).
DIGITS = ((32, 32, 32, 64, 64, 64, 64, 64), (1, 2, 1, 2, 1, 2, 1, 1))
FACES = ((128, 256, 512, 1024), (2, 2, 2, 2))


class DeepConvEncoder(nn.Sequential):
    """Convolutions of 3 x 3 with rectifiers, and a linear layer.

    Args:
        image_shape: ``(C, H, W)``.
        out_features: twice the latents, for :class:`vaelite.nets.GaussianEncoder`.
        channels: of each layer.
        strides: of each layer, 1 or 2; at 2 a size n becomes the next integer from n / 2 on.

    Raises:
        ValueError: if a size is not positive, or the lists have different lengths.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_features: int,
        channels: Sequence[int] = DIGITS[0],
        strides: Sequence[int] = DIGITS[1],
    ) -> None:
        shapes = _shapes(image_shape, channels, strides)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(shapes), strides, strict=True):
            layers += [nn.Conv2d(before[0], after[0], 3, stride, padding=1), nn.ReLU()]
        linear = nn.Linear(math.prod(shapes[-1]), check_count("out_features", out_features))
        super().__init__(*layers, nn.Flatten(), linear)


class DeepConvDecoder(nn.Module):
    """The transpose of :class:`DeepConvEncoder`: a linear layer, and transposed convolutions.

    Args:
        latent_dim: size of the code.
        image_shape: ``(C, H, W)`` of the output: for :class:`PixelGaussian` twice the channels.
        channels: of the encoder's layers.
        strides: of the encoder's layers.

    Raises:
        ValueError: as :class:`DeepConvEncoder`.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        channels: Sequence[int] = DIGITS[0],
        strides: Sequence[int] = DIGITS[1],
    ) -> None:
        super().__init__()
        shapes = _shapes(image_shape, channels, strides)[::-1]
        self.start = shapes[0]
        layers: list[nn.Module] = [
            nn.Linear(check_count("latent_dim", latent_dim), math.prod(self.start)),
            nn.Unflatten(-1, self.start),
        ]
        for (before, after), stride in zip(pairwise(shapes), strides[::-1], strict=True):
            # Of the sizes that a stride maps to one, the encoder's.
            extra = [
                new - (stride * (old - 1) + 1)
                for old, new in zip(before[1:], after[1:], strict=True)
            ]
            up = nn.ConvTranspose2d(before[0], after[0], 3, stride, 1, output_padding=extra)
            layers += [nn.ReLU(), up]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map codes ``(..., latent_dim)`` to images ``(..., C, H, W)``."""
        x = self.layers(z.reshape(-1, z.shape[-1]))
        return x.reshape(*z.shape[:-1], *x.shape[1:])


class PixelGaussian(nn.Module):
    r"""Normal pixels whose mean and standard deviation the decoder gives (section 4.2).

    .. math:: \sigma = \mathrm{low} + (\mathrm{high} - \mathrm{low}) \, \mathrm{sigmoid}(\rho)

    The decoder has twice the channels of the data: the means, then :math:`\rho`.

    Args:
        low: smallest standard deviation.
        high: largest; the paper has 0.001 and 0.4 for pixels from -1 to 1.

    Raises:
        ValueError: unless 0 < low < high.
    """

    def __init__(self, low: float = 0.001, high: float = 0.4) -> None:
        super().__init__()
        if not 0 < low < high < math.inf:
            raise ValueError(f"low and high must hold 0 < low < high; got {low} and {high}.")
        self.low, self.high = low, high

    def deviation(self, parameters: Tensor) -> Tensor:
        """Return the standard deviations, ``(..., 2C, H, W) -> (..., C, H, W)``."""
        rho = parameters.chunk(2, -3)[1]
        return self.low + (self.high - self.low) * torch.sigmoid(rho)

    def log_density(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the log density of every pixel, ``(..., C, H, W)``."""
        log_var = 2 * self.deviation(parameters).log()
        distance = (x - self.mean(parameters)).square() * torch.exp(-log_var)
        return -0.5 * (gaussian.LOG_TWO_PI + log_var + distance)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the means, ``(..., 2C, H, W) -> (..., C, H, W)``."""
        return parameters.chunk(2, -3)[0]

    def sample(self, parameters: Tensor) -> Tensor:
        """Add noise to the means."""
        deviation = self.deviation(parameters)
        return self.mean(parameters) + deviation * torch.randn_like(deviation)

    def check(self, low: float, high: float) -> None:
        """Accept every finite value."""


def _shapes(
    image_shape: Sequence[int], channels: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Return the shape of the image and of each layer's output."""
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (C, H, W); got {image_shape}.")
    if len(channels) != len(strides) or not set(strides) <= {1, 2}:
        raise ValueError(
            "channels and strides must be as many, with strides 1 or 2; "
            f"got {channels} and {strides}."
        )
    shapes = [tuple(check_count("a size of image_shape", size) for size in image_shape)]
    for width, stride in zip(channels, strides, strict=True):
        rows, columns = (-(-size // stride) for size in shapes[-1][1:])
        shapes.append((check_count("channels", width), rows, columns))
    return shapes

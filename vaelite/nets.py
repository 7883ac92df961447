"""The networks that encode and decode: multilayer perceptrons and a small convolutional pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaelite._validation import check_count

Activation = Callable[[], nn.Module]


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn stored data into what a network takes.

    Data sets stay compact in memory.  This function is the only place where bytes become
    intensities; ``training.fit`` calls it on each batch, on the device, and a model calls it on
    whatever else it is given.

    Args:
        x: uint8 intensities from 0 to 255, bools, or floating point, which only changes its dtype.
        dtype: what to return.

    Returns:
        The same shape; bytes divided by 255, bools as 0 and 1.

    Raises:
        TypeError: if ``x`` is not a tensor, or one of other integers, whose scale is unknown.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor; got {type(x).__name__}.")
    if x.is_floating_point() or x.dtype == torch.bool:
        return x.to(dtype)
    if x.dtype == torch.uint8:
        return x.to(dtype).div_(255)
    raise TypeError(f"x must hold floating-point numbers, bools or uint8; got {x.dtype}.")


class MLP(nn.Sequential):
    """Multilayer perceptron on the last dimension, linear at the end.

    The ISA-VAE paper (appendix A.4) has ``MLP(4096, (1200, 1200), 20)`` with rectifiers to encode
    and ``MLP(10, (1200, 1200), 4096, activation=nn.Tanh)`` to decode.

    Args:
        in_features: size of the input's last dimension.
        hidden: sizes of the hidden layers; empty for a linear map.
        out_features: size of the output's last dimension.
        activation: what makes the module after each hidden layer.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: Activation = nn.ReLU,
    ) -> None:
        sizes = [
            check_count("in_features", in_features),
            *(check_count("hidden", size) for size in hidden),
            check_count("out_features", out_features),
        ]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])


def mlp_trunk(
    in_features: int, hidden: int | Sequence[int], activation: Activation = nn.ReLU
) -> tuple[nn.Module, list[int]]:
    """Build hidden layers for several heads to stand on.

    Args:
        in_features: size of the input's last dimension.
        hidden: sizes of the layers, or the one size; empty for none.
        activation: what makes the module after each layer.

    Returns:
        The module, and the sizes of input and layers; the last is that of the output.

    Raises:
        ValueError: if a size is not positive.
    """
    hidden = list(hidden) if isinstance(hidden, Sequence) else [hidden]
    sizes = [check_count("data_dim", in_features), *(check_count("hidden", n) for n in hidden)]
    if not hidden:
        return nn.Identity(), sizes
    return nn.Sequential(MLP(*sizes[:1], sizes[1:-1], sizes[-1], activation), activation()), sizes


class GaussianEncoder(nn.Module):
    """A network whose output is read as the mean and log variance of a diagonal Gaussian.

    Args:
        net: maps data ``(B, ...)`` to ``(B, 2 * latent_dim)``.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log variance, each ``(B, latent_dim)``."""
        mean, log_var = self.net(x).chunk(2, dim=-1)
        return mean, log_var


class ConvEncoder(nn.Sequential):
    """Two strided convolutions and a linear layer.

    Args:
        image_shape: ``(C, H, W)``; H and W need not be equal, but both divisible by four.
        out_features: size of the output, ``(B, C, H, W) -> (B, out_features)``.
        width: channels of the first convolution; the second has twice as many.
        batch_norm: normalise over the batch after each convolution.

    Raises:
        ValueError: if the image shape is no triple of positive sizes or not divisible by four.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_features: int,
        width: int = 32,
        batch_norm: bool = False,
    ) -> None:
        channels, rows, columns = _quartered(image_shape)
        check_count("out_features", out_features)
        check_count("width", width)
        super().__init__(
            nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1),
            *_normalised(width, batch_norm),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
            *_normalised(2 * width, batch_norm),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * rows * columns, out_features),
        )


class ConvDecoder(nn.Module):
    r"""Two transposed convolutions with residual skips, one past a layer and one from the code.

    .. math::
        h_0 = r(A z), \quad h_1 = r(h_0 + \mathrm{conv}(h_0)), \quad
        h_2 = r(\mathrm{up}(h_1) + S z), \quad x = \mathrm{up}(h_2), \quad r = \mathrm{ReLU}

    ``up`` doubles the resolution, and :math:`S z` adds one number to each channel.  Both skips keep
    the path from the code to the image short, a remedy against posterior collapse (Dieng et al.,
    2018, as cited by the CPVAE paper).

    Args:
        latent_dim: size of the code.
        image_shape: ``(C, H, W)``; H and W need not be equal, but both divisible by four.
        width: channels of the last hidden layer; the one before has twice as many.
        batch_norm: normalise :math:`A z`, :math:`h_0 + \mathrm{conv}(h_0)` and the argument of the
            last r over the batch.

    Raises:
        ValueError: if the image shape is no triple of positive sizes or not divisible by four.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        width: int = 32,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, rows, columns = _quartered(image_shape)
        check_count("latent_dim", latent_dim)
        check_count("width", width)
        self.start = (2 * width, rows, columns)
        self.expand = nn.Linear(latent_dim, 2 * width * rows * columns)
        self.refine = nn.Conv2d(2 * width, 2 * width, kernel_size=3, padding=1)
        self.upsample = nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1)
        self.skip = nn.Linear(latent_dim, width, bias=False)
        self.paint = nn.ConvTranspose2d(width, channels, kernel_size=4, stride=2, padding=1)
        sizes = (2 * width, 2 * width, width)
        self.norms = nn.ModuleList([nn.BatchNorm2d(n) for n in sizes] if batch_norm else [])

    def forward(self, z: Tensor) -> Tensor:
        """Map codes ``(..., latent_dim)`` to images ``(..., C, H, W)``."""
        codes = z.reshape(-1, z.shape[-1])
        first, second, third = self.norms or (nn.Identity(),) * 3
        h = torch.relu(first(self.expand(codes).unflatten(-1, self.start)))  # (B, 2w, H/4, W/4)
        h = torch.relu(second(h + self.refine(h)))
        h = self.upsample(h) + self.skip(codes)[:, :, None, None]  # (B, w, H/2, W/2)
        h = torch.relu(third(h))
        x = self.paint(h)
        return x.reshape(*z.shape[:-1], *x.shape[1:])


def _normalised(channels: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if batch_norm else []


def _quartered(image_shape: Sequence[int]) -> tuple[int, int, int]:
    shape = tuple(image_shape)
    if len(shape) != 3 or any(check_count("a size of image_shape", size) % 4 for size in shape[1:]):
        raise ValueError(
            f"image_shape must be (C, H, W) with H and W divisible by 4; got {image_shape}."
        )
    return check_count("a size of image_shape", shape[0]), shape[1] // 4, shape[2] // 4


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Set the mode to ``eval()``, and each part's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode

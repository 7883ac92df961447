"""What the CPVAE experiments share: measures that know the truth, and a classifier.

The experiments are ``cpvae_grassy`` (figures 2, 3 and table 1 of the paper), ``cpvae_classes``
(table 2), ``cpvae_flowers`` (figure 5) and ``cpvae_heads`` (figure 4, on heads).  Trials and
training are those of :mod:`vaelite.experiments.networks`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelite.nets import ConvEncoder, as_float


def explained(output: Tensor, truth: Tensor) -> float:
    r"""Return the share of a layer's variance that a model's output for it explains.

    .. math:: R^2 = 1 - \sum_{np} (e_{np} - \bar e_p)^2 \Big/ \sum_{np} (y_{np} - \bar y_p)^2,
        \qquad e = y - \hat y

    Each pixel p has an offset of its own, since a sum of two outputs leaves a constant image free:
    what one part has too much, the other has too little.

    Args:
        output: ``(N, P)``.
        truth: ``(N, P)``.
    """
    error, truth = (truth - output).double(), truth.double()
    residual = (error - error.mean(0)).square().sum()
    return float(1 - residual / (truth - truth.mean(0)).square().sum())


def calibration_error(probability: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of confidence from accuracy.

    Args:
        probability: ``(N,)`` of the class that was chosen.
        correct: ``(N,)`` whether it is the right one.
        bins: of equal width, between 0 and 1.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(probability[place == b].mean() - correct[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return float(sum(gaps))


def translate(x: Tensor, share: float) -> Tensor:
    """Move each image by whole pixels at random, up to a share of its side; zeros move in.

    Args:
        x: ``(B, H, W)`` or ``(B, C, H, W)``.
        share: of height and width; 0.1 in the paper (appendix B.1).
    """
    height, width = x.shape[-2:]
    most = [int(share * side) for side in (height, width)]
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    indices = []
    for side, reach in zip((height, width), most, strict=True):
        start = (torch.rand(len(x), device=x.device) * (2 * reach + 1)).long().clamp(max=2 * reach)
        indices.append(start[:, None] + torch.arange(side, device=x.device))
    rows, columns = indices
    shape = (len(x), *[1] * (x.ndim - 3))
    which = torch.arange(len(x), device=x.device).view(*shape, 1, 1)
    if x.ndim == 3:
        return padded[which, rows[:, :, None], columns[:, None, :]]
    channels = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    return padded[which, channels, rows[:, None, :, None], columns[:, None, None, :]]


class Classifier(nn.Module):
    """A small convolutional network that is told the classes: what discriminative training gets.

    Args:
        image_shape: ``(C, H, W)``.
        classes: how many.
        width: channels of the first convolution.
        shift: share of the image by which training images are moved at random.
        network: another network, in place of the small one, for images of three channels.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        width: int,
        shift: float,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.image_shape, self.shift = image_shape, shift
        self.channels = image_shape[0] if network is None else 3
        self.net = network or nn.Sequential(
            ConvEncoder(image_shape, 8 * width, width, batch_norm=True),
            nn.ReLU(),
            nn.Linear(8 * width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, ``(B, ...) -> (B, classes)``."""
        x = as_float(x, next(self.parameters()).dtype)
        x = x.reshape(-1, *self.image_shape)
        return self.net(x.expand(-1, self.channels, -1, -1))

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of images ``(B, H, W)`` and their classes ``(B,)``, in nats."""
        x, labels = batch
        loss = F.cross_entropy(self(translate(x, self.shift)), labels)
        return loss, {"cross_entropy": loss}


def resnet50(classes: int) -> nn.Module:
    """Return an untrained ResNet-50 of torchvision, the paper's reference classifier."""
    from torchvision.models import resnet50 as build

    return build(num_classes=classes)

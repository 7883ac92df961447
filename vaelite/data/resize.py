"""From ink in [0, 1] to the uint8 images of a data set, in any size."""

from __future__ import annotations

import torch
from torch import Tensor


def to_uint8(ink: Tensor, shape: tuple[int, int], binary: bool = False) -> Tensor:
    """Return ink in [0, 1], ``(N, H, W)``, as uint8 images ``(N, *shape)``, where 255 is full ink.

    Another shape is interpolated bilinearly, without aliasing; height and width scale on their own.
    Binary pixels are 0 or 255, whichever is nearer.
    """
    if ink.shape[1:] != shape:
        ink = torch.nn.functional.interpolate(
            ink[:, None], shape, mode="bilinear", antialias=True, align_corners=False
        )[:, 0]
    if binary:
        ink = (ink >= 0.5).float()
    return (ink * 255).round().clamp(0, 255).to(torch.uint8)

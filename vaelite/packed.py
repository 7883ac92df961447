"""Binary images, one bit a pixel, unpacked where and when a batch of them is needed.

That pays on the full grid of dSprites, 737,280 images of 64 x 64: 0.35 GiB here, 2.8 GiB as bytes,
which small machines lack.  The price, on one core of a busy CPU: to select and unpack a batch of
2,048 takes 4.0 ms, to select it from bytes 0.3 ms; a training step of the paper's full networks on
it takes 3.4 s.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class PackedImages:
    """Images of zeros and ones that take an eighth of the memory of bytes.

    They stand in for a uint8 tensor ``(N, H, W)`` of 0 and 255 wherever whole images are selected:
    in a :class:`vaelite.data.Dataset` and in :func:`vaelite.training.fit`.  Selecting is all they
    can do; there is no arithmetic on packed images.

    Args:
        bits: ``(N, ceil(H W / 8))`` uint8.  Each row holds an image's pixels row by row, the first
            pixel in the highest bit, as NumPy's ``packbits`` has it; spare bits at the end are 0.
        height: H.
        width: W.

    Raises:
        TypeError: if ``bits`` is no uint8 tensor.
        ValueError: if its shape does not belong to images of this size.
    """

    dtype = torch.uint8
    ndim = 3

    def __init__(self, bits: Tensor, height: int, width: int) -> None:
        if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
            raise TypeError(f"bits must be a uint8 tensor; got {getattr(bits, 'dtype', bits)}.")
        if height < 1 or width < 1:
            raise ValueError(f"height and width must be positive; got {height} and {width}.")
        row_bytes = -(-height * width // 8)
        if bits.ndim != 2 or bits.shape[1] != row_bytes:
            raise ValueError(
                f"bits must be (N, {row_bytes}) for images of {height} x {width} pixels; "
                f"got {tuple(bits.shape)}."
            )
        self.bits = bits
        self.shape = torch.Size((len(bits), height, width))

    @classmethod
    def pack(cls, images: Tensor | Iterable[Tensor]) -> PackedImages:
        """Pack images ``(N, H, W)``: every pixel that is not 0 becomes 1.

        Args:
            images: uint8 or bool; or an iterable of such tensors, at least one, so that the
                unpacked images need never be in memory all at once.

        Raises:
            TypeError: if the images are neither uint8 nor bool.
            ValueError: if there are none, or they are not ``(N, H, W)`` of one size.
        """
        bits, size = [], None
        for chunk in [images] if isinstance(images, Tensor) else images:
            if chunk.dtype not in (torch.uint8, torch.bool):
                raise TypeError(f"images must be uint8 or bool; got {chunk.dtype}.")
            size = size or chunk.shape[1:]
            if chunk.ndim != 3 or chunk.shape[1:] != size:
                raise ValueError(f"images must be (N, H, W) of one size; got {tuple(chunk.shape)}.")
            bits.append(_pack(chunk))
        if size is None:
            raise ValueError("images must hold at least one tensor.")
        return cls(bits[0] if len(bits) == 1 else torch.cat(bits), *size)

    def __len__(self) -> int:
        """Return N."""
        return len(self.bits)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Return the images that ``index`` selects along the first dimension, uint8 0 and 255."""
        return _unpack(self.bits[index], self.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the images ``index``, as ``torch.Tensor.index_select`` does along dimension 0.

        Raises:
            ValueError: if ``dim`` is another dimension.
        """
        if dim != 0:
            raise ValueError(f"dim must be 0 for packed images; got {dim}.")
        return _unpack(self.bits.index_select(0, index), self.shape[1:])

    def to(self, device: torch.device | str) -> PackedImages:
        """Return the same images on another device, packed."""
        return PackedImages(self.bits.to(device), *self.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.bits.device

    @property
    def nbytes(self) -> int:
        """Memory that they take, in bytes."""
        return self.bits.nbytes


def _pack(images: Tensor) -> Tensor:
    pixels = (images != 0).to(torch.uint8).flatten(1)
    pixels = torch.nn.functional.pad(pixels, (0, -pixels.shape[1] % 8))
    bits = pixels.unflatten(1, (-1, 8)) << _shifts(images.device)
    return bits.sum(-1, dtype=torch.uint8)


def _unpack(bits: Tensor, size: torch.Size) -> Tensor:
    """Turn ``(..., bytes)`` into ``(..., H, W)``."""
    pixels = bits.unsqueeze(-1) >> _shifts(bits.device)
    pixels = pixels.bitwise_and_(1).neg_().flatten(-2)  # -1 is 255 in a byte
    return pixels[..., : size.numel()].unflatten(-1, size)


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)

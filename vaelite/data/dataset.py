"""What every data set of the registry looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from vaelite._validation import check_choice
from vaelite.packed import PackedImages

SOURCES = ("real", "stand-in", "re-rendering")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A data set in memory, on one device, in a compact type.

    Attributes:
        name: the name in the registry.
        x: ``(N, H, W)`` uint8 images, where 255 is full ink, in colour ``(N, 3, H, W)``; the same
            as :class:`~vaelite.packed.PackedImages`, one bit a pixel; or ``(N, ...)`` floats.
        source: ``real``, ``stand-in`` (made by code) or ``re-rendering`` (made by code after real
            images, and nearly equal to them).
        citation: whom to credit.
        labels: ``(N,)`` integer class, or None.
        factors: ``(N, V)`` integer generative factors, or None.
        factor_names: V names.
    """

    name: str
    x: Tensor | PackedImages
    source: str
    citation: str
    labels: Tensor | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()

    def __post_init__(self):
        """Check that the parts belong together."""
        check_choice("source", self.source, SOURCES)
        for part in ("labels", "factors"):
            values = getattr(self, part)
            if values is not None and len(values) != len(self.x):
                raise ValueError(f"{part} has {len(values)} rows, x has {len(self.x)}.")
        columns = 0 if self.factors is None else self.factors.shape[1]
        if len(self.factor_names) != columns:
            raise ValueError(f"{len(self.factor_names)} factor names for {columns} factors.")

    def __repr__(self) -> str:
        """Say what is there, without a single number of it."""
        kind = f"{tuple(self.x.shape)} {str(self.x.dtype).removeprefix('torch.')}"
        kind += ", packed" if isinstance(self.x, PackedImages) else ""
        factors = f", factors: {', '.join(self.factor_names)}" if self.factor_names else ""
        labels = "" if self.labels is None else ", labels"
        return f"Dataset({self.name}, {self.source}: x {kind}{labels}{factors})"

    def __len__(self) -> int:
        """Return N."""
        return len(self.x)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Return one datum as floats, with its label where there are labels.

        So torch's ``DataLoader`` and ``random_split`` take a data set as it is.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range; there are {len(self)} data.")
        index = int(index) % len(self)
        (x,) = self.images(slice(index, index + 1))
        return x if self.labels is None else (x, self.labels[index])

    def images(self, index: Tensor | slice | None = None) -> Tensor:
        """Return ``x``, or the rows that ``index`` selects, as floats; uint8 becomes [0, 1]."""
        chosen = self.x[slice(None) if index is None else index]
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen.float()

    def flat(self, index: Tensor | slice | None = None) -> Tensor:
        """Return the same as :meth:`images`, one row a datum: ``(N, D)``."""
        return self.images(index).flatten(1)

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set on another device."""
        return self._each(lambda part: part.to(device))

    def select(self, index: Tensor | slice) -> Dataset:
        """Return the data of the rows that ``index`` (rows, a mask or a slice) selects.

        A population of digits is ``data.select(data.labels < 5)``.  Packed images are unpacked.
        """
        return self._each(lambda part: part[index])

    def _each(self, change: Callable[[Any], Any]) -> Dataset:
        """Change every part that has one row a datum, alike."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = {n: p for n, p in parts.items() if isinstance(p, Tensor | PackedImages)}
        return replace(self, **{name: change(part) for name, part in rows.items()})

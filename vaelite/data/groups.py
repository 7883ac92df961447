"""Groups of channels: which columns of the data belong together, as one aspect of each datum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Groups(Mapping[str, Tensor]):
    """The channels of each group by its name, in order: a partition of the columns of the data.

    ``groups["left arm"]`` are column numbers, ``(D_g,)`` int64; ``list(groups)`` are the names.

    Args:
        channels: the column numbers of each group.

    Raises:
        ValueError: if there is no group, a group has no channel, or the groups do not hold each
            channel from 0 on exactly once.
    """

    def __init__(self, channels: Mapping[str, Sequence[int] | Tensor]) -> None:
        self._channels = {name: torch.as_tensor(list(c)).long() for name, c in channels.items()}
        for name, columns in self._channels.items():
            if not len(columns):
                raise ValueError(f"group {name!r} has no channel.")
        if not self._channels:
            raise ValueError("there must be at least one group; got none.")
        everything = torch.cat(list(self._channels.values()))
        if everything.sort().values.tolist() != list(range(len(everything))):
            raise ValueError(
                f"the groups must hold each of {len(everything)} channels, from 0 on, exactly "
                f"once; got {sorted(everything.tolist())}."
            )

    def __getitem__(self, name: str) -> Tensor:
        """Return the channels of a group, ``(D_g,)``."""
        return self._channels[name]

    def __iter__(self):
        """Go through the names."""
        return iter(self._channels)

    def __len__(self) -> int:
        """Return the number of groups, G."""
        return len(self._channels)

    __eq__, __hash__ = object.__eq__, object.__hash__  # a mapping would compare the tensors

    def __repr__(self) -> str:
        """Say how many channels each group has."""
        sizes = (f"{name}: {size}" for name, size in zip(self, self.sizes, strict=True))
        return f"Groups({', '.join(sizes)})"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of channels of each group, D_g."""
        return tuple(len(columns) for columns in self.values())

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the groups of ``x``: ``(..., D)`` becomes G tensors ``(..., D_g)``.

        Raises:
            ValueError: if ``x`` has not as many columns as the groups have channels.
        """
        if x.shape[-1] != sum(self.sizes):
            raise ValueError(f"x has {x.shape[-1]} columns; the groups have {sum(self.sizes)}.")
        return [x[..., columns.to(x.device)] for columns in self.values()]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Undo :meth:`split`: G tensors ``(..., D_g)`` become ``(..., D)``.

        Raises:
            ValueError: if the parts have other sizes than the groups.
        """
        sizes = tuple(part.shape[-1] for part in parts)
        if sizes != self.sizes:
            raise ValueError(f"the parts have {sizes} columns; the groups have {self.sizes}.")
        back = torch.cat(list(self.values())).argsort()
        joined = torch.cat(list(parts), -1)
        return joined[..., back.to(joined.device)]

    def mask(self, observed: Tensor) -> Tensor:
        """Spread a mask of groups over their channels: ``(..., G)`` becomes ``(..., D)``.

        Raises:
            ValueError: if ``observed`` has not one column a group.
        """
        if observed.shape[-1] != len(self):
            raise ValueError(
                f"observed has {observed.shape[-1]} columns; there are {len(self)} groups."
            )
        sizes = torch.tensor(self.sizes, device=observed.device)
        return self.join(observed.repeat_interleave(sizes, -1).split(self.sizes, -1))

"""What training takes as data, and the batches that a model gets of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from vaelite.nets import as_float
from vaelite.packed import PackedImages


class Unpaired:
    """Data sets of different sizes, of which every batch holds some data each.

    Populations, tasks, labelled and unlabelled data: row 5 of one has nothing to do with row 5 of
    another.  (A plain tuple means paired data: one row of each is one datum.)  Each set has an
    order of its own, epoch after epoch, and a batch size of its own where
    :func:`vaelite.training.fit` is given several.  A model gets a tuple of batches::

        fit(model, Unpaired(faces, cars), batch_size=32, ...)              # (faces, cars)
        fit(model, Unpaired((x, label), y), batch_size=(10, 100), ...)     # ((x, label), y)

    Args:
        *sets: two or more of what ``fit`` takes as data.

    Raises:
        ValueError: if there are fewer than two, or one of them is unpaired itself.
    """

    def __init__(self, *sets: Any) -> None:
        if len(sets) < 2:
            raise ValueError(f"Unpaired takes two or more data sets; got {len(sets)}.")
        if any(isinstance(one, Unpaired) for one in sets):
            raise ValueError("Unpaired takes tensors, tuples of them or data sets, not Unpaired.")
        self.sets = sets


class Source:
    """Data in the form in which training uses them: one or several sets of paired tensors.

    Args:
        data: what :func:`vaelite.training.fit` takes.

    Raises:
        TypeError: if the data are no tensors.
        ValueError: if there are none, or paired ones have different numbers of rows.
    """

    def __init__(self, data: Any) -> None:
        self.unpaired = isinstance(data, Unpaired)
        self.sets = [_tensors(one) for one in (data.sets if self.unpaired else [data])]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of data in each set."""
        return tuple(len(tensors[0]) for tensors, _ in self.sets)

    def batch_sizes(self, batch_size: int | Sequence[int]) -> tuple[int, ...]:
        """Return how many data of each set a batch has.

        Raises:
            ValueError: if one is not between 1 and the number of data, or there are not as many
                as data sets.
        """
        several = isinstance(batch_size, (tuple, list))
        wanted = tuple(batch_size) if several else (batch_size,) * len(self.sets)
        if len(wanted) != len(self.sets) or (several and not self.unpaired):
            raise ValueError(
                f"batch_size must be one integer, or with Unpaired data one for each of the "
                f"{len(self.sets)} data sets; got {batch_size!r}."
            )
        for size, rows in zip(wanted, self.sizes, strict=True):
            number = isinstance(size, Integral) and not isinstance(size, bool)
            if not (number and 1 <= size <= rows):
                raise ValueError(
                    f"batch_size must be an integer between 1 and the {rows} data; got {size!r}."
                )
        return tuple(map(int, wanted))

    def to(self, device: torch.device) -> Source:
        """Move the data to a device, in place."""
        self.sets = [([t.to(device) for t in tensors], single) for tensors, single in self.sets]
        return self

    def whole(self) -> Any:
        """Return all data, as a model's ``validate`` sees them.

        One packed image stands for all: they have one shape, and no values but 0 and 255.
        """
        return self._build(lambda t, _: t[:1] if isinstance(t, PackedImages) else t)

    def tensors(self) -> Any:
        """Return all data."""
        return self._build(lambda t, _: t)

    def batch(
        self, rows: Sequence[Tensor], dtype: torch.dtype, shape: Callable = lambda batch: batch
    ) -> Any:
        """Select rows of each set; bytes and floats become what the model computes with.

        Args:
            rows: indices, one tensor for each set.
            dtype: of the model.
            shape: what to do with each tensor of the batch.
        """
        return self._build(lambda t, i: shape(_ready(t.index_select(0, rows[i]), dtype)))

    def digest(self) -> str:
        """Return a checksum of everything: shapes, types and values."""
        checksum = 0
        for tensors, _ in self.sets:
            for tensor in tensors:
                values = tensor.bits if isinstance(tensor, PackedImages) else tensor
                checksum = zlib.crc32(f"{values.dtype} {tuple(tensor.shape)}".encode(), checksum)
                for piece in values.detach().split(max(1, _PIECE // max(1, values[:1].nbytes))):
                    flat = piece.cpu().contiguous().flatten().view(torch.uint8)
                    checksum = zlib.crc32(flat.numpy(), checksum)
        return f"{checksum:08x}"

    def _build(self, function: Callable[[Any, int], Any]) -> Any:
        built = []
        for index, (tensors, single) in enumerate(self.sets):
            values = [function(tensor, index) for tensor in tensors]
            built.append(values[0] if single else tuple(values))
        return tuple(built) if self.unpaired else built[0]


_PIECE = 2**24  # bytes


def map_tensors(function: Callable[[Tensor], Tensor], value: Any, name: str = "batch") -> Any:
    """Apply a function to every tensor in tuples, lists and dictionaries, however deep.

    Raises:
        TypeError: if there is anything else in it; names ``name``.
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item, name) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [map_tensors(function, item, name) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    raise TypeError(
        f"{name} must hold tensors, in tuples, lists or dictionaries; got {type(value).__name__}."
    )


def _tensors(data: Any) -> tuple[list[Tensor | PackedImages], bool]:
    """Return the tensors to index, and whether there is just one."""
    if isinstance(data, Subset):  # of random_split, say
        tensors, single = _tensors(data.dataset)
        return [tensor[torch.as_tensor(data.indices)] for tensor in tensors], single
    if isinstance(data, TensorDataset):
        data = data.tensors if len(data.tensors) > 1 else data.tensors[0]
    elif hasattr(data, "x"):
        data = data.x
    single = not isinstance(data, (tuple, list))
    tensors = [data] if single else list(data)
    for tensor in tensors:
        if not isinstance(tensor, (Tensor, PackedImages)):
            raise TypeError(
                "data must be a tensor, a tuple of tensors, a TensorDataset, a Subset, a data set "
                "with x, or Unpaired; "
                f"got {type(tensor).__name__}."
            )
    if not tensors or any(tensor.ndim == 0 for tensor in tensors):
        raise ValueError("data must hold at least one tensor, each with a first dimension of data.")
    sizes = [len(tensor) for tensor in tensors]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the tensors of data must have equally many rows; got {sizes}. "
            "Data sets of different sizes go into vaelite.batches.Unpaired."
        )
    return tensors, single


def _ready(batch: Tensor, dtype: torch.dtype) -> Tensor:
    """Make bytes and floats what the model computes with; labels and masks stay as they are."""
    if batch.dtype == torch.uint8 or batch.is_floating_point():
        return as_float(batch, dtype)
    return batch

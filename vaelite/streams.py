"""The random numbers of a run: all come from its seed, in streams that do not touch.

Stream 1 is the noise that a model draws.  The others are orders of data: stream 0 of the only or
the first data set, streams 2, 3, ... of further ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NOISE = 1


def stream(seed: int, index: int) -> int:
    """Return the seed of one of a run's independent streams.

    Raises:
        ValueError: if ``seed`` is no integer, or negative.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an integer that is not negative; got {seed!r}.")
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


class Batches:
    """Rows of one data set, epoch after epoch, that can be taken up again anywhere.

    Args:
        seed: the run's.
        position: which of the data sets of :class:`vaelite.batches.Unpaired`; 0 for a single one.
        device: where the indices are wanted.
    """

    def __init__(self, seed: int, position: int, device: torch.device) -> None:
        index = position + (position >= _NOISE)
        self.generator = torch.Generator().manual_seed(stream(seed, index))
        self.device = device

    def begin(self, size: int, batch_size: int) -> None:
        """Start an epoch of ``size`` data, where the stream of random numbers stands."""
        self.size, self.batch_size = size, batch_size
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.epoch_state = self.generator.get_state()
        order = torch.randperm(self.size, generator=self.generator).to(self.device)
        self.blocks = order.split(self.batch_size)
        self.position = 0

    def next(self) -> Tensor:
        """Return the next ``(B,)`` rows; what does not fill a batch waits for another epoch."""
        if self.position == self.size // self.batch_size:
            self._new_epoch()
        self.position += 1
        return self.blocks[self.position - 1]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`load_state` needs to go on from here."""
        return {
            "epoch": self.epoch_state,
            "position": self.position,
            "size": self.size,
            "batch_size": self.batch_size,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where the stream stood."""
        self.generator.set_state(state["epoch"])
        self.begin(state["size"], state["batch_size"])
        self.position = state["position"]


def own_noise(seed: int, device: torch.device) -> list[torch.Generator]:
    """Return a run's own source of noise: a generator of the CPU, and one of a GPU in use."""
    devices = ["cpu"] if device.type == "cpu" else ["cpu", device]
    return [torch.Generator(place).manual_seed(stream(seed, _NOISE)) for place in devices]


@contextmanager
def global_noise(seed: int, device: torch.device) -> Iterator[list[torch.Generator]]:
    """Seed torch's global generators inside the block, and restore them after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        generators = _global_generators(device)
        for generator in generators:
            generator.manual_seed(stream(seed, _NOISE))
        yield generators


@contextmanager
def noise_from(generators: Sequence[torch.Generator], device: torch.device) -> Iterator[None]:
    """Let torch's global generators go on from a run's own, and the other way round."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        pairs = list(zip(generators, _global_generators(device), strict=True))
        for own, shared in pairs:
            shared.set_state(own.get_state())
        yield
        for own, shared in pairs:
            own.set_state(shared.get_state())


def _global_generators(device: torch.device) -> list[torch.Generator]:
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    return generators

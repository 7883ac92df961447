"""What happened during training: collected on the device, looked at now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class History:
    """What happened during training.

    Attributes:
        steps: ``(T,)`` how many steps were done when each entry was taken, over all phases.
        parts: ``(T,)`` for each name, ``loss`` first: the mean over the steps since the entry
            before, in nats a datum; NaN in a phase whose loss has no such part.
        seconds: wall time of the training itself, over all resumed runs.
        stacked: how many runs were trained as one stack; 1 for a run alone.
    """

    steps: np.ndarray
    parts: dict[str, np.ndarray]
    seconds: float
    stacked: int = 1

    def __getitem__(self, part: str) -> np.ndarray:
        """Return one part by name, such as ``history["kl"]``."""
        return self.parts[part]

    @property
    def steps_per_second(self) -> float:
        """Throughput over the whole run."""
        return float(self.steps[-1] / self.seconds) if len(self.steps) else math.nan


class Log:
    """Collects losses on the device and looks at them only every so many steps.

    Args:
        every: steps between two looks.
        runs: how a message about each run begins.
    """

    def __init__(self, every: int, runs: Sequence[str] = ("",)) -> None:
        self.every, self.runs = every, runs
        self.names: list[str] = []  # of what is pending
        self.steps: list[int] = []
        self.means: list[dict[str, list[float]]] = []  # of each entry by name, one for each run
        self.pending: list[Tensor] = []  # (parts,) or (parts, runs) for each step since an entry
        self.done = 0

    def add(self, done: int, loss: Tensor, parts: Mapping[str, Tensor]) -> bool:
        """Take one step's values; return whether they made an entry."""
        self.done = done
        self.names = ["loss", *parts]
        self.pending.append(torch.stack([loss.detach(), *(v.detach() for v in parts.values())]))
        if len(self.pending) >= self.every:
            self.close()
            return True
        return False

    def close(self) -> None:
        """Make an entry of what is pending."""
        if self.pending:
            means = self.check_finite().mean(0).tolist()
            self.means.append(dict(zip(self.names, means, strict=True)))
            self.steps.append(self.done)
            self.pending = []

    def check_finite(self) -> Tensor:
        """Return the pending values ``(steps, parts, runs)``; raise if one is NaN or infinite."""
        shape = len(self.pending), len(self.names), len(self.runs)
        if not self.pending:
            return torch.empty(shape)
        values = torch.stack(self.pending).cpu().double().view(shape)
        for run, own in zip(self.runs, values.unbind(-1), strict=True):
            bad = ~torch.isfinite(own)
            if bad.any():
                row = int(bad.any(1).nonzero()[0])
                columns = bad[row].nonzero().flatten().tolist()
                # The loss is the sum: a part, where there is one, says more.
                column = columns[1] if len(columns) > 1 else columns[0]
                step = self.done - len(own) + row + 1
                raise FloatingPointError(
                    f"{run}training diverged at step {step}: {self.names[column]} is "
                    f"{own[row, column]:g}; try a smaller step size or a warm-up."
                )
        return values

    def latest(self) -> str:
        """Return the last entry as a line for the bar."""
        means = self.means[-1]
        if len(self.runs) > 1:
            return f"loss {min(means['loss']):.4g} to {max(means['loss']):.4g}"
        return ", ".join(f"{name} {value:.4g}" for name, (value,) in means.items())

    def histories(self, seconds: float) -> list[History]:
        """Return the history of each run."""
        names = dict.fromkeys(name for entry in self.means for name in entry)
        absent = [math.nan] * len(self.runs)
        table = np.array([[entry.get(name, absent) for name in names] for entry in self.means])
        return [
            History(
                np.array(self.steps, dtype=int),
                dict(zip(names, table[:, :, run].T, strict=True)) if names else {},
                seconds,
                len(self.runs),
            )
            for run in range(len(self.runs))
        ]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`load_state` needs to go on from here."""
        return {
            "names": self.names,
            "steps": self.steps,
            "means": self.means,
            "pending": torch.stack(self.pending).cpu() if self.pending else None,
            "done": self.done,
        }

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on where the log stood."""
        self.names, self.steps, self.means = state["names"], state["steps"], state["means"]
        pending = state["pending"]
        self.pending = [] if pending is None else list(pending.to(device))
        self.done = state["done"]

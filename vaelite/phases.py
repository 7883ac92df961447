"""The plan of a training run: its phases, the schedules in them, and all that is checked first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import nn

from vaelite._validation import check_count
from vaelite.batches import Source

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Linear:
    """A schedule that moves from ``start`` to ``end`` in so many steps, then stays there.

    ``Linear(0, 1, 1000)`` warms a KL weight up.

    Attributes:
        start: value at step 0.
        end: value from step ``steps`` on.
        steps: how long it takes; positive.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Check the number of steps."""
        check_count("steps", self.steps)

    def __call__(self, step: int) -> float:
        """Return the value at a step, counted from 0."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class Phase:
    """A part of a training run; what it leaves open is as the call of ``fit`` says.

    Phases go on from each other: in the parameters, in Adam's memory, in the noise, and in the
    order of the data where data and batch size stay as they were::

        phases=[Phase(500, schedules={"beta": Linear(0, 1, 500)}), Phase(2000, before=seed)]

    Attributes:
        steps: number of updates.
        data: other data; of another structure, too, if the model's loss takes it.
        batch_size: another batch size.
        lr: another step size.
        schedules: other schedules.  They count the steps of their phase, from 0.
        before: called with the model and the phase's data before its first step, to seed clusters
            say, or to freeze parameters by ``requires_grad_(False)``.  It draws from the run's
            noise, and is not called again where a checkpoint of the phase is resumed.
        reset_adam: start with an Adam that remembers nothing.
    """

    steps: int
    data: Any = None
    batch_size: int | Sequence[int] | None = None
    lr: float | None = None
    schedules: Mapping[str, Schedule] | None = None
    before: Callable[[nn.Module, Any], Any] | None = None
    reset_adam: bool = False


@dataclass(frozen=True)
class Defaults:
    """What phases leave open."""

    steps: int | None
    batch_size: int | Sequence[int] | None
    lr: float
    schedules: Mapping[str, Schedule] | None


@dataclass(frozen=True)
class Planned:
    """A phase in which nothing is left open."""

    steps: int
    source: Source
    batch_sizes: tuple[int, ...]
    lr: float
    schedules: dict[str, Schedule]
    before: Callable[[nn.Module, Any], Any] | None
    reset_adam: bool

    def same_batches(self, other: Planned) -> bool:
        """Whether the order of the data goes on from one phase to the other."""
        return self.source is other.source and self.batch_sizes == other.batch_sizes


def make_plan(
    model: nn.Module,
    data: Any,
    phases: Sequence[Phase] | None,
    defaults: Defaults,
    log_every: int | None,
) -> list[Planned]:
    """Check all settings and all data, and fill in what phases leave open.

    Raises:
        TypeError: if the data are no tensors, or a phase is none.
        ValueError: if a setting is out of range, or the data are unfit for the model.
    """
    if log_every is not None:
        check_count("log_every", log_every)
    if (defaults.steps is None) == (phases is None):
        raise ValueError("either steps or phases must be given, and not both.")
    if phases is None:
        phases = [Phase(defaults.steps)]
    if not phases or not all(isinstance(phase, Phase) for phase in phases):
        raise TypeError(f"phases must hold at least one Phase, and nothing else; got {phases!r}.")
    sources: dict[int, Source] = {}
    plan = []
    for phase in phases:
        given = data if phase.data is None else phase.data
        if id(given) not in sources:
            sources[id(given)] = Source(given)
        check_count("steps", phase.steps)
        lr = defaults.lr if phase.lr is None else phase.lr
        if not (isinstance(lr, Real) and 0 < lr < math.inf):
            raise ValueError(f"lr must be a positive finite number; got {lr!r}.")
        batch_size = defaults.batch_size if phase.batch_size is None else phase.batch_size
        source = sources[id(given)]
        schedules = defaults.schedules if phase.schedules is None else phase.schedules
        _check_schedules(schedules, model)
        if phase.before is not None and not callable(phase.before):
            raise TypeError(f"before must be a function of model and data; got {phase.before!r}.")
        plan.append(
            Planned(
                int(phase.steps),
                source,
                source.batch_sizes(batch_size),
                lr,
                dict(schedules or {}),
                phase.before,
                phase.reset_adam,
            )
        )
    for source in sources.values():
        if hasattr(model, "validate"):
            model.validate(source.whole())
    wanted = getattr(model, "dataset_size", None)
    for number, phase in enumerate(plan, 1):
        sizes = phase.source.sizes
        if wanted is not None and len(sizes) == 1 and wanted != sizes[0]:
            where = f"phase {number} has" if len(plan) > 1 else "there are"
            raise ValueError(f"dataset_size is {wanted}, but {where} {sizes[0]} data.")
    return plan


def described(plan: list[Planned], growing: bool) -> dict[str, Any]:
    """Return what a checkpoint must agree in, by name; ``growing`` runs may take more steps."""
    found: dict[str, Any] = {"number of phases": len(plan)}
    digests: dict[int, str] = {}
    for number, phase in enumerate(plan, 1):
        of = "" if len(plan) == 1 else f" of phase {number}"
        if id(phase.source) not in digests:
            digests[id(phase.source)] = phase.source.digest()
        if not (growing and number == len(plan)):
            found[f"steps{of}"] = phase.steps
        if not growing:
            found[f"lr{of}"] = float(phase.lr)
        sizes = (phase.source.sizes, phase.batch_sizes)
        data, batch_size = (one[0] if len(one) == 1 else one for one in sizes)
        found |= {f"data{of}": data, f"batch_size{of}": batch_size}
        if number > 1:
            found[f"reset_adam{of}"] = bool(phase.reset_adam)
        found[f"schedules{of}"] = ", ".join(sorted(phase.schedules)) or "none"
        for name, schedule in phase.schedules.items():
            some = [0, *(2**power for power in range(40) if 2**power < phase.steps)]
            values = {step: float(schedule(step)) for step in some if step < phase.steps}
            found[f"schedule {name}{of}"] = values
        found[f"digest of the data{of}"] = digests[id(phase.source)]
    return found


def scheduled(plan: list[Planned]) -> set[str]:
    """Return the names that schedules set."""
    return {name for phase in plan for name in phase.schedules}


def total_steps(plan: list[Planned]) -> int:
    """Return the number of steps of all phases."""
    return sum(phase.steps for phase in plan)


def _check_schedules(schedules: Mapping[str, Schedule] | None, model: nn.Module) -> None:
    for name, schedule in (schedules or {}).items():
        if name != "lr":
            if not hasattr(model, name):
                raise ValueError(f"schedules sets {name!r}, which the model does not have.")
            present = getattr(model, name)
            if not isinstance(present, Real) or isinstance(present, bool):
                kind = type(present).__name__
                raise ValueError(f"schedules sets {name!r}, which is no number but a {kind}.")
        if not callable(schedule):
            raise TypeError(
                f"schedules[{name!r}] must be a function of the step; got {schedule!r}."
            )

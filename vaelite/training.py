"""Training: one loop for every model of the book, on the CPU and on the GPU.

What training asks of a model; only the first is required.

``loss(batch)``
    The scalar to minimise and its named parts, in nats a datum: ``(loss, parts)``; or
    ``(loss, parts, carry)``, where ``carry`` holds tensors that the second update needs, such as
    this batch's encodings, in tuples, lists or dictionaries.
``after_step(batch, carry)``
    A second update, after Adam's step.  ``carry`` is what ``loss`` carried, detached, or None.  It
    may change buffers and parameters in place, or assign new ones to their names.
``after_step_parameters()``
    The parameters that ``after_step`` moves.  Adam leaves them alone; ``.grad`` of each is its
    gradient of the loss that this step minimised.
``validate(data)``
    A look at the whole data set, before the first step.
``dataset_size``
    An attribute that must be the number of data.

State that changes is a buffer.  Noise comes from torch's global generator.

What training asks of data: a tensor; a tuple of tensors with equally many rows, which are paired;
or :class:`vaelite.batches.Unpaired` data sets of different sizes.  What comes one after the other
(pretrain, seed the clusters, train) is a list of :class:`Phase`.  :func:`fit` trains one model,
:func:`fit_seeds` many at once, and each of those is what it would be alone.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelite._validation import check_count
from vaelite.batches import Source
from vaelite.checkpoint import Checkpoint, describe, interrupt_flag, numbers, set_numbers
from vaelite.history import History, Log
from vaelite.stack import Single, Stack, bytes_needed
from vaelite.streams import Batches, global_noise, own_noise, stream

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


def fit(
    model: nn.Module,
    data: Any,
    *,
    steps: int | None = None,
    batch_size: int | Sequence[int] | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    device: torch.device | str | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    phases: Sequence[Phase] | None = None,
    log_every: int | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
) -> History:
    """Train a model with Adam.

    The data lie on the device as they are: bytes stay bytes, a batch is selected there and only
    then becomes floating point (:func:`vaelite.nets.as_float`).  Each epoch is a fresh
    permutation; what does not fill a batch waits for another epoch.

    One seed gives the same result on the same machine, whatever the state of torch's global
    generator, which is left as it was.

    There is no "best" checkpoint: while a weight is annealed, losses of different steps cannot be
    compared.

    Args:
        model: see the top of this module.  It is trained in place, in training mode, and its mode
            is restored.
        data: ``(N, ...)``; a tuple of such tensors, which reaches the model as a tuple; a data
            set of the registry, of which ``x`` is taken; or :class:`vaelite.batches.Unpaired`
            ones.  A tensor may also be :class:`vaelite.packed.PackedImages`, unpacked by the
            batch.  Integers other than uint8, and bools, reach the model as they are: labels and
            masks.
        steps: number of updates in all, those of an earlier run that is resumed included.
        batch_size: B, at most N; of unpaired data one for all, or one for each.
        lr: Adam's step size.
        seed: not negative.
        device: where to train; the model is moved there.  By default where the model is.
        schedules: functions of the step, counted from 0.  Each sets the number that it is named
            after, an attribute of the model, such as ``{"beta": Linear(0, 1, 1000)}``, except
            ``"lr"``, which sets the step size.
        phases: parts of the run, one after the other, in place of ``steps``.
        log_every: steps between two entries of the history, and between two looks at whether the
            losses are finite; by default 100, and fewer in a run of fewer than 10,000 steps.
        progress: show a bar with the losses and the time left.
        checkpoint: a file to save to: while training, when interrupted, and at the end of each
            phase.  Always either whole or absent.  One that another run left is never overwritten.
        checkpoint_seconds: time between two checkpoints.
        resume: go on from ``checkpoint`` where it exists, as if the run had never stopped; with
            more steps, or another ``lr``, as if the step size had changed there.

    Returns:
        The losses and their parts over time.

    Raises:
        TypeError: if the data are no tensors, or the model is not what the contract asks for.
        ValueError: if a setting is out of range, the data are unfit for the model, or the
            checkpoint is damaged or belongs to another run: another class, setting of the model,
            schedule, seed, batch size, or other data.
        OSError: if the checkpoint cannot be written, or another run uses it; before the first
            step where that is known.
        FloatingPointError: if the loss becomes NaN or infinite; names the step and the part.  The
            last checkpoint is older than the damage.
        KeyboardInterrupt: on ctrl-C, after the step in progress and a checkpoint.
    """
    _check_model(model)
    plan = _plan(model, data, phases, _Defaults(steps, batch_size, lr, schedules), log_every)
    stream(seed, 0)
    device = _device(device) if device is not None else next(model.parameters()).device
    with Checkpoint(checkpoint, checkpoint_seconds, resume) as file:
        if file.path is not None:
            run = {"function": "fit", "seed": int(seed), **_described(plan, growing=True)}
            file.belongs_to({**run, **describe(model, _scheduled(plan))})
        model.to(device)
        for phase in plan:
            phase.source.to(device)
        log = Log(_every(log_every, plan))
        with global_noise(seed, device) as noise, interrupt_flag() as interrupted:
            work = _Work(Single(model), plan, [seed], [noise], log, device)
            work.restore(file)
            total = _total(plan)
            with tqdm(total=total, initial=work.done, disable=not progress, unit="step") as bar:
                work.train(file, bar, interrupted)
    return log.histories(work.seconds)[0]


def fit_seeds(
    make_model: Callable[..., nn.Module],
    data: Any,
    seeds: Iterable[int | tuple],
    *,
    steps: int | None = None,
    batch_size: int | Sequence[int] | None = None,
    lr: float = 1e-3,
    device: torch.device | str | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    phases: Sequence[Phase] | None = None,
    log_every: int | None = None,
    progress: bool = True,
    at_once: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
) -> tuple[list[nn.Module], list[History]]:
    """Train many models of one architecture at once, with Adam.

    Each run equals, up to rounding, what it is alone::

        torch.manual_seed(seed)
        model = make_model(seed, *setting)
        history = fit(model, data, seed=seed, ...)

    The models' parameters are stacked, so that a layer of all models is one batched product
    (:class:`vaelite.stack.Stack`).  That pays where networks and batches are small.  Where one
    run's arithmetic fills a processor already, nothing is gained, and a CPU's cache may be lost.
    Each run has its own batches and its own noise.  ``after_step`` and a phase's ``before`` are
    called for one model after the other, and gain nothing.  So does noise other than torch.randn
    and torch.rand.

    Args:
        make_model: builds one model from a run's seed and setting.  The models may differ in the
            values of parameters and buffers, and in attributes that are numbers, such as ``beta``.
        data: as for :func:`fit`.
        seeds: the runs: seeds, or tuples of a seed and a setting, for example
            ``itertools.product(range(8), [1.0, 4.0])`` for two values of beta.
        steps: number of updates.
        batch_size: B, of each run.
        lr: Adam's step size.
        device: where to train; by default where ``make_model`` puts its models.
        schedules: as for :func:`fit`, the same for all runs.
        phases: as for :func:`fit`.
        log_every: as for :func:`fit`.
        progress: show a bar, and before it the memory that the runs are estimated to need.
        at_once: how many runs to train together, one group after the other; by default as many as
            fit into half of a GPU's free memory, or into 2 GiB on a CPU, at the first phase's
            batches.  A resumed call keeps the groups that it finds.
        checkpoint: as for :func:`fit`; one file for all groups.
        checkpoint_seconds: as for :func:`fit`.
        resume: go on from ``checkpoint`` where it exists, as if the call had never stopped.  Here
            the steps and the step size must be the same, or the runs could not be compared.

    Returns:
        The trained models and their histories, in the order of ``seeds``.  The seconds of a
        history are those of its whole group.

    Raises:
        TypeError: if the data are no tensors, or a model is not what the contract asks for.
        ValueError: if a setting is out of range, the data are unfit for the models, the models
            differ in more than values, a loss assigns attributes (state is in buffers), or the
            checkpoint is damaged or belongs to other runs.
        OSError: if the checkpoint cannot be written, or another run uses it; before the first
            step where that is known.
        FloatingPointError: if a loss becomes NaN or infinite; names the run, the step and the part.
            The last checkpoint is older than the damage.
        KeyboardInterrupt: on ctrl-C, after the step in progress and a checkpoint.
    """
    runs = [entry if isinstance(entry, tuple) else (entry,) for entry in seeds]
    if not runs:
        raise ValueError("seeds must name at least one run; got none.")
    for seed, *_ in runs:
        stream(seed, 0)
    if at_once is not None:
        check_count("at_once", at_once)
    first = _make(make_model, runs[0])
    _check_model(first)
    plan = _plan(first, data, phases, _Defaults(steps, batch_size, lr, schedules), log_every)
    device = _device(device) if device is not None else next(first.parameters()).device
    models: list[nn.Module] = []
    histories: list[History] = []
    with Checkpoint(checkpoint, checkpoint_seconds, resume) as file:
        described = _described(plan, growing=False) if file.path is not None else {}
        for phase in plan:
            phase.source.to(device)
        if at_once is None and resume:
            at_once = file.saved["run"].get("at_once")
        if at_once is None or progress:
            needed = _bytes_needed(first, plan[0], device)
            if at_once is None:
                budget = _free_memory(device) // 2 if device.type == "cuda" else _CPU_BUDGET
                at_once = max(1, int(budget // needed))
        groups = [runs[start : start + at_once] for start in range(0, len(runs), at_once)]
        if progress:
            size = len(groups[0]) * needed / 2**20
            tqdm.write(
                f"{len(groups[0])} of {len(runs)} runs at once, about {size:,.0f} MiB", sys.stderr
            )
        if file.path is not None:
            run = {"function": "fit_seeds", "seeds": "; ".join(map(_name, runs)), **described}
            run |= {"at_once": int(at_once), "device": device.type}
            file.belongs_to({**run, **describe(first, _scheduled(plan))})
        total = _total(plan) * len(groups)
        with (
            tqdm(total=total, initial=file.steps, disable=not progress, unit="step") as bar,
            interrupt_flag() as interrupted,
        ):
            for group in groups:
                members = [_make(make_model, run).to(device) for run in group]
                log = Log(_every(log_every, plan), [f"run {_name(run)}: " for run in group])
                noise = [own_noise(seed, device) for seed, *_ in group]
                stack = Stack(members, noise)
                work = _Work(stack, plan, [seed for seed, *_ in group], noise, log, device)
                try:
                    work.restore(file)
                    work.train(file, bar, interrupted)
                finally:
                    stack.release()
                file.finished.append(work.outcome())
                models += members
                histories += log.histories(work.seconds)
    return models, histories


class _Work:
    """Models in training together, and all that a checkpoint must hold of them."""

    def __init__(
        self,
        members: Single,
        plan: list[_Planned],
        seeds: Sequence[int],
        noise: list[list[torch.Generator]],
        log: Log,
        device: torch.device,
    ) -> None:
        self.members, self.plan, self.seeds = members, plan, seeds
        self.noise, self.log, self.device = noise, log, device
        self.dtype = next(members.models[0].parameters()).dtype
        self.batches: list[list[Batches]] = [[] for _ in seeds]
        self.done, self.seconds = 0, 0.0
        self.settings = [numbers(model, _scheduled(plan)) for model in members.models]
        # Buffers that wait for a phase to fill them.
        named = members.models[0].named_buffers()
        self.blank = {name for name, buffer in named if torch.isnan(buffer).any()}
        self._new_adam(plan[0].lr)

    def _new_adam(self, lr: float) -> None:
        self.optimizer = torch.optim.Adam(self.members.adams(), lr=lr, fused=True)

    def train(self, file: Checkpoint, bar: tqdm, interrupted: threading.Event) -> None:
        """Go through all phases, in training mode; log and save on the way."""
        models, total = self.members.models, _total(self.plan)
        modes = [model.training for model in models]
        for model in models:
            model.train()
        began, start = time.monotonic() - self.seconds, 0
        try:
            for index, phase in enumerate(self.plan):
                end = start + phase.steps
                if self.done == start:
                    self._begin(index)
                elif self.done < end:
                    self.members.find_numbers(phase.schedules)
                if self.done < end:
                    self.optimizer.param_groups[0]["lr"] = phase.lr
                while self.done < end:
                    self._apply(phase.schedules, self.done - start)
                    loss, parts = self._update(phase)
                    self.done += 1
                    if self.log.add(self.done, loss, parts):
                        bar.set_postfix_str(self.log.latest(), refresh=False)
                    bar.update()
                    self.seconds = time.monotonic() - began
                    if self.done == end:
                        self.log.close()
                    if file.is_due() or (self.done == end and file.path is not None):
                        file.save(self.state())
                    if interrupted.is_set():
                        raise KeyboardInterrupt(
                            f"stopped after step {self.done} of {total}; {self._last_words(file)}"
                        )
                start = end
        finally:
            for model, mode in zip(models, modes, strict=True):
                model.train(mode)

    def _begin(self, index: int) -> None:
        """Set up data, optimiser and models for a phase's first step."""
        phase, before = self.plan[index], self.plan[index - 1] if index else None
        if before is None or not phase.same_batches(before):
            for seed, streams in zip(self.seeds, self.batches, strict=True):
                for position in range(len(streams), len(phase.source.sizes)):
                    streams.append(Batches(seed, position, self.device))
                sizes = zip(streams, phase.source.sizes, phase.batch_sizes, strict=False)
                for one, size, batch_size in sizes:
                    one.begin(size, batch_size)
        if phase.reset_adam:
            self._new_adam(phase.lr)
        if phase.before is not None:
            data = phase.source.tensors()
            self.members.each(lambda model, _: phase.before(model, data), "before")
        self.members.find_numbers(phase.schedules)

    def _update(self, phase: _Planned) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Take one step: Adam's, then the model's own."""
        rows = [
            [streams[position].next() for streams in self.batches]
            for position in range(len(phase.batch_sizes))
        ]
        batch = self.members.batch(phase.source, rows, self.dtype)
        loss, parts, carry = self.members.losses(batch)
        self.members.clear_gradients()
        (loss.sum() if loss.ndim else loss).backward()
        self.optimizer.step()
        self.members.after_step(batch, carry)
        return loss, parts

    def _apply(self, schedules: Mapping[str, Schedule], step: int) -> None:
        """Set what the schedules say for a step."""
        for name, schedule in schedules.items():
            value = schedule(step)
            if name == "lr":
                self.optimizer.param_groups[0]["lr"] = value
            else:
                for model in self.members.models:
                    setattr(model, name, value)

    def outcome(self) -> dict[str, Any]:
        """Return what is left to keep when all steps are done."""
        models = self.members.models
        return {
            "models": [model.state_dict() for model in models],
            "numbers": [numbers(model) for model in models],
            "settings": self.settings,
            "frozen": [n for n, p in models[0].named_parameters() if not p.requires_grad],
            "log": self.log.state(),
            "step": self.done,
            "seconds": self.seconds,
        }

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on; raise FloatingPointError if it is damaged."""
        self._check_finite()
        return {
            **self.outcome(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [[one.state() for one in streams] for streams in self.batches],
            "noise": [[one.get_state() for one in generators] for generators in self.noise],
        }

    def restore(self, file: Checkpoint) -> None:
        """Take up the next group that was saved, if there is one; before, change nothing."""
        saved = file.next_group()
        if saved is None:
            return
        for run, old, new in zip(self.log.runs, saved["settings"], self.settings, strict=True):
            name = next((n for n in [*new, *old] if old.get(n) != new.get(n)), None)
            if name is not None:
                raise ValueError(
                    f"checkpoint {file.path} belongs to another run: {run}{name} was "
                    f"{old.get(name)}, and is {new.get(name)} now."
                )
        if saved["step"] > _total(self.plan):
            raise ValueError(
                f"steps is {_total(self.plan)}, but checkpoint {file.path} is {saved['step']} "
                "steps old already; steps counts those of the earlier run too."
            )
        for model, state, values in zip(
            self.members.models, saved["models"], saved["numbers"], strict=True
        ):
            model.load_state_dict(state)
            set_numbers(model, values)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name not in saved["frozen"])
        self.members.each(lambda model, index: None, "resume")
        self.log.load_state(saved["log"], self.device)
        self.done, self.seconds = saved["step"], saved["seconds"]
        if "optimizer" in saved:
            self.optimizer.load_state_dict(saved["optimizer"])
            for seed, streams, states in zip(
                self.seeds, self.batches, saved["batches"], strict=True
            ):
                for position, state in enumerate(states):
                    streams.append(Batches(seed, position, self.device))
                    streams[-1].load_state(state)
            # A checkpoint from a CPU has no state of the GPU's generator.
            for generators, states in zip(self.noise, saved["noise"], strict=True):
                for generator, state in zip(generators, states, strict=False):
                    generator.set_state(state)

    def _check_finite(self) -> None:
        self.log.check_finite()
        for run, model in zip(self.log.runs, self.members.models, strict=True):
            for name, parameter in model.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise FloatingPointError(
                        f"{run}training diverged at step {self.done}: parameter {name} is NaN or "
                        "infinite; try a smaller step size or a warm-up."
                    )
            for name, buffer in model.named_buffers():  # which may hold infinities on purpose
                if name not in self.blank and torch.isnan(buffer).any():
                    raise FloatingPointError(
                        f"{run}training diverged at step {self.done}: buffer {name} is NaN."
                    )

    def _last_words(self, file: Checkpoint) -> str:
        """Save, and say so."""
        if file.path is None:
            return "no checkpoint was asked for."
        file.save(self.state())
        return f"resume=True goes on from {file.path}."


@dataclass(frozen=True)
class _Defaults:
    """What phases leave open."""

    steps: int | None
    batch_size: int | Sequence[int] | None
    lr: float
    schedules: Mapping[str, Schedule] | None


@dataclass(frozen=True)
class _Planned:
    """A phase in which nothing is left open."""

    steps: int
    source: Source
    batch_sizes: tuple[int, ...]
    lr: float
    schedules: dict[str, Schedule]
    before: Callable[[nn.Module, Any], Any] | None
    reset_adam: bool

    def same_batches(self, other: _Planned) -> bool:
        return self.source is other.source and self.batch_sizes == other.batch_sizes


def _plan(
    model: nn.Module,
    data: Any,
    phases: Sequence[Phase] | None,
    defaults: _Defaults,
    log_every: int | None,
) -> list[_Planned]:
    """Check all settings and all data, and fill in what phases leave open."""
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
            _Planned(
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
    wanted, sizes = getattr(model, "dataset_size", None), plan[0].source.sizes
    if wanted is not None and len(sizes) == 1 and wanted != sizes[0]:
        raise ValueError(f"dataset_size is {wanted}, but there are {sizes[0]} data.")
    return plan


def _described(plan: list[_Planned], growing: bool) -> dict[str, Any]:
    """Return what a checkpoint must agree in, by name; ``growing`` runs may take more steps."""
    described: dict[str, Any] = {"number of phases": len(plan)}
    digests: dict[int, str] = {}
    for number, phase in enumerate(plan, 1):
        of = "" if len(plan) == 1 else f" of phase {number}"
        if id(phase.source) not in digests:
            digests[id(phase.source)] = phase.source.digest()
        if not (growing and number == len(plan)):
            described[f"steps{of}"] = phase.steps
        if not growing:
            described[f"lr{of}"] = float(phase.lr)
        sizes = (phase.source.sizes, phase.batch_sizes)
        data, batch_size = (one[0] if len(one) == 1 else one for one in sizes)
        described |= {f"data{of}": data, f"batch_size{of}": batch_size}
        if number > 1:
            described[f"reset_adam{of}"] = bool(phase.reset_adam)
        described[f"schedules{of}"] = ", ".join(sorted(phase.schedules)) or "none"
        for name, schedule in phase.schedules.items():
            some = [0, *(2**power for power in range(40) if 2**power < phase.steps)]
            values = {step: float(schedule(step)) for step in some if step < phase.steps}
            described[f"schedule {name}{of}"] = values
        described[f"digest of the data{of}"] = digests[id(phase.source)]
    return described


def _scheduled(plan: list[_Planned]) -> set[str]:
    return {name for phase in plan for name in phase.schedules}


def _total(plan: list[_Planned]) -> int:
    return sum(phase.steps for phase in plan)


def _every(log_every: int | None, plan: list[_Planned]) -> int:
    return max(1, min(100, _total(plan) // 100)) if log_every is None else log_every


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


def _check_model(model: nn.Module) -> None:
    if not (isinstance(model, nn.Module) and hasattr(model, "loss")):
        kind = getattr(model, "__name__", type(model).__name__)
        raise TypeError(f"model must be a torch Module with loss(batch); got {kind}.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model has no parameter to train; at least one must require gradients.")
    if hasattr(model, "after_step"):
        taken = inspect.signature(model.after_step)
        try:
            taken.bind(None, None)
        except TypeError as error:
            raise TypeError(f"after_step must take (batch, carry); it takes {taken}.") from error


def _device(device: torch.device | str) -> torch.device:
    """Return the device with its index, which "cuda" alone leaves open."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _make(make_model: Callable[..., nn.Module], run: tuple) -> nn.Module:
    """Build a run's model, its initial values from the run's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(run[0])
        return make_model(*run)


def _name(run: tuple) -> str:
    return ", ".join(map(str, run))


# What a group of runs may take on a CPU.
_CPU_BUDGET = 2**31


def _free_memory(device: torch.device) -> int:
    """Return a GPU's free bytes, those included that torch keeps for reuse."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _bytes_needed(model: nn.Module, phase: _Planned, device: torch.device) -> int:
    model = model.to(device)
    rows = [torch.arange(size, device=device) for size in phase.batch_sizes]
    with torch.random.fork_rng():
        batch = phase.source.batch(rows, next(model.parameters()).dtype)
        return bytes_needed(model, batch)

"""Training: one loop for every model of the book, on the CPU and on the GPU.

The loop asks two things of a model: ``loss(batch)``, which returns the scalar to minimise and its
named parts in nats a datum, and, where a method has a second update beside the gradient step,
``after_step(batch)``.  A model with ``validate(data)`` sees the whole data set once before the
first step.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelite._validation import check_count
from vaelite.files import check_writable, replacing
from vaelite.nets import as_float
from vaelite.packed import PackedImages
from vaelite.stack import Stack, bytes_needed

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
class History:
    """What happened during training.

    Attributes:
        steps: ``(T,)`` how many steps were done when each entry was taken.
        parts: ``(T,)`` for each name, ``loss`` first: the mean over the steps since the entry
            before, in nats a datum.
        seconds: wall time of the training itself, over all resumed runs.
    """

    steps: np.ndarray
    parts: dict[str, np.ndarray]
    seconds: float

    def __getitem__(self, part: str) -> np.ndarray:
        """Return one part by name, such as ``history["kl"]``."""
        return self.parts[part]

    @property
    def steps_per_second(self) -> float:
        """Throughput over the whole run."""
        return float(self.steps[-1] / self.seconds) if len(self.steps) else math.nan


def fit(
    model: nn.Module,
    data: Tensor | Sequence[Tensor] | Any,
    *,
    steps: int,
    batch_size: int,
    lr: float = 1e-3,
    seed: int = 0,
    device: torch.device | str | None = None,
    schedules: Mapping[str, Schedule] | None = None,
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
    generator, which is left as it was.  Two streams come from the seed: the batches, and the
    noise, which models draw from the global generator.

    There is no "best" checkpoint: while a weight is annealed, losses of different steps cannot be
    compared.

    Args:
        model: see the top of this module.  It is trained in place, in training mode, and its mode
            is restored.
        data: ``(N, ...)``; a tuple of such tensors, which reaches the model as a tuple; or a data
            set of the registry, of which ``x`` is taken.  Each may also be
            :class:`vaelite.packed.PackedImages`, unpacked by the batch.  Integers other than
            uint8, and bools, reach the model as they are: labels and masks.
        steps: number of updates in all, those of an earlier run that is resumed included.
        batch_size: B, at most N.
        lr: Adam's step size.
        seed: not negative.
        device: where to train; the model is moved there.  By default where the model is.
        schedules: functions of the step, counted from 0.  Each sets the attribute of the model
            that it is named after, such as ``{"beta": Linear(0, 1, 1000)}``, except ``"lr"``,
            which sets the step size.
        log_every: steps between two entries of the history, and between two looks at whether the
            losses are finite; by default 100, and fewer in a run of fewer than 10,000 steps.
        progress: show a bar with the losses and the time left.
        checkpoint: a file to save to: while training, when interrupted, and at the end.  Always
            either whole or absent.
        checkpoint_seconds: time between two checkpoints.
        resume: go on from ``checkpoint`` where it exists, as if the run had never stopped; with
            another ``lr``, as if the step size had changed there.

    Returns:
        The losses and their parts over time.

    Raises:
        TypeError: if the data are no tensors.
        ValueError: if a setting is out of range, the data are unfit for the model, or the
            checkpoint is damaged or belongs to another model or another run.
        OSError: if the checkpoint cannot be written; before the first step where that is known.
        FloatingPointError: if the loss becomes NaN or infinite; names the step and the part.  The
            last checkpoint is older than the damage.
        KeyboardInterrupt: on ctrl-C, after the step in progress and a checkpoint.
    """
    file = _Checkpoint(checkpoint, checkpoint_seconds, resume)
    _check_model(model)
    device = _device(device) if device is not None else next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    tensors, single = _tensors(data)
    _check_settings(tensors, steps, batch_size, lr, log_every)
    if hasattr(model, "validate"):
        model.validate(_shown_to_validate(tensors, single))
    schedules = dict(schedules or {})
    _check_schedules(schedules, model)

    model.to(device)
    tensors = [tensor.to(device) for tensor in tensors]
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    batches = _Batches(len(tensors[0]), batch_size, _stream(seed, 0), device)
    log = _Log(_every(log_every, steps))
    file.belongs_to(
        {
            "function": "fit",
            "seed": int(seed),
            "batch_size": int(batch_size),
            "data": len(tensors[0]),
        }
    )

    def update() -> tuple[Tensor, Mapping[str, Tensor]]:
        index = batches.next()
        selected = [_ready(tensor.index_select(0, index), dtype) for tensor in tensors]
        batch = selected[0] if single else tuple(selected)
        loss, parts = model.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if hasattr(model, "after_step"):
            model.after_step(batch)
        return loss, parts

    with _global_noise(_stream(seed, 1), device) as noise, _interrupt_flag() as interrupted:
        work = _Work([model], optimizer, [batches], noise, log)
        file.restore(work, steps)
        with tqdm(total=steps, initial=work.done, disable=not progress, unit="step") as bar:
            _train(work, update, steps, schedules, file, bar, interrupted)
    return work.histories()[0]


def fit_seeds(
    make_model: Callable[..., nn.Module],
    data: Tensor | Sequence[Tensor] | Any,
    seeds: Iterable[int | tuple],
    *,
    steps: int,
    batch_size: int,
    lr: float = 1e-3,
    device: torch.device | str | None = None,
    schedules: Mapping[str, Schedule] | None = None,
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
    Each run has its own batches and its own noise.  ``after_step`` is called for one model after
    the other, and gains nothing.

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
        log_every: as for :func:`fit`.
        progress: show a bar, and before it the memory that the runs are estimated to need.
        at_once: how many runs to train together, one group after the other; by default as many as
            fit into half of a GPU's free memory, or into 2 GiB on a CPU.  A resumed call keeps
            the groups that it finds.
        checkpoint: as for :func:`fit`; one file for all groups.
        checkpoint_seconds: as for :func:`fit`.
        resume: go on from ``checkpoint`` where it exists, as if the call had never stopped.  Here
            the steps and the step size must be the same, or the runs could not be compared.

    Returns:
        The trained models and their histories, in the order of ``seeds``.  The seconds of a
        history are those of its whole group.

    Raises:
        TypeError: if the data are no tensors.
        ValueError: if a setting is out of range, the data are unfit for the models, the models
            differ in more than values, or the checkpoint is damaged or belongs to other models or
            other runs.
        OSError: if the checkpoint cannot be written; before the first step where that is known.
        FloatingPointError: if a loss becomes NaN or infinite; names the run, the step and the part.
            The last checkpoint is older than the damage.
        KeyboardInterrupt: on ctrl-C, after the step in progress and a checkpoint.
    """
    file = _Checkpoint(checkpoint, checkpoint_seconds, resume)
    runs = [entry if isinstance(entry, tuple) else (entry,) for entry in seeds]
    if not runs:
        raise ValueError("seeds must name at least one run; got none.")
    if at_once is not None:
        check_count("at_once", at_once)
    tensors, single = _tensors(data)
    _check_settings(tensors, steps, batch_size, lr, log_every)
    first = _make(make_model, runs[0])
    _check_model(first)
    device = _device(device) if device is not None else next(first.parameters()).device
    if hasattr(first, "validate"):
        first.validate(_shown_to_validate(tensors, single))
    _check_schedules(schedules, first)
    tensors = [tensor.to(device) for tensor in tensors]
    if at_once is None:
        at_once = file.settings.get("at_once")
    if at_once is None or progress:
        needed = _bytes_needed(first.to(device), tensors, single, batch_size)
        if at_once is None:
            budget = _free_memory(device) // 2 if device.type == "cuda" else _CPU_BUDGET
            at_once = max(1, int(budget // needed))
    groups = [runs[start : start + at_once] for start in range(0, len(runs), at_once)]
    if progress:
        size = len(groups[0]) * needed / 2**20
        tqdm.write(
            f"{len(groups[0])} of {len(runs)} runs at once, about {size:,.0f} MiB", sys.stderr
        )
    file.belongs_to(
        {
            "function": "fit_seeds",
            "seeds": "; ".join(map(_name, runs)),
            "steps": int(steps),
            "batch_size": int(batch_size),
            "lr": float(lr),
            "data": len(tensors[0]),
            "at_once": int(at_once),
            "device": device.type,
        }
    )

    models: list[nn.Module] = []
    histories: list[History] = []
    with (
        tqdm(
            total=steps * len(groups), initial=file.steps, disable=not progress, unit="step"
        ) as bar,
        _interrupt_flag() as interrupted,
    ):
        for group in groups:
            members = [_make(make_model, run).to(device) for run in group]
            histories += _fit_stack(
                members,
                group,
                tensors,
                single,
                steps=steps,
                batch_size=batch_size,
                lr=lr,
                schedules=dict(schedules or {}),
                log_every=log_every,
                file=file,
                bar=bar,
                interrupted=interrupted,
            )
            models += members
    return models, histories


# What a group of runs may take on a CPU.
_CPU_BUDGET = 2**31


def _free_memory(device: torch.device) -> int:
    """Return a GPU's free bytes, those included that torch keeps for reuse."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _fit_stack(
    models: list[nn.Module],
    runs: list[tuple],
    tensors: list[Tensor | PackedImages],
    single: bool,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    schedules: dict[str, Schedule],
    log_every: int | None,
    file: _Checkpoint,
    bar: tqdm,
    interrupted: threading.Event,
) -> list[History]:
    """Train one group of models, in place."""
    device, dtype = tensors[0].device, next(models[0].parameters()).dtype
    batches = [_Batches(len(tensors[0]), batch_size, _stream(seed, 0), device) for seed, *_ in runs]
    noise = [torch.Generator(device).manual_seed(_stream(seed, 1)) for seed, *_ in runs]
    log = _Log(_every(log_every, steps), [f"run {_name(run)}: " for run in runs])
    stack = Stack(models, noise)
    for name in schedules:
        stack.numbers.pop(("", name), None)
    optimizer = torch.optim.Adam(stack.trained(), lr=lr, fused=True)

    def update() -> tuple[Tensor, Mapping[str, Tensor]]:
        index = torch.cat([stream.next() for stream in batches])
        batch = tuple(
            _ready(tensor.index_select(0, index), dtype).unflatten(0, (len(runs), batch_size))
            for tensor in tensors
        )
        losses, parts = stack.losses(batch, single)
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimizer.step()
        if hasattr(models[0], "after_step"):
            for model, generator, *own in zip(models, noise, *batch, strict=True):
                with _noise_from(generator, device):
                    model.after_step(own[0] if single else tuple(own))
        return losses, parts

    work = _Work(models, optimizer, batches, noise, log)
    try:
        file.restore(work, steps)
        _train(work, update, steps, schedules, file, bar, interrupted)
    finally:
        stack.release()
    file.finished.append(work.outcome())
    return work.histories()


class _Work:
    """Models in training together, and all that a checkpoint must hold of them."""

    def __init__(
        self,
        models: list[nn.Module],
        optimizer: torch.optim.Optimizer,
        batches: list[_Batches],
        noise: list[torch.Generator],
        log: _Log,
    ) -> None:
        self.models, self.optimizer = models, optimizer
        self.batches, self.noise, self.log = batches, noise, log
        self.done, self.seconds = 0, 0.0

    def outcome(self) -> dict[str, Any]:
        """Return what is left to keep when all steps are done."""
        return {
            "models": [model.state_dict() for model in self.models],
            "log": self.log.state(),
            "step": self.done,
            "seconds": self.seconds,
        }

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on."""
        return {
            **self.outcome(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [stream.state() for stream in self.batches],
            "noise": [generator.get_state() for generator in self.noise],
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Take back a state, or an outcome."""
        for model, state in zip(self.models, saved["models"], strict=True):
            model.load_state_dict(state)
        self.log.load_state(saved["log"], next(self.models[0].parameters()).device)
        self.done, self.seconds = saved["step"], saved["seconds"]
        if "optimizer" in saved:
            lr = self.optimizer.param_groups[0]["lr"]
            self.optimizer.load_state_dict(saved["optimizer"])
            self.optimizer.param_groups[0]["lr"] = lr  # a run that diverged may want a smaller one
            for stream, state in zip(self.batches, saved["batches"], strict=True):
                stream.load_state(state)
            # A checkpoint from a CPU has no state of the GPU's generator.
            for generator, state in zip(self.noise, saved["noise"], strict=False):
                generator.set_state(state)

    def check_finite(self) -> None:
        """Raise FloatingPointError if a loss or a parameter is NaN or infinite."""
        self.log.check_finite()
        for run, model in zip(self.log.runs, self.models, strict=True):
            for name, parameter in model.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise FloatingPointError(
                        f"{run}training diverged at step {self.done}: parameter {name} is NaN or "
                        "infinite; try a smaller step size or a warm-up."
                    )

    def histories(self) -> list[History]:
        steps = np.array(self.log.steps, dtype=int)
        return [
            History(steps, self.log.arrays(run), self.seconds) for run in range(len(self.models))
        ]


def _train(
    work: _Work,
    update: Callable[[], tuple[Tensor, Mapping[str, Tensor]]],
    steps: int,
    schedules: Mapping[str, Schedule],
    file: _Checkpoint,
    bar: tqdm,
    interrupted: threading.Event,
) -> None:
    """Update until all steps are done, in training mode; log and save on the way."""
    modes = [model.training for model in work.models]
    resumed_at, began = work.done, time.monotonic() - work.seconds
    if resumed_at:
        _apply(schedules, resumed_at - 1, work)
    for model in work.models:
        model.train()
    try:
        while work.done < steps:
            _apply(schedules, work.done, work)
            loss, parts = update()
            work.done += 1
            if work.log.add(work.done, loss, parts):
                bar.set_postfix_str(work.log.latest(), refresh=False)
            bar.update()
            work.seconds = time.monotonic() - began
            if file.is_due():
                file.save(work)
            if interrupted.is_set():
                raise KeyboardInterrupt(
                    f"stopped after step {work.done} of {steps}; {file.last_words(work)}"
                )
        work.log.close(work.done)
        work.seconds = time.monotonic() - began
        if file.path is not None and work.done > resumed_at:
            file.save(work)
    finally:
        for model, mode in zip(work.models, modes, strict=True):
            model.train(mode)


class _Checkpoint:
    """The file that training is saved to and taken up from; without a path, neither happens.

    It holds groups of models: the outcome of those that are done, and the state of the last.
    """

    def __init__(self, path: str | os.PathLike | None, seconds: float, resume: bool) -> None:
        if resume and path is None:
            raise ValueError("resume is True, but checkpoint names no file to go on from.")
        if path is not None:
            check_writable(path, "checkpoint")
        self.path, self.seconds = path, seconds
        self.last_saved = time.monotonic()
        self.finished: list[dict[str, Any]] = []
        saved = _load(path) if resume and Path(path).exists() else {"groups": [], "settings": {}}
        self.waiting, self.settings = saved["groups"], saved["settings"]

    def belongs_to(self, settings: dict[str, Any]) -> None:
        """Insist that what was saved comes from a call with these settings."""
        for name, value in settings.items():
            if self.waiting and self.settings.get(name) != value:
                raise ValueError(
                    f"checkpoint {self.path} belongs to another run: {name} was "
                    f"{self.settings.get(name)}, and is {value} now."
                )
        self.settings = settings

    @property
    def steps(self) -> int:
        """How many steps of what was saved are done."""
        return sum(state["step"] for state in self.waiting)

    def restore(self, work: _Work, steps: int) -> None:
        """Take up the next group that was saved, if there is one."""
        if not self.waiting:
            return
        state = self.waiting.pop(0)
        for model, saved in zip(work.models, state["models"], strict=True):
            self._check_shapes(saved, model)
        if state["step"] > steps:
            raise ValueError(
                f"steps is {steps}, but checkpoint {self.path} is {state['step']} steps old "
                "already; steps counts those of the earlier run too."
            )
        work.load_state(state)

    def _check_shapes(self, saved: Mapping[str, Any], model: nn.Module) -> None:
        theirs, ours = _shapes(saved), _shapes(model.state_dict())
        for name in [*ours, *theirs]:
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"checkpoint {self.path} belongs to another model: {name} is "
                    f"{theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here."
                )

    def is_due(self) -> bool:
        return self.path is not None and time.monotonic() - self.last_saved > self.seconds

    def save(self, work: _Work) -> None:
        """Save what is finished and what is at work."""
        work.check_finite()
        groups = [*self.finished, work.state()]
        try:
            with replacing(self.path) as file:
                torch.save({"groups": groups, "settings": self.settings}, file)
        except (OSError, RuntimeError) as error:  # torch.save may raise either
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                f"checkpoint {self.path} could not be written after step {work.done}: {reason}; "
                "what was there before is kept."
            ) from error
        self.last_saved = time.monotonic()

    def last_words(self, work: _Work) -> str:
        """Save, and say so."""
        if self.path is None:
            return "no checkpoint was asked for."
        self.save(work)
        return f"resume=True goes on from {self.path}."


def _make(make_model: Callable[..., nn.Module], run: tuple) -> nn.Module:
    """Build a run's model, its initial values from the run's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(run[0])
        return make_model(*run)


def _bytes_needed(model: nn.Module, tensors: list[Tensor], single: bool, batch_size: int) -> int:
    dtype = next(model.parameters()).dtype
    batch = [_ready(tensor[:batch_size], dtype) for tensor in tensors]
    with torch.random.fork_rng():
        return bytes_needed(model, batch[0] if single else tuple(batch))


@contextmanager
def _noise_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Let torch's global generator go on from a run's own, and the other way round."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        shared = torch.cuda.default_generators[device.index] if on_gpu else torch.default_generator
        shared.set_state(generator.get_state())
        yield
        generator.set_state(shared.get_state())


def _name(run: tuple) -> str:
    return ", ".join(map(str, run))


class _Batches:
    """Index tensors, epoch after epoch, that can be taken up again anywhere."""

    def __init__(self, size: int, batch_size: int, seed: int, device: torch.device) -> None:
        self.size, self.batch_size, self.device = size, batch_size, device
        self.generator = torch.Generator().manual_seed(seed)
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.epoch_state = self.generator.get_state()
        order = torch.randperm(self.size, generator=self.generator).to(self.device)
        self.blocks = order.split(self.batch_size)
        self.position = 0

    def next(self) -> Tensor:
        if self.position == self.size // self.batch_size:
            self._new_epoch()
        self.position += 1
        return self.blocks[self.position - 1]

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch_state, "position": self.position}

    def load_state(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["epoch"])
        self._new_epoch()
        self.position = state["position"]


class _Log:
    """Collects losses on the device and looks at them only every so many steps.

    Args:
        every: steps between two looks.
        runs: how a message about each run begins.
    """

    def __init__(self, every: int, runs: Sequence[str] = ("",)) -> None:
        self.every, self.runs = every, runs
        self.names: list[str] = []
        self.steps: list[int] = []
        self.means: list[list[list[float]]] = []  # (entries, parts, runs)
        self.pending: list[Tensor] = []  # (parts,) or (parts, runs) for each step since an entry
        self.done = 0

    def add(self, done: int, loss: Tensor, parts: Mapping[str, Tensor]) -> bool:
        """Take one step's values; return whether they made an entry."""
        self.done = done
        self.names = ["loss", *parts]
        self.pending.append(torch.stack([loss.detach(), *(v.detach() for v in parts.values())]))
        if len(self.pending) >= self.every:
            self.close(done)
            return True
        return False

    def close(self, done: int) -> None:
        """Make an entry of what is pending."""
        if self.pending:
            self.means.append(self.check_finite().mean(0).tolist())
            self.steps.append(done)
            self.pending = []

    def check_finite(self) -> Tensor:
        """Return the pending values ``(steps, parts, runs)``; raise if one is NaN or infinite."""
        shape = len(self.pending), len(self.names), len(self.runs)
        values = torch.stack(self.pending).cpu().double().view(shape) if self.pending else None
        if values is None:
            return torch.empty(shape)
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
        if len(self.runs) > 1:
            losses = self.means[-1][0]
            return f"loss {min(losses):.4g} to {max(losses):.4g}"
        shown = zip(self.names, self.means[-1], strict=True)
        return ", ".join(f"{name} {value:.4g}" for name, (value,) in shown)

    def arrays(self, run: int) -> dict[str, np.ndarray]:
        """Return one run's entries by name."""
        return dict(zip(self.names, np.array(self.means)[:, :, run].T, strict=True))

    def state(self) -> dict[str, Any]:
        pending = torch.stack(self.pending).cpu() if self.pending else None
        return {
            "names": self.names,
            "steps": self.steps,
            "means": self.means,
            "pending": pending,
            "done": self.done,
        }

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        self.names, self.steps, self.means = state["names"], state["steps"], state["means"]
        pending = state["pending"]
        self.pending = [] if pending is None else list(pending.to(device))
        self.done = state["done"]


def _tensors(data: Any) -> tuple[list[Tensor | PackedImages], bool]:
    """Return the tensors to index, and whether there is just one."""
    if hasattr(data, "x"):
        data = data.x
    single = not isinstance(data, (tuple, list))
    tensors = [data] if single else list(data)
    for tensor in tensors:
        if not isinstance(tensor, (Tensor, PackedImages)):
            raise TypeError(
                "data must be a tensor, a tuple of tensors or a data set with x; "
                f"got {type(tensor).__name__}."
            )
    return tensors, single


def _shown_to_validate(tensors: list[Tensor | PackedImages], single: bool) -> Tensor | list[Tensor]:
    """Let one packed image stand for all: they have one shape, and no values but 0 and 255."""
    shown = [data[:1] if isinstance(data, PackedImages) else data for data in tensors]
    return shown[0] if single else shown


def _device(device: torch.device | str) -> torch.device:
    """Return the device with its index, which "cuda" alone leaves open."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _ready(batch: Tensor, dtype: torch.dtype) -> Tensor:
    """Make bytes and floats what the model computes with; labels and masks stay as they are."""
    if batch.dtype == torch.uint8 or batch.is_floating_point():
        return as_float(batch, dtype)
    return batch


def _apply(schedules: Mapping[str, Schedule], step: int, work: _Work) -> None:
    """Set what the schedules say for a step."""
    for name, schedule in schedules.items():
        value = schedule(step)
        if name == "lr":
            work.optimizer.param_groups[0]["lr"] = value
        else:
            for model in work.models:
                setattr(model, name, value)


def _every(log_every: int | None, steps: int) -> int:
    return max(1, min(100, steps // 100)) if log_every is None else log_every


def _check_schedules(schedules: Mapping[str, Schedule] | None, model: nn.Module) -> None:
    for name in schedules or {}:
        if name != "lr" and not hasattr(model, name):
            raise ValueError(f"schedules sets {name!r}, which the model does not have.")
        if not callable(schedules[name]):
            raise TypeError(
                f"schedules[{name!r}] must be a function of the step; got {schedules[name]!r}."
            )


def _check_model(model: nn.Module) -> None:
    if not (isinstance(model, nn.Module) and hasattr(model, "loss")):
        kind = getattr(model, "__name__", type(model).__name__)
        raise TypeError(f"model must be a torch Module with loss(batch); got {kind}.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model has no parameter to train; at least one must require gradients.")


def _check_settings(
    tensors: list[Tensor | PackedImages],
    steps: int,
    batch_size: int,
    lr: float,
    log_every: int | None,
) -> None:
    check_count("steps", steps)
    if log_every is not None:
        check_count("log_every", log_every)
    if not (isinstance(lr, Real) and 0 < lr < math.inf):
        raise ValueError(f"lr must be a positive finite number; got {lr!r}.")
    if not tensors or any(tensor.ndim == 0 for tensor in tensors):
        raise ValueError("data must hold at least one tensor, each with a first dimension of data.")
    sizes = [len(tensor) for tensor in tensors]
    if len(set(sizes)) > 1:
        raise ValueError(f"the tensors of data must have equally many rows; got {sizes}.")
    if not (isinstance(batch_size, Integral) and 1 <= batch_size <= sizes[0]):
        raise ValueError(
            f"batch_size must be an integer between 1 and the {sizes[0]} data; got {batch_size!r}."
        )


def _stream(seed: int, index: int) -> int:
    """Return the seed of one of a run's independent streams of random numbers."""
    if not (isinstance(seed, Integral) and seed >= 0):
        raise ValueError(f"seed must be an integer that is not negative; got {seed!r}.")
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


@contextmanager
def _global_noise(seed: int, device: torch.device) -> Iterator[list[torch.Generator]]:
    """Seed torch's global generators inside the block, and restore them after it."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        generators = [torch.default_generator]
        if on_gpu:
            generators.append(torch.cuda.default_generators[device.index])
        for generator in generators:
            generator.manual_seed(seed)
        yield generators


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """Turn the first ctrl-C inside the block into a flag, so that no step is torn in two.

    A second one interrupts at once.  Only the main thread can do this; elsewhere the flag stays
    down, and ctrl-C never arrives there anyway.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(*_: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt("interrupted twice: what no checkpoint holds is lost.")
        flag.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _load(path: str | os.PathLike) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes at random make the unpickler raise whatever it likes
        raise ValueError(
            f"checkpoint {path} is damaged or no checkpoint; delete it to start afresh."
        ) from error
    if not isinstance(saved, dict) or saved.keys() != {"groups", "settings"}:
        raise ValueError(f"checkpoint {path} was not written by fit or fit_seeds.")
    return saved


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a state's tensors; what a module saves beside them is its own affair."""
    return {name: tuple(v.shape) for name, v in state.items() if isinstance(v, Tensor)}

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
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelite._validation import check_count
from vaelite.checkpoint import Checkpoint, describe, interrupt_flag
from vaelite.compiled import check_compiler, validation_kept
from vaelite.history import History, Log
from vaelite.phases import (
    Defaults,
    Phase,
    Planned,
    Schedule,
    described,
    make_plan,
    scheduled,
    total_steps,
)
from vaelite.phases import Linear as Linear
from vaelite.progress import Progress
from vaelite.stack import Single, Stack, bytes_needed
from vaelite.streams import Batches, global_noise, own_noise, stream


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
    compile: bool = False,
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
        compile: make machine code of the loss and its gradient, by ``torch.compile``.  The numbers
            are the same up to rounding.  It takes some ten seconds before the first step, fewer
            where torch remembers the machine code, and more for each further batch size.  A step
            of a small network (256-64-10, batch 64) takes 0.65 of its time, one of eight such
            networks in a stack half; where matrix products are most of a step, nothing is gained.
            On a CPU it needs a C++ compiler.
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
        RuntimeError: if ``compile`` finds no C++ compiler; before the first step.
    """
    _check_model(model)
    plan = make_plan(model, data, phases, Defaults(steps, batch_size, lr, schedules), log_every)
    stream(seed, 0)
    device = _device(device) if device is not None else next(model.parameters()).device
    if compile:
        check_compiler(device)
    with Checkpoint(checkpoint, checkpoint_seconds, resume) as file, validation_kept():
        if file.path is not None:
            run = {"function": "fit", "seed": int(seed), **described(plan, growing=True)}
            file.belongs_to({**run, **describe(model, scheduled(plan))})
        model.to(device)
        for phase in plan:
            phase.source.to(device)
        log = Log(_every(log_every, plan))
        with global_noise(seed, device) as noise, interrupt_flag() as interrupted:
            work = _Training(Single(model, compile), plan, [seed], [noise], log, device)
            work.restore(file)
            total = total_steps(plan)
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
    compile: bool = False,
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
    (:class:`vaelite.stack.Stack`).  That pays where networks are small.  Where one run's arithmetic
    fills a processor already, nothing is gained, and a CPU's cache may be lost: there the runs are
    trained one after the other, each exactly what it is alone, and ``History.stacked`` is 1.
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
        at_once: how many runs to train as one stack, one group after the other.  By default as
            many as fit into half of a GPU's free memory, or into 2 GiB on a CPU, at the first
            phase's batches; or none, on a CPU whose time a stack would cost.  Stacking rounds:
            name a number where results must not depend on that choice.  A resumed call keeps the
            groups that it finds.
        compile: as for :func:`fit`, of the step of all runs at once.  After each step the models'
            state must be in parameters, buffers and schedules: other attributes are constants of
            the machine code.
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
    plan = make_plan(first, data, phases, Defaults(steps, batch_size, lr, schedules), log_every)
    device = _device(device) if device is not None else next(first.parameters()).device
    if compile:
        check_compiler(device)
    models: list[nn.Module] = []
    histories: list[History] = []
    with Checkpoint(checkpoint, checkpoint_seconds, resume) as file, validation_kept():
        about = described(plan, growing=False) if file.path is not None else {}
        for phase in plan:
            phase.source.to(device)
        stacked = True
        if at_once is None and resume:
            found = file.saved["run"]
            at_once, stacked = found.get("at_once"), found.get("stacked", True)
        if at_once is None or progress:
            needed = _bytes_needed(first, plan[0], device)
            if at_once is None:
                budget = _free_memory(device) // 2 if device.type == "cuda" else _CPU_BUDGET
                at_once = max(1, int(budget // needed))
                if not _stacking_pays(first, device):
                    at_once, stacked = 1, False
        groups = [runs[start : start + at_once] for start in range(0, len(runs), at_once)]
        if progress:
            how = f"{len(groups[0])} of {len(runs)} runs at once"
            if not stacked:
                how = f"{len(runs)} runs one after the other, of networks too large for a stack"
            size = len(groups[0]) * needed / 2**20
            tqdm.write(f"{how}, about {size:,.0f} MiB", sys.stderr)
        if file.path is not None:
            run = {"function": "fit_seeds", "seeds": "; ".join(map(_name, runs)), **about}
            run |= {"at_once": int(at_once), "device": device.type}
            if not stacked:
                run["stacked"] = False
            file.belongs_to({**run, **describe(first, scheduled(plan))})
        total = total_steps(plan) * len(groups)
        with (
            tqdm(total=total, initial=file.steps, disable=not progress, unit="step") as bar,
            interrupt_flag() as interrupted,
        ):
            for group in groups:
                members = [_make(make_model, run).to(device) for run in group]
                log = Log(_every(log_every, plan), [f"run {_name(run)}: " for run in group])
                seeds = [seed for seed, *_ in group]
                with ExitStack() as held:
                    if stacked:
                        noise = [own_noise(seed, device) for seed in seeds]
                        together = Stack(members, noise, compile)
                    else:
                        noise = [held.enter_context(global_noise(seeds[0], device))]
                        together = Single(members[0], compile)
                    held.callback(together.release)
                    work = _Training(together, plan, seeds, noise, log, device)
                    work.restore(file)
                    work.train(file, bar, interrupted)
                file.finished.append(work.outcome())
                models += members
                histories += log.histories(work.seconds)
    return models, histories


class _Training(Progress):
    """Models in training together: the loop."""

    def train(self, file: Checkpoint, bar: tqdm, interrupted: threading.Event) -> None:
        """Go through all phases, in training mode; log and save on the way."""
        models, total = self.members.models, total_steps(self.plan)
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
            self.new_adam(phase.lr)
        if phase.before is not None:
            data = phase.source.tensors()
            self.members.each(lambda model, _: phase.before(model, data), "before")
        self.members.find_numbers(phase.schedules)

    def _update(self, phase: Planned) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Take one step: Adam's, then the model's own."""
        rows = [
            [streams[position].next() for streams in self.batches]
            for position in range(len(phase.batch_sizes))
        ]
        batch = self.members.batch(phase.source, rows, self.dtype)
        loss, parts, carry = self.members.gradients(batch)
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

    def _last_words(self, file: Checkpoint) -> str:
        """Save, and say so."""
        if file.path is None:
            return "no checkpoint was asked for."
        file.save(self.state())
        return f"resume=True goes on from {file.path}."


def _every(log_every: int | None, plan: list[Planned]) -> int:
    return max(1, min(100, total_steps(plan) // 100)) if log_every is None else log_every


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


# Parameters of one model above which a stack costs a CPU time: one run keeps it busy, and several
# do not fit its cache.  Of 784-h-10 networks four took, stacked, 0.80 of the time of one after the
# other at h = 64, 0.90 at 128 (2e5 parameters), 1.03 at 256 (4e5) and 1.08 at 512 on one thread,
# where it was 1.33 on two.
_LARGE = 2**18


def _stacking_pays(model: nn.Module, device: torch.device) -> bool:
    """Whether many models at once take less time than one after the other.

    It depends on sizes alone, so that the same call makes the same choice, on any CPU.
    """
    return device.type != "cpu" or sum(p.numel() for p in model.parameters()) < _LARGE


# What a group of runs may take on a CPU.
_CPU_BUDGET = 2**31


def _bytes_needed(model: nn.Module, phase: Planned, device: torch.device) -> int:
    model = model.to(device)
    rows = [torch.arange(size, device=device) for size in phase.batch_sizes]
    with torch.random.fork_rng():
        return bytes_needed(model, phase.source.batch(rows, next(model.parameters()).dtype))


def _free_memory(device: torch.device) -> int:
    """Return a GPU's free bytes, those included that torch keeps for reuse."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept

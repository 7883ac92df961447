"""Checkpoints: files that know the run they belong to, and are always either whole or absent."""

from __future__ import annotations

import io
import math
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaelite.files import check_writable, locked, replacing


def numbers(model: nn.Module, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return a model's settings by name: attributes that are numbers, words or tuples of them.

    Args:
        model: the module, whose parts count too: ``prior.scale``.
        without: names to leave out, such as those that a schedule moves.
    """
    found = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            name = f"{path}.{key}" if path else key
            if not key.startswith("_") and key != "training" and name not in without:
                value = _plain(value)
                if value is not None:
                    found[name] = value
    return found


def set_numbers(model: nn.Module, values: Mapping[str, Any]) -> None:
    """Give attributes that are numbers or words the values that :func:`numbers` returned."""
    present = numbers(model)
    for name, value in values.items():
        path, _, key = name.rpartition(".")
        if not _equal(present.get(name), value):
            setattr(model.get_submodule(path), key, value)


def describe(model: nn.Module, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a model is, its values aside: classes of its parts, shapes, and settings."""
    classes = {
        f"class of {name}" if name else "class": type(module).__qualname__
        for name, module in model.named_modules()
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {**classes, **shapes, **numbers(model, without)}


class Checkpoint:
    """The file that training is saved to and taken up from; without a path, neither happens.

    It holds what the run is, and groups of models: the outcome of those that are done, and the
    state of the last.  Use it as a context: inside, no other run may use the file.

    Args:
        path: the file, or None.
        seconds: time between two savings.
        resume: whether to go on from what is there.

    Raises:
        ValueError: if ``resume`` is asked for without a path, or what is there is damaged or no
            checkpoint.
        OSError: if the file cannot be written, or another run uses it.
    """

    def __init__(self, path: str | os.PathLike | None, seconds: float, resume: bool) -> None:
        if resume and path is None:
            raise ValueError("resume is True, but checkpoint names no file to go on from.")
        self.path, self.seconds, self.resume = path, seconds, resume
        self.run: dict[str, Any] = {}
        self.saved: dict[str, Any] = {"run": {}, "groups": []}
        self.finished: list[dict[str, Any]] = []
        self.last_saved = time.monotonic()

    def __enter__(self) -> Checkpoint:
        """Lock the file, and read what is there."""
        self._held = ExitStack()
        if self.path is not None:
            check_writable(self.path, "checkpoint")
            self._held.enter_context(locked(self.path, "checkpoint"))
            try:
                if Path(self.path).exists():
                    self.saved = _load(self.path)
            except BaseException:
                self._held.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let others use the file."""
        self._held.close()

    def belongs_to(self, run: dict[str, Any]) -> None:
        """Insist that what is there comes from this very run; without ``resume``, forget it then.

        Args:
            run: what the run is, by name.  Of schedules, given by their values at some steps, those
                at common steps are compared.

        Raises:
            ValueError: if it comes from another run.
        """
        self.run = run
        if not self.saved["groups"]:
            return
        before = self.saved["run"]
        advice = "" if self.resume else "; name another file, or delete this one to start afresh"
        for name in [*run, *before]:
            old, new = before.get(name, "absent"), run.get(name, "absent")
            if isinstance(old, dict) and isinstance(new, dict):
                step = next((s for s in old if s in new and not _equal(old[s], new[s])), None)
                if step is None:
                    continue
                name, old, new = f"{name} at step {step}", old[step], new[step]
            if not _equal(old, new):
                raise ValueError(
                    f"checkpoint {self.path} belongs to another run: {name} was {old}, "
                    f"and is {new} now{advice}."
                )
        if not self.resume:
            self.saved["groups"] = []

    @property
    def steps(self) -> int:
        """How many steps of what was saved are done."""
        return sum(state["step"] for state in self.saved["groups"])

    def next_group(self) -> dict[str, Any] | None:
        """Return the next group that was saved, if there is one left."""
        return self.saved["groups"].pop(0) if self.saved["groups"] else None

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self.path is not None and time.monotonic() - self.last_saved > self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Save what is finished, and the state of what is at work.

        Raises:
            OSError: if the file cannot be written; what was there before is kept.
        """
        groups = [*self.finished, state]
        try:
            with replacing(self.path) as file:
                torch.save({"run": self.run, "groups": groups}, file)
        except (OSError, RuntimeError) as error:  # torch.save may raise either
            chain = (error, error.__context__)  # which hides the first behind another
            reason = next((one.strerror for one in chain if isinstance(one, OSError)), error)
            raise OSError(
                f"checkpoint {self.path} could not be written after step {state['step']}: "
                f"{reason}; what was there before is kept."
            ) from error
        self.last_saved = time.monotonic()


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
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
    advice = "delete it to start afresh."
    try:
        content = Path(path).read_bytes()
        # torch does not look at the checksums that it writes.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(broken)
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes at random make a reader raise whatever it likes
        raise ValueError(f"checkpoint {path} is damaged or no checkpoint; {advice}") from error
    if not isinstance(saved, dict) or saved.keys() != {"run", "groups"}:
        raise ValueError(f"checkpoint {path} was not written by fit or fit_seeds; {advice}")
    return saved


def _plain(value: Any) -> Any:
    """Return a number, a word or a tuple of them as a file holds it; None for anything else."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, (tuple, list)):
        items = [_plain(item) for item in value]
        return None if None in items else tuple(items)
    return None


def _equal(one: Any, other: Any) -> bool:
    both_nan = all(isinstance(value, float) and math.isnan(value) for value in (one, other))
    return one == other or both_nan

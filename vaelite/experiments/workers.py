"""Where the groups of an experiment run: in this process, in several, or on a cluster.

:class:`concurrent.futures.Executor` is the one seam, and no scheduler is our own:

- :func:`local`: processes of this machine, by Python's own ``ProcessPoolExecutor``;
- :func:`dask`: a Dask cluster, by ``distributed.Client.get_executor``, whatever deployed it;
- :func:`slurm`: the queue of a Slurm cluster, by ``submitit``.

A call whose worker died is made again, and so are those that died with it.  The third death of the
same call ends the run, as it is the call that kills its workers then.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from types import ModuleType
from typing import Any

DEATHS = 3  # of one call's workers, until it is given up
GRACE = 20.0  # seconds that an interrupted process has to save what it is at
POLL = 1.0  # seconds between two looks at the jobs of a queue
JOB_MINUTES = 240  # that a job asks for; what takes longer is queued again, and goes on
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Workers:
    """Those who work: what starts them, and how many calls they are given at once.

    Attributes:
        start: returns an executor.  ``shutdown(cancel_futures=True)`` of it interrupts what runs.
        at_once: the number of calls, or None for all: the executor has a queue of its own.
    """

    start: Callable[[], Executor]
    at_once: int | None = None


@dataclass
class Call:
    """A call to be made by a worker.

    Attributes:
        what: its name in a message.
        function: what is called; like its arguments and its result, it can be pickled.
        arguments: of the function.
        take: is given the result.
        deaths: how many workers died of it.
    """

    what: str
    function: Callable[..., Any]
    arguments: tuple
    take: Callable[[Any], None]
    deaths: int = 0


def run_all(calls: Iterable[Call], workers: Workers) -> None:
    """Make all calls, and hand over each result as it comes.

    The first call that fails ends the run.  What was finished by then is handed over all the same,
    also after ctrl-C.

    Raises:
        RuntimeError: if the workers of one call died three times.
        Exception: what a call raised.
    """
    waiting, running = deque(calls), {}
    executor = workers.start()
    try:
        while waiting or running:
            while waiting and len(running) < (workers.at_once or len(waiting) + len(running)):
                try:
                    future = executor.submit(waiting[0].function, *waiting[0].arguments)
                except BrokenExecutor:  # a dead worker takes its pool along
                    executor.shutdown(cancel_futures=True)
                    executor = workers.start()
                else:
                    running[future] = waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            failure = None
            for future in done:
                call = running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor as error:
                    call.deaths += 1
                    if call.deaths < DEATHS:
                        waiting.appendleft(call)
                    else:
                        failure = RuntimeError(
                            f"{call.what} is given up: {DEATHS} workers died of it, perhaps for "
                            f"want of memory ({error})"
                        )
                except (ValueError, RuntimeError, OSError) as error:
                    failure = error
                except Exception as error:
                    failure = RuntimeError(f"{call.what} failed: {type(error).__name__}: {error}")
                    failure.__cause__ = error
                else:
                    call.take(result)
            if failure:
                raise failure
    finally:
        executor.shutdown(cancel_futures=True)
        for future, call in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                call.take(future.result())


class Here(Executor):
    """This very process, which makes each call when it is asked to."""

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        """Make the call now."""
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def local(count: int) -> Workers:
    """Return processes of this machine: a thread each, and a GPU each where there are several.

    Raises:
        ValueError: if ``count`` is not a positive integer.
    """
    if count < 1:
        raise ValueError(f"workers is {count}; there must be at least one.")
    gpus = _gpus()
    return Workers(lambda: _Processes(count, gpus), at_once=count)


class _Processes(ProcessPoolExecutor):
    """Processes that are started afresh, since one that has threads or a GPU cannot be forked."""

    def __init__(self, count: int, gpus: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        places = context.SimpleQueue()
        for number in range(count):
            places.put(gpus[number % len(gpus)] if gpus else None)
        super().__init__(count, mp_context=context, initializer=_begin, initargs=(places,))
        self._strangers = set(multiprocessing.active_children())

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        with _one_thread():  # a process is started here, and inherits the environment
            return super().submit(_interruptible, function, *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        mine = [one for one in multiprocessing.active_children() if one not in self._strangers]
        last = threading.Timer(GRACE, lambda: [one.terminate() for one in mine])
        if cancel_futures:
            for one in mine:
                _interrupt(one)
            last.daemon = True
            last.start()
        super().shutdown(wait, cancel_futures=cancel_futures)
        last.cancel()


def _begin(places: Any) -> None:
    """Begin a worker process: ctrl-C and a GPU are its parent's to give, and so is its life."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a terminal sends ctrl-C to all processes of a group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gpu = places.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait_for([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _interruptible(function: Callable, /, *arguments: Any, **named: Any) -> Any:
    """Make a call that the parent may interrupt, as ctrl-C would: training saves itself then."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function(*arguments, **named)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(process: Any) -> None:
    if os.name == "nt":  # there is no interrupting there
        process.terminate()
        return
    try:
        os.kill(process.pid, signal.SIGINT)
    except ProcessLookupError:
        pass


def _gpus() -> list[str]:
    """Return the names of this machine's GPUs if there are several, as CUDA takes them."""
    import torch

    if (count := torch.cuda.device_count()) < 2:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(gpu) for gpu in range(count)]


def dask(address: str) -> Workers:
    """Return a Dask cluster, known by its scheduler's address.

    Its workers need this package, and the data where their own ``VAELITE_DATA`` says.  One that
    dies is replaced by Dask, which makes its calls again, and gives a call up after its fourth.

    Raises:
        RuntimeError: if ``distributed`` is not installed.
    """
    distributed = _extra("distributed", "dask")
    return Workers(lambda: _Dask(distributed.Client(address)))


class _Dask(Executor):
    def __init__(self, client: Any) -> None:
        self._client, self._executor = client, client.get_executor()

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        return self._executor.submit(function, *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def slurm(folder: str | os.PathLike, cluster: str = "slurm", at_once: int | None = None) -> Workers:
    """Return the queue of a Slurm cluster, where each call is a job of one task and one core.

    What else a job needs is said by Slurm's own variables: ``SBATCH_PARTITION``,
    ``SBATCH_ACCOUNT``, ``SBATCH_TIMELIMIT`` (4 hours are asked for otherwise; a job that needs more
    is queued again and goes on), ``SBATCH_GRES`` and so on.

    Args:
        folder: where jobs leave their logs, in a folder ``.jobs`` that is deleted unless one dies;
            all nodes must see it.
        cluster: ``slurm``; or ``local`` for processes of this machine in place of jobs.
        at_once: how many jobs may be in the queue; None for all.

    Raises:
        RuntimeError: if ``submitit`` is not installed, or this machine has no Slurm.
    """
    submitit = _extra("submitit", "slurm")
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise RuntimeError(
            "there is no Slurm on this machine (no sbatch); --workers N uses its own processes."
        )
    return Workers(lambda: _Queue(submitit, Path(folder).resolve() / ".jobs", cluster), at_once)


class _Queue(Executor):
    """The jobs of submitit as futures."""

    def __init__(self, submitit: ModuleType, folder: Path, cluster: str) -> None:
        self._died = submitit.core.utils.UncompletedJobError
        self._folder = folder
        self._call = _Requeued(submitit.helpers.DelayedSubmission)
        self._queue = submitit.AutoExecutor(folder, cluster=cluster)
        self._queue.update_parameters(name="vaelite", cpus_per_task=1, timeout_min=JOB_MINUTES)
        self._jobs: dict[Future, Any] = {}
        self._keep_logs = False
        self._ended = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._poller.start()

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        future: Future = Future()
        with _one_thread():  # a job inherits the environment
            self._jobs[future] = self._queue.submit(self._call, function, *arguments, **named)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while wait and self._jobs and not cancel_futures:
            self._ended.wait(POLL)
        self._ended.set()
        self._poller.join()
        for job in self._jobs.values():
            job.cancel()
        if not self._keep_logs:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _poll(self) -> None:
        while not self._ended.wait(POLL):
            for future, job in list(self._jobs.items()):
                if job.done():
                    self._settle(future, job)
                    del self._jobs[future]

    def _settle(self, future: Future, job: Any) -> None:
        try:
            value, error = job.result()
        except self._died as died:
            self._keep_logs = True
            value, error = None, BrokenExecutor(str(died))
        except Exception as unexpected:
            value, error = None, unexpected
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


class _Requeued:
    """A call as a job: preempted, or out of time, it is queued again (by submitit)."""

    def __init__(self, delayed: Callable) -> None:
        self._delayed = delayed

    def __call__(self, function: Callable, /, *arguments: Any, **named: Any) -> tuple:
        """Return a call's value and error: submitit would hand on no error, but a page about it."""
        try:
            return function(*arguments, **named), None
        except Exception as error:
            return None, error

    def checkpoint(self, *arguments: Any, **named: Any) -> Any:
        """Return what is queued again; a group goes on from its own checkpoint."""
        return self._delayed(self, *arguments, **named)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let what is started inside use one thread, unless the environment says otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _extra(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"--{extra} needs {error.name}, which is not installed; "
            f'install it with: python -m pip install "vaelite[{extra}]"'
        ) from error

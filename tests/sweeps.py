"""An experiment for workers: other processes can import this module, and not a module of tests."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from vaelite.experiments import Experiment


def trials(settings):
    return [{"seed": seed} for seed in range(settings["trials"])]


def run_trial(trial, settings):
    """A number; before it, what ``settings`` ask for: to note, die, fail, or dawdle.

    ``deaths`` says for a seed how often its process is killed.
    """
    seed, folder = trial["seed"], settings.get("folder")
    if folder:
        before = begun(folder).count(seed)
        with open(Path(folder) / "begun", "a") as file:
            file.write(f"{seed} {os.getpid()}\n")
        if before < settings.get("deaths", {}).get(str(seed), 0):
            os.kill(os.getpid(), signal.SIGKILL)
    if seed == settings.get("fails"):
        raise KeyError("x")
    if seed in settings.get("slow", []):
        time.sleep(60)
    numbers = np.random.default_rng(seed).normal(size=3)
    return {"mean": numbers.mean(), "all": numbers, "base": os.environ.get("VAELITE_SEED")}


def begun(folder):
    """Return the seeds of all trials that were begun, in the order in which they were."""
    return [seed for seed, _ in _notes(folder)]


def processes(folder):
    """Return the processes in which trials were begun."""
    return [process for _, process in _notes(folder)]


def _notes(folder):
    path = Path(folder) / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def train_and_die(group, settings, checkpoint=None):
    """Train a group; where there is no checkpoint yet, half of it, and the process is killed."""
    from vaelite.experiments.isa import common as isa  # which loads torch
    from vaelite.stack import Single, Stack

    if checkpoint is None:  # the trace
        return isa.train(group, settings)
    afresh = not checkpoint.exists()
    with open(checkpoint.parent / "begun", "a") as file:
        file.write("afresh\n" if afresh else "goes on\n")
    if afresh:
        steps = iter(range(settings["steps"] // 2))
        for kind in (Single, Stack):
            kind.after_step = _interrupted_after(steps, kind.after_step)
        try:
            isa.train(group, settings, checkpoint)
        except KeyboardInterrupt:  # training has saved itself
            os.kill(os.getpid(), signal.SIGKILL)
    return isa.train(group, settings, checkpoint)


def _interrupted_after(steps, after_step):
    def call(self, batch, carry):
        after_step(self, batch, carry)
        if next(steps, None) is None:
            signal.raise_signal(signal.SIGINT)

    return call


def surroundings(seconds):
    """Sleep, and return the environment."""
    time.sleep(seconds)
    return dict(os.environ)


def experiment(**settings):
    """Return the experiment of these trials."""
    settings = {"quick": {"trials": 6} | settings}
    return Experiment("toy", settings, trials, code_digest="abc", run_trial=run_trial)

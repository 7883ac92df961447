r'''How an experiment is written, and how it runs: trial by trial, resumable.

An experiment is one module (:mod:`vaelite.experiments.catalogue`).  It defines three names::

    """What is measured, and which claim it decides."""

    from vaelite.profile import seed

    SETTINGS = {
        "quick": {"repeats": 3, "betas": [1.0], "points": 200},
        "standard": {"repeats": 40, "betas": [1.0, 5.0], "points": 1000},
        "full": {"repeats": 200, "betas": [1.0, 2.0, 5.0], "points": 10_000},
    }

    def trials(settings):
        """One dictionary for each independent piece of work; "seed" is required."""
        return [
            {"beta": beta, "seed": seed(repeat)}
            for beta in settings["betas"]
            for repeat in range(settings["repeats"])
        ]

    def run_trial(trial, settings):
        """Return what was measured: numbers, strings, lists and dictionaries of those."""
        rng = np.random.default_rng(trial["seed"])
        ...
        return {"angle": 90.0, "pruned": True, "history": [3.0, 2.0]}

The rules that make a stored number worth something:

- ``run_trial`` depends on its two arguments alone.  All randomness comes from ``trial["seed"]`` by
  a generator of its own, never from a global one; so the trials may run in any order, and a resumed
  run equals an unbroken one.
- A trial should take seconds to a few minutes: it is what an interruption can cost.
- ``settings`` and trials hold what JSON can hold.  NumPy arrays and scalars and torch tensors in
  the result are converted, and floats rounded to ten significant digits; NaN and infinities are
  stored as null, which reads back as None.
- Data sets are loaded inside ``run_trial`` (``vaelite.data`` caches them).

Where many seeds train faster together (:func:`vaelite.training.fit_seeds`), a module defines
``run_trials(trials, settings)`` in place of ``run_trial``.  It is called with consecutive trials
that differ in nothing but the seed, at most ``settings["at_once"]`` of them, and returns a list of
what was measured.  A trial's seconds are then its share of the group's, and an interruption costs a
group.

A long group need not be lost: where ``run_trials`` takes a third argument, ``checkpoint``, it is
given the path of a file to save to, and to go on from where it exists (for ``fit_seeds``,
``checkpoint=checkpoint, resume=checkpoint is not None``), or None where nothing may be written.
The file's name holds a digest of the group's trials, settings, code and versions, so another
group's or another code's is never opened.  Without ``--resume`` none exists at the start, and a
group's is deleted when its results are stored.  The seconds of a resumed group are those of its
last run.

``python -m vaelite reproduce NAME --profile P`` runs the trials and writes
``book/results/NAME.P.json``; ``--resume`` continues a run that was stopped.  A chapter reads it::

    results = load_results("variational_biases", "standard")    # None where nobody ran it yet
    angles = collect(results, "angle", beta=5.0)                # one value for each matching trial
    low, high = bootstrap_interval(angles)                      # vaelite.experiments.statistics

or runs the quick profile on the spot: ``results = get("variational_biases").run("quick")``.
'''

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vaelite import profile as profiles
from vaelite.digest import modules_digest
from vaelite.experiments import catalogue
from vaelite.experiments.results import hardware, plain, read, versions, write
from vaelite.files import check_writable

# What a run must share with an interrupted one that it continues.
_SAME = ("base_seed", "settings", "code_digest", "versions")


@dataclass(frozen=True)
class Experiment:
    """An experiment, ready to run.

    Attributes:
        name: the module's name.
        settings: settings by profile: ``quick``, ``standard`` and ``full``.
        trials: makes the list of trials from settings.
        run_trial: runs one trial: ``run_trial(trial, settings)`` returns what was measured.
        code_digest: digest of the code that the numbers depend on.
        run_trials: runs trials that differ in the seed alone, in place of ``run_trial``, and
            returns a list; may take a checkpoint's path.
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]]
    trials: Callable[[dict], list[dict]]
    run_trial: Callable[[dict, dict], dict] | None
    code_digest: str
    run_trials: Callable[..., list[dict]] | None = None

    def run(
        self,
        profile: str,
        *,
        folder: str | os.PathLike | None = None,
        resume: bool = False,
        progress: bool = True,
    ) -> dict:
        """Run all trials of a profile.

        Args:
            profile: ``quick``, ``standard`` or ``full``.
            folder: where to write ``NAME.PROFILE.json``.  The trials done so far are kept beside it
                in ``NAME.PROFILE.partial.json``, so that an interrupted run never replaces a
                complete one, and the group at work in ``NAME.PROFILE.DIGEST.checkpoint``.  None,
                the default, writes nothing.
            resume: keep the trials of an interrupted run in ``folder``, and go on with the group.
            progress: show a progress bar with the rate and the time left.

        Returns:
            The results with their provenance.  ``results["trials"]`` holds one dictionary a trial:
            ``{"trial": ..., "result": ..., "seconds": ...}``.

        Raises:
            ValueError: if the profile does not exist, the trials are malformed, or the stored ones
                come from other settings, seeds, code or versions.
            RuntimeError: if a trial fails; what was done before it is kept.
            OSError: if the results cannot be written to ``folder``; said before the first trial.
        """
        if profile not in self.settings:
            known = ", ".join(self.settings)
            raise ValueError(f"{self.name} has no profile {profile!r}; it has {known}.")
        settings = plain(dict(self.settings[profile]), "settings")
        trials = [plain(trial, "trial") for trial in self.trials(settings)]
        _check_trials(self.name, trials)
        results = {
            "experiment": self.name,
            "profile": profile,
            "base_seed": profiles.seed(),
            "settings": settings,
            "code_digest": self.code_digest,
            "versions": versions(),
            "hardware": [],
            "seconds": 0.0,
            "trials": [],
        }
        partial = folder and Path(folder) / f"{self.name}.{profile}.partial.json"
        if partial:
            complete = Path(folder) / f"{self.name}.{profile}.json"
            for path in (partial, complete):
                check_writable(path, "the results file")
            if not resume:
                _delete_checkpoints(partial)
            elif partial.exists() or not self._checkpoint(results, trials, partial).exists():
                _take_over(results, trials, partial)
        try:
            self._run_remaining(results, trials, partial, progress)
        finally:
            if partial and results["trials"]:
                write(results, partial)
        if partial:
            # Not renamed: another run of the same may have finished, and taken it away.
            write(results, complete)
            partial.unlink(missing_ok=True)
            _delete_checkpoints(partial)
        return results

    def _run_remaining(
        self, results: dict, trials: list[dict], partial: Path | None, progress: bool
    ) -> None:
        done, next_write = len(results["trials"]), 0.0
        bar = tqdm(
            total=len(trials),
            initial=done,
            desc=f"{self.name} ({results['profile']})",
            unit="trial",
            disable=not progress,
        )
        with bar:
            for group in self._groups(trials[done:], results["settings"]):
                start = time.perf_counter()
                try:
                    path = partial and self._checkpoint(results, group, partial)
                    measured = self._run_group(group, results["settings"], path)
                except Exception as error:
                    more = f" (and {len(group) - 1} more seeds)" if len(group) > 1 else ""
                    raise RuntimeError(
                        f"{self.name}: trial {group[0]}{more} failed: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                seconds = round((time.perf_counter() - start) / len(group), 3)
                for trial, result in zip(group, measured, strict=True):
                    results["trials"].append({"trial": trial, "result": result, "seconds": seconds})
                results["seconds"] = round(results["seconds"] + seconds * len(group), 3)
                # Asked after the trial, when the experiment has loaded torch if it ever does.
                if (here := hardware()) not in results["hardware"]:
                    results["hardware"].append(here)
                if partial and (now := time.monotonic()) >= next_write:
                    write(results, partial)
                    _delete_checkpoints(partial)
                    # Of a long list of short trials, writing takes a few per cent of the time.
                    next_write = now + max(1.0, 30 * (time.monotonic() - now))
                bar.update(len(group))

    def _groups(self, trials: list[dict], settings: dict) -> list[list[dict]]:
        """Split trials into what is run together: single trials, or seeds of the same setting."""
        if self.run_trials is None:
            return [[trial] for trial in trials]
        limit, groups = settings["at_once"], []
        for _, same in groupby(trials, key=lambda trial: trial | {"seed": None}):
            same = list(same)
            groups += [same[start : start + limit] for start in range(0, len(same), limit)]
        return groups

    def _checkpoint(self, results: dict, trials: list[dict], partial: Path) -> Path:
        """Return where the first group of ``trials`` is saved while it runs."""
        depends_on = {key: results[key] for key in _SAME}
        depends_on["trials"] = self._groups(trials, results["settings"])[0]
        digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        return partial.with_name(f"{self.name}.{results['profile']}.{digest[:16]}.checkpoint")

    def _run_group(self, group: list[dict], settings: dict, checkpoint: Path | None) -> list[dict]:
        """Return what was measured, as JSON holds it; nobody can change what was asked for."""
        group, settings = [dict(trial) for trial in group], dict(settings)
        if self.run_trials is None:
            return [plain(self.run_trial(group[0], settings), "result")]
        arguments = [group, settings]
        if "checkpoint" in inspect.signature(self.run_trials).parameters:
            arguments.append(checkpoint)
        measured = [plain(result, "result") for result in self.run_trials(*arguments)]
        if len(measured) != len(group):
            raise ValueError(
                f"run_trials returned {len(measured)} results for {len(group)} trials."
            )
        return measured


def get(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ValueError: if there is no such experiment.
    """
    module = importlib.import_module(catalogue.module_name(name))
    return Experiment(
        name=name,
        settings=module.SETTINGS,
        trials=module.trials,
        run_trial=getattr(module, "run_trial", None),
        code_digest=modules_digest(module.__name__, without=[__package__, __name__]),
        run_trials=getattr(module, "run_trials", None),
    )


def _check_trials(name: str, trials: list[dict]) -> None:
    if not trials:
        raise ValueError(f"{name} has no trials.")
    for trial in trials:
        if not isinstance(trial, dict) or not isinstance(trial.get("seed"), int):
            raise ValueError(
                f'{name}: a trial is a dictionary with an integer "seed"; got {trial}.'
            )
    if len({json.dumps(trial, sort_keys=True) for trial in trials}) < len(trials):
        raise ValueError(f"{name}: two trials are equal; they would measure the same thing twice.")


def _take_over(results: dict, trials: list[dict], partial: Path) -> None:
    """Move the trials of an interrupted run into ``results``, if they belong there."""
    complete = partial.with_name(partial.name.replace(".partial.json", ".json"))
    stored_in = next((path for path in (partial, complete) if path.exists()), None)
    if stored_in is None:
        return
    stored = read(stored_in)
    for key in _SAME:
        if stored[key] != results[key]:
            what = key.replace("_", " ")
            raise ValueError(
                f"cannot resume {results['experiment']} ({results['profile']}): its stored trials "
                f"have another {what}; run it again without --resume."
            )
    if [entry["trial"] for entry in stored["trials"]] != trials[: len(stored["trials"])]:
        raise ValueError(
            f"cannot resume {results['experiment']} ({results['profile']}): its stored trials are "
            "not the first ones of this run; run it again without --resume."
        )
    results.update({key: stored[key] for key in ("hardware", "seconds", "trials")})


def _delete_checkpoints(partial: Path) -> None:
    """Delete the checkpoints beside the file of unfinished results, whichever group's they are."""
    for path in partial.parent.glob(partial.name.replace(".partial.json", ".*.checkpoint")):
        path.unlink(missing_ok=True)

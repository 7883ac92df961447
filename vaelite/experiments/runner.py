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

**Networks.**  Where networks are trained, four names take the place of ``run_trial``::

    def train(group, settings, checkpoint=None):
        """Train the models of trials that differ in the seed alone: models and histories."""

    def make_model(trial, settings):
        """Return the untrained model of a trial."""

    def measure(model, trial, settings):
        """Return what is measured on the trained model."""

    def in_training(history):
        """Return what is kept of the training itself; may be left out."""

``train`` is given consecutive trials, at most ``settings["at_once"]`` of them (one where it is not
set), and trains them for ``settings["steps"]`` steps, usually by ``fit_together`` or ``fit_each``
of :mod:`vaelite.experiments.networks`.  A trial's seconds are its share of the group's.
``checkpoint`` is a file to save to, and to go on from where it exists, or None; its name holds a
digest of the group's trials, settings, code and versions, so that another group's is never
opened.

**The rules** that make a stored number worth something:

- What is measured depends on the trial and the settings alone.  All randomness comes from
  ``trial["seed"]``, so the trials may run in any order, and a resumed run equals an unbroken one.
- A trial should take seconds to a few minutes: it is what an interruption can cost.
- ``settings`` and trials hold what JSON can hold.  NumPy arrays and scalars and torch tensors in
  the result are converted, and floats rounded to ten significant digits; NaN and infinities are
  stored as null, which reads back as None.
- ``settings["runs"]``, where there is one, says which trials there are and nothing else.  A run is
  added at its end, and leaves all other trials as they are.

**What is stored** beside the numbers: settings, versions, hardware, and

- the *commits* of the code that ran, with the number of trials of each;
- a *trace*: the losses and their parts over the first dozen steps of every setting, two seeds each.
  It is computed again in seconds, and tells whether the code still trains the same models;
- *anchors* (:mod:`vaelite.experiments.anchors`): the final weights of one trial of each method,
  which tell whether the code still measures the same.  A module may define ``anchors(trials)``:
  without networks, the trials that are run again instead; with networks that are too large to keep,
  none.  By default the first of each method.
- ``settings["real_data"]``, where there is one, names data sets that not everybody has at hand.

``python -m vaelite reproduce NAME --profile P`` runs the trials and writes
``book/results/NAME.P.json``.  ``--resume`` continues a run that was stopped, and adds what a
complete one lacks: trials declared since, the trace, anchors.  ``--verify`` runs one stored group
again.  ``--workers``, ``--dask`` and ``--slurm`` hand the groups to others
(:mod:`vaelite.experiments.workers`); the file is the same.  A chapter reads it::

    results = load_results("variational_biases", "standard")    # None where nobody ran it yet
    angles = collect(results, "angle", beta=5.0)                # one value for each matching trial
    low, high = bootstrap_interval(angles)                      # vaelite.experiments.statistics

or runs the quick profile on the spot: ``results = get("variational_biases").run("quick")``.
'''

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from vaelite import profile as profiles
from vaelite.digest import modules_digest
from vaelite.experiments import anchors, catalogue, checks
from vaelite.experiments.results import (
    commit,
    hardware,
    load_results,
    plain,
    read,
    stored,
    versions,
    write,
)
from vaelite.experiments.workers import Call, Here, Workers, run_all
from vaelite.files import check_writable, locked

if TYPE_CHECKING:
    from torch import nn

TRACE_STEPS, TRACE_SEEDS = 12, 2

# What a run must share with an interrupted one that it continues.
_SAME = ("base_seed", "settings", "code_digest", "versions")

# A thread of a worker that has several waits for the others: torch's global generator is one.
_ALONE = threading.Lock()


def _nothing(history: Any) -> dict:
    return {}


@dataclass(frozen=True)
class Experiment:
    """An experiment, ready to run; the top of this module says what its functions do.

    ``anchors`` chooses, among all trials, those that are kept or run again as anchors.

    Attributes:
        name: the experiment's name.
        settings: settings by profile: ``quick``, ``standard`` and ``full``.
        trials: makes the list of trials from settings.
        code_digest: digest of the code that the numbers depend on; an interrupted run continues
            with the same code only.
        run_trial: runs one trial; None where models are trained.
        train: trains the models of a group of trials.
        make_model: builds the untrained model of a trial.
        measure: measures a trained model.
        in_training: what is kept of the training.
        module: the name of the module that all of this comes from, or None.
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]]
    trials: Callable[[dict], list[dict]]
    code_digest: str = ""
    run_trial: Callable[[dict, dict], dict] | None = None
    train: Callable[[list[dict], dict, Path | None], tuple[list, list]] | None = None
    make_model: Callable[[dict, dict], nn.Module] | None = None
    measure: Callable[[nn.Module, dict, dict], dict] | None = None
    in_training: Callable[[Any], dict] = _nothing
    anchors: Callable[[Sequence[Mapping[str, Any]]], list[dict]] = anchors.choose
    module: str | None = None

    def declared(self, profile: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return settings and trials of a profile, as JSON holds them.

        Raises:
            ValueError: if the profile does not exist, or the trials are malformed.
        """
        if profile not in self.settings:
            known = ", ".join(self.settings)
            raise ValueError(f"{self.name} has no profile {profile!r}; it has {known}.")
        settings = plain(dict(self.settings[profile]), "settings")
        trials = [plain(trial, "trial") for trial in self.trials(settings)]
        _check_trials(self.name, trials)
        return settings, trials

    def groups(self, trials: Sequence[dict], settings: Mapping[str, Any]) -> list[list[dict]]:
        """Split trials into what is run together: single trials, or seeds of the same setting."""
        limit = 1 if self.train is None else settings.get("at_once", 1)
        found = []
        for _, same in groupby(trials, key=anchors.setting):
            same = list(same)
            found += [same[start : start + limit] for start in range(0, len(same), limit)]
        return found

    def traced(self, trials: Sequence[dict]) -> list[dict]:
        """Return the trials whose first steps are kept: two of each setting."""
        if self.train is None:
            return []
        by_setting: dict[str, list[dict]] = {}
        for trial in trials:
            by_setting.setdefault(_key(anchors.setting(trial)), []).append(trial)
        return [trial for same in by_setting.values() for trial in same[:TRACE_SEEDS]]

    def trace(self, settings: Mapping[str, Any], trials: Sequence[dict]) -> list[dict[str, Any]]:
        """Train the traced trials for a dozen steps.

        Returns:
            For each a dictionary: ``trial``, ``loss``, and the parts of the loss, a list with a
            number for each step.
        """
        short, entries = dict(settings) | {"steps": TRACE_STEPS}, []
        for group in self.groups(self.traced(trials), short):
            _, histories = self.train([dict(trial) for trial in group], short, None)
            for trial, history in zip(group, histories, strict=True):
                entries.append({"trial": trial, **plain(dict(history.parts), "trace")})
        return entries

    def measure_again(
        self, trial: Mapping[str, Any], settings: Mapping[str, Any], weights: anchors.Weights | None
    ) -> dict[str, Any]:
        """Measure an anchor by its weights, or run it again where the experiment keeps none."""
        trial, settings = dict(trial), dict(settings)
        if self.train is None:
            return plain(self.run_trial(trial, settings), "result")
        return plain(self.measure(self.restored(trial, settings, weights), trial, settings), "")

    def restored(
        self, trial: Mapping[str, Any], settings: Mapping[str, Any], weights: anchors.Weights
    ) -> nn.Module:
        """Return a trial's model with stored weights."""
        model = self.untrained(trial, settings)
        anchors.restore(model, weights)
        return model.eval()

    def untrained(self, trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
        """Return a trial's model, and leave torch's global generator as it is."""
        import torch

        with torch.random.fork_rng():
            return self.make_model(dict(trial), dict(settings))

    def run_group(
        self, group: Sequence[dict], settings: Mapping[str, Any], checkpoint: Path | None = None
    ) -> tuple[list[dict], list[nn.Module] | None]:
        """Run trials that belong together.

        Returns:
            What was measured, as JSON holds it, and the models where there are any.

        Raises:
            ValueError: if a model was not trained for ``settings["steps"]`` steps.
        """
        # Copies: nobody can change what was asked for.
        group, settings = [dict(trial) for trial in group], dict(settings)
        if self.train is None:
            return [plain(self.run_trial(group[0], settings), "result")], None
        asked, steps = [dict(trial) for trial in group], settings["steps"]
        models, histories = self.train(group, settings, checkpoint)
        done = {int(history.steps[-1]) if len(history.steps) else 0 for history in histories}
        if len(models) != len(asked) or done != {steps}:
            raise ValueError(
                f"train returned {len(models)} models after {sorted(done)} steps, "
                f"not {len(asked)} models after {steps}."
            )
        measured = [
            self.measure(model.eval(), trial, settings) | self.in_training(history)
            for model, trial, history in zip(models, asked, histories, strict=True)
        ]
        return [plain(result, "result") for result in measured], models

    def run(
        self,
        profile: str,
        *,
        folder: str | os.PathLike | None = None,
        resume: bool = False,
        progress: bool = True,
        workers: Workers | None = None,
    ) -> dict:
        """Run all trials of a profile.

        Args:
            profile: ``quick``, ``standard`` or ``full``.
            folder: where to write ``NAME.PROFILE.json`` and the weights of its anchors.  What is
                done so far is kept beside it in ``NAME.PROFILE.partial.json``, so that an
                interrupted run never replaces a complete one, and the group at work in
                ``NAME.PROFILE.DIGEST.checkpoint``.  None, the default, writes nothing.
            resume: go on with an interrupted run in ``folder``; or add what a complete one lacks,
                after trials that hold anchors were run again and gave the same to the last digit.
            progress: show a progress bar with the rate and the time left.
            workers: who runs the groups (:mod:`vaelite.experiments.workers`); None, the default,
                is this process.  Who runs what changes no number.

        Returns:
            The results with their provenance.  ``results["trials"]`` holds one dictionary a trial:
            ``{"trial": ..., "result": ..., "seconds": ...}``.

        Raises:
            ValueError: if the profile does not exist, the trials are malformed, or the stored ones
                (or those of a worker) come from other settings, seeds, code or versions.
            RuntimeError: if a trial fails, if its workers died three times, or a stored one gives
                another result when it is run again; what was done before it is kept.
            OSError: if the results cannot be written to ``folder``, said before the first trial; or
                another run is writing them.
        """
        settings, trials = self.declared(profile)
        work = _Work(self, profile, settings, trials, folder and Path(folder).resolve())
        with work.locked():
            if work.take_over() if resume else work.start_afresh():
                work.run(progress, workers)
        return work.results


@dataclass(frozen=True)
class _Done:
    """What comes of a group: results, weights of its anchors (or None), seconds a trial, where."""

    measured: list[dict]
    weights: list[anchors.Weights | None]
    seconds: float
    hardware: dict[str, Any]


@dataclass(frozen=True)
class _Order:
    """What a worker has to know of a run; its methods are what it is asked to do.

    Attributes:
        experiment: the experiment.
        settings: those of the profile.
        base_seed: of the run.
        versions: of the run, which the worker's must be.
        here: whether the worker is the process of the run.
    """

    experiment: Experiment
    settings: dict[str, Any]
    base_seed: int
    versions: dict[str, str]
    here: bool

    def trace(self, trials: list[dict]) -> list[dict[str, Any]]:
        """Train the first steps of every setting."""
        with self._same_as_the_run():
            return self.experiment.trace(self.settings, trials)

    def group(self, group: list[dict], kept: list[bool], checkpoint: Path | None) -> _Done:
        """Run a group, and keep the weights of some of its models.

        Raises:
            RuntimeError: if it fails.
        """
        # A machine that does not see the folder of the run has no use for a checkpoint there.
        if checkpoint and not checkpoint.parent.is_dir():
            checkpoint = None
        with self._same_as_the_run():
            start = time.perf_counter()
            try:
                measured, models = self.experiment.run_group(group, self.settings, checkpoint)
            except Exception as error:
                more = f" (and {len(group) - 1} more seeds)" if len(group) > 1 else ""
                raise RuntimeError(
                    f"{self.experiment.name}: trial {group[0]}{more} failed: "
                    f"{type(error).__name__}: {error}"
                ) from error
            seconds = round((time.perf_counter() - start) / len(group), 3)
        weights = [
            anchors.weights_of(model) if keep and model is not None else None
            for model, keep in zip(models or [None] * len(group), kept, strict=True)
        ]
        # Asked after the trial, when the experiment has loaded torch if it ever does.
        return _Done(measured, weights, seconds, hardware())

    @contextmanager
    def _same_as_the_run(self) -> Iterator[None]:
        """Let a worker be what the run's own process is, or refuse.

        Raises:
            ValueError: if the worker has other versions or another code.
        """
        if self.here:
            yield
            return
        digest = self.experiment.module and _own_code(self.experiment.module)
        for what, own, wanted in (
            ("versions", _own_versions(), self.versions),
            ("code", digest, self.experiment.code_digest if digest else None),
        ):
            if own != wanted:
                raise ValueError(
                    f"the worker on {platform.node()} has another {what} than this process "
                    f"({own}; here {wanted}); install the same there."
                )
        before = os.environ.get("VAELITE_SEED")
        with _ALONE:
            os.environ["VAELITE_SEED"] = str(self.base_seed)
            try:
                yield
            finally:
                if before is None:
                    del os.environ["VAELITE_SEED"]
                else:
                    os.environ["VAELITE_SEED"] = before


class _Work:
    """A run in progress: what is declared, what is done, and where it is kept."""

    def __init__(
        self,
        experiment: Experiment,
        profile: str,
        settings: dict,
        trials: list[dict],
        folder: Path | None,
    ) -> None:
        self.experiment, self.settings, self.trials = experiment, settings, trials
        self.title = f"{experiment.name} ({profile})"
        self.stem = f"{experiment.name}.{profile}"
        self.folder, self.commit = folder, commit()
        self.results = {
            "experiment": experiment.name,
            "profile": profile,
            "base_seed": profiles.seed(),
            "settings": settings,
            "code_digest": experiment.code_digest,
            "versions": versions(),
            "hardware": [],
            "commits": {"trials": {}, "trace": None, "anchors": {}},
            "seconds": 0.0,
            "trace": [],
            "anchors": {"sha256": None, "trials": []},
            "trials": [],
        }
        self.finished: list[Path] = []  # checkpoints of groups that are not written yet
        self.entries: dict[str, dict] = {}  # of results["trials"], by trial
        self.weights: dict[str, anchors.Weights] = {}  # of the anchors, by trial
        self.unsaved, self.next_write = False, 0.0
        if folder:
            self.complete = folder / f"{self.stem}.json"
            self.partial = folder / f"{self.stem}.partial.json"
            for path in (self.partial, self.complete):
                check_writable(path, "the results file")

    def locked(self) -> AbstractContextManager[None]:
        """Keep other runs of the same away from the results file."""
        return locked(self.complete, "the results file") if self.folder else nullcontext()

    def start_afresh(self) -> bool:
        """Forget what an interrupted run has left; True, as there is work to do."""
        if self.folder:
            self._delete_checkpoints()
        return True

    def take_over(self) -> bool:
        """Keep what is stored, if it belongs to this run; whether there is anything left to do."""
        if not self.folder:
            return True
        if self.partial.exists():
            stored = read(self.partial)
            self._must_share(stored, _SAME)
            self._keep(stored, self.partial)
        elif self.complete.exists() and not self._checkpoint(self._groups()[0]).exists():
            stored = read(self.complete)
            self._must_share(stored, ("base_seed", "versions"))
            if {**stored["settings"], "runs": None} != {**self.settings, "runs": None}:
                self._refuse("have other settings")
            self._keep(stored, self.complete)
            if not self._lacks_something():
                self.results = stored
                return False
            if stored["trace"] and (problems := checks.trace(stored, self.experiment)):
                self._refuse(f"were made by code that computed something else ({problems[0]})")
        return True

    def run(self, progress: bool, workers: Workers | None) -> None:
        """Run what is left, and write the results."""
        groups = [group for group in self._groups() if self._is_open(group)]
        bar = tqdm(
            total=len(self.trials),
            initial=len(self.trials) - sum(map(len, groups)),
            desc=self.title,
            unit="trial",
            disable=not progress,
        )
        try:
            with bar:
                run_all(self._calls(groups, bar, workers is None), workers or Workers(Here, 1))
        finally:
            if self.folder and self.entries:
                self._write(self.partial)
        del self.results["code_digest"]
        if self.folder:
            # Not renamed: the weights beside it are those of this run only when it is whole.
            self.unsaved = True
            self._write(self.complete)
            for path in (self.partial, anchors.path_beside(self.partial)):
                path.unlink(missing_ok=True)
            self._delete_checkpoints()
        else:
            self._collect()

    def _calls(self, groups: list[list[dict]], bar: tqdm, here: bool) -> Iterator[Call]:
        """Yield what is to be done: the trace first, as it shows within seconds what is wrong."""
        order = _Order(
            self.experiment,
            self.settings,
            self.results["base_seed"],
            self.results["versions"],
            here,
        )
        traced = self.experiment.traced(self.trials)
        if self.folder and len(self.results["trace"]) < len(traced):
            yield Call(f"{self.title}: the trace", order.trace, (self.trials,), self._take_trace)
        chosen = self.experiment.anchors(self.trials) if self.folder else []
        for group in groups:
            checkpoint = self._checkpoint(group) if self.folder else None
            yield Call(
                f"{self.title}: trial {group[0]}",
                order.group,
                (group, [trial in chosen for trial in group], checkpoint),
                partial(self._take, group, bar),
            )

    def _take_trace(self, trace: list[dict[str, Any]]) -> None:
        self.results["trace"] = trace
        self.results["commits"]["trace"] = self.commit

    def _take(self, group: list[dict], bar: tqdm, done: _Done) -> None:
        """Take in what came of a group, and write it if the last writing is some time ago."""
        if _key(group[0]) in self.entries:
            self._must_be_equal(group, done.measured)
        else:
            self.entries |= {
                _key(trial): {"trial": trial, "result": result, "seconds": done.seconds}
                for trial, result in zip(group, done.measured, strict=True)
            }
            total = self.results["seconds"] + done.seconds * len(group)
            self.results["seconds"] = round(total, 3)
            self._count("trials", len(group))
            if done.hardware not in self.results["hardware"]:
                self.results["hardware"].append(done.hardware)
        for trial, weights in zip(group, done.weights, strict=True):
            if weights is not None:
                self.weights[_key(trial)] = weights
                self.unsaved = True
                self._count("anchors", 1)
        if self.folder:
            self.finished.append(self._checkpoint(group))
            if (now := time.monotonic()) >= self.next_write:
                self._write(self.partial)
                for path in self.finished:
                    path.unlink(missing_ok=True)
                self.finished.clear()
                # Of a long list of short trials, writing takes a few per cent of the time.
                self.next_write = now + max(1.0, 30 * (time.monotonic() - now))
        bar.update(len(group))

    def _must_be_equal(self, group: list[dict], measured: list[dict]) -> None:
        for trial, result in zip(group, measured, strict=True):
            stored = self.entries[_key(trial)]["result"]
            if stored != result:
                name = next(k for k in {**stored, **result} if stored.get(k) != result.get(k))
                raise RuntimeError(
                    f"{self.title}: trial {trial}, run again, gave {name} = {result.get(name)}; "
                    f"stored is {stored.get(name)}. The code or the processor is another one; "
                    "run all trials again, without --resume."
                )

    def _groups(self) -> list[list[dict]]:
        return self.experiment.groups(self.trials, self.settings)

    def _is_open(self, group: list[dict]) -> bool:
        """Whether trials were not run, or hold an anchor whose weights are missing."""
        if _key(group[0]) not in self.entries:
            return True
        if not self.folder or self.experiment.train is None:
            return False
        return any(
            trial in group and _key(trial) not in self.weights and self._can_be_kept(trial)
            for trial in self.experiment.anchors(self.trials)
        )

    def _can_be_kept(self, trial: dict) -> bool:
        model = self.experiment.untrained(trial, self.settings)
        return anchors.weights_of(model) is not None

    def _lacks_something(self) -> bool:
        traced = self.experiment.traced(self.trials)
        return len(self.results["trace"]) < len(traced) or any(map(self._is_open, self._groups()))

    def _must_share(self, stored: Mapping[str, Any], keys: Sequence[str]) -> None:
        for key in keys:
            if stored.get(key) != self.results[key]:
                self._refuse(f"have another {key.replace('_', ' ')}")

    def _refuse(self, reason: str) -> None:
        raise ValueError(
            f"cannot resume {self.title}: its stored trials {reason}; "
            "run it again without --resume."
        )

    def _keep(self, stored: dict, path: Path) -> None:
        """Take what is stored into this run."""
        self.entries = {_key(entry["trial"]): entry for entry in stored["trials"]}
        if list(self.entries) != [key for key in map(_key, self.trials) if key in self.entries]:
            self._refuse("are not those of this run, in their order")
        if any(len({_key(trial) in self.entries for trial in g}) > 1 for g in self._groups()):
            self._refuse("are part of a group that is to be run together")
        self.results |= {key: stored[key] for key in ("hardware", "seconds", "commits", "trace")}
        try:
            kept = anchors.load(anchors.path_beside(path), stored["anchors"]["sha256"])
            keys = map(_key, stored["anchors"]["trials"])
            self.weights = dict(zip(keys, kept, strict=True))
        except ValueError:
            self.results["commits"]["anchors"] = {}
        self.unsaved = True

    def _count(self, what: str, number: int) -> None:
        counts = self.results["commits"][what]
        counts[self.commit] = counts.get(self.commit, 0) + number

    def _collect(self) -> None:
        keys = map(_key, self.trials)
        self.results["trials"] = [self.entries[key] for key in keys if key in self.entries]

    def _write(self, path: Path) -> None:
        """Write the results, and the weights of the anchors beside them: both, or neither."""
        self._collect()
        kept = [one for one in self.experiment.anchors(self.trials) if _key(one) in self.weights]
        beside = anchors.path_beside(path)
        try:
            if kept and self.unsaved:
                with anchors.saving(beside, [self.weights[_key(one)] for one in kept]) as sha256:
                    self.results["anchors"] = {"sha256": sha256, "trials": kept}
                    write(self.results, path)
                self.unsaved = False
            else:
                write(self.results, path)
                if not kept:
                    beside.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"the results file {path} could not be written: {error.strerror or error}; what "
                "was there before is kept, and so are checkpoints: make room, and go on with "
                "--resume."
            ) from error

    def _checkpoint(self, group: list[dict]) -> Path:
        """Return where a group is saved while it runs."""
        depends_on = {key: self.results[key] for key in _SAME} | {"trials": group}
        digest = hashlib.sha256(_key(depends_on).encode()).hexdigest()
        return self.folder / f"{self.stem}.{digest[:16]}.checkpoint"

    def _delete_checkpoints(self) -> None:
        """Delete the checkpoints of this experiment and profile, and what killed workers left."""
        for pattern in ("{}.*.checkpoint", ".{}.*.checkpoint.*"):
            for path in self.folder.glob(pattern.format(self.stem)):
                path.unlink(missing_ok=True)


def get(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ValueError: if there is no such experiment.
    """
    module = importlib.import_module(catalogue.module_name(name))
    optional = ("run_trial", "train", "make_model", "measure", "in_training", "anchors")
    return Experiment(
        name=name,
        settings=module.SETTINGS,
        trials=module.trials,
        code_digest=_code_digest(module.__name__),
        module=module.__name__,
        **{key: getattr(module, key) for key in optional if hasattr(module, key)},
    )


def _code_digest(module: str) -> str:
    return modules_digest(module, without=[__package__, __name__])


# A worker asks itself once, whatever number of groups it is given.
_own_code, _own_versions = cache(_code_digest), cache(versions)


def load_models(name: str, profile: str) -> list[tuple[dict[str, Any], nn.Module]]:
    """Return the trained models of the anchors, each with its trial and what it measured.

    Returns:
        Pairs of a dictionary ``{"trial": ..., "result": ..., "seconds": ...}`` and a model; none
        where nobody ran the experiment, or its networks are too large to keep.

    Raises:
        ValueError: if the experiment or the profile does not exist, or a file is damaged.
    """
    results, experiment = load_results(name, profile), get(name)
    if results is None or not results["anchors"]["trials"]:
        return []
    path = anchors.path_beside(stored(f"{name}.{profile}.json"))
    entries = {_key(entry["trial"]): entry for entry in results["trials"]}
    weights = anchors.load(path, results["anchors"]["sha256"])
    return [
        (entries[_key(trial)], experiment.restored(trial, results["settings"], one))
        for trial, one in zip(results["anchors"]["trials"], weights, strict=True)
    ]


def _check_trials(name: str, trials: list[dict]) -> None:
    if not trials:
        raise ValueError(f"{name} has no trials.")
    for trial in trials:
        if not isinstance(trial, dict) or not isinstance(trial.get("seed"), int):
            raise ValueError(
                f'{name}: a trial is a dictionary with an integer "seed"; got {trial}.'
            )
    if len(set(map(_key, trials))) < len(trials):
        raise ValueError(f"{name}: two trials are equal; they would measure the same thing twice.")


def _key(trial: Mapping[str, Any]) -> str:
    return json.dumps(trial, sort_keys=True)

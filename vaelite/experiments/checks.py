"""Whether stored results still are what the code declares, trains and measures.

Each check returns its complaints, a sentence each; an empty list means that all is well.  Careless
and partial changes are noticed, of the code and of the stored numbers alike.  A consistent forgery,
or an error in trials that hold no anchor, shows only when the trials are run again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from vaelite.experiments import anchors as anchor_files
from vaelite.experiments.results import hardware, versions

if TYPE_CHECKING:
    from vaelite.experiments.runner import Experiment

TOLERANCE = 1e-4


def declared(results: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Check that settings, trials, seeds and their order are those that the code declares."""
    settings, trials = experiment.declared(results["profile"])
    found = []
    for key in sorted({*settings, *results["settings"]}):
        if settings.get(key) != (stored := results["settings"].get(key)):
            found.append(f"the setting {key} is {settings.get(key)}; stored is {stored}")
    stored = [entry["trial"] for entry in results["trials"]]
    if len(stored) != len(trials):
        found.append(f"{len(trials)} trials are declared; {len(stored)} are stored")
    pairs = zip(trials, stored, strict=False)
    if (wrong := next((pair for pair in pairs if pair[0] != pair[1]), None)) is not None:
        found.append(f"the trial {wrong[0]} is declared; in its place {wrong[1]} is stored")
    if (count := sum(results["commits"]["trials"].values())) != len(stored):
        found.append(f"commits are named for {count} trials; {len(stored)} are stored")
    return found


def identities(results: Mapping[str, Any]) -> list[str]:
    """Check in every row that ELBO = reconstruction - KL, and that means are those of their parts.

    A mean is an entry beside which there is one of its name and ``_by_factor``.
    """
    found = []
    for entry in results["trials"]:
        row, expected = entry["result"], {}
        if {"elbo", "reconstruction", "kl"} <= row.keys():
            expected["elbo"] = row["reconstruction"] - row["kl"]
        for name in row:
            if name.endswith("_by_factor"):
                expected[name.removesuffix("_by_factor")] = sum(row[name]) / len(row[name])
        for name, value in expected.items():
            # Ten digits of each number are stored.
            if not math.isclose(row[name], value, rel_tol=1e-8, abs_tol=1e-8):
                found.append(f"{entry['trial']}: {name} is {row[name]}, but follows as {value}")
    return found


def trace(results: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Train the first steps of every stored setting again.

    Two numbers agree if they differ by at most 1e-4 of the larger of the stored one and a hundredth
    of the loss: instruction sets round differently.
    """
    trials = [entry["trial"] for entry in results["trials"]]
    stored = {str(entry["trial"]): entry for entry in results["trace"]}
    again = experiment.trace(results["settings"], trials)
    if [entry["trial"] for entry in again] != [entry["trial"] for entry in results["trace"]]:
        return ["the trace is not of the first two seeds of every setting"]
    found = []
    for entry in again:
        before = stored[str(entry["trial"])]
        if entry.keys() != before.keys():
            found.append(f"{entry['trial']}: the loss has other parts than the stored trace")
            continue
        loss = np.array(before["loss"])
        for name in entry.keys() - {"trial"}:
            # A part that a phase does not have is None at its steps.
            old, new = (np.array(each[name], dtype=float) for each in (before, entry))
            if old.shape != new.shape or len(old) != len(loss):
                found.append(f"{entry['trial']}: {len(new)} steps of {name}; stored are {len(old)}")
                continue
            near = np.abs(old - new) <= TOLERANCE * np.maximum(np.abs(old), np.abs(loss) / 100)
            far = ~(near | (np.isnan(old) & np.isnan(new)))
            if far.any():
                step = int(np.argmax(far))
                found.append(
                    f"{entry['trial']}: {name} is {new[step]} at step {step}; stored is {old[step]}"
                )
    return found


def anchors(results: Mapping[str, Any], experiment: Experiment, path: Path) -> list[str]:
    """Measure the anchors again: counts as the stored rows have them, all else to 1e-4.

    Args:
        results: what is stored in ``path``.
        experiment: the experiment.
        path: the results file; the weights lie beside it.
    """
    rows = {str(entry["trial"]): entry["result"] for entry in results["trials"]}
    chosen = experiment.anchors([entry["trial"] for entry in results["trials"]])
    kept: list[anchor_files.Weights | None] = [None] * len(chosen)
    if experiment.train is not None:
        if results["anchors"]["trials"] != chosen:
            return ["the anchors are not one trial of every method"]
        if not chosen:  # the experiment keeps no weights
            return []
        try:
            kept = list(
                anchor_files.load(anchor_files.path_beside(path), results["anchors"]["sha256"])
            )
        except ValueError as error:
            return [str(error)]
    found = []
    for trial, weights in zip(chosen, kept, strict=True):
        again = experiment.measure_again(trial, results["settings"], weights)
        row = rows[str(trial)]
        if missing := again.keys() - row.keys():
            found.append(f"{trial}: {', '.join(sorted(missing))} is measured and was not stored")
        for name in again.keys() & row.keys():
            old, new = dict(_leaves(row[name])), dict(_leaves(again[name]))
            if old.keys() != new.keys() or not all(_agree(old[k], new[k]) for k in old):
                found.append(f"{trial}: {name} is {again[name]}; stored is {row[name]}")
    return found


def replay(
    results: Mapping[str, Any], experiment: Experiment, number: int
) -> tuple[list[str], bool, list[dict]]:
    """Run one stored group of trials again.

    Args:
        results: what is stored.
        experiment: the experiment.
        number: which group; it counts on from the first after the last.

    Returns:
        Complaints; whether equality to the last digit was asked for, as on the same type of
        processor and with the same versions; and the trials.  Elsewhere the mean of each number
        over the group must lie where 99.9 % of such means are, by the stored trials of the setting.
    """
    stored = {str(entry["trial"]): entry["result"] for entry in results["trials"]}
    trials = [entry["trial"] for entry in results["trials"]]
    groups = experiment.groups(trials, results["settings"])
    group = groups[number % len(groups)]
    measured, _ = experiment.run_group(group, results["settings"])
    here = hardware()
    same = (here["cpu"], here.get("gpu")) in {
        (machine["cpu"], machine.get("gpu")) for machine in results["hardware"]
    }
    exact = same and results["versions"] == versions()
    if exact:
        found = [
            f"{trial}: {name} is {value}; stored is {stored[str(trial)].get(name)}"
            for trial, row in zip(group, measured, strict=True)
            for name, value in row.items()
            if value != stored[str(trial)].get(name)
        ]
        return found, exact, group
    found, setting = [], anchor_files.setting(group[0])
    others = [stored[str(trial)] for trial in trials if anchor_files.setting(trial) == setting]
    for name in measured[0]:
        old, new = _numbers(others, name), _numbers(measured, name)
        if len(old) < 2 or not len(new):
            continue
        reach = stats.t.ppf(0.9995, len(old) - 1) * old.std(ddof=1)
        reach *= math.sqrt(1 / len(old) + 1 / len(new))
        if abs(new.mean() - old.mean()) > reach + TOLERANCE * abs(old.mean()):
            found.append(
                f"{setting}: the mean of {name} is {new.mean():.6g}; "
                f"stored is {old.mean():.6g} +- {reach:.2g}"
            )
    return found, exact, group


def _numbers(rows: list[dict], name: str) -> np.ndarray:
    """Return one scalar of all rows that have it."""
    values = [row.get(name) for row in rows]
    return np.array([float(v) for v in values if isinstance(v, int | float)])


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the numbers of nested lists and dictionaries with their places."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}.{index}")
    else:
        yield where, value


def _agree(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=1e-6)
    return old == new and isinstance(old, type(new))

"""Record pages: for a chapter with experiments, everything that a referee asks for, from data.

The plan with its verdicts, all results with intervals, settings and departures, what was written
down before the runs, the commands that make the numbers again, and where they were made.
"""

from __future__ import annotations

import html
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import ledger
import numpy as np

from vaelite import claims, experiments, profile
from vaelite.experiments import catalogue, comparison
from vaelite.experiments.comparison import Estimate

NOT_RUN = "not run yet"
Results = Mapping[str, Any]


def record(family: str) -> str:
    """Return the generated part of a record page, for the claims of a family and their results."""
    names = experiments_of(family)
    parts = ["## Planned comparisons, and what came out", plan_table(family)]
    parts += ["## Why these differences would matter", _reasons(family)]
    parts += ["## Where the numbers come from", provenance(names), _commands(names)]
    for name in names:
        parts += [f"## {name}", _before(name), *_measured(name)]
    return "\n\n".join(part for part in parts if part)


def experiments_of(family: str) -> list[str]:
    """Return the experiments of a family: those that its plans name, and those of its paper."""
    planned = [claim.plan.experiment for claim in claims.planned(family).values()]
    own = [name for name in experiments.names() if name.startswith(family)]
    return list(dict.fromkeys([*planned, *own]))


def plan_table(family: str) -> str:
    """Return every comparison of a family, planned ones first, with verdict and correction."""
    rows = []
    for finding in comparison.findings(family):
        claim, plan = finding.claim, finding.claim.plan
        quantity = claims.words(claim.id).quantities[plan.quantity]
        survives = {
            None: "" if plan.planned else ", exploratory",
            True: ", survives the correction",
            False: ", does not survive the correction",
        }[finding.survives]
        rows.append(
            (
                ledger.row_link(claim.id),
                finding.verdict + survives,
                f"{quantity['name']}, {claims.words(claim.id).context(plan)}: {finding.label}",
                finding.numbers(),
            )
        )
    header = ("Claim", "Verdict", "What", "Mean [95 % interval]")
    return ledger.stacked(rows, header)


def _reasons(family: str) -> str:
    reasons = {}
    for claim in claims.planned(family).values():
        quantity = claims.words(claim.id).quantities[claim.plan.quantity]
        size = f"{claim.plan.matters:g} {quantity['unit']}".strip()
        reasons[f"**{quantity['name']}, {size}.** {claim.plan.why}"] = None
    return "\n".join(f"- {reason}" for reason in reasons)


def provenance(names: Iterable[str]) -> str:
    """Return the log of runs: models, seeds, hardware, time and commit of each stored result."""
    rows, used = [], {}
    for name in names:
        for level in profile.PROFILES:
            results = experiments.load_results(name, level)
            if results is None:
                if level != "quick":  # a chapter computes these itself
                    rows.append((name, level, NOT_RUN, "", "", "", ""))
                continue
            rows.append((name, level, *_run(results)))
            versions = ", ".join(
                f"{package} {what}" for package, what in results["versions"].items()
            )
            used.setdefault(versions, []).append(f"`{name}`, {level}")
    header = ("Experiment", "Profile", "Models", "Seeds", "Hardware", "Time", "Commit")
    parts = [ledger.stacked(rows, header)]
    for versions, runs in used.items():
        whose = "" if len(used) == 1 else f" of {'; '.join(runs)}"
        parts.append(f"**Versions**{whose}: {versions}.")
    return "\n\n".join(parts)


def _run(results: Results) -> tuple[object, ...]:
    seeds = sorted({entry["trial"]["seed"] for entry in results["trials"]})
    machines = [
        f"{machine.get('gpu') or machine['cpu']} ({machine['cores']} cores)"
        for machine in results["hardware"]
    ]
    commits = [f"{name} ({count} models)" for name, count in results["commits"]["trials"].items()]
    return (
        len(results["trials"]),
        f"{len(seeds)}: {ranges(seeds)}",
        "; ".join(machines),
        str(timedelta(seconds=round(results["seconds"]))),
        ", ".join(commits),
    )


def ranges(numbers: Sequence[int]) -> str:
    """Write whole numbers in rising order as ranges: 0 to 3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _commands(names: Iterable[str]) -> str:
    lines = [f"python -m vaelite reproduce {name} --profile standard" for name in names]
    return "These commands make the stored numbers again:\n\n```bash\n" + "\n".join(lines) + "\n```"


def _before(name: str) -> str:
    """Return what the experiment's module says: question, plan, settings tried."""
    module = importlib.import_module(catalogue.module_name(name))
    text = (module.__doc__ or "").strip()
    text = re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", text).replace("``", "`")
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _measured(name: str) -> list[str]:
    parts = [_departures(name)]
    for level in profile.PROFILES:
        results = experiments.load_results(name, level)
        if results is not None:
            parts.append(_folded(f"All results, profile {level}", all_results(results)))
            parts.append(_folded(f"Settings, profile {level}", _settings(results["settings"])))
    return parts


def _departures(name: str) -> str:
    """Return where the standard settings differ from the full ones, which are the paper's."""
    settings = experiments.get(name).settings
    standard, full = settings.get("standard", {}), settings.get("full", {})
    rows = [
        (key.replace("_", " "), _value(full.get(key, "")), _value(standard.get(key, "")))
        for key in dict.fromkeys([*full, *standard])
        if key != "runs" and full.get(key) != standard.get(key)
    ]
    if not rows:
        return ""
    text = "Where the standard profile departs from the full one, which has the paper's setting:"
    return f"{text}\n\n{ledger.stacked(rows, ('Setting', 'Full', 'Standard'))}"


def _settings(settings: Mapping[str, Any]) -> str:
    rows = [(key.replace("_", " "), _value(value)) for key, value in settings.items()]
    return ledger.stacked(rows, ("Setting", "Value"))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return "; ".join(_value(entry) for entry in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple) and all(isinstance(entry, int | float) for entry in value):
        return " + ".join(f"{entry:g}" for entry in value)
    return value if isinstance(value, str) else json.dumps(value)


def all_results(results: Results) -> str:
    """Return every quantity of every setting: mean over seeds with Student's interval at 95 %."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for entry in results["trials"]:
        setting = tuple((k, v) for k, v in entry["trial"].items() if k != "seed")
        groups.setdefault(setting, []).append(entry["result"])
    keys = list(dict.fromkeys(key for rows in groups.values() for key in _numeric(rows)))
    names = list(dict.fromkeys(name for setting in groups for name, _ in setting))
    rows = []
    for setting, found in groups.items():
        shown = dict(setting)
        rows.append(
            (
                *(_value(shown.get(name, "")) for name in names),
                len(found),
                *(_mean(found, key) for key in keys),
            )
        )
    header = (*names, "runs", *(key.replace("_", " ") for key in keys))
    return ledger.stacked(rows, header, kind="dense")


def _numeric(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of single numbers; how long a run took is no result."""
    return [
        key
        for key, value in rows[0].items()
        if isinstance(value, int | float) and not key.endswith("seconds")
    ]


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    values = np.array([row[key] for row in rows if row.get(key) is not None], dtype=float)
    if not len(values):
        return ""
    size = np.abs(values).max()
    digits = 3 if size < 1 else 2 if size < 100 else 1
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return Estimate(values).text(digits, signed=False).partition("]")[0] + "]"


def _folded(summary: str, inside: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>\n{inside}\n</details>"

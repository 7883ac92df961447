"""The book's own findings: claims in groups, each with its verdict, seeds and command.

The groups are data, ``book/findings.toml``: a sentence, and the ids of claims by their verdict.
Everything else is computed.
"""

from __future__ import annotations

import html
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import ledger
import notebooks
import records

from vaelite import claims, experiments
from vaelite.claims.plan import Plan

SENTENCE = "sentence"  # the one key of a group that is no verdict


def findings() -> str:
    """Return the groups by section, and the tally of all claims."""
    parts = []
    for section in sections():
        parts.append(f"## {section['title']}")
        parts += [_group(group) for group in section["group"]]
    return "\n\n".join([*parts, "## All claims in one table", _tally()])


def sections() -> list[dict[str, Any]]:
    """Return the sections with their groups, as the file says them."""
    path = notebooks.ROOT / "book" / "findings.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["section"]


def cited(group: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims of a group with the verdict that it says they have.

    Raises:
        ValueError: if a key is no verdict, a claim is not registered, or it is there twice.
    """
    found: dict[str, str] = {}
    for verdict, ids in group.items():
        if verdict == SENTENCE:
            continue
        if verdict not in claims.VERDICTS:
            raise ValueError(f"{verdict!r} must be one of {', '.join(claims.VERDICTS)}.")
        for id in ids:
            if id not in claims.registry():
                raise ValueError(f"claim {id} of the findings is not registered.")
            if id in found:
                raise ValueError(f"claim {id} is twice under {group[SENTENCE]!r}.")
            found[id] = verdict
    return found


def _group(group: Mapping[str, Any]) -> str:
    """Return a sentence that opens to its claims.

    Raises:
        ValueError: if a claim has another verdict than the group says.
    """
    rows = []
    for id, said in cited(group).items():
        row = ledger.row(id)
        if row.verdict != said:
            raise ValueError(
                f"claim {id} is under {said!r} in findings.toml, and its verdict is "
                f"{row.verdict!r}; read its group's sentence again."
            )
        rows.append(row)
    counts = Counter(row.verdict for row in rows)
    listed = "; ".join(f"{verdict}: {count}" for verdict, count in counts.items())
    summary = (
        f"<summary><strong>{html.escape(group[SENTENCE])}</strong> "
        f'<span class="ledger-source">{html.escape(listed)}</span></summary>'
    )
    return f'<details class="finding">{summary}\n{ledger.cards(rows, _made)}\n</details>'


def _made(row: ledger.Row) -> str:
    """Return a card's last line: the seeds, and the command that makes the evidence again."""
    return (
        f'<p class="ledger-source">Seeds: {html.escape(seeds(row))}. '
        f"<code>{html.escape(command(row))}</code> "
        f'<a href="claims.html#{row.claim.id.replace(".", "-")}">ledger</a></p>'
    )


def seeds(row: ledger.Row) -> str:
    """Return the seeds that decide a claim, as ranges."""
    plan = row.claim.plan
    if plan is not None:
        return records.ranges(sorted(_seeds(plan)))
    return "none but the chapter's own, which may be any"


def command(row: ledger.Row) -> str:
    """Return what makes the evidence of a claim again."""
    plan = row.claim.plan
    if plan is not None:
        return f"python -m vaelite reproduce {plan.experiment} --profile {plan.profile}"
    return f"python book/tools/execute.py --force chapters/{row.chapter.name}"


def _seeds(plan: Plan) -> set[int]:
    """Return the seeds that a mean is over, or that both settings of a difference have."""
    results = _results(plan.experiment, plan.profile)
    settings = [plan.first] if plan.second is None else [plan.first, plan.second]
    found = [
        {entry["trial"]["seed"] for entry in results["trials"] if _fits(entry["trial"], setting)}
        for setting in settings
    ]
    return set.intersection(*found)


def _fits(trial: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
    """Tell whether a trial has a setting's entries; a list allows each of its values."""
    allowed = ((name, v if isinstance(v, list) else [v]) for name, v in setting.items())
    return all(trial.get(name) in values for name, values in allowed)


@cache
def _results(experiment: str, profile: str) -> Mapping[str, Any]:
    return experiments.load_results(experiment, profile)


def _tally() -> str:
    """Return how many claims about each paper came to each verdict."""
    rows = ledger.rows()
    found = Counter((row.paper, row.verdict) for row in rows)
    papers = list(dict.fromkeys(row.paper for row in rows))
    verdicts = [v for v in claims.VERDICTS if any(row.verdict == v for row in rows)]
    body = [
        (paper[0].upper() + paper[1:], *(found[paper, v] or "" for v in verdicts))
        for paper in papers
    ]
    body.append(("All", *(sum(found[paper, v] for paper in papers) for v in verdicts)))
    return ledger.stacked(body, ("Claims about", *verdicts))

"""The tables that the book computes about itself: claims, stored results, measured cost."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from datetime import timedelta

import comparisons
import notebooks
from nbformat import NotebookNode

from vaelite import claims, experiments, profile
from vaelite.experiments import catalogue

NOT_RUN = "not run yet"


def claims_ledger() -> str:
    """Return one Markdown table a chapter: statement, source, verdict, scale and numbers."""
    parts = []
    for source in notebooks.chapters():
        notebook = notebooks.read_executed(source)
        if notebook is None:
            continue
        found = {record["id"]: record for record in notebooks.claims_of(notebook)}
        if not found:
            continue
        registered = [claim for id, claim in claims.registry().items() if id in found]
        rows = [
            (
                f"`{claim.id}`",
                claim.statement,
                claim.source,
                _badge(found[claim.id]["verdict"]),
                found[claim.id]["profile"],
                _numbers(found[claim.id]["numbers"]),
            )
            for claim in registered
        ]
        header = ("Claim", "Statement", "Source", "Verdict", "Profile", "Numbers")
        link = f"[{title(notebook)}](../chapters/{notebooks.twin(source).name})"
        parts += [f"## {title(notebook)}", f"Checked in {link}.", table(rows, header)]
    return "\n\n".join([_tally(), *parts]) if parts else "No chapter has checked a claim yet."


def unchecked() -> list[str]:
    """Return one sentence for every claim that is registered or checked, but not both."""
    checked: dict[str, str] = {}
    problems = []
    for source in notebooks.chapters():
        notebook = notebooks.read_executed(source)
        for record in notebooks.claims_of(notebook) if notebook else []:
            checked[record["id"]] = source.stem
            if record["id"] not in claims.registry():
                problems.append(f"claim {record['id']} of {source.stem} is not registered.")
    missing = [id for id in claims.registry() if id not in checked]
    return problems + [f"claim {id} is registered, but no chapter checks it." for id in missing]


def paper_versus_ours() -> str:
    """Return what ``book/results`` holds of every experiment; nothing in it is typed by hand."""
    parts = []
    for name in experiments.names():
        module = importlib.import_module(catalogue.module_name(name))
        experiment = experiments.get(name)
        rows = [
            (level, *_provenance(experiment, experiments.load_results(name, level)))
            for level in profile.PROFILES
        ]
        header = ("Profile", "Runs", "Seeds", "Hardware", "Time", "Commit")
        summary = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        parts += [f"## `{name}`", summary, table(rows, header)]
        if compare := getattr(comparisons, name, None):
            for level in profile.PROFILES:
                results = experiments.load_results(name, level)
                if results is not None:
                    parts += [
                        f"The paper's numbers beside ours (profile {level}):",
                        table(compare(results), ("Quantity", "Paper", "Ours")),
                    ]
    return "\n\n".join(parts) if parts else "No experiment exists yet."


def measured(notebook: NotebookNode) -> str | None:
    """Return the line under a chapter's title: what running it cost when it was last executed."""
    stamp = notebook.metadata.get(notebooks.STAMP)
    if not stamp:
        return None
    return (
        f"Measured: under {stamp['seconds']} seconds on one CPU core, no download "
        f"(profile {stamp['profile']})."
    )


def title(notebook: NotebookNode) -> str:
    """Return the text of a notebook's first heading."""
    for cell in notebook.cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            if line.startswith("# "):
                return line[2:].strip()
    raise ValueError("the notebook has no title.")


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _tally() -> str:
    records = [
        record
        for source in notebooks.chapters()
        if (notebook := notebooks.read_executed(source)) is not None
        for record in notebooks.claims_of(notebook)
    ]
    verdicts = {record["id"]: record["verdict"] for record in records}
    counts = [
        f"{verdict}: {list(verdicts.values()).count(verdict)}"
        for verdict in claims.VERDICTS
        if verdict in verdicts.values()
    ]
    noun = "claim" if len(verdicts) == 1 else "claims"
    return f"**{len(verdicts)} {noun}**: {'; '.join(counts)}."


def _badge(verdict: str) -> str:
    return f'<span class="verdict verdict-{verdict.split()[0]}">{verdict}</span>'


def _numbers(numbers: dict[str, object]) -> str:
    shown = [
        f"{name.replace('_', ' ')} = {value:.4g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} = {value}"
        for name, value in numbers.items()
    ]
    return ", ".join(shown) or "none recorded"


def _provenance(experiment: experiments.Experiment, results: dict | None) -> tuple[object, ...]:
    if results is None:
        return (NOT_RUN, "", "", "", "")
    seeds = {entry["trial"]["seed"] for entry in results["trials"]}
    machines = [
        f"{machine.get('gpu') or machine['cpu']} ({machine['cores']} cores)"
        for machine in results["hardware"]
    ]
    return (
        len(results["trials"]),
        len(seeds),
        "; ".join(machines),
        str(timedelta(seconds=round(results["seconds"]))),
        ", ".join(results["commits"]["trials"]),
    )

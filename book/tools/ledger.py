"""What the book computes about itself: the ledger of claims, and what a chapter costs.

A claim with a plan is evaluated from the stored results when the book is built.  For the others the
executed chapter's own record counts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import notebooks
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx

from vaelite import claims
from vaelite.claims import Claim
from vaelite.experiments import comparison

# The papers by the word that a claim's source has for them; the first that occurs counts.
PAPERS = ("ISA-VAE", "factorial mixture", "optimal prior", "CPVAE", "factVAE")
COMPUTED = "computed in the chapter"
KINDS = ("planned", "exploratory", COMPUTED)


@dataclass(frozen=True)
class Row:
    """A claim as the ledger shows it.

    Attributes:
        claim: the claim.
        verdict: one of the five.
        kind: planned, exploratory, or computed in the chapter.
        numbers: a sentence with the numbers, or nothing.
        scale: where the evidence comes from.
        chapter: the chapter that shows the claim, or None.
        record: the record page that lists it, or None.
    """

    claim: Claim
    verdict: str
    kind: str
    numbers: str
    scale: str
    chapter: Path | None
    record: str | None

    @property
    def paper(self) -> str:
        """The paper that the claim is about, or where else it comes from."""
        source = self.claim.source
        named = [paper for paper in PAPERS if paper in source]
        return named[0] if named else "this book" if "this book" in source else "other sources"


def rows() -> list[Row]:
    """Return every registered claim, in the order of the chapters' files.

    Raises:
        ValueError: if a claim is shown nowhere, or was never checked.
    """
    return [_row(claim) for claim in claims.registry().values()]


def _row(claim: Claim) -> Row:
    chapter, record = shown_in().get(claim.id), record_of(claim)
    if claim.plan is not None:
        finding = comparison.evaluate(claim.id)
        numbers = "" if finding.estimate.missing else f"{finding.label}: {finding.numbers()}."
        kind = "planned" if claim.plan.planned else "exploratory"
        scale = finding.remarks().partition("; ")[2]
        return Row(claim, finding.verdict, kind, numbers, scale, chapter, record)
    found = _checked().get(claim.id)
    if found is None:
        return Row(claim, claims.NOT_RUN, COMPUTED, "", "", chapter, record)
    scale = f"{found['profile']} profile"
    return Row(
        claim, found["verdict"], COMPUTED, _numbers(found["numbers"]), scale, chapter, record
    )


@cache
def shown_in() -> dict[str, Path]:
    """Return the first chapter whose source names each claim."""
    found: dict[str, Path] = {}
    for source in notebooks.chapters():
        for id in re.findall(r"[\"'](\w+\.\d+)[\"']", source.read_text(encoding="utf-8")):
            if id in claims.registry():
                found.setdefault(id, source)
    return found


@cache
def _checked() -> dict[str, Mapping[str, object]]:
    """Return what the executed chapters recorded of each claim."""
    return {
        record["id"]: record
        for source in notebooks.chapters()
        if (notebook := notebooks.read_executed(source)) is not None
        for record in notebooks.claims_of(notebook)
    }


def record_of(claim: Claim) -> str | None:
    """Return the record page that lists a claim: the one whose generated part names its family."""
    if claim.plan is None:
        return None
    for page in sorted((notebooks.ROOT / "book" / "records").glob("*.md")):
        if f"<!-- record {claim.plan.family} -->" in page.read_text(encoding="utf-8"):
            return page.stem
    return None


def unchecked() -> list[str]:
    """Return one sentence for every claim that the book does not show, or shows unregistered."""
    problems = [
        f"claim {id} of a chapter is not registered."
        for id in _checked()
        if id not in claims.registry()
    ]
    for id, claim in claims.registry().items():
        if id not in shown_in() and record_of(claim) is None:
            problems.append(f"claim {id} is in no chapter and on no record page.")
        if claim.plan is None and id not in _checked():
            problems.append(f"claim {id} is registered, but no executed chapter checks it.")
    return problems


def claims_ledger() -> str:
    """Return the ledger as HTML: a tally, filters, and a card for each claim by chapter."""
    found = rows()
    groups: dict[Path | None, list[Row]] = {}
    for row in found:
        groups.setdefault(_home(row, found), []).append(row)
    planned_ahead = groups.pop(None, [])
    parts = [_tally(found), _filters(found)]
    for chapter, group in sorted(groups.items()):
        parts += [f"## {title(notebooks.read_source(chapter))}", cards(group)]
    if planned_ahead:
        parts += ["## Planned, their chapter to come", cards(planned_ahead)]
    return "\n\n".join(parts)


def cards(found: Sequence[Row], more: Callable[[Row], str] = lambda row: "") -> str:
    """Return claims as HTML cards, the verdict first; no blank line, so that Markdown keeps it.

    Args:
        found: the claims.
        more: what a card shows beside that, as HTML.
    """
    inside = [_card(row, more(row)) for row in found]
    return "\n".join(['<div class="ledger">', *inside, "</div>"])


def row(id: str) -> Row:
    """Return one registered claim."""
    return _row(claims.registry()[id])


def _card(row: Row, more: str) -> str:
    claim, escape = row.claim, html.escape
    links = []
    if row.chapter is not None:
        # What a chapter only draws, in a forest plot, has no box there that a link could find.
        box = f"#{claims.anchor(claim.id)}" if claim.id in _checked() else ""
        address = f"{row.chapter.stem}.html{box}"
        links.append(f'<a href="{_CHAPTERS}{address}">chapter {row.chapter.name[:2]}</a>')
    if row.record is not None:
        links.append(f'<a href="{_RECORDS}{row.record}.html">record</a>')
    remarks = [row.kind, *([row.scale] if row.scale else [])]
    lines = [
        f'<article class="ledger-card claim-{claims.KINDS[row.verdict]}" id="{_row_id(claim.id)}" '
        f'data-paper="{escape(row.paper)}" data-verdict="{row.verdict}" data-kind="{row.kind}">',
        f'<p class="ledger-verdict">{escape(row.verdict)}</p>',
        '<div class="ledger-text">',
        f"<p><strong>{escape(claim.id)}</strong> {escape(claim.statement)}</p>",
        f'<p class="ledger-numbers">{escape(row.numbers)}</p>' if row.numbers else "",
        f'<p class="ledger-source">{escape(_sentence(claim.source))} '
        f"{escape(_sentence('; '.join(remarks)))} {' '.join(links)}</p>",
        more,
        "</div></article>",
    ]
    return "\n".join(line for line in lines if line)


# Pages that show cards lie one folder below the book's root, or two.
_CHAPTERS = "../chapters/"
_RECORDS = "records/"


def _row_id(id: str) -> str:
    return id.replace(".", "-")


def row_link(id: str, to_book: str = "../") -> Html:
    """Return a link to a claim's row in the ledger, from a folder ``to_book`` away from it."""
    return Html(f'<a href="{to_book}claims.html#{_row_id(id)}">{html.escape(id)}</a>')


def _tally(found: Sequence[Row]) -> str:
    counts = [
        f"{verdict}: {count}"
        for verdict in claims.VERDICTS
        if (count := sum(row.verdict == verdict for row in found))
    ]
    noun = "claim" if len(found) == 1 else "claims"
    return f"**{len(found)} {noun}**: {'; '.join(counts)}."


def _filters(found: Sequence[Row]) -> str:
    """Return the choices; ``book.js`` shows them, and without it every card is there."""
    choices = {
        "paper": list(dict.fromkeys(row.paper for row in found)),
        "verdict": [v for v in claims.VERDICTS if any(row.verdict == v for row in found)],
        "kind": [kind for kind in KINDS if any(row.kind == kind for row in found)],
    }
    lines = ['<form class="ledger-filters" hidden>']
    for name, options in choices.items():
        listed = "".join(f"<option>{html.escape(option)}</option>" for option in options)
        lines.append(
            f'<label>{name.capitalize()} <select name="{name}"><option value="">all</option>'
            f"{listed}</select></label>"
        )
    return "\n".join([*lines, '<output aria-live="polite"></output>', "</form>"])


def _home(row: Row, found: Sequence[Row]) -> Path | None:
    """Return the chapter that a claim belongs to: its own, or that of most with its prefix.

    Comparisons are planned before their chapter is written; until then they have none.
    """
    if row.chapter is not None:
        return row.chapter
    prefix = row.claim.id.partition(".")[0] + "."
    sources = [r.chapter for r in found if r.chapter and r.claim.id.startswith(prefix)]
    return max(sources, key=sources.count, default=None)


def link_boxes(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each claim's box in a chapter a link to its row in the ledger."""
    for raw in doctree.findall(nodes.raw):
        text = raw.astext()
        match = re.search(r'<div class="claim [^>]* id="claim-([a-z]+-\d+)"', text)
        if docname.startswith("chapters/") and match:
            link = f' <a class="claim-link" href="../book/claims.html#{match[1]}">ledger</a></div>'
            head, _, tail = text.rpartition("</div>")
            raw.children = [nodes.Text(head + link + tail)]
            raw.rawsource = head + link + tail


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
    for row in rows:
        cells = (" ".join(str(value).replace("|", "\\|").split()) for value in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stacked(rows: Iterable[Sequence[object]], header: Sequence[str], kind: str = "") -> str:
    """Return an HTML table whose rows become cards on a phone; no blank line in it."""
    lines = [f'<table class="table stacks {kind}">', "<thead><tr>"]
    lines += [f'<th scope="col">{html.escape(name)}</th>' for name in header]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        cells = zip(header, row, strict=True)
        inside = "".join(
            f'<td data-label="{html.escape(name)}">{_cell(value)}</td>' for name, value in cells
        )
        lines.append(f"<tr>{inside}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


class Html(str):
    """Text of a cell that is HTML already."""


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(" ".join(text.split()))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _numbers(numbers: Mapping[str, object]) -> str:
    """Return recorded numbers as a sentence; an interval in brackets."""
    left = dict(numbers)
    shown = []
    if {"low", "high", "threshold"} <= left.keys():
        low, high, threshold = (left.pop(key) for key in ("low", "high", "threshold"))
        shown.append(f"interval [{_number(low)}, {_number(high)}], threshold {_number(threshold)}")
    shown += [f"{name.replace('_', ' ')} {_number(value)}" for name, value in left.items()]
    return _sentence("; ".join(shown)) if shown else ""


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")

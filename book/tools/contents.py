"""The table of contents: the chapters that are here, read from their files, and those to come."""

from __future__ import annotations

import ledger
import notebooks

PARTS = {"Foundations": range(1, 5), "Priors": range(5, 9), "Structure": range(9, 12)}
PARTS["Synthesis"] = range(12, 13)
PLANNED = {
    7: "A factorial mixture prior",
    8: "The optimal prior",
    9: "Cross-population autoencoders",
    10: "Their applications",
    11: "Many aspects, some missing",
    12: "One family",
}


def table() -> str:
    """Return the Markdown table of all chapters, for a page in ``book/``."""
    here = {int(source.name[:2]): source for source in notebooks.chapters()}
    rows = []
    for part, numbers in PARTS.items():
        for number in numbers:
            first = part if number == numbers[0] else ""
            if number in here:
                source = here[number]
                title = ledger.title(notebooks.read_source(source)).removeprefix(f"{number}. ")
                link = f"[{number}. {title}](../chapters/{notebooks.twin(source).name})"
                rows.append((first, link, "here"))
            else:
                rows.append((first, f"{number}. {PLANNED[number]}", "planned"))
    return ledger.table(rows, ("Part", "Chapter", "State"))

"""The table of contents: the chapters that are here, read from their files, and those to come."""

from __future__ import annotations

import re

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


def assignments() -> dict[str, list[int]]:
    """Return the chapters that each assignment needs, as its master says."""
    found = {}
    for master in sorted((notebooks.ROOT / "chapters" / "assignments").glob("*.md")):
        text = master.read_text(encoding="utf-8")
        needed = re.search(r"^(Chapters? .*?) (?:is|are) what you need", text, re.MULTILINE)[1]
        numbers = [int(number) for number in re.findall(r"\d\d", needed)]
        if " to " in needed:
            numbers = list(range(numbers[0], numbers[-1] + 1))
        found[master.stem] = numbers
    return found


def table() -> str:
    """Return the Markdown table of all chapters, for a page in ``book/``."""
    here = {int(source.name[:2]): source for source in notebooks.chapters()}
    needed = assignments()
    rows = []
    for part, numbers in PARTS.items():
        for number in numbers:
            first = part if number == numbers[0] else ""
            asking = [name[:2] for name in needed if number in needed[name]]
            own = ", ".join(f"[{name}](teaching.md)" for name in asking)
            if number in here:
                source = here[number]
                title = ledger.title(notebooks.read_source(source)).removeprefix(f"{number}. ")
                link = f"[{number}. {title}](../chapters/{notebooks.twin(source).name})"
                rows.append((first, link, own, "here"))
            else:
                rows.append((first, f"{number}. {PLANNED[number]}", own, "planned"))
    names = ("Part", "Chapter", "Assignments", "State")
    if all(state == "here" for *_, state in rows):  # then the column says nothing
        rows, names = [row[:-1] for row in rows], names[:-1]
    return ledger.table(rows, names)

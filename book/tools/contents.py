"""The table of contents: the chapters that are here, and the assignments that belong to each."""

from __future__ import annotations

import re
from pathlib import Path

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
_EXERCISES = re.compile(
    r"^(?P<heading>## (?:\d+\. )?Exercises\n\n)(?:(?:They rise|\[Assignments? \d).*\n\n)?",
    re.MULTILINE,
)


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


def name_assignments(source: Path) -> None:
    """Write into a chapter, below its exercises' heading, which assignments belong to it.

    Args:
        source: the chapter; left untouched where the sentence already stands there, or where a
            paragraph of its own names every one of them, such as ``03_cross_population``.
    """
    text = source.read_text(encoding="utf-8")
    chapter = int(source.name[:2])
    names = [name for name, numbers in assignments().items() if chapter in numbers]
    if names and all(f"`{name}`" in text for name in names):
        return
    asking = [name[:2] for name in names]
    told = "They rise in difficulty."
    if asking:
        noun, has = ("Assignments", "have") if len(asking) > 1 else ("Assignment", "has")
        told += f" [{noun} {' and '.join(asking)}](../book/teaching.md) {has} more, with tests."
    fresh = _EXERCISES.sub(lambda match: f"{match['heading']}{told}\n\n", text, count=1)
    if fresh != text:
        source.write_text(fresh, encoding="utf-8")


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

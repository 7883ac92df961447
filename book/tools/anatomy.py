"""The parts that every chapter has, and the limits that keep it readable on every screen."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import notebooks
import numbering
from nbformat import NotebookNode

COLUMNS = 76
EXPLORABLES = 4
QUESTIONS = 6
ENDING = ("Summary", "Self-check", "Exercises")
# "equation 8" is nobody's: the book's own read (5.8), a paper's "the paper's eq. 8".
BARE_EQUATION = re.compile(r"(?<!['’]s )\b(?:eqs?\.|equations?)[\s~]*\(?\d", re.IGNORECASE)
# A line of a formula that opens like an item of a list ends the formula, and shows its LaTeX.
_ITEM = re.compile(r"(?:[-+*]|\d+[.)])\s")
_HEADING = re.compile(r"^## (?:\d+\. )?(.+?)\s*$", re.MULTILINE)
_PREDICT = re.compile(r"^> \*\*Predict\b[^\n]*\n(?:>[^\n]*\n)*", re.MULTILINE)


def problems(source: Path) -> list[str]:
    """Return what a rewritten chapter lacks, one sentence each; see CONTRIBUTING.md."""
    text = source.read_text(encoding="utf-8")
    code = [cell for cell in notebooks.read_source(source).cells if cell.cell_type == "code"]
    return [
        *_parts(text),
        *_explorables(text),
        *_numbers(source, text),
        *_formulas(text),
        *(found for number, cell in enumerate(code, 1) for found in _cell(number, cell)),
    ]


def _parts(text: str) -> list[str]:
    found = []
    headings = {match[1]: match.start() for match in _HEADING.finditer(text)}
    box = text.find("> **In this chapter.**")
    second = sorted(headings.values())[1] if len(headings) > 1 else len(text)
    if not 0 <= box < second:
        found.append("no box `> **In this chapter.**` stands before its second section.")
    missing = [name for name in ENDING if name not in headings]
    if missing:
        found.append(f"it has no section {' and no section '.join(missing)}.")
    elif sorted(ENDING, key=headings.get) != list(ENDING):
        found.append(f"its last sections must be {', '.join(ENDING)}, in this order.")
    else:
        answers = text[headings["Self-check"] : headings["Exercises"]].count("<details>")
        if answers < QUESTIONS:
            found.append(
                f"its self-check has {answers} answers behind <details>; {QUESTIONS} it must have."
            )
    for match in _PREDICT.finditer(text):
        if "<details>" not in match[0] and not text[match.end() :].lstrip().startswith("<details>"):
            line = text[: match.start()].count("\n") + 1
            found.append(f"line {line}: a prediction is followed by no <details> that reveals.")
    return found


def _explorables(text: str) -> list[str]:
    # By its own name, or as a function of vaelite.book such as figures.explore_shells(...).
    calls = re.finditer(r"^ *(?:\w+\.)*explore\w*\(", text, re.MULTILINE)
    places = [match.start() for match in calls]
    if len(places) < EXPLORABLES:
        return [f"it has {len(places)} explorable figures; at least {EXPLORABLES} it must have."]
    if places[0] > len(text) / 3:
        return ["its first explorable figure stands behind its first third."]
    return []


def _formulas(text: str) -> list[str]:
    found, paragraph, fenced = [], "", False
    for number, line in enumerate(text.splitlines(), 1):
        inside = line.lstrip("> ")
        if inside.startswith("```"):
            fenced = not fenced
        if fenced or not inside:
            paragraph = ""
            continue
        signs = re.sub(r"`[^`]*`|\\\$|\$\$", "", paragraph).count("$")
        if signs % 2 and _ITEM.match(inside):
            found.append(f"line {number}: a formula is cut: the line opens like a list's item.")
        paragraph += inside + "\n"
    return found


def _numbers(source: Path, text: str) -> list[str]:
    found = []
    for match in BARE_EQUATION.finditer(text):
        line = text[: match.start()].count("\n") + 1
        found.append(
            f"line {line}: {match[0]!r} may be the book's or a paper's; write a reference such as "
            f'$\\eqref{{eq:{source.name[:2]}-name}}$, or "the paper\'s eq. 8".'
        )
    tags = re.findall(r"\\tag\{([^{}]*)\}\\label\{([^{}]*)\}", text)
    if {label: number for number, label in tags} != numbering.labels(source, text):
        found.append("its equations are not numbered as they stand; run `make execute`.")
    if "\\eqref" in text:
        found.append("a reference was not written out yet; run `make execute`.")
    return found


def _cell(number: int, cell: NotebookNode) -> list[str]:
    tags, found = cell.metadata.get("tags", []), []
    if "remove-cell" in tags:
        return []
    for line in cell.source.splitlines():
        if len(line) > COLUMNS:
            found.append(
                f"code cell {number} has {len(line)} columns, of which a page shows {COLUMNS}: "
                f"{line.strip()[:40]} ..."
            )
    try:
        body = ast.parse(re.sub(r"^[%!].*$", "pass", cell.source, flags=re.MULTILINE)).body
    except SyntaxError:
        return [*found, f"code cell {number} is not Python."]
    imports = sum(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    if imports > 1 and not {"hide-input", "hide-cell"} & set(tags):
        found.append(f"code cell {number} imports in the open; tag it hide-input.")
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("figures.show", "explore") and not any(
            k.arg == "caption" for k in node.keywords
        ):
            found.append(f"code cell {number}: {name}(...) has no caption.")
    return found

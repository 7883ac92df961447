"""Say what is wrong with the chapters before a reader finds out.

Usage: ``python book/tools/check.py`` prints one sentence a problem; with one, it exits with 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import anatomy
import execute
import ledger
import notebooks
import numbering
import yaml
from nbformat import NotebookNode
from notebooks import ROOT

HTML = ROOT / "book" / "_build" / "html"
MAX_PAGE_BYTES = 3_000_000
# Fewer stable cells than this, and nbval compares next to nothing.
STABLE_CELLS = 5
# What only the book understands: directives, roles and labels.
MYST_ONLY = re.compile(r"^(?:```|:::)\{(?!code-cell)\w|(?<![`\\])\{[a-z:]+\}`|^\([\w-]+\)=$", re.M)


def problems(source: Path) -> list[str]:
    """Return what is wrong with one chapter, one sentence each."""
    name = source.name
    text = source.read_text(encoding="utf-8")
    written, executed = notebooks.read_source(source), notebooks.read_executed(source)
    if executed is None:
        return [f"{name} was never executed; run `make execute`."]
    found = [
        f"{name} is stale: {reason}; run `make execute`." for reason in notebooks.stale(source)
    ]
    if notebooks.cells(written) != notebooks.cells(executed):
        found.append(f"{name} and its notebook differ; run `make execute`.")
    if execute.SETUP_MARK not in (code := _code(written))[0].source:
        found.append(f"{name} does not open with the setup cell; run `make execute`.")
    elif code[0].source.strip() != execute.setup_code().strip():
        found.append(f"{name} has an old setup cell; run `make execute`.")
    if MYST_ONLY.search(text):
        line = text[: MYST_ONLY.search(text).start()].count("\n") + 1
        found.append(f"{name}, line {line}: only the book understands this; use plain Markdown.")
    stable = sum("nbval-check-output" in cell.metadata.get("tags", []) for cell in code)
    if stable < STABLE_CELLS:
        found.append(
            f"{name} has {stable} cells tagged nbval-check-output; at least {STABLE_CELLS} must be."
        )
    size = notebooks.twin(source).stat().st_size
    if size > notebooks.MAX_BYTES:
        found.append(f"the notebook of {name} has {size / 1e6:.1f} MB; at most 2 are allowed.")
    wrong = _output_problems(executed) + anatomy.problems(source) + _uncaptioned(executed)
    return found + [f"{name}: {problem}" for problem in wrong]


def _output_problems(notebook: NotebookNode) -> list[str]:
    found = []
    if "widgets" in notebook.metadata:
        found.append("widget state is stored.")
    for number, cell in enumerate(_code(notebook), 1):
        pictures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
        alternatives = [
            out.get("metadata", {}).get("image/png", {}).get("alt", "") for out in pictures
        ]
        if not all(alternatives):
            found.append(f"a picture of code cell {number} has no alternative text.")
        if len(set(alternatives)) > 1:
            found.append(f"code cell {number} shows several pictures; one a cell.")
        if pictures and "nbval-check-output" in cell.metadata.get("tags", []):
            found.append(
                f"code cell {number} is compared with its output, but its picture's number is "
                "written into that afterwards; show it in a cell of its own."
            )
        for out in cell.outputs:
            if out.output_type == "error":
                found.append(f"code cell {number} raised {out.ename}.")
            if notebooks.WIDGET_VIEW in out.get("data", {}):
                found.append(f"code cell {number} stores a widget.")
            if out.output_type == "stream" and out.name == "stderr":
                found.append(f"code cell {number} wrote to standard error.")
    return found


def _uncaptioned(notebook: NotebookNode) -> list[str]:
    """Return every picture and every explorable figure that is not followed by its caption."""
    found = []
    for number, cell in enumerate(_code(notebook), 1):
        after = [*cell.outputs[1:], {}][: len(cell.outputs)]
        for out, next_out in zip(cell.outputs, after, strict=True):
            data = out.get("data", {})
            figure = "image/png" in data or 'class="explore"' in data.get("text/html", "")
            if figure and numbering.CAPTION not in next_out.get("metadata", {}):
                found.append(f"a figure of code cell {number} has no caption.")
    return found


def contents() -> list[str]:
    """Return the pages of the table of contents, without endings, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))

    def files(entry: dict) -> list[str]:
        own = [entry["file"]] if "file" in entry else []
        parts = [*entry.get("parts", []), *entry.get("chapters", []), *entry.get("sections", [])]
        return own + [file for part in parts for file in files(part)]

    return [toc["root"], *files(toc)]


def content_problems() -> list[str]:
    """Return what the table of contents lacks, and what it lists that does not exist."""
    listed = contents()
    there = [
        *(f"chapters/{path.stem}" for path in notebooks.chapters()),
        *(f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")),
        *(f"book/api/{path.stem}" for path in (ROOT / "book" / "api").glob("*.md")),
        *(f"book/records/{path.stem}" for path in (ROOT / "book" / "records").glob("*.md")),
    ]
    missing = [f"{page} is not in _toc.yml." for page in there if page not in listed]
    return missing + [
        f"_toc.yml lists {page}, which is not there." for page in set(listed) - set(there)
    ]


def page_problems(html: Path = HTML) -> list[str]:
    """Return every page of the table of contents that was not built, or is too large."""
    found = []
    for page in contents():
        path = html / f"{page}.html"
        if not path.exists():
            found.append(f"{page} has no HTML page.")
        elif path.stat().st_size > MAX_PAGE_BYTES:
            found.append(
                f"{page}.html has {path.stat().st_size / 1e6:.1f} MB; at most 3 are allowed."
            )
    return found


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def main() -> int:
    """Print all problems; return the exit status."""
    found = [problem for source in notebooks.chapters() for problem in problems(source)]
    found += ledger.unchecked() + content_problems()
    found += page_problems() if HTML.exists() else []
    print("\n".join(found) or "Nothing is wrong.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The chapters as files: sources, executed notebooks, and whether the two still agree.

The ``.md`` (jupytext MyST) is the source, the ``.ipynb`` beside it is made from it by
``execute.py``.  The stamp in the notebook's metadata says what it was made from.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from vaelite.digest import package_digest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "chapters"
RESULTS = ROOT / "book" / "results"

STAMP = "vaelite"
MAX_BYTES = 2_000_000

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def chapters() -> list[Path]:
    """Return the chapters' sources, in the order of their names."""
    return sorted(path for path in CHAPTERS.glob("*.md"))


def twin(source: Path) -> Path:
    """Return where the executed notebook of a source lies."""
    return source.with_suffix(".ipynb")


def read_source(path: Path) -> NotebookNode:
    """Read a ``.md`` source as a notebook without outputs."""
    return jupytext.read(path, fmt="md:myst")


def read_executed(source: Path) -> NotebookNode | None:
    """Read the executed twin, or return None where there is none."""
    path = twin(source)
    return nbformat.read(path, as_version=4) if path.exists() else None


def cells(notebook: NotebookNode) -> list[tuple[str, str, list[str]]]:
    """Return what a notebook means: type, text and tags of each cell."""
    return [
        (cell.cell_type, cell.source.strip(), sorted(cell.metadata.get("tags", [])))
        for cell in notebook.cells
    ]


def stamp_of(notebook: NotebookNode) -> dict[str, str]:
    """Compute the digests of everything that a notebook's outputs depend on.

    Returns:
        ``code`` (its code cells), ``package`` (the syntax tree of ``vaelite`` without docstrings,
        and the package's data files) and ``results`` (the stored results that it loads).
    """
    code = [cell.source.strip() for cell in notebook.cells if cell.cell_type == "code"]
    return {
        "code": _digest(*code),
        "package": _digest(package_digest(), *_package_data()),
        "results": _digest(*_results(code)),
    }


def stale(source: Path) -> list[str]:
    """Return why an executed notebook no longer belongs to its source; nothing when it does."""
    notebook = read_executed(source)
    if notebook is None:
        return ["it was never executed"]
    stamp = notebook.metadata.get(STAMP, {})
    now = stamp_of(read_source(source))
    reasons = {
        "code": "its code cells have changed",
        "package": "the package has changed",
        "results": "the stored results that it reads have changed",
    }
    return [reason for key, reason in reasons.items() if stamp.get(key) != now[key]]


def claims_of(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the claims that an executed notebook checked, in order."""
    return [
        output.metadata["vaelite_claim"]
        for output in outputs(notebook)
        if "vaelite_claim" in output.get("metadata", {})
    ]


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """Return every output of every code cell."""
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def _results(code: list[str]) -> list[str]:
    """Return the texts of the result files that the code names in ``load_results("name", ...)``."""
    names = sorted({n for text in code for n in re.findall(r"load_results\(\s*[\"'](\w+)", text)})
    paths = [path for name in names for path in sorted(RESULTS.glob(f"{name}.*.json"))]
    return [part for path in paths for part in (path.name, path.read_text(encoding="utf-8"))]


def _package_data() -> list[str]:
    """Return the texts of the package's claims and scripts, which land in the outputs."""
    package = ROOT / "vaelite"
    paths = sorted(path for kind in ("*.toml", "*.js", "*.css") for path in package.rglob(kind))
    return [path.read_text(encoding="utf-8") for path in paths]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

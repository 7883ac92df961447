"""The chapters as files: sources, executed notebooks, and whether the two still agree.

The ``.md`` (jupytext MyST) is the source, the ``.ipynb`` beside it is made from it by
``execute.py``.  The stamp in the notebook's metadata says what it was made from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from vaelite import claims
from vaelite.digest import source_digest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "chapters"
PACKAGE = ROOT / "vaelite"
RESULTS = ROOT / "book" / "results"
# For readers who bring data: a notebook like the chapters, executed and fresh, and no chapter.
TEMPLATE = ROOT / "book" / "template.md"

STAMP = "vaelite"
MAX_BYTES = 2_000_000

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def chapters() -> list[Path]:
    """Return the chapters' sources, in the order of their names."""
    return sorted(path for path in CHAPTERS.glob("*.md"))


def sources() -> list[Path]:
    """Return everything that is executed: the chapters, and the template."""
    return [*chapters(), TEMPLATE]


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


def stamp_of(notebook: NotebookNode, opened: Iterable[Path]) -> dict[str, Any]:
    """Compute the digests of everything that a notebook's outputs depend on.

    Args:
        notebook: executed.
        opened: the files of the package and of the stored results that its kernel opened.

    Returns:
        ``code``, the digest of the code cells; and by name the digests of what they used:
        ``modules`` (their syntax trees without docstrings), ``files`` (stored results, scripts,
        tables) and ``claims`` (of the registry only the entries that the chapter checks).
    """
    names = sorted({name for path in opened if (name := _name_of(path))})
    checked = sorted({record["id"] for record in claims_of(notebook)} | _drawn(notebook))
    return {
        "code": _code_digest(notebook),
        "modules": {name: _digest_of(name) for name in names if name.endswith(".py")},
        "files": {name: _digest_of(name) for name in names if not name.endswith(".py")},
        "claims": {id: _claim_digest(id) for id in checked},
    }


def stale(source: Path) -> list[str]:
    """Return why an executed notebook no longer belongs to its source; nothing when it does."""
    notebook = read_executed(source)
    if notebook is None:
        return ["it was never executed"]
    stamp = notebook.metadata.get(STAMP, {})
    if not {"code", "modules", "files", "claims"} <= set(stamp):
        return ["its stamp is of an older kind"]
    reasons = []
    if stamp["code"] != _code_digest(read_source(source)):
        reasons.append("its code cells have changed")
    for kind in ("modules", "files"):
        for name, digest in stamp[kind].items():
            if _digest_of(name) != digest:
                reasons.append(f"{name} has changed")
    for id, digest in stamp["claims"].items():
        if _claim_digest(id) != digest:
            reasons.append(f"claim {id} has changed")
    return reasons


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


def _code_digest(notebook: NotebookNode) -> str:
    return _digest(*(cell.source.strip() for cell in notebook.cells if cell.cell_type == "code"))


def _name_of(path: Path) -> str | None:
    """Return the name of an opened file in the stamp, or None where its content does not count."""
    if path.is_relative_to(RESULTS):
        return f"results/{path.relative_to(RESULTS).as_posix()}"
    if not path.is_relative_to(PACKAGE):
        return None
    if path.parent.name == "__pycache__":  # a compiled module stands for its source
        path = path.parents[1] / f"{path.name.partition('.')[0]}.py"
    # The root holds nothing but the version, the data sets' __init__ little but their names.
    if path in (PACKAGE / "__init__.py", PACKAGE / "data" / "__init__.py"):
        return None
    if path.match("claims/*.toml"):  # a claim counts only where it is checked
        return None
    return f"vaelite/{path.relative_to(PACKAGE).as_posix()}"


def _digest_of(name: str) -> str:
    """Return the digest of a module, or of a file; for a result, with the names beside it.

    Results of another profile may take the place of those that were read, so that a chapter is
    stale when one appears.
    """
    room, _, rest = name.partition("/")
    path = (RESULTS if room == "results" else PACKAGE) / rest
    if not path.exists():
        return "missing"
    if name.endswith(".py"):
        return source_digest(path.read_text(encoding="utf-8"))[:16]
    beside: list[str] = []
    if room == "results":
        experiment = path.name.partition(".")[0]
        beside = sorted(other.name for other in path.parent.glob(f"{experiment}.*.json"))
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return _digest(content, *beside)


def _drawn(notebook: NotebookNode) -> set[str]:
    """Return the registered claims that the code names, by id or family, as for a forest plot."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    named = set(re.findall(r"[\"'](\w+(?:\.\d+)?)[\"']", code))
    return {id for id in claims.registry() if named & {id, id.partition(".")[0]}}


def _claim_digest(id: str) -> str:
    """Return the digest of a claim, and of how many comparisons it is corrected for."""
    claim = claims.registry().get(id)
    if claim is None or claim.plan is None:
        return _digest(repr(claim))
    planned = [other.plan.planned for other in claims.planned(claim.plan.family).values()]
    return _digest(repr(claim), str(planned.count(claim.plan.planned)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

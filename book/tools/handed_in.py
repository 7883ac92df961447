"""What was handed in: a notebook's cells, whatever else of the file is missing or odd."""

from __future__ import annotations

import hashlib
import json


def read_cells(content: bytes) -> list[tuple[str, str]]:
    """Return kind and source of a notebook's cells, whatever else of it is missing or odd.

    Raises:
        ValueError: if it is no notebook, or holds no code.
    """
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
        if notebook.get("nbformat", 4) < 4:
            import nbformat

            notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        cells = [
            (cell.get("cell_type"), writable("".join(cell.get("source") or "")))
            for cell in notebook["cells"]
        ]
    except Exception:
        raise ValueError("the file is not a notebook that can be read") from None
    if not any(kind == "code" and source.strip() for kind, source in cells):
        raise ValueError("the notebook holds no code")
    return cells


def writable(text: str) -> str:
    """Return a text that a file takes: half a character, as in JSON and file names, is "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def fingerprint(text: str) -> str:
    """Return a short digest of a text, white space left out."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()[:16]


def is_own(text: str, given: list[str]) -> bool:
    """Whether a text is the student's own and not one that was handed out."""
    return bool(text.strip()) and fingerprint(text) not in given

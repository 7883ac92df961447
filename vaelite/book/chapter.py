"""What every chapter needs to show: source that cannot drift, tables, and numbers as text."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence


def in_notebook() -> bool:
    """Tell whether a kernel runs this code, so that displaying reaches a page."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def show_source(*objects: Callable, docstrings: bool = False) -> None:
    """Display the source of functions or classes as it stands in the installed package.

    Args:
        *objects: functions or classes; from a class, one can also show a single method.
        docstrings: keep the docstrings, which the API pages show anyway.
    """
    from IPython.display import Markdown, display

    listings = [source(object, docstrings=docstrings) for object in objects]
    display(Markdown("```python\n" + "\n\n".join(listings) + "\n```"))


def source(object: Callable, *, docstrings: bool = False) -> str:
    """Return the source of a function or class, dedented, by default without docstrings."""
    text = textwrap.dedent(inspect.getsource(object)).rstrip()
    if not docstrings:
        text = re.sub(r'\n[ \t]*r?"""(?:.|\n)*?"""[ \t]*(?=\n)', "", text)
    return text


def number(value: float, form: str) -> str:
    """Return a number in one of Python's formats, with a real minus and no sign before a zero."""
    text = f"{value:{form}}"
    if not text.strip("+-0.%"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Display a Markdown table.

    Args:
        rows: one sequence of cells a row; floats are shown to four significant digits.
        header: one title a column.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    from IPython.display import Markdown, display

    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, the header {len(header)}.")
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    display(Markdown("\n".join(lines)))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

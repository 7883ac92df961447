"""Write ``book/bibliography.md`` from ``book/references.bib``.

The page is plain Markdown with one anchor an entry, so that a chapter's citation
``[Burda et al., 2016](../book/bibliography.md#burda2016)`` leads to it in the book, in
JupyterLab and on GitHub alike.
"""

from __future__ import annotations

from pathlib import Path

from pybtex.database import parse_file
from pybtex.plugin import find_plugin

BOOK = Path(__file__).resolve().parents[1]
PAGE = BOOK / "bibliography.md"
FIVE_PAPERS = ("stuhmer2020", "paquet2018", "takahashi2022", "anonymous2019", "ainsworth2018")

HEAD = """\
<!-- Made from references.bib by book/tools/bibliography.py; do not edit. -->

# Bibliography

## The five papers

"""


def page() -> str:
    """Return the text of the page."""
    entries = dict(_entries())
    papers = "".join(entries.pop(key) for key in FIVE_PAPERS)
    return HEAD + papers + "## Further literature\n\n" + "".join(entries.values()).rstrip() + "\n"


def keys() -> set[str]:
    """Return the keys that a citation may use."""
    return set(parse_file(BOOK / "references.bib").entries)


def _entries() -> list[tuple[str, str]]:
    style = find_plugin("pybtex.style.formatting", "plain")()
    backend = find_plugin("pybtex.backends", "markdown")()
    formatted = style.format_bibliography(parse_file(BOOK / "references.bib"))
    return [
        (entry.key, f'<a id="{entry.key}"></a>{_line(entry.text.render(backend))}\n\n')
        for entry in formatted
    ]


def _line(text: str) -> str:
    """Put an entry on one line, without the escapes that Markdown does not need here."""
    for mark in ".-!()":
        text = text.replace(f"\\{mark}", mark)
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

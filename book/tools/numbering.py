r"""Numbers of chapters, equations and figures, written where every reader finds the same ones.

A number that a page computes is another number in JupyterLab, or none.  So ``make execute``
writes them into the source: the chapter's into its title, an equation's as ``\tag{5.8}`` beside
its label, and a reference ``$\eqref{eq:05-elbo}$`` becomes the plain link
``[(5.8)](#eq:05-elbo)``, which needs no MathJax to show its number.  Figures are numbered in the
stored outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbformat import NotebookNode

CAPTION = "vaelite_caption"
LABEL = re.compile(r"(?:\\tag\{[^{}]*\}\s*)?\\label\{(?P<label>[^{}]+)\}")
_CODE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_EQREF = re.compile(r"\$\\eqref\{(?P<label>[^{}]+)\}\$")
_LINK = re.compile(r"\[\([^()\[\]]*\)\]\((?P<file>[^()#\s]*)#(?P<label>eq:[^()\s]+)\)")
_REFERENCE = re.compile(f"{_EQREF.pattern}|{_LINK.pattern.replace('<label>', '<target>')}")
_NUMBERED = re.compile(r"\\begin\{(equation|align|gather)\}(.*?)\\end\{\1\}", re.DOTALL)
_INNER = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
_TITLE = re.compile(r"^# (?:\d+\. )?(?P<title>.+)$", re.MULTILINE)


class NumberingError(ValueError):
    """A label or a reference cannot be numbered; the message is one sentence."""


def chapter_of(path: Path) -> int:
    """Return the number of a chapter, which is that of its file name.

    Raises:
        NumberingError: if the name does not begin with two digits and an underscore.
    """
    if not re.match(r"\d\d_", path.name):
        raise NumberingError(f"{path.name} does not begin with a chapter's number, such as 05_.")
    return int(path.name[:2])


def labels(path: Path, text: str | None = None) -> dict[str, str]:
    """Return the number of every labelled equation of a chapter, in the order of the text.

    Args:
        path: the chapter's source.
        text: what stands there, if it was read already.

    Raises:
        NumberingError: if a label is there twice, does not begin with the chapter's prefix, stands
            inside ``$$``, or a numbered environment has a line without a label.
    """
    chapter = chapter_of(path)
    prose = _without_code(path.read_text(encoding="utf-8") if text is None else text)
    found: dict[str, str] = {}
    for match in LABEL.finditer(prose):
        label = match["label"]
        if not label.startswith(f"eq:{chapter:02d}-"):
            raise NumberingError(f"the label {label} must begin with eq:{chapter:02d}-.")
        if label in found:
            raise NumberingError(f"the label {label} is there twice.")
        found[label] = f"{chapter}.{len(found) + 1}"
    environments = "".join(match[2] for match in _NUMBERED.finditer(prose))
    for label in found:
        if f"\\label{{{label}}}" not in environments:
            raise NumberingError(
                f"the label {label} stands outside of equation, align and gather, so that no "
                "reader sees its number."
            )
    for match in _NUMBERED.finditer(prose):
        lines = [match[2]] if match[1] == "equation" else _lines(match[2])
        for line in lines:
            if not re.search(r"\\label|\\notag|\\nonumber", line):
                start = " ".join(line.split())[:50]
                raise NumberingError(
                    f"an {match[1]} has a line without a label ({start} ...); "
                    rf"label it, or write {match[1]}* or \notag."
                )
    return found


def number_source(path: Path, chapters: Iterable[Path]) -> None:
    """Write the numbers into a chapter's source: its title, its equations, its references.

    Args:
        path: the source; left untouched when every number already stands there.
        chapters: all chapters, whose equations may be referred to.

    Raises:
        NumberingError: see :func:`labels`; and if a reference leads nowhere.
    """
    text = path.read_text(encoding="utf-8")
    own = labels(path, text)
    known = {path: own} | {other: _labels_of_another(other) for other in chapters if other != path}

    def tag(match: re.Match) -> str:
        return f"\\tag{{{own[match['label']]}}}\\label{{{match['label']}}}"

    chapter = chapter_of(path)
    fresh = _TITLE.sub(lambda match: f"# {chapter}. {match['title']}", text, count=1)
    fresh = _outside_code(fresh, lambda part: LABEL.sub(tag, part))
    fresh = _outside_code(fresh, lambda part: number_references(part, path, known))
    if fresh != text:
        path.write_text(fresh, encoding="utf-8")


def number_references(text: str, path: Path, known: Mapping[Path, Mapping[str, str]]) -> str:
    """Return a text in which every reference to an equation is a link that shows its number.

    Args:
        text: Markdown.
        path: the chapter in which it stands.
        known: the numbers by label, by chapter.

    Raises:
        NumberingError: if no chapter has an equation of that label.
    """
    home = {label: chapter for chapter, numbers in known.items() for label in numbers}

    def link(match: re.Match) -> str:
        label = match["label"] or match["target"]
        if label not in home:
            raise NumberingError(f"no equation has the label {label}.")
        chapter = home[label]
        file = "" if chapter == path else chapter.with_suffix(".ipynb").name
        return f"[({known[chapter][label]})]({file}#{label})"

    return _REFERENCE.sub(link, text)


def number_outputs(notebook: NotebookNode, path: Path, chapters: Iterable[Path]) -> None:
    """Number the captions of an executed notebook, and the references in its Markdown outputs.

    Raises:
        NumberingError: if a reference leads nowhere.
    """
    known = {chapter: _labels_of_another(chapter) for chapter in {path, *chapters}}
    figure = 0
    for cell in notebook.cells:
        for output in cell.outputs if cell.cell_type == "code" else []:
            if output.output_type not in ("display_data", "execute_result"):
                continue
            caption = output.metadata.get(CAPTION)
            if caption:
                figure += 1
                name = f"Figure {chapter_of(path)}.{figure}."
                output.data["text/plain"] = f"{name} {caption['text']}"
                output.data["text/markdown"] = f"**{name}** {caption['text']}"
            if "text/markdown" in output.data:
                written = output.data["text/markdown"]
                output.data["text/markdown"] = number_references(written, path, known)


def _labels_of_another(path: Path) -> dict[str, str]:
    try:
        return labels(path)
    except NumberingError as error:
        raise NumberingError(f"{path.name}: {error}") from None


def _lines(body: str) -> list[str]:
    """Split the body of an align at its own line breaks, not at those of a matrix inside it."""
    flat = body
    while (shorter := _INNER.sub("", flat)) != flat:
        flat = shorter
    return re.split(r"\\\\", flat)


def _without_code(text: str) -> str:
    return _CODE.sub("", text)


def _outside_code(text: str, change) -> str:
    """Apply ``change`` to what stands between the fenced blocks of a text."""
    parts, end = [], 0
    for block in _CODE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])

"""What hand-written pages link to before it is there: chapters to come, and their claims."""

from __future__ import annotations

import re

import contents
import notebooks

from vaelite import claims

CLAIM = re.compile(r"\[(?P<id>[a-z]+\.\d+)\]\(claims\.md#(?P<row>[a-z]+-\d+)\)")
CHAPTER = re.compile(r"\[(?P<text>[^\]]*)\]\(\.\./chapters/(?P<file>(?P<number>\d\d)_\w+)\.ipynb\)")
# Claims of chapters that may still be to come.
TO_COME = {"fm": 7, "one": 12}


def settle(text: str) -> str:
    """Return a page's source without a link into the void.

    A link to a chapter that is planned and not there yet, or to a claim of such a chapter, becomes
    its text.

    Raises:
        ValueError: if a claim is not registered, or its link leads to another's row.
    """
    return CHAPTER.sub(_chapter, CLAIM.sub(_claim, text))


def _claim(match: re.Match) -> str:
    id = match["id"]
    if id.replace(".", "-") != match["row"]:
        raise ValueError(f"the link of claim {id} leads to {match['row']}.")
    if id in claims.registry():
        return match[0]
    if _here(TO_COME.get(id.partition(".")[0])):
        raise ValueError(f"claim {id} is not registered.")
    return id


def _chapter(match: re.Match) -> str:
    number = int(match["number"])
    planned = number in contents.PLANNED and not _here(number)
    return f"{match['text']} (planned)" if planned else match[0]


def _here(number: int | None) -> bool:
    """Tell whether a chapter is written; None stands for claims that belong to one that is."""
    return number is None or number in {int(source.name[:2]) for source in notebooks.chapters()}

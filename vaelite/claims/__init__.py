"""Claims: sentences of the book whose verdict is computed from evidence.

A claim has an id (``vb.3``), a statement and a source, registered in the ``.toml`` file of its
chapter beside this module.  A chapter calls :func:`check` with the evidence and with the verdict
that it expects; when the computed verdict differs, the cell raises and the chapter's test fails.
"""

from __future__ import annotations

import html
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vaelite import profile
from vaelite.book.chapter import in_notebook

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
NOT_RESOLVED = "not resolved at this scale"
VERDICTS = (HOLDS, DOES_NOT_HOLD, NOT_RESOLVED)

METADATA_KEY = "vaelite_claim"


class ClaimError(AssertionError):
    """The evidence does not lead to the verdict that the chapter expects."""


@dataclass(frozen=True)
class Claim:
    """One sentence that evidence can decide.

    Attributes:
        id: stable name, the chapter's prefix and a number, such as ``vb.3``.
        statement: the sentence.
        source: where it comes from, such as ``ISA-VAE, section B.3``, or ``this book``.
    """

    id: str
    statement: str
    source: str


@cache
def registry() -> dict[str, Claim]:
    """Return every registered claim by its id, in the order of the chapters' files."""
    claims: dict[str, Claim] = {}
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for id, fields in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if id in claims:
                raise ValueError(f"claim {id} is registered twice, the second time in {path.name}.")
            claims[id] = Claim(id, **fields)
    return claims


def verdict(evidence: bool | Sequence[float], threshold: float | None = None) -> str:
    """Compute what the evidence says.

    Args:
        evidence: a bool (an identity, an exact value), or an interval ``(low, high)`` for a
            quantity that the claim says exceeds ``threshold``.
        threshold: required with an interval, and meaningless with a bool.

    Returns:
        ``holds`` (True, or the whole interval above the threshold), ``does not hold`` (False, or
        the whole interval below it), or ``not resolved at this scale`` (the interval touches it).

    Raises:
        ValueError: if the interval is not ordered or not finite, or the threshold is missing,
            superfluous or not finite.
        TypeError: if the evidence is neither a bool nor a pair of numbers.
    """
    if hasattr(evidence, "item") and getattr(evidence, "ndim", None) == 0:
        evidence = evidence.item()  # numpy.bool_ and zero-dimensional tensors
    if isinstance(evidence, bool):
        if threshold is not None:
            raise ValueError("threshold goes with an interval; the evidence is a bool.")
        return HOLDS if evidence else DOES_NOT_HOLD
    try:
        low, high = (float(bound) for bound in evidence)
    except (TypeError, ValueError):
        raise TypeError(f"evidence must be a bool or (low, high); got {evidence!r}.") from None
    if threshold is None:
        raise ValueError("an interval needs the threshold that it is compared with.")
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite; got {threshold}.")
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"evidence must satisfy low <= high, both finite; got ({low}, {high}).")
    if low > threshold:
        return HOLDS
    if high < threshold:
        return DOES_NOT_HOLD
    return NOT_RESOLVED


def check(
    id: str,
    evidence: bool | Sequence[float],
    expect: str = HOLDS,
    *,
    threshold: float | None = None,
    **numbers: float | int | str,
) -> str:
    """Compute the verdict of a claim, show it in one stable line, and insist on ``expect``.

    The line holds the id, the statement and the verdict, no measured number: it is the same on
    every machine.  The numbers travel beside it, to the ledger of claims.

    Args:
        id: the claim's id, such as ``vb.3``.
        evidence: see :func:`verdict`.
        expect: the verdict that the chapter's text relies on.
        threshold: see :func:`verdict`.
        **numbers: whatever the ledger should show beside the verdict.

    Returns:
        The verdict.

    Raises:
        ClaimError: if the verdict is not ``expect``.
        ValueError: if ``expect`` is no verdict, the evidence is malformed, or a number is not one.
    """
    if expect not in VERDICTS:
        raise ValueError(f"expect is {expect!r}; it must be one of {', '.join(VERDICTS)}.")
    found = verdict(evidence, threshold)
    claim = registry().get(id, Claim(id, "", ""))
    if not isinstance(evidence, bool) and threshold is not None:
        low, high = (float(bound) for bound in evidence)
        numbers = {"low": low, "high": high, "threshold": threshold, **numbers}
    _show(claim, found, {name: _plain(name, value) for name, value in numbers.items()})
    if found != expect:
        shown = ", ".join(f"{name} = {value}" for name, value in numbers.items()) or evidence
        raise ClaimError(
            f"claim {id} was expected to come out as {expect!r}, but {found} ({shown})."
        )
    return found


def _plain(name: str, value: float | int | str) -> float | int | str:
    """Turn NumPy and torch scalars into what JSON can hold."""
    value = value.item() if hasattr(value, "item") and np.size(value) == 1 else value
    if not isinstance(value, int | float | str) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{name} must be a finite number or a string; got {value!r}.")
    return value


def _show(claim: Claim, found: str, numbers: dict[str, float | int | str]) -> None:
    line = f"[{claim.id}] {found}"
    if claim.statement:
        line += f": {claim.statement} ({claim.source})"
    if not in_notebook():
        print(line)
        return
    from IPython.display import display

    kind = {HOLDS: "holds", DOES_NOT_HOLD: "fails", NOT_RESOLVED: "open"}[found]
    box = (
        f'<div class="claim claim-{kind}"><strong>Claim {html.escape(claim.id)}: {found}.</strong> '
        f"{html.escape(claim.statement)} "
        f'<span class="claim-source">({html.escape(claim.source)})</span></div>'
    )
    record = {"id": claim.id, "verdict": found, "profile": profile.current(), "numbers": numbers}
    display({"text/plain": line, "text/html": box}, raw=True, metadata={METADATA_KEY: record})

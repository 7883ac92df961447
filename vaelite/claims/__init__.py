"""Claims: sentences of the book whose verdict is computed from evidence.

A claim has an id (``vb.3``), a statement and a source, registered in the ``.toml`` file of its
chapter beside this module.  A chapter calls :func:`check` with the evidence and with the verdict
that it expects; when the computed verdict differs, the cell raises and the chapter's test fails.

A claim that stored results decide has a :class:`Plan` in place of a statement: what is compared
with what, in which results, and which difference would matter.  Its sentence is made from the plan,
and :func:`vaelite.experiments.comparison.decide` evaluates it in one line.
"""

from __future__ import annotations

import html
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vaelite import profile
from vaelite._validation import check_choice
from vaelite.book.chapter import in_notebook
from vaelite.claims.plan import Plan, Words

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
SMALLER = "smaller than the difference that matters"
NOT_RESOLVED = "not resolved at this scale"
NOT_RUN = "not run"
VERDICTS = (HOLDS, DOES_NOT_HOLD, SMALLER, NOT_RESOLVED, NOT_RUN)

# What a verdict's box is coloured by, beside its word.
KINDS = {
    HOLDS: "holds",
    DOES_NOT_HOLD: "fails",
    SMALLER: "small",
    NOT_RESOLVED: "open",
    NOT_RUN: "missing",
}

METADATA_KEY = "vaelite_claim"
_WORDS = "words"  # the one table of a chapter's file that is no claim


class ClaimError(AssertionError):
    """The evidence does not lead to the verdict that the chapter expects."""


@dataclass(frozen=True)
class Claim:
    """One sentence that evidence can decide.

    Attributes:
        id: stable name, the chapter's prefix and a number, such as ``vb.3``.
        statement: the sentence.
        source: where it comes from, such as ``ISA-VAE, section B.3``, or ``this book``.
        plan: the comparison of stored results that decides it, from which the sentence is made; or
            None where the chapter computes the evidence.
    """

    id: str
    statement: str
    source: str
    plan: Plan | None = None


@cache
def registry() -> dict[str, Claim]:
    """Return every registered claim by its id, in the order of the chapters' files.

    Raises:
        ValueError: if an id is registered twice, or a claim has both a statement and a plan, or
            neither.
    """
    claims: dict[str, Claim] = {}
    for path in _files():
        for id, fields in _read(path).items():
            if id == _WORDS:
                continue
            if id in claims:
                raise ValueError(f"claim {id} is registered twice, the second time in {path.name}.")
            claims[id] = _claim(id, fields, words(id))
    return claims


@cache
def words(id: str) -> Words:
    """Return what the chapter of a claim calls its settings, experiments and quantities."""
    path = Path(__file__).with_name(f"{id.partition('.')[0]}.toml")
    return Words(**_read(path).get(_WORDS, {})) if path.exists() else Words()


def planned(family: str | None = None) -> dict[str, Claim]:
    """Return the claims that have a plan, of one family or of all."""
    return {
        id: claim
        for id, claim in registry().items()
        if claim.plan is not None and family in (None, claim.plan.family)
    }


def anchor(id: str) -> str:
    """Return the name that links use for a claim, such as ``claim-isa-5``."""
    return f"claim-{id.replace('.', '-')}"


def _files() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.toml"))


@cache
def _read(path: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _claim(id: str, fields: Mapping[str, Any], spoken: Words) -> Claim:
    source, rest = fields["source"], {k: v for k, v in fields.items() if k != "source"}
    if set(rest) == {"statement"}:
        return Claim(id, rest["statement"], source)
    if "statement" in rest:
        raise ValueError(f"claim {id} has a plan, from which its statement is made; remove one.")
    plan = Plan(**rest)
    if plan.matters is None:  # what would matter is said once for a quantity
        quantity = spoken.quantities[plan.quantity]
        plan = replace(plan, matters=quantity.get("matters"), why=quantity.get("why", ""))
    return Claim(id, spoken.sentence(plan), source, plan)


def verdict(
    evidence: bool | Sequence[float] | None,
    threshold: float | None = None,
    matters: float | None = None,
) -> str:
    """Compute what the evidence says.

    Args:
        evidence: a bool (an identity, an exact value); an interval ``(low, high)`` for a quantity
            that the claim says exceeds ``threshold``; or None where nothing was run.
        threshold: required with an interval, and meaningless with a bool.
        matters: with an interval, the difference from the threshold that would matter.

    Returns:
        The first that is true: ``not run``; ``holds`` (True, or the whole interval above the
        threshold); ``does not hold`` (False, or the whole interval below it); ``smaller than the
        difference that matters`` (the whole interval inside the threshold plus or minus that
        difference); ``not resolved at this scale``.  So a small difference that is there holds, and
        :func:`negligible` says that it is small.

    Raises:
        ValueError: if the interval is not ordered or not finite, or the threshold is missing,
            superfluous or not finite, or ``matters`` is superfluous or not positive.
        TypeError: if the evidence is neither a bool nor a pair of numbers nor None.
    """
    if evidence is None:
        return NOT_RUN
    if hasattr(evidence, "item") and getattr(evidence, "ndim", None) == 0:
        evidence = evidence.item()  # numpy.bool_ and zero-dimensional tensors
    if isinstance(evidence, bool):
        if threshold is not None or matters is not None:
            name = "matters" if threshold is None else "threshold"
            raise ValueError(f"{name} goes with an interval; the evidence is a bool.")
        return HOLDS if evidence else DOES_NOT_HOLD
    low, high = _interval(evidence)
    if threshold is None:
        raise ValueError("an interval needs the threshold that it is compared with.")
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite; got {threshold}.")
    if low > threshold:
        return HOLDS
    if high < threshold:
        return DOES_NOT_HOLD
    return SMALLER if negligible((low, high), threshold, matters) else NOT_RESOLVED


def negligible(
    interval: Sequence[float] | None, threshold: float = 0.0, matters: float | None = None
) -> bool:
    """Tell whether a whole interval lies closer to the threshold than would matter.

    Raises:
        ValueError: if ``matters`` is not positive and finite, or the interval is malformed.
    """
    if interval is None or matters is None:
        return False
    if not (math.isfinite(matters) and matters > 0):
        raise ValueError(f"matters must be positive and finite; got {matters}.")
    low, high = _interval(interval)
    return threshold - matters < low and high < threshold + matters


def _interval(evidence: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in evidence)
    except (TypeError, ValueError):
        raise TypeError(f"evidence must be a bool or (low, high); got {evidence!r}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"evidence must satisfy low <= high, both finite; got ({low}, {high}).")
    return low, high


def check(
    id: str,
    evidence: bool | Sequence[float] | None,
    expect: str = HOLDS,
    *,
    threshold: float | None = None,
    matters: float | None = None,
    results: Mapping[str, Any] | None = None,
    shown: str = "",
    provenance: Mapping[str, Any] | None = None,
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
        matters: see :func:`verdict`.
        results: the stored results that the evidence comes from, so that the ledger tells their
            profile; None where the chapter computed it itself.
        shown: a sentence with numbers for the box, such as
            :func:`vaelite.experiments.comparison.decide` makes.
        provenance: what else the ledger needs to know about the evidence, such as ``pairs``.
        **numbers: whatever the ledger should show beside the verdict.

    Returns:
        The verdict.

    Raises:
        ClaimError: if the verdict is not ``expect``.
        ValueError: if ``expect`` is no verdict, the evidence is malformed, or a number is not one.
    """
    check_choice("expect", expect, VERDICTS)
    found = verdict(evidence, threshold, matters)
    claim = registry().get(id, Claim(id, "", ""))
    if evidence is not None and threshold is not None:
        low, high = (float(bound) for bound in evidence)
        numbers = {"low": low, "high": high, "threshold": threshold, **numbers}
        numbers |= {} if matters is None else {"matters": matters}
    where = {"profile": profile.current()}
    if results is not None:
        where = {"profile": results["profile"], "experiment": results["experiment"]}
    record = {
        "id": id,
        "verdict": found,
        **where,
        **(provenance or {}),
        "numbers": {name: _plain(name, value) for name, value in numbers.items()},
    }
    _show(claim, found, shown, record)
    if found != expect:
        listed = ", ".join(f"{name} = {value}" for name, value in numbers.items()) or evidence
        raise ClaimError(
            f"claim {id} was expected to come out as {expect!r}, but {found} ({listed})."
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


def _show(claim: Claim, found: str, shown: str, record: Mapping[str, Any]) -> None:
    line = f"[{claim.id}] {found}"
    if claim.statement:
        line += f": {claim.statement} ({claim.source})"
    if not in_notebook():
        print(line)
        return
    from IPython.display import display

    numbers = f'<span class="claim-numbers">{html.escape(shown)}</span>' if shown else ""
    box = (
        f'<div class="claim claim-{KINDS[found]}" id="{anchor(claim.id)}">'
        f"<strong>Claim {html.escape(claim.id)}: {found}.</strong> "
        f"{html.escape(claim.statement)} "
        f'<span class="claim-source">({html.escape(claim.source)})</span>{numbers}</div>'
    )
    display({"text/plain": line, "text/html": box}, raw=True, metadata={METADATA_KEY: record})

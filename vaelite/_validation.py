"""Checks of arguments that several modules share."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def check_count(name: str, value: Any) -> int:
    """Return a positive integer as an int; raise ValueError if ``value`` is something else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")
    return int(value)

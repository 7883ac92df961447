"""Checks of arguments that several modules share."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral
from typing import Any


def check_count(name: str, value: Any) -> int:
    """Return a positive integer as an int; raise ValueError if ``value`` is something else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")
    return int(value)


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ValueError if ``value`` is none of some names."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")


def check_seed(seed: Any) -> None:
    """Raise ValueError if ``seed`` is not an integer from 0."""
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be an integer from 0; got {seed!r}.")

"""How much work an experiment does, and from which seed.

``VAELITE_PROFILE`` chooses between three sizes of the same experiment:

- ``quick`` (the default): the mechanism, offline, on two CPU cores within 90 seconds a chapter;
- ``standard``: enough seeds to decide a noisy claim, up to 30 minutes on a laptop;
- ``full``: the paper's setting, on a GPU, with the real data.

``VAELITE_SEED`` moves every random seed of a chapter at once.
"""

from __future__ import annotations

import os
from typing import Any

from vaelite._validation import check_choice

PROFILES = ("quick", "standard", "full")


def current() -> str:
    """Return the profile in force.

    Raises:
        ValueError: if ``VAELITE_PROFILE`` names none of the three profiles.
    """
    name = os.environ.get("VAELITE_PROFILE", "quick")
    check_choice("VAELITE_PROFILE", name, PROFILES)
    return name


def choose(quick: Any, standard: Any, full: Any) -> Any:
    """Return the value that belongs to the profile in force."""
    return {"quick": quick, "standard": standard, "full": full}[current()]


def seed(offset: int = 0) -> int:
    """Return the base seed plus ``offset``.

    Raises:
        ValueError: if ``VAELITE_SEED`` is not a non-negative integer.
    """
    text = os.environ.get("VAELITE_SEED", "0")
    if not text.isdecimal():
        raise ValueError(f"VAELITE_SEED is {text!r}; it must be a non-negative integer.")
    return int(text) + offset

"""Structured variational autoencoders, small enough to read.

The package behind the book: one module a paper, in the order of the paper's equations.  The names
that a newcomer looks for can be had from here::

    from vaelite import VAE, fit, fit_seeds, load

Nothing heavy is imported until one of them is asked for; ``import vaelite.toys.ica`` never loads
PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "VAE": "vaelite.vae",
    "fit": "vaelite.training",
    "fit_seeds": "vaelite.training",
    "load": "vaelite.data",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

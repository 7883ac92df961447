"""Data sets: ``load(name, **options)`` returns a :class:`Dataset`.

Stand-ins made by code, or shipped inside a dependency, need no network.  Real sets are downloaded
once into the cache (see :mod:`vaelite.data.cache`).

A data set is one module with a function ``load``, whose keyword arguments are its options, and one
line below.  A real one also holds a ``RealSet`` named ``REAL``.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from vaelite.data import (
    bars,
    binary_mnist,
    cars3d,
    cifar10,
    digits,
    dolls,
    dsprites,
    flowers,
    flowers17,
    font_digits,
    frey_faces,
    grassy_digits,
    heads,
    mnist,
    mocap,
    olivetti_faces,
    omniglot,
    sprites,
    umist_faces,
    usps,
    views,
    walker,
)
from vaelite.data.cache import DataError, RealSet
from vaelite.data.dataset import Dataset

__all__ = ["DataError", "Dataset", "load", "names", "real_set", "summary"]

_MODULES: dict[str, ModuleType] = {
    "bars": bars,
    "binary_mnist": binary_mnist,
    "cars3d": cars3d,
    "cifar10": cifar10,
    "digits": digits,
    "dolls": dolls,
    "dsprites": dsprites,
    "flowers": flowers,
    "flowers17": flowers17,
    "font_digits": font_digits,
    "frey_faces": frey_faces,
    "grassy_digits": grassy_digits,
    "heads": heads,
    "mnist": mnist,
    "mocap": mocap,
    "olivetti_faces": olivetti_faces,
    "omniglot": omniglot,
    "sprites": sprites,
    "umist_faces": umist_faces,
    "usps": usps,
    "views": views,
    "walker": walker,
}


def names() -> list[str]:
    """Return the names of all data sets."""
    return list(_MODULES)


def load(name: str, **options: Any) -> Dataset:
    """Return a data set.

    Args:
        name: one of :func:`names`.
        **options: the keyword arguments of the data set's own ``load``.

    Raises:
        ValueError: if there is no such data set, option, or value of an option.
        DataError: if a real data set is neither in the cache nor can be downloaded.
    """
    module = _module(name)
    known = inspect.signature(module.load).parameters
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it takes {', '.join(known)}.")
    return module.load(**options)


def real_set(name: str) -> RealSet | None:
    """Return where a data set is downloaded from, or None if it needs no download.

    Raises:
        ValueError: if there is no such data set.
    """
    return getattr(_module(name), "REAL", None)


def summary(name: str) -> str:
    """Return what a data set is, in one line.

    Raises:
        ValueError: if there is no such data set.
    """
    return (inspect.getdoc(_module(name)) or name).partition("\n")[0]


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ValueError(f"there is no data set {name!r}; there are: {', '.join(_MODULES)}.")
    return _MODULES[name]

"""Checks of the arguments that both toy models share."""

from __future__ import annotations

import numpy as np
from autograd.tracer import isbox


def check_array(name: str, value, shape: tuple, *, positive: bool = False) -> None:
    """Raise unless ``value`` is a finite real array of that shape; ``None`` matches any length.

    Under differentiation the values are out of reach, and only the shape is checked.
    """
    got = np.shape(value)
    if len(got) != len(shape) or any(
        n == 0 or want not in (None, n) for n, want in zip(got, shape, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), none of it empty; got {got}.")
    if isbox(value):
        return
    value = np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers; got dtype {value.dtype}.")
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name} must be finite; it holds NaN or infinity.")
    if positive and not np.all(value > 0):
        raise ValueError(f"{name} must be positive; its smallest value is {value.min():g}.")


def check_positive(name: str, value) -> None:
    """Raise unless the scalar ``value`` is positive and finite."""
    if isbox(value):
        return
    if not (np.ndim(value) == 0 and np.isreal(value) and np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive finite number; got {value!r}.")


def check_model(W, noise_var, X=None, beta=1.0) -> None:
    """Raise unless weights, noise variances, data and beta belong to one linear model."""
    check_array("W", W, (None, None))
    check_array("noise_var", noise_var, (np.shape(W)[0],), positive=True)
    if X is not None:
        check_array("X", X, (None, np.shape(W)[0]))
    check_positive("beta", beta)


def check_count(name: str, value) -> None:
    """Raise unless ``value`` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")

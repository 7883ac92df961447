"""The one rule for the arguments of all toy models.

Every public function takes its arguments through :func:`checked`. Whatever NumPy can turn into an
array of real numbers is welcome: arrays of any numeric type, nested lists and tuples, PyTorch
tensors that need no gradient. It becomes float64 at the entrance. What autograd differentiates
passes through as it is. A function checks what it uses itself; what it only hands on is checked
where it arrives.
"""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
from autograd.tracer import isbox

from .._validation import check_count

# In the order in which they are checked: equal letters are equal lengths, None is any shape.
SHAPES = {
    "W": ("L", "K"),
    "noise_var": ("L",),
    "X": ("N", "L"),
    "q_mean": ("N", "K"),
    "q_var": ("N", "K"),
    "C": ("K", "L", "L"),
    "A": ("L", "D_s"),
    "B": ("K", "L", "D_t"),
    "R": ("D_s", "L"),
    "shared_var": ("D_s",),
    "S": ("K", "D_t", "L"),
    "private_var": ("K", "D_t"),
    "sizes": ("K",),
    "covariance": ("L", "L"),
    "weights": ("D", "L"),
    "variances": ("D",),
    "shares": ("K",),
    "frequencies": ("K", "C"),
    "centres": ("C",),
    "shifts": ("K",),
    "offsets": ("K",),
    "biases": ("K",),
    "weight": (),
    "z": None,
    "angle": (),
    "alpha": (),
}
POSITIVE_ARRAYS = {"noise_var", "q_var", "shared_var", "private_var", "sizes", "variances"}
COUNTS = {"n", "nodes", "points", "max_steps"}


def checked(**arguments) -> tuple:
    """Return the arguments, converted, in the order given; raise where one does not fit.

    The name of an argument says what it must be: an array of the shape in :data:`SHAPES`, one of
    the :data:`COUNTS`, or else a positive number.

    Raises:
        TypeError: if an array does not hold real numbers.
        ValueError: if a shape does not fit, a value is not finite or not positive, or a count is
            not a positive integer.
    """
    lengths, results = {}, {}
    for name in sorted(arguments, key=[*SHAPES, *arguments].index):
        value = arguments[name]
        if name in SHAPES:
            results[name] = _real_array(name, value, lengths)
        elif name in COUNTS:
            results[name] = check_count(name, value)
        else:
            results[name] = _positive_number(name, value)
    return tuple(results[name] for name in arguments)


def _real_array(name: str, value, lengths: dict):
    """Return a finite float64 array of the right shape, whose lengths become known.

    Under differentiation the values are out of reach, and only the shape is checked.
    """
    value = _as_array(name, value)
    got, wanted = np.shape(value), SHAPES[name]
    if wanted is not None:
        wanted = [lengths.get(letter) for letter in wanted]
        if len(got) != len(wanted) or any(
            n == 0 or want not in (None, n) for n, want in zip(got, wanted, strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in wanted)
            raise ValueError(f"{name} must have shape ({wanted}), none of it empty; got {got}.")
        lengths.update(zip(SHAPES[name], got, strict=True))
    if isbox(value):
        return value
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers; got dtype {value.dtype}.")
    if not onp.all(onp.isfinite(value)):
        raise ValueError(f"{name} must be finite; it holds NaN or infinity.")
    if name in POSITIVE_ARRAYS and not onp.all(value > 0):
        raise ValueError(f"{name} must be positive; its smallest value is {value.min():g}.")
    return value.astype(float, copy=False)[()]  # a number where the shape is ()


def _as_array(name: str, value):
    if isbox(value):
        return value
    try:  # autograd's function also takes lists that hold what it differentiates
        return np.array(value) if isinstance(value, (list, tuple)) else onp.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be something that NumPy can turn into an array; "
            f"got {type(value).__name__}: {error}"
        ) from error


def _positive_number(name: str, value):
    number = _as_array(name, value)
    if np.ndim(number) == 0:
        if isbox(number):
            return number
        if number.dtype.kind in "fiu" and 0 < number < onp.inf:
            return float(number)
    raise ValueError(f"{name} must be a positive finite number; got {value!r}.")

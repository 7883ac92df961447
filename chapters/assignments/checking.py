"""What the tests of every assignment share: call a student's function, and look at what it returns.

``assignments.py build`` puts this module, without its docstring, in front of the tests of each
question, so that a notebook needs no other file.  It holds no answer.  ``VALUES`` below it is
filled with the numbers that the question's ``# VALUES`` cell computed at build time.
"""

import copy
import itertools
import json
import linecache
import random
import re
import sys
import traceback

import numpy as np

torch = sys.modules.get("torch")  # large; where nobody imported it nobody needs it


def fail(message):
    """Fail the check with this message alone, not with what led to it."""
    raise AssertionError(message) from None


def call(name, function, *arguments):
    """Call a student's function with copies of the arguments; return what it returned.

    A tensor that asks for its gradient passes it on through its copy.  The check fails where the
    function is not answered yet, raises, or changes an argument.
    """
    if function is None or function is ...:
        fail(f"Not answered yet: there is no {name}.")
    if not callable(function):
        fail(f"{name} should be a function; it is a {type(function).__name__}.")
    try:
        return _call(name, function, arguments)
    except AssertionError:
        raise
    except (Exception, SystemExit) as error:
        # torch.zeros(B) is float32: where that does not mix with our float64, use float32 for all.
        wide = any(_is_tensor(a) and a.dtype == torch.float64 for a in arguments)
        if wide and re.search(r"dtype|scalar type|same type|Double", str(error)):
            narrow = [_narrow(argument) for argument in arguments]
            try:
                return _call(name, function, narrow)
            except AssertionError:
                raise
            except (Exception, SystemExit):
                pass
        fail(_explain(name, function, error))


def _call(name, function, arguments):
    copies = [_copy(argument) for argument in arguments]
    result = function(*copies)
    if result is None or result is ...:
        fail(f"Not answered yet: {name} returns nothing.")
    for position, (ours, theirs) in enumerate(zip(arguments, copies, strict=True)):
        if not _same(ours, theirs):
            code = getattr(function, "__code__", None)
            names = code.co_varnames[: code.co_argcount] if code else ()
            names = getattr(function, "__parameters__", names)  # where it runs sealed, elsewhere
            which = names[position] if position < len(names) else f"number {position + 1}"
            fail(
                f"{name} changes its argument {which} in place, so its caller's data are other "
                "data afterwards. Work on a copy: no +=, no name that ends in _, no assignment "
                "to an entry of an argument."
            )
    return result


def _is_tensor(value):
    return torch is not None and isinstance(value, torch.Tensor)


def _copy(value):
    return (
        value.clone() if _is_tensor(value) else value if callable(value) else copy.deepcopy(value)
    )


def _narrow(value):
    return value.float() if _is_tensor(value) and value.is_floating_point() else value


def _same(ours, theirs):
    if _is_tensor(ours):
        if ours.shape != theirs.shape:
            return False
        both_nan = (ours != ours) & (theirs != theirs)
        return bool(((ours == theirs) | both_nan).all())
    if isinstance(ours, np.ndarray):
        return ours.shape == theirs.shape and np.array_equal(ours, theirs, equal_nan=True)
    return callable(ours) or ours == theirs


def _explain(name, function, error):
    """Say what the function raised, and in which of the student's own lines."""
    home = getattr(getattr(function, "__code__", None), "co_filename", None)
    line = getattr(error, "line", "")  # where it ran sealed, elsewhere
    for frame, number in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path == home or "ipykernel_" in path or path.startswith("<ipython-input"):
            line = linecache.getline(path, number).strip() or line
    kind = type(error).__name__.replace("SystemExit", "exit()")
    text = (str(error).strip().splitlines() or [""])[0]
    if "on Tensor that requires grad" in text:  # torch says: detach, which would cut the graph
        text = "a gradient is needed here, which NumPy does not know. Write this part in torch."
    where = f" in its line `{line}`" if line else ""
    return f"{name} raised {kind}{where}" + (f": {text}" if text else ".")


def tensor(value, what="Your answer"):
    """Return an answer as a double precision array, from whatever it is made of."""
    if value is None or value is ...:
        fail(f"Not answered yet: {what[0].lower()}{what[1:]} is missing.")
    if _is_tensor(value):
        value = value.detach().cpu().double().numpy()
    elif isinstance(value, (list, tuple, range)):
        value = [tensor(part, what) for part in value]
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        kind = type(value).__name__
        fail(f"{what} should be a tensor, an array or a number; it is a {kind}.")


def numbers(value, shape, what, named="", mistakes=()):
    """Return an answer as a double precision array of this shape.

    A single number may come without dimensions or with more than it needs. ``named`` is the shape
    in letters, for the message; ``mistakes`` maps wrong shapes to what they mean.
    """
    found = tensor(value, what)
    if found.shape != tuple(shape) and found.size == np.prod(shape, dtype=int) == 1:
        found = found.reshape(shape)
    if found.shape in dict(mistakes):
        fail(dict(mistakes)[found.shape])
    if found.shape != tuple(shape):
        wanted = f"have shape {tuple(shape)}"
        if named:
            letters = named.startswith("(")
            wanted = f"have {'' if letters else 'the '}shape {named}{' =' * letters} {tuple(shape)}"
        if shape == ():
            wanted = "be one number, of shape ()"
        fail(f"{what} should {wanted}, not {found.shape}.")
    return found


def parts(value, shapes, named="", mistakes=()):
    """Return an answer of several parts as a list of double precision arrays.

    ``shapes`` maps what each part is, for the messages, to its shape; the parts may come as one
    array.  ``named`` and ``mistakes`` are those of ``numbers``, for every part.
    """
    names = [name[0].lower() + name[1:] for name in shapes]
    if not isinstance(value, (tuple, list)):
        value = tensor(value)
        value = list(value) if value.ndim else [value]
    if len(value) != len(shapes):
        fail(f"Return {len(shapes)} values, {', '.join(names)}; your answer has {len(value)}.")
    pairs = zip(value, shapes.items(), strict=True)
    return [numbers(part, shape, name, named, mistakes) for part, (name, shape) in pairs]


def near(found, right, rtol=1e-4, atol=1e-5):
    """Whether two arrays agree, not-a-number never."""
    found, right = np.asarray(found, dtype=float), np.asarray(right, dtype=float)
    return found.shape == right.shape and np.allclose(found, right, rtol=rtol, atol=atol)


def compare(found, right, message, mistakes=(), rtol=1e-4, atol=1e-5):
    """Fail unless the numbers are right; name the mistake that leads to exactly these ones."""
    if near(found, right, rtol, atol):
        return
    for diagnosis, wrong in dict(mistakes).items():
        if near(found, wrong, rtol, atol):
            fail(diagnosis)
    if not np.isfinite(found).all() and np.isfinite(right).all():
        fail(f"{message} Expected {show(right)}, got {show(found)}: not all of it is finite.")
    fail(f"{message} Expected {show(right)}, got {show(found)}.")


def elsewhere(found, right, rtol=1e-4, atol=1e-5):
    """Fail where an answer that was right for one set of numbers is wrong for another."""
    if not near(found, right, rtol, atol):
        fail(
            "Right for one set of numbers, wrong for another of the same shape: expected "
            f"{show(right)}, got {show(found)}. Compute the result from the arguments; "
            "no number of a check may be written into your answer."
        )


def show(value):
    """Write numbers so that a person can read them."""
    value = np.asarray(value, dtype=float)
    if value.ndim == 0:
        return f"{float(value):.6g}"
    inside = ", ".join(show(part) for part in value[:8])
    return f"[{inside}{', ...' if len(value) > 8 else ''}]"


def gradients(result, arguments, cut):
    """Return the gradients of the result's sum; fail with ``cut`` where the graph is cut.

    ``cut`` has one message for each argument, and one for all of them at the end.
    """
    if isinstance(result, (list, tuple)) and result and all(map(_is_tensor, result)):
        result = torch.stack(list(result))
    if not (_is_tensor(result) and result.requires_grad):
        fail(cut[-1])
    try:
        found = torch.autograd.grad(result.sum(), arguments, allow_unused=True)
    except Exception as error:  # where it ran sealed, another kind of error with this text
        if "inplace" not in str(error):
            raise
        fail(
            "The gradient cannot be computed: a tensor that it needs was changed in place "
            "(a line with += or a name that ends in _)."
        )
    for gradient, message in zip(found, cut, strict=False):
        if gradient is None:
            fail(message)
    return [gradient.double().numpy() for gradient in found]


def seed(number):
    """Seed every global generator, so that a check does not depend on those before it."""
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 (students may use it)
    if torch is not None:
        torch.manual_seed(number)


def independent(noise, again):
    """Fail where noise (S, ...) is antithetic or standardised; ``again`` is a second call's."""
    flat = noise.reshape(len(noise), -1)
    for column in flat.T:
        ordered = column[np.argsort(np.abs(column))]
        low, high = ordered[:-1], ordered[1:]
        opposite = (np.abs(low + high) <= 1e-6 * np.abs(high)) & (low != high)
        if opposite.sum() > len(column) / 4:
            fail(
                "Your noise is antithetic: half of the samples are the other half with the sign "
                "turned round. Each sample needs noise of its own, independent of the others."
            )
    related = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    if np.abs(related).max() > 0.4:
        fail("The noise of two entries (datum, dimension) is related; draw each on its own.")
    axes = range(noise.ndim)
    for count in axes:
        for over in itertools.combinations(axes, count + 1):
            means = np.stack([noise.mean(axis=over), again.mean(axis=over)])
            if np.abs(means).max() < 1e-5:
                fail(
                    "Your noise was centred or standardised: its average is exactly zero, which "
                    "no independent draws have. Leave it as it was drawn."
                )


def decode(value):
    """Turn the stored form of a value into tensors and arrays."""
    if isinstance(value, list):
        return [decode(part) for part in value]
    if isinstance(value, dict) and set(value) == {"tensor"}:
        global torch
        import torch

        return torch.tensor(value["tensor"], dtype=torch.float64)
    if isinstance(value, dict) and set(value) == {"array"}:
        return np.array(value["array"], dtype=float)
    if isinstance(value, dict) and set(value) == {"integers"}:
        return np.array(value["integers"], dtype=int)
    return {key: decode(part) for key, part in value.items()} if isinstance(value, dict) else value


VALUES = decode(json.loads("{}"))

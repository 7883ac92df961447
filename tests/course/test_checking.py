"""The helper that calls a student's function: what it accepts, and what it says otherwise."""

import importlib.util
import linecache

import assignments
import numpy as np
import pytest
import torch

spec = importlib.util.spec_from_file_location("checking", assignments.HELPER)
checking = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checking)


def fails(message):
    return pytest.raises(AssertionError, match=message)


def cell(source):
    """Define functions as a notebook's cell does."""
    path = "/tmp/ipykernel_1/2.py"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    namespace = {"torch": torch, "np": np}
    exec(compile(source, path, "exec"), namespace)
    return namespace


@pytest.mark.parametrize("missing", [None, ..., lambda x: None, lambda x: ...])
def test_what_is_not_answered_is_told_so(missing):
    with fails("^Not answered yet: "):
        checking.call("f", missing, 1)


def test_what_is_no_function_is_told_so():
    with fails("^f should be a function; it is a float"):
        checking.call("f", 0.5, 1)


@pytest.mark.parametrize(
    ("source", "argument"),
    [
        ("def f(first, x):\n    x += 1\n    return x", torch.ones(2)),
        ("def f(first, x):\n    x += 1\n    return x", torch.ones(2, requires_grad=True)),
        ("def f(first, x):\n    x[0] = 0\n    return x", np.ones((2, 1))),
        ("def f(first, x):\n    x[:] = 0\n    return x", torch.tensor([1.0, float("nan")])),
        ("def f(first, x):\n    return [x.pop()]", [1, 2]),
    ],
)
def test_an_argument_that_was_changed_is_named_and_stays_as_it_was(source, argument):
    before = str(argument)
    with fails("f changes its argument x in place"):
        checking.call("f", cell(source)["f"], 0, argument)
    assert str(argument) == before


def test_arguments_with_not_a_number_or_functions_are_no_change():
    nan = np.array([np.nan, 1.0])
    assert checking.call("f", lambda x, t, g: 5, nan, torch.tensor(nan), abs) == 5


def test_an_exception_shows_the_students_own_line():
    f = cell("def f(x):\n    y = x * 2\n    return np.linalg.inv(y)")["f"]
    with fails(r"^f raised LinAlgError in its line `return np.linalg.inv\(y\)`: ") as caught:
        checking.call("f", f, np.ones((2, 2)))
    assert caught.value.__suppress_context__
    with fails(r"^f raised exit\(\) in its line `raise SystemExit`"):
        checking.call("f", cell("def f():\n    raise SystemExit")["f"])


def test_single_precision_inside_is_taken():
    f = cell("def f(x):\n    return torch.zeros(3, 2) @ x + torch.ones(3, 4)")["f"]
    x = torch.ones(2, 4, dtype=torch.float64)
    assert checking.numbers(checking.call("f", f, x), (3, 4), "It").tolist() == [[1] * 4] * 3
    wrong = cell("def f(x):\n    return torch.zeros(3, 5) @ x")["f"]
    with fails(r"f raised RuntimeError in its line `return torch.zeros\(3, 5\) @ x`"):
        checking.call("f", wrong, x)


@pytest.mark.parametrize(
    "one",
    [
        2.5,
        np.float32(2.5),
        np.array(2.5),
        np.array([[2.5]]),
        torch.tensor(2.5),
        [torch.ones(1) * 2.5],
    ],
)
def test_one_number_comes_in_any_shape(one):
    assert checking.numbers(one, (), "It") == 2.5
    assert checking.numbers(one, (1,), "It").tolist() == [2.5]


@pytest.mark.parametrize(
    "three",
    [
        [1, 2, 3],
        (torch.tensor(1.0), np.float64(2), 3),
        np.arange(1, 4),
        torch.arange(1, 4),
        torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
    ],
)
def test_several_numbers_come_in_any_type(three):
    found = checking.numbers(three, (3,), "It")
    assert found.dtype == float and found.tolist() == [1, 2, 3]


def test_what_holds_no_numbers_is_told_so():
    with fails("It should be a tensor, an array or a number; it is a str"):
        checking.numbers("seven", (), "It")
    with fails("It should be a tensor, an array or a number; it is a dict"):
        checking.numbers({1: 2}, (), "It")


@pytest.mark.parametrize(
    "two", [(1, torch.tensor([2.0])), [np.float32(1), 2.0], np.array([1.0, 2.0]), torch.ones(2) + 0]
)
def test_several_parts_come_together_or_apart(two):
    first, second = checking.parts(two, {"The mean": (), "The error": ()})
    assert first == 1 and second in (1, 2) and first.dtype == float


def test_parts_that_are_missing_or_misshapen_are_named():
    shapes = {"The mean": (), "The error": (2,)}
    with fails("Return 2 values, the mean, the error; your answer has 1"):
        checking.parts(3.0, shapes)
    with fails("Return 2 values, the mean, the error; your answer has 3"):
        checking.parts([1, 2, 3], shapes)
    with fails(r"The error should have shape \(D,\) = \(2,\), not \(3,\)"):
        checking.parts([1, np.zeros(3)], shapes, "(D,)")
    with fails("^Not answered yet: "):
        checking.parts(..., shapes)
    with fails("^transposed$"):
        checking.parts([1, np.zeros((2, 1))], shapes, "", {(2, 1): "transposed"})


def test_wrong_shapes_are_told_what_they_mean():
    with fails(r"It should have shape \(B,\) = \(3,\), not \(3, 1\)"):
        checking.numbers(np.zeros((3, 1)), (3,), "It", "(B,)")
    with fails("^not summed$"):
        checking.numbers(np.zeros((3, 2)), (3,), "It", "(B,)", {(3, 2): "not summed"})
    with fails("should be one number, of shape"):
        checking.numbers(np.zeros(2), (), "It")


def test_what_is_right_is_right_even_where_a_mistake_gives_the_same():
    checking.compare([1.0, 2.0], [1.0, 2.0], "Wrong.", {"You did it.": [1.0, 2.0]})
    with fails("^You doubled it.$"):
        checking.compare([2.0, 4.0], [1.0, 2.0], "Wrong.", {"You doubled it.": [2.0, 4.0]})
    with fails(r"^Wrong\. Expected \[1, 2\], got \[1, 3\]\.$"):
        checking.compare([1.0, 3.0], [1.0, 2.0], "Wrong.", {"You doubled it.": [2.0, 4.0]})
    with fails("not all of it is finite"):
        checking.compare([1.0, np.nan], [1.0, 2.0], "Wrong.")
    with fails("no number of a check may be written"):
        checking.elsewhere(np.array([1.0]), np.array([2.0]))


def test_gradients_are_named_where_they_are_cut():
    a, b = (torch.tensor(value, requires_grad=True) for value in (2.0, 3.0))
    found = checking.gradients(a * b, (a, b), ("no a", "no b", "none"))
    assert [float(slope) for slope in found] == [3, 2]
    pair = [a * b, b * 2]  # one tensor for each sample is as good
    assert [float(slope) for slope in checking.gradients(pair, (a, b), ("", "", ""))] == [3, 4]
    with fails("^no b$"):
        checking.gradients(a * b.detach(), (a, b), ("no a", "no b", "none"))
    for cut in (7.0, (a * b).detach(), np.ones(2)):
        with fails("^none$"):
            checking.gradients(cut, (a, b), ("no a", "no b", "none"))
    x = (a * 1).exp()
    y = x * b
    x += 1
    with fails("was changed in place"):
        checking.gradients(y, (a, b), ("no a", "no b", "none"))


def test_numpy_where_training_needs_a_gradient_is_not_told_to_detach():
    x = torch.ones(2, requires_grad=True)
    with fails("f raised RuntimeError.*Write this part in torch") as caught:
        checking.call("f", lambda x: np.exp(x), x)
    assert "detach" not in str(caught.value)


def test_a_range_is_a_list():
    assert checking.tensor(range(3)).tolist() == [0, 1, 2]


def test_noise_that_is_not_independent_is_told_so():
    rng = np.random.default_rng(1)
    draws = [rng.normal(size=(600, 3, 2)) for _ in range(2)]
    checking.independent(*draws)
    half = rng.normal(size=(300, 3, 2))
    with fails("antithetic"):
        checking.independent(rng.permutation(np.concatenate([half, -half])), draws[0])
    for axis in (0, 1, 2, (0, 1), None):
        centred = [draw - draw.mean(axis=axis, keepdims=True) for draw in draws]
        with fails("centred or standardised|is related"):
            checking.independent(*centred)
    related = [np.concatenate([draw, -draw[:, :, :1]], axis=2) for draw in draws]
    with fails("is related"):
        checking.independent(*related)

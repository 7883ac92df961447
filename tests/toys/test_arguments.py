"""The argument rule of both toys: all forms of the same numbers give the same answer."""

import autograd
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelite.toys import factor_analysis as fa
from vaelite.toys import ica

# name: (function, its array arguments, its number arguments)
FUNCTIONS = {
    "fa.sample": (lambda W, D: fa.sample(W, D, 4, np.random.default_rng(0)), "WD", ""),
    "fa.log_likelihood": (fa.log_likelihood, "XWD", ""),
    "fa.posterior_precision": (fa.posterior_precision, "WD", "b"),
    "fa.posterior": (fa.posterior, "WD", "b"),
    "fa.mean_field": (fa.mean_field, "WD", "b"),
    "fa.reconstruction": (fa.reconstruction, "XWD", "b"),
    "fa.kl": (fa.kl, "XWD", "b"),
    "fa.free_energy": (fa.free_energy, "XWD", "b"),
    "fa.rotation": (fa.rotation, "", "b"),
    "fa.over_complete_weights": (fa.over_complete_weights, "", "1s"),
    "ica.sample": (
        lambda W, D, dof, scale: ica.sample(W, D, 4, dof, np.random.default_rng(0), scale),
        "WD",
        "ds",
    ),
    "ica.log_prior": (ica.log_prior, "M", "ds"),
    "ica.cross_entropy": (ica.cross_entropy, "MV", "ds"),
    "ica.cross_entropy_loop": (
        lambda m, v, dof, scale: ica.cross_entropy_loop(m, v, dof, scale, points=50),
        "MV",
        "ds",
    ),
    "ica.free_energy": (ica.free_energy, "XWDMV", "dsb"),
    "ica.log_likelihood": (ica.log_likelihood, "XWD", "ds"),
    "ica.optimal_weights": (ica.optimal_weights, "XMV", ""),
    "ica.improve_q": (ica.improve_q, "XWDMV", "dsb"),
    "ica.angles_between": (ica.angles_between, "W", ""),
    "ica.pruned": (ica.pruned, "W", "ds"),
    "ica.fit": (
        lambda X, W, D, dof, scale, beta: ica.fit(X, W, D, dof, scale, beta, max_steps=2),
        "XWD",
        "dsb",
    ),
}

FORMS = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "list of arrays": lambda a: list(a) if a.ndim else a,
    "float32": lambda a: a.astype(np.float32),
    "integer": lambda a: a.astype(np.int32),
    "fortran order": np.asfortranarray,
    "torch": torch.tensor,
    "torch float32": lambda a: torch.tensor(a, dtype=torch.float32),
}


def problem(seed):
    """Small whole numbers, which every numeric type holds exactly; N, L, K all differ."""
    rng = np.random.default_rng(seed)
    return {
        "X": rng.integers(-4, 5, (4, 2)) * 1.0,
        "W": rng.integers(-3, 4, (2, 3)) * 1.0,
        "D": rng.integers(1, 4, 2) * 1.0,
        "M": rng.integers(-4, 5, (4, 3)) * 1.0,
        "V": rng.integers(1, 4, (4, 3)) * 1.0,
        "b": float(rng.integers(1, 5)),
        "d": float(rng.integers(2, 9)),
        "s": float(rng.integers(1, 4)),
        "1": 1.0,
    }


def call(name, values, arrays=lambda a: a, numbers=lambda x: x):
    function, array_names, number_names = FUNCTIONS[name]
    return function(
        *(arrays(values[letter]) for letter in array_names),
        *(numbers(values[letter]) for letter in number_names),
    )


def assert_same(got, wanted):
    if isinstance(wanted, tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
        return
    assert type(got) is type(wanted)
    assert np.asarray(got).dtype == np.asarray(wanted).dtype
    np.testing.assert_array_equal(got, wanted)


def assert_close(got, wanted):
    """For other orders in memory, in which BLAS may round differently."""
    if isinstance(wanted, tuple):
        for one, other in zip(got, wanted, strict=True):
            assert_close(one, other)
        return
    np.testing.assert_allclose(
        np.asarray(got, float), np.asarray(wanted, float), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_form_of_the_same_arrays_gives_the_same_answer(name):
    for seed, (form, convert) in enumerate(FORMS.items()):
        values = problem(seed)
        compare = assert_close if form == "fortran order" else assert_same
        compare(call(name, values, convert), call(name, values))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if FUNCTIONS[name][2]])
def test_every_form_of_the_same_number_gives_the_same_answer(name):
    values = problem(1)
    for form in (int, np.float32, np.int64, np.array, torch.tensor):
        assert_same(call(name, values, numbers=form), call(name, values))


def test_arguments_are_left_as_they_are():
    for name in FUNCTIONS:
        values, before = problem(2), problem(2)
        call(name, values)
        for letter, value in values.items():
            np.testing.assert_array_equal(value, before[letter])


DIFFERENTIABLE = [
    "fa.log_likelihood",
    "fa.reconstruction",
    "fa.kl",
    "fa.free_energy",
    "ica.log_prior",
    "ica.cross_entropy",
    "ica.free_energy",
]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_gradients_beside_converted_arguments(name, seed):
    """What autograd differentiates passes through while its neighbours are lists and integers."""
    function, array_names, number_names = FUNCTIONS[name]
    values = problem(seed)
    numbers = [int(values[letter]) for letter in number_names]
    rng = np.random.default_rng(seed)
    for place, letter in enumerate(array_names):

        def along(value, place=place):
            arrays = [values[other].tolist() for other in array_names]
            arrays[place] = value
            return autograd.numpy.sum(function(*arrays, *numbers))

        value = values[letter]
        move = rng.normal(size=value.shape)
        slope = np.sum(autograd.grad(along)(value) * move)
        numerical = (along(value + 1e-5 * move) - along(value - 1e-5 * move)) / 2e-5
        assert slope == pytest.approx(numerical, rel=1e-5, abs=1e-5)


def test_gradients_through_lists_and_numbers():
    """A list may hold what is differentiated, and beta, dof and scale may be it."""
    values = problem(3)
    X, W = values["X"], values["W"]

    def by_noise(log_noise):
        noise = autograd.numpy.exp(log_noise)
        return fa.free_energy(X.tolist(), W.tolist(), [noise[0], noise[1]], 2)

    def direct(log_noise):
        return fa.free_energy(X, W, autograd.numpy.exp(log_noise), 2.0)

    at = np.array([0.1, -0.4])
    np.testing.assert_allclose(autograd.grad(by_noise)(at), autograd.grad(direct)(at), rtol=1e-12)

    def by_beta(beta):
        return ica.free_energy(*(values[letter] for letter in "XWDMV"), 4, 2, beta)

    numerical = (by_beta(1.5 + 1e-5) - by_beta(1.5 - 1e-5)) / 2e-5
    assert autograd.grad(by_beta)(1.5) == pytest.approx(numerical, rel=1e-6)


X_, W_, D_ = np.zeros((4, 2)), np.ones((2, 3)), np.ones(2)


@pytest.mark.parametrize(
    ("W", "message"),
    [
        ([[1.0, 2.0], [3.0]], "W must be something that NumPy can turn into an array; got list"),
        (torch.ones(2, 3, requires_grad=True), "W must be something .*; got Tensor: .*grad"),
        ([["a", "b"]], "W must hold real numbers; got dtype <U1"),
        (W_.astype(object), "W must hold real numbers; got dtype object"),
        (W_ > 0, "W must hold real numbers; got dtype bool"),
        (W_ * 1j, "W must hold real numbers; got dtype complex128"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        fa.posterior,
        fa.mean_field,
        lambda W, D: fa.log_likelihood(X_, W, D),
        lambda W, D: fa.free_energy(X_, W, D),
        lambda W, D: ica.sample(W, D, 3, 3.5, np.random.default_rng(0)),
        lambda W, D: ica.fit(X_, W, D, 3.5),
        lambda W, D: ica.log_likelihood(X_, W, D, 3.5),
        lambda W, D: ica.improve_q(X_, W, D, np.ones((4, 3)), np.ones((4, 3)), 3.5),
        lambda W, _: ica.angles_between(W),
        lambda W, _: ica.pruned(W),
    ],
)
def test_what_is_no_real_array_is_refused_in_one_sentence(function, W, message):
    with pytest.raises((TypeError, ValueError), match=message):
        function(W, D_)


@pytest.mark.parametrize("beta", [None, "2", True, [1.0, 2.0], 2j, np.nan, -1, np.ones(1)])
def test_what_is_no_positive_number_is_refused(beta):
    with pytest.raises(ValueError, match="beta must be a positive finite number; got"):
        fa.free_energy(X_, W_, D_, beta)


def test_lengths_are_compared_across_all_arguments():
    with pytest.raises(ValueError, match=r"X must have shape \(any, 2\).*got \(4, 3\)"):
        ica.fit(np.zeros((4, 3)).tolist(), W_, D_, 3.5)
    with pytest.raises(ValueError, match=r"q_mean must have shape \(4, any\).*got \(3, 3\)"):
        ica.optimal_weights(X_, np.zeros((3, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"q_var must have shape \(4, 3\).*got \(4, 2\)"):
        ica.improve_q(X_, W_, D_, np.ones((4, 3)), np.ones((4, 2)), 3.5)
    with pytest.raises(ValueError, match=r"q_var must be positive; its smallest value is -1"):
        ica.improve_q(X_, W_, D_, np.ones((4, 3)), -np.ones((4, 3)), 3.5)

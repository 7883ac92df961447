"""What ``torch.distributions`` expects of every distribution, asked of ours."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from vaelite.distributions import ExponentialPower, IndependentSubspaces, LpNested


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


# Python numbers and tensors, a batch where there can be one, equal and unequal subspaces.
MAKERS = {
    "power": lambda **o: ExponentialPower(1.4, 0.7, **o),
    "powers": lambda **o: ExponentialPower(double(0.8, 3.0), double(1.3).expand(4, 1), **o),
    "subspaces": lambda **o: IndependentSubspaces([2, 3], 1.7, 0.9, 1.2, **o),
    "unequal": lambda **o: IndependentSubspaces([1, 4], double(2.1)[0], double(1.5, 3.0), **o),
    "tree": lambda **o: LpNested((1.3, 2, (2.6, 1, (0.9, 3))), 0.8, **o),
    "small tree": lambda **o: LpNested((double(2.4)[0], (double(0.8)[0], 2)), **o),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
SHAPES = [(), (3,), (2, 4)]


@every
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_and_densities_have_the_right_shapes(make, shape):
    one = make(validate_args=True)
    whole = one.batch_shape + one.event_shape
    for draw in (one.sample, one.rsample):
        z = draw(shape)
        assert z.shape == torch.Size(shape) + whole
        assert one.log_prob(z).shape == torch.Size(shape) + one.batch_shape
    assert one.entropy().shape == one.batch_shape
    for moment in (one.mean, one.mode, one.variance, one.stddev):
        assert moment.shape == whole
    assert one.support.event_dim == len(one.event_shape)
    assert one.support.check(z).all()
    assert type(one).__name__ in repr(one)


@every
@pytest.mark.parametrize("validate", [True, False])
def test_expand_keeps_the_class_and_validate_args_and_the_values(make, validate):
    one = make(validate_args=validate)
    subclass = type("Mine", (type(one),), {})
    one.__class__ = subclass
    big = one.expand((5, *one.batch_shape)).expand((3, 5, *one.batch_shape))
    assert type(big) is subclass and big._validate_args is validate
    assert big.batch_shape == (3, 5, *one.batch_shape)
    z = big.sample((2,))
    assert z.shape == (2, 3, 5, *one.batch_shape, *one.event_shape)
    torch.testing.assert_close(big.log_prob(z), one.log_prob(z))
    few = one.sample()  # one value stands for the whole batch
    assert torch.equal(big.log_prob(few), one.log_prob(few).expand(big.batch_shape))
    for name in ("mean", "mode", "variance"):
        assert torch.equal(getattr(big, name), getattr(one, name).expand_as(getattr(big, name)))
    assert torch.equal(big.entropy(), one.entropy().expand(big.batch_shape))
    with pytest.raises(RuntimeError):
        big.expand((2, 5, *one.batch_shape))


@every
def test_independent_wraps_a_batch(make):
    one = make().expand((6, *make().batch_shape))
    wrapped = Independent(one, len(one.batch_shape))
    z = wrapped.rsample((3,))
    torch.testing.assert_close(wrapped.log_prob(z), one.log_prob(z).flatten(1).sum(1))
    torch.testing.assert_close(wrapped.entropy(), one.entropy().sum())


@every
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_samples_have_the_parameters_dtype_or_the_default_whatever_the_shape(make, default):
    torch.set_default_dtype(default)
    try:
        one = make()
        tensors = one._options["dtype"] if "double" in make.__code__.co_names else default
        for shape in SHAPES:
            assert one.sample(shape).dtype == tensors
        for value in (one.mean, one.variance, one.entropy()):
            assert value.dtype == tensors
        for dtype in (torch.float32, torch.float64):
            assert one.log_prob(one.sample().to(dtype)).dtype == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@every
def test_validation_is_on_by_default_and_can_be_switched_off(make):
    one = make()
    bad = torch.full(one.batch_shape + one.event_shape, math.nan)
    with pytest.raises(ValueError):
        one.log_prob(bad)
    with pytest.raises(ValueError):
        make(validate_args=True).log_prob(bad)
    assert make(validate_args=False).log_prob(bad).isnan().all()


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf])
def test_parameters_are_looked_at_unless_that_is_switched_off(value):
    makers = [
        lambda **o: ExponentialPower(value, **o),
        lambda **o: ExponentialPower(2.0, value, **o),
        lambda **o: IndependentSubspaces([2], value, 2.0, **o),
        lambda **o: IndependentSubspaces([2], 2.0, double(value), **o),
        lambda **o: IndependentSubspaces([2], 2.0, 2.0, value, **o),
        lambda **o: LpNested((value, 2), **o),
        lambda **o: LpNested((2.0, (value, 2)), **o),
        lambda **o: LpNested((2.0, 2), value, **o),
    ]
    for make in makers:
        for options in ({}, {"validate_args": True}):
            with pytest.raises(ValueError, match="must be positive and finite"):
                make(**options)
        make(validate_args=False)
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        for make in makers:
            make()
    finally:
        torch.distributions.Distribution.set_default_validate_args(True)


@every
def test_copies_and_pickles_are_the_same_distribution(make):
    one = make()
    z = one.sample((2,))
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert torch.equal(other.log_prob(z), one.log_prob(z))


def test_integers_of_any_kind_will_do():
    z = torch.randn(3, 5)
    expected = IndependentSubspaces([2, 3], 2.0, [2.0, 3.0], 2.0).log_prob(z)
    whole = IndependentSubspaces(np.array([2, 3]), 2, [2, 3], 2)
    assert torch.equal(whole.log_prob(z), expected) and whole.sample().dtype == torch.float32
    tree = LpNested((2, (2, np.int64(2)), (3, np.int64(3))), 2)
    torch.testing.assert_close(tree.log_prob(z), expected)
    assert ExponentialPower(2, 2).sample((4,)).dtype == torch.float32


# Moments, entropies and divergences, against samples -------------------------------------------


@every
def test_mean_variance_and_entropy_are_those_of_the_samples(make):
    torch.manual_seed(0)
    one, count = make(), 100_000
    z = one.sample((count,)).double()
    deviation = z.std(0) / math.sqrt(count)
    assert ((z.mean(0) - one.mean).abs() < 5 * deviation).all()
    deviation = z.square().std(0) / math.sqrt(count)
    assert ((z.square().mean(0) - one.variance).abs() < 5 * deviation).all()
    surprise = -one.log_prob(z)
    deviation = surprise.std(0) / math.sqrt(count)
    assert ((surprise.mean(0) - one.entropy()).abs() < 5 * deviation).all()
    assert (one.log_prob(one.mode) >= one.log_prob(z)).all()


PAIRS = [
    (ExponentialPower(1.4, 0.7), ExponentialPower(double(0.8, 3.0), 1.3)),
    (ExponentialPower(double(0.8, 3.0), 1.3), Normal(double(0.5)[0], double(1.7)[0])),
    (
        IndependentSubspaces([2, 3], 1.7, [0.9, 2.2], 1.2),
        IndependentSubspaces([2, 3], 2.6, [0.9, 2.2], 0.6).expand((2,)),
    ),
]


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_divergences_are_those_of_the_samples(q, p):
    torch.manual_seed(0)
    z = q.sample((100_000,)).double()
    z = z.reshape(100_000, *[1] * (len(p.batch_shape) - len(q.batch_shape)), *z.shape[1:])
    ratio = q.log_prob(z) - p.log_prob(z)
    exact = kl_divergence(q, p)
    assert exact.shape == torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    deviation = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - exact).abs() < 5 * deviation).all()
    assert kl_divergence(q, q).abs().max() < 1e-6


def test_divergences_that_are_known_elsewhere():
    laplace = kl_divergence(Laplace(double(0.0), double(0.7)), Laplace(double(0.0), double(1.9)))
    ours = kl_divergence(ExponentialPower(1.0, double(0.7)), ExponentialPower(1.0, double(1.9)))
    torch.testing.assert_close(ours, laplace)
    normal = kl_divergence(Normal(double(0.0), double(0.7)), Normal(double(0.4), double(1.9)))
    ours = kl_divergence(
        ExponentialPower(2.0, 2 * double(0.7) ** 2), Normal(double(0.4), double(1.9))
    )
    torch.testing.assert_close(ours, normal)


def test_a_divergence_without_closed_form_is_refused():
    one = IndependentSubspaces([2, 3], 2.0, 2.0)
    for other in ([3, 2], 2.0, 2.0), ([2, 3], 2.0, [2.0, 2.1]):
        with pytest.raises(NotImplementedError, match="where sizes and exponents within"):
            kl_divergence(one, IndependentSubspaces(*other))


# Gradients of samples ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p0, p, s: IndependentSubspaces([2, 3], p0, p, s),
        lambda p0, p, s: LpNested((p0, 1, (p[0], 2, (p[1], 2))), s),
        lambda p0, p, s: ExponentialPower(p0 + p.sum(), s),
    ],
)
def test_pathwise_gradients_are_those_of_the_second_moments(make):
    """Of E[sum of w z^2], which has a closed form: its finite differences are the truth."""
    start = [double(1.7)[0], double(0.9, 2.2), double(0.8)[0]]

    def exact(parameters):
        variance = make(*parameters).variance.reshape(-1)
        return (variance * torch.arange(1, len(variance) + 1)).sum()

    def estimate():
        parameters = [x.clone().requires_grad_() for x in start]
        one = make(*parameters)
        assert not one.sample().requires_grad
        z = one.rsample((20_000,)).reshape(20_000, -1)
        value = (z.square() * torch.arange(1, z.shape[1] + 1)).sum(1).mean()
        return torch.cat([x.reshape(-1) for x in torch.autograd.grad(value, parameters)])

    slopes = []
    for k, x in enumerate(start):
        for index in np.ndindex(*x.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [y.clone() for y in start]
                moved[k][index] += step
                ends.append(exact(moved))
            slopes.append((ends[0] - ends[1]) / 2e-5)
    slopes = torch.stack(slopes)
    torch.manual_seed(0)
    gradients = torch.stack([estimate() for _ in range(20)])
    error = gradients.std(0) / math.sqrt(20)
    assert ((gradients.mean(0) - slopes).abs() < 5 * error).all()
    assert (error < 0.04 * slopes.abs()).all()


# What torch does to functions ----------------------------------------------------------------


def test_vmap_over_parameters_is_a_loop():
    z, p0, p, scale = torch.randn(4, 5), *torch.rand(3, 6, 2).add(0.7)

    def subspaces(p0, p, scale):
        one = IndependentSubspaces([2, 3], p0, p, scale, validate_args=False)
        return one.log_prob(z), one.entropy(), one.variance, one.mean

    def tree(p0, p, scale):
        one = LpNested((p0, 1, (p[0], 2, (p[1], 2))), scale, validate_args=False)
        return one.log_prob(z), one.entropy(), one.variance, one.mean

    def power(p0, p, scale):
        one = ExponentialPower(p, scale, validate_args=False)
        return one.log_prob(z[:, :2]), one.entropy(), one.variance, one.mean

    for function in (subspaces, tree, power):
        together = torch.vmap(function)(p0[:, 0], p, scale[:, 0])
        for run in range(len(p)):
            for found, expected in zip(
                together, function(p0[run, 0], p[run], scale[run, 0]), strict=True
            ):
                torch.testing.assert_close(found[run], expected)

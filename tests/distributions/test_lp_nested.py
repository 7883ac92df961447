"""Lp-nested distributions against quadrature, importance sampling, Monte Carlo and gradcheck."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from vaelite.distributions import ExponentialPower, IndependentSubspaces, LpNested

# Below one, where slopes are infinite; near two, where the paper is; far above.
EXPONENTS = [0.8, 2.2, 9.0]
# Of two levels (outer, inner): both sides of one and of each other, and equal.
PAIRS = [(0.8, 9.0), (9.0, 0.8), (2.1, 2.2), (1.0, 1.0)]
pairs = pytest.mark.parametrize(("p0", "p1"), PAIRS)
exponent = st.floats(0.6, 9.0)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


# Densities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", EXPONENTS)
def test_exponential_power_agrees_with_scipy(p):
    z = torch.linspace(-3, 3, 41, dtype=torch.float64)
    expected = stats.gennorm(p, scale=1.7 ** (1 / p)).logpdf(z.numpy())
    np.testing.assert_allclose(ExponentialPower(p, 1.7).log_prob(z), expected, rtol=1e-10)


@pytest.mark.parametrize("p", EXPONENTS)
def test_exponential_power_moments_by_quadrature(p):
    prior = ExponentialPower(p, 0.6)

    def moment(k):
        return 2 * integrate.quad(lambda z: z**k * prior.log_prob(double(z)).exp().item(), 0, 60)[0]

    assert moment(0) == pytest.approx(1, rel=1e-6)
    assert prior.variance.item() == pytest.approx(moment(2), rel=1e-5)
    assert prior.excess_kurtosis.item() == pytest.approx(moment(4) / moment(2) ** 2 - 3, abs=1e-3)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_standard_normal_is_the_special_case(n):
    z = torch.randn(5, n, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    for prior in (
        LpNested((2.0, n), scale=2.0),
        LpNested((2.0, (2.0, n)), scale=2.0),
        IndependentSubspaces([n], 2.0, 2.0, scale=2.0),
        IndependentSubspaces([1] * n, 2.0, 2.0, scale=2.0),
    ):
        torch.testing.assert_close(prior.log_prob(z), normal)


@pairs
def test_density_of_equation_6_integrates_to_one_in_two_dimensions(p0, p1):
    prior = LpNested((p0, (p1, 2)), scale=1.3)

    def ring(angle):  # the radial integral at one angle is a gamma integral: p(r) is exp(-c r^p0)
        direction = double(math.cos(angle), math.sin(angle))
        rate = prior.norm(direction).item() ** p0 / 1.3
        return (
            math.exp(prior.log_prob(double(0, 0)).item())
            * math.gamma(2 / p0)
            / p0
            / rate ** (2 / p0)
        )

    mass = 8 * integrate.quad(ring, 0, math.pi / 4, limit=200)[0]
    assert mass == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    "tree",
    [
        (2.1, 1, (0.8, 2)),
        (0.8, (9.0, 2), (1.5, 1)),
        (3.0, (1.0, 1, (2.2, 3)), 2),
        (9.0, (1.5, (0.8, 2), (2.2, 2))),
    ],
)
def test_normalizer_by_importance_sampling(tree):
    """The mean of p/g under a heavy-tailed g is one."""
    prior = LpNested(tree, scale=0.9)
    generator = np.random.default_rng(3)
    n = prior.event_shape[0]
    proposal = stats.t(df=2, scale=0.8)
    z = torch.from_numpy(proposal.rvs((400_000, n), random_state=generator))
    weights = np.exp(prior.log_prob(z).numpy() - proposal.logpdf(z.numpy()).sum(-1))
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.03
    assert abs(weights.mean() - 1) < 4.5 * error


@pytest.mark.parametrize("p", EXPONENTS)
def test_surface_area_of_the_unit_sphere_by_quadrature(p):
    """In the plane S_f(1) = d/dR of the enclosed area at R = 1, twice the area of the unit ball."""
    prior = LpNested((p, 2))
    upper = integrate.quad(lambda x: (1 - x**p) ** (1 / p), 0, 1, limit=200)[0]
    assert prior.log_surface_area.exp().item() == pytest.approx(2 * 4 * upper, rel=1e-6)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    p0=exponent,
    data=st.data(),
)
def test_two_levels_are_the_tree_of_depth_two(sizes, p0, data):
    p = [data.draw(exponent) for _ in sizes]
    prior = IndependentSubspaces(sizes, p0, p, scale=0.7)
    tree = LpNested((p0, *((p_k, n_k) for p_k, n_k in zip(p, sizes, strict=True))), scale=0.7)
    z = torch.randn(6, sum(sizes), dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(z), tree.log_prob(z))


@settings(max_examples=30)
@given(p0=exponent, p1=exponent, p2=exponent)
def test_subspaces_are_independent(p0, p1, p2):
    joint = IndependentSubspaces([2, 3], p0, [p1, p2])
    first, second = IndependentSubspaces([2], p0, p1), IndependentSubspaces([3], p0, p2)
    z = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(
        joint.log_prob(z), first.log_prob(z[:, :2]) + second.log_prob(z[:, 2:])
    )


@settings(max_examples=30)
@given(p0=exponent, p1=exponent, factor=st.floats(0.01, 100))
def test_norm_is_homogeneous_and_blind_to_signs(p0, p1, factor):
    prior = LpNested((p0, 1, (p1, 2)))
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(prior.norm(factor * z), factor * prior.norm(z))
    torch.testing.assert_close(prior.norm(-z.abs()), prior.norm(z))


def test_norm_of_equation_6_by_hand():
    prior = LpNested((3.0, 1, (1.0, 2)))
    # |2|^3 + (|1| + |-3|)^3 = 8 + 64
    assert prior.norm(double(2, 1, -3)).item() == pytest.approx(72 ** (1 / 3))


@settings(max_examples=30)
@given(p=exponent)
def test_equal_exponents_give_independent_coordinates(p):
    z = torch.randn(3, 4, dtype=torch.float64)
    nested = IndependentSubspaces([1, 3], p, p, scale=1.4)
    torch.testing.assert_close(nested.log_prob(z), ExponentialPower(p, 1.4).log_prob(z).sum(-1))


@pytest.mark.parametrize(("p0", "p1", "invariant"), [(2.1, 2.0, True), (2.0, 2.1, False)])
def test_rotation_within_a_subspace(p0, p1, invariant):
    prior = IndependentSubspaces([2, 3], p0, p1)
    z = torch.randn(9, 5, dtype=torch.float64)
    rotation = torch.eye(5, dtype=torch.float64)
    c, s = math.cos(0.7), math.sin(0.7)
    rotation[:2, :2] = double(c, -s, s, c).reshape(2, 2)
    same = torch.allclose(prior.log_prob(z @ rotation), prior.log_prob(z))
    assert same == invariant


# Gradients ---------------------------------------------------------------------------------------


@pairs
def test_gradients_in_position_exponents_and_scale(p0, p1):
    torch.manual_seed(0)
    z = torch.randn(2, 5, dtype=torch.float64)
    inputs = [z, double(p0).squeeze(), double(p1, 1.3), double(0.8).squeeze()]

    def log_prob(z, p0, p, scale):
        return IndependentSubspaces([2, 3], p0, p, scale, validate_args=False).log_prob(z)

    assert torch.autograd.gradcheck(log_prob, [x.clone().requires_grad_() for x in inputs])


def test_gradients_through_a_general_tree():
    inputs = [double(0.7, -1.2, 0.4, 2.0), double(1.4).squeeze(), double(0.9).squeeze()]

    def log_prob(z, p0, p1):
        return LpNested((p0, 1, (p1, 2, (p0, 1)))).log_prob(z)

    assert torch.autograd.gradcheck(log_prob, [x.clone().requires_grad_() for x in inputs])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pairs
def test_values_and_gradients_are_finite_near_and_at_zero(dtype, p0, p1):
    rows = torch.tensor([[0, 0, 0, 1, 0.5], [0, 1, 0, 0, 0], [1, -1, 1, 0, -1.0]], dtype=dtype)
    for size in (0.0, 1e-30, 1e-4, 1.0, 1e3):
        if size == 1e3 and p0 == 9.0 and dtype == torch.float32:
            continue  # a tail so light that float32 holds no gradient there
        for make in (  # equal and unequal subspaces go different ways
            lambda p: IndependentSubspaces([2, 3], p0, p),
            lambda p: IndependentSubspaces([1] * 5, p0, p.mean()),
            lambda p: LpNested((p0, (p[0], 2), (p[1], 3))),
        ):
            z = (rows * size).requires_grad_()
            p = torch.full((2,), p1, dtype=dtype, requires_grad=True)
            value = make(p).log_prob(z)
            value.sum().backward()
            for tensor in (value, z.grad, p.grad):
                assert tensor.isfinite().all(), size


def test_far_in_a_light_tail_the_density_is_tiny_and_finite():
    value = IndependentSubspaces([2, 3], 9.0, 2.0).log_prob(torch.full((5,), 1e3))
    assert value.isfinite() and value < -1e26


def test_density_at_zero_is_continuous():
    prior = IndependentSubspaces([2, 3], 2.1, 2.2)
    zero = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(zero), prior.log_prob(zero + 1e-9))


# Sampling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", EXPONENTS)
def test_exponential_power_samples_follow_the_density(p):
    torch.manual_seed(11)
    z = ExponentialPower(p, 1.7).sample((4000,)).double().numpy()
    assert stats.kstest(z, stats.gennorm(p, scale=1.7 ** (1 / p)).cdf).pvalue > 1e-4


@pairs
def test_samples_follow_the_density(p0, p1):
    """Radius, shares and signs of a subspace: each has a known distribution."""
    torch.manual_seed(5)
    prior = IndependentSubspaces([2, 3], p0, p1, scale=0.6)
    z = prior.sample((4000,)).double()
    for part in (z[:, :2], z[:, 2:]):
        n = part.shape[1]
        radius = (part.abs() ** p1).sum(-1) ** (1 / p1)
        assert stats.kstest((radius**p0 / 0.6).numpy(), stats.gamma(n / p0).cdf).pvalue > 1e-4
        share = (part[:, 0].abs() / radius) ** p1
        assert stats.kstest(share.numpy(), stats.beta(1 / p1, (n - 1) / p1).cdf).pvalue > 1e-4
        assert abs(stats.spearmanr(share, radius).statistic) < 0.08
        assert abs((part > 0).double().mean().item() - 0.5) < 0.04


@pytest.mark.parametrize("tree", [(2.1, 1, (0.8, 2)), (3.0, (1.0, 1, (2.2, 3)), 2), (0.8, 3)])
def test_tree_samples_have_the_radius_and_the_entropy_of_the_density(tree):
    torch.manual_seed(7)
    prior = LpNested(tree, scale=1.3)
    n, p0 = prior.event_shape[0], tree[0]
    z = prior.sample((20_000,)).double()
    scaled = (prior.norm(z) ** p0 / 1.3).numpy()
    assert stats.kstest(scaled[:4000], stats.gamma(n / p0).cdf).pvalue > 1e-4
    # E[-log p(z)] = log normaliser + E[f^p0 / s], and the last mean is n / p0
    log_normalizer = -prior.log_prob(torch.zeros(n, dtype=torch.float64)).item()
    entropy = -prior.log_prob(z)
    error = entropy.std().item() / math.sqrt(len(z))
    assert abs(entropy.mean().item() - log_normalizer - n / p0) < 4.5 * error


def test_tree_samples_fill_space_as_the_density_says():
    """Goodness of fit in cells of the plane, for a pair whose coordinates depend."""
    torch.manual_seed(2)
    prior = LpNested((3.0, (0.8, 2)), scale=1.0)
    z = prior.sample((20_000,)).double().abs().numpy()
    edges = np.quantile(z, [0, 0.2, 0.4, 0.6, 0.8], axis=0).T
    edges = [np.append(edge * (np.arange(5) > 0), 1.5) for edge in edges]

    def density(y, x):
        return 4 * prior.log_prob(double(x, y)).exp().item()

    observed = np.histogram2d(z[:, 0], z[:, 1], bins=edges)[0]
    cells = [[(*x, *y) for y in itertools.pairwise(edges[1])] for x in itertools.pairwise(edges[0])]
    expected = np.array(
        [[integrate.dblquad(density, *cell, epsabs=1e-5)[0] for cell in row] for row in cells]
    )
    rest = len(z) - observed.sum()
    observed = np.append(observed.ravel(), rest)
    expected = np.append(len(z) * expected.ravel(), len(z) * (1 - expected.sum()))
    keep = expected > 5
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    assert stats.chi2(keep.sum() - 1).sf(statistic) > 1e-4


def test_small_shapes_do_not_underflow():
    """With p = 9 a Gamma(1/9) variable falls below float32's range, its ninth root does not."""
    torch.manual_seed(0)
    z = IndependentSubspaces([4], 9.0, 9.0).sample((50_000,))
    assert z.isfinite().all() and (z != 0).all()


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([2, 0], 2.1, 2.2), "size must be a positive integer; got 0"),
        (([], 2.1, 2.2), "at least one subspace"),
        (([2, 3], -1.0, 2.2), "p0 must be positive"),
        (([2, 3], 2.1, 0.0), "p must be positive"),
        (([2, 3], 2.1, math.nan), "p must be positive and finite"),
        (([2, 3], 2.1, [2.0, 2.0, 2.0]), "one exponent or 2"),
        (([2, 3], 2.1, 2.2, 0.0), "scale must be positive"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        IndependentSubspaces(*arguments)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ((2.0,), "at least one child"),
        (3, "tree must be"),
        ((2.0, 1.5), "child of the tree must be a positive integer"),
        ((2.0, (0.0, 2)), "exponent of the tree must be positive"),
        ((2.0, True), "positive integer"),
    ],
)
def test_bad_trees(tree, message):
    with pytest.raises(ValueError, match=message):
        LpNested(tree)


def test_parameters_and_points_of_the_wrong_type():
    with pytest.raises(TypeError, match="p0 must be a number or a tensor; got 'two'"):
        IndependentSubspaces([2, 3], "two", 2.2)
    with pytest.raises(TypeError, match=r"z must be a floating-point tensor; got torch\.int64"):
        LpNested((2.0, 3)).log_prob(torch.ones(2, 3, dtype=torch.long))


def test_wrong_width_and_nan():
    prior = IndependentSubspaces([2, 3], 2.1, 2.2, validate_args=True)
    with pytest.raises(ValueError):
        prior.log_prob(torch.full((5,), math.nan))
    with pytest.raises(ValueError, match="5 coordinates"):
        IndependentSubspaces([2, 3], 2.1, 2.2, validate_args=False).log_prob(torch.zeros(2, 4))

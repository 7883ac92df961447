"""ICA against quadrature, Monte Carlo, autograd, finite differences and factor analysis."""

from itertools import pairwise

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from vaelite.toys import factor_analysis, ica

N, L, K, DOF, SCALE = 5, 2, 3, 3.5, 1.3


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    W, noise_var = rng.normal(size=(L, K)), rng.uniform(0.1, 1, L)
    X, _ = ica.sample(W, noise_var, N, DOF, rng, SCALE)
    return X, W, noise_var, rng.normal(size=(N, K)), rng.uniform(0.05, 2, (N, K))


def by_quad(mean, var, dof, scale):
    """Cross-entropy by scipy's adaptive quadrature, split where the integrand bends."""
    deviation = np.sqrt(var)

    def integrand(t):
        return -stats.norm.pdf(t) * stats.t.logpdf(mean + deviation * t, dof, scale=scale)

    bends = (np.array([-30, -3, -1, -0.3, 0, 0.3, 1, 3, 30]) * scale - mean) / deviation
    edges = np.unique(np.clip([-38, 0, *bends, 38], -38, 38))
    pieces = pairwise(edges)
    return sum(quad(integrand, a, b, epsabs=1e-12, epsrel=1e-12, limit=200)[0] for a, b in pieces)


def errors(values, dof=3.5, scale=SCALE, **options):
    """Largest error of the rule over several means, for each variance in units of scale^2."""
    means = np.array([0.0, 1.0, -3.0, 20.0]) * scale
    q_mean, q_var = (a.ravel() for a in np.meshgrid(means, np.asarray(values) * scale**2))
    ours = ica.cross_entropy(q_mean[:, None], q_var[:, None], dof, scale, **options)[:, 0]
    truth = [by_quad(m, v, dof, scale) for m, v in zip(q_mean, q_var, strict=True)]
    return np.abs(ours - truth).reshape(len(values), len(means)).max(axis=1)


def test_log_prior_against_scipy():
    z = np.array([[-40.0, 0.0], [0.3, 7.0]])
    truth = stats.t.logpdf(z, DOF, scale=SCALE)
    np.testing.assert_allclose(ica.log_prior(z, DOF, SCALE), truth, rtol=1e-12)


def test_sample_has_the_moments_of_the_model():
    W, noise_var = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, -2.0]]), np.array([0.3, 1.0])
    X, Z = ica.sample(W, noise_var, 200_000, 9.0, np.random.default_rng(0), scale=2.0)
    assert X.shape == (200_000, 2) and Z.shape == (200_000, 3)
    assert stats.kstest(Z[:, 1], stats.t(9.0, scale=2.0).cdf).pvalue > 1e-4
    np.testing.assert_allclose((X - Z @ W.T).var(axis=0), noise_var, rtol=0.02)


def test_cross_entropy_is_as_accurate_as_its_docstring_says():
    tiny, small, one, four, ten, hundred, huge = errors([1e-12, 0.01, 1, 4, 10, 100, 1e8])
    assert max(tiny, small) < 1e-11
    assert one < 1e-9 and four < 1e-6 and ten < 1e-4 and hundred < 0.04 and huge < 0.6


@settings(max_examples=25, deadline=None)
@given(st.floats(-10, 10), st.floats(1e-6, 2), st.floats(2.0, 30), st.floats(0.1, 10))
def test_cross_entropy_against_quadrature(mean, var, dof, scale):
    ours = ica.cross_entropy(np.array([[mean * scale]]), np.array([[var * scale**2]]), dof, scale)
    assert ours[0, 0] == pytest.approx(by_quad(mean * scale, var * scale**2, dof, scale), abs=2e-6)


def test_the_loop_gives_the_same_numbers(problem):
    *_, q_mean, q_var = problem
    loop = ica.cross_entropy_loop(q_mean, q_var, DOF, SCALE)
    assert loop.shape == (N, K)
    np.testing.assert_allclose(ica.cross_entropy(q_mean, q_var, DOF, SCALE), loop, atol=1e-7)


def test_cross_entropy_tends_to_the_gaussian_one():
    q_mean, q_var = np.array([[0.3, -2.0]]), np.array([[0.5, 3.0]])
    truth = 0.5 * np.log(2 * np.pi * 4) + (q_mean**2 + q_var) / 8
    np.testing.assert_allclose(ica.cross_entropy(q_mean, q_var, 1e9, 2.0), truth, atol=1e-6)


def test_free_energy_against_monte_carlo(problem):
    X, W, noise_var, q_mean, q_var = problem
    beta, samples = 2.5, 200_000
    Z = q_mean + np.sqrt(q_var) * np.random.default_rng(1).normal(size=(samples, N, K))
    draws = stats.norm.logpdf(X, Z @ W.T, np.sqrt(noise_var)).sum(axis=(1, 2))
    draws += beta * stats.t.logpdf(Z, DOF, scale=SCALE).sum(axis=(1, 2))
    draws -= beta * stats.norm.logpdf(Z, q_mean, np.sqrt(q_var)).sum(axis=(1, 2))
    value = ica.free_energy(X, W, noise_var, q_mean, q_var, DOF, SCALE, beta)
    assert abs(draws.mean() - value) < 5 * draws.std() / np.sqrt(samples)


def test_log_likelihood_of_one_source_against_quadrature(problem):
    X, W, noise_var, *_ = problem
    W = W[:, :1]
    X = np.vstack([X, 25 * W.T, [[4.0, -4.0]]])

    def density(z, x):
        return np.exp(ica.log_prior(z, DOF, SCALE)) * np.prod(
            stats.norm.pdf(x, W[:, 0] * z, noise_var**0.5)
        )

    for x in X:
        peak = (W[:, 0] / noise_var) @ x / (1 + W[:, 0] ** 2 @ (1 / noise_var))
        points = [peak - 1, peak, peak + 1]
        value = quad(density, -300, 300, (x,), points=points, limit=900, epsabs=0)[0]
        ours = ica.log_likelihood(x[None], W, noise_var, DOF, SCALE)
        assert ours == pytest.approx(np.log(value), abs=1e-4)


def test_log_likelihood_of_three_sources_against_monte_carlo(problem):
    X, W, noise_var, *_ = problem
    Z = SCALE * np.random.default_rng(0).standard_t(DOF, (400_000, K))
    for x in X[:3]:
        density = stats.norm.pdf(x, Z @ W.T, noise_var**0.5).prod(axis=1)
        error = density.std() / density.mean() / np.sqrt(len(Z))
        ours = ica.log_likelihood(x[None], W, noise_var, DOF, SCALE)
        assert abs(ours - np.log(density.mean())) < 5 * error < 0.1


def test_log_likelihood_tends_to_factor_analysis(problem):
    X, W, noise_var, *_ = problem
    truth = factor_analysis.log_likelihood(X, 2 * W, noise_var)
    assert ica.log_likelihood(X, W, noise_var, 1e7, scale=2.0) == pytest.approx(truth, abs=1e-4)


def test_log_likelihood_is_above_the_free_energy(problem):
    X, W, noise_var, q_mean, q_var = problem
    exact = ica.log_likelihood(X, W, noise_var, DOF)
    assert ica.free_energy(X, W, noise_var, q_mean, q_var, DOF) < exact
    for _ in range(500):
        q_mean, q_var = ica.improve_q(X, W, noise_var, q_mean, q_var, DOF)
    assert ica.free_energy(X, W, noise_var, q_mean, q_var, DOF) < exact - 0.01 * N
    assert np.isfinite(ica.log_likelihood(X, W, np.full(L, 1e-12), DOF))
    # splitting the data into chunks changes nothing
    many = ica.log_likelihood(np.tile(X, (50, 1)), W, noise_var, DOF)
    assert many == pytest.approx(50 * exact, rel=1e-9)


def test_free_energy_is_a_lower_bound(problem):
    """Against the exact likelihood of one source, where it is a one-dimensional integral."""
    X, W, noise_var, q_mean, q_var = problem
    W = W[:, :1]

    def density(z, x):
        return np.exp(ica.log_prior(z, DOF)) * stats.norm.pdf(x, W[:, 0] * z, noise_var**0.5).prod()

    exact = sum(np.log(quad(density, -60, 60, args=(x,), points=[0], limit=500)[0]) for x in X)
    bound = ica.free_energy(X, W, noise_var, q_mean[:, :1], q_var[:, :1], DOF)
    assert bound < exact
    for _ in range(300):
        q_mean, q_var = ica.improve_q(X, W, noise_var, q_mean[:, :1], q_var[:, :1], DOF)
    tight = ica.free_energy(X, W, noise_var, q_mean, q_var, DOF)
    assert bound < tight < exact and exact - tight < 0.1 * N


def test_free_energy_tends_to_factor_analysis(problem):
    """With infinitely many degrees of freedom the sources are Gaussian and all is known."""
    X, W, noise_var, *_ = problem
    for beta in (1.0, 4.0):
        recognition, variance = factor_analysis.mean_field(W, noise_var, beta)
        q = X @ recognition.T, np.tile(variance, (N, 1))
        value = ica.free_energy(X, W, noise_var, *q, 1e9, beta=beta)
        truth = factor_analysis.free_energy(X, W, noise_var, beta)
        assert value == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("argument", [0, 1, 2, 3, 4])
def test_gradients_against_finite_differences(problem, argument):
    gradient = autograd.grad(ica.free_energy, argument)(*problem, DOF, SCALE, 2.0)
    value = problem[argument]
    numerical = np.empty_like(value)
    for index in np.ndindex(value.shape):
        ends = []
        for sign in (1, -1):
            moved = list(problem)
            moved[argument] = value.copy()
            moved[argument][index] += sign * 1e-5
            ends.append(ica.free_energy(*moved, DOF, SCALE, 2.0))
        numerical[index] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(gradient, numerical, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 5.0])
def test_optimal_weights_are_stationary_whatever_beta(problem, beta):
    X, W, noise_var, q_mean, q_var = problem
    best = ica.optimal_weights(X, q_mean, q_var)
    gradient = autograd.grad(ica.free_energy, 1)(
        X, best, noise_var, q_mean, q_var, DOF, SCALE, beta
    )
    np.testing.assert_allclose(gradient, 0, atol=1e-10)
    assert ica.free_energy(X, best, noise_var, q_mean, q_var, DOF) > ica.free_energy(
        X, W, noise_var, q_mean, q_var, DOF
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(-8, 3),
    st.floats(0.1, 20),
    st.floats(1.0, 30),
    st.floats(0.1, 10),
)
def test_improve_q_never_lowers_the_free_energy(seed, log_noise, beta, dof, scale):
    rng = np.random.default_rng(seed)
    W, noise_var = rng.normal(size=(L, K)), np.exp(log_noise) * np.array([1.0, 2.0])
    X, _ = ica.sample(W, noise_var, 6, dof, rng, scale)
    q = scale * rng.normal(size=(6, K)), scale**2 * np.exp(rng.normal(size=(6, K)))
    before = ica.free_energy(X, W, noise_var, *q, dof, scale, beta)
    for _ in range(4):
        q = ica.improve_q(X, W, noise_var, *q, dof, scale, beta)
        after = ica.free_energy(X, W, noise_var, *q, dof, scale, beta)
        assert after >= before - 1e-9 * abs(before)
        before = after


@pytest.mark.parametrize("beta", [1.0, 5.0])
def test_improve_q_stops_only_where_autograd_finds_no_slope(problem, beta):
    X, W, noise_var, q_mean, q_var = problem
    for _ in range(2000):
        q_mean, q_var = ica.improve_q(X, W, noise_var, q_mean, q_var, DOF, SCALE, beta)
    for argument in (3, 4):
        gradient = autograd.grad(ica.free_energy, argument)
        slope = gradient(X, W, noise_var, q_mean, q_var, DOF, SCALE, beta)
        np.testing.assert_allclose(slope, 0, atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 5.0])
def test_fit_rises_to_a_stationary_point(beta):
    rng = np.random.default_rng(2)
    W, noise_var = np.array([[1.0, 0.5, -0.5], [0.0, 0.9, 0.9]]), np.array([0.2, 0.3])
    X, _ = ica.sample(W, noise_var, 150, DOF, rng)
    result = ica.fit(X, W, noise_var, DOF, beta=beta, tolerance=1e-10)
    assert result.converged
    assert np.all(np.diff(result.history) > 0) and len(result.history) > 3
    q = result.q_mean, result.q_var
    final = ica.free_energy(X, result.W, noise_var, *q, DOF, beta=beta)
    assert final == pytest.approx(result.history[-1], abs=1e-6)
    slope = autograd.grad(ica.free_energy, 1)(X, result.W, noise_var, *q, DOF, 1.0, beta)
    np.testing.assert_allclose(slope / len(X), 0, atol=1e-3)
    for _ in range(20):
        near = result.W + 0.05 * rng.normal(size=W.shape)
        assert ica.free_energy(X, near, noise_var, *q, DOF, beta=beta) < final


def test_fit_finds_the_gaussian_solution_when_sources_are_gaussian():
    """With many degrees of freedom the answer is factor analysis, pruned to two components."""
    rng = np.random.default_rng(0)
    W, noise_var = np.array([[2.0, 1.0, 0.3], [0.0, 1.5, 1.0]]), np.array([0.5, 0.5])
    X, _ = factor_analysis.sample(W, noise_var, 300, rng)
    values = np.linalg.eigvalsh(X.T @ X / 300)
    for beta in (1.0, 3.0):
        result = ica.fit(X, W, noise_var, 1e7, beta=beta, tolerance=1e-11, max_steps=1000)
        truth = np.sqrt(np.maximum(values - beta * 0.5, 0))
        lengths = np.linalg.svd(result.W, compute_uv=False)[::-1]
        np.testing.assert_allclose(lengths, truth, atol=1e-3)


@pytest.mark.parametrize("noise", [1e-6, 1e4])
@pytest.mark.parametrize("n", [1, 4])
def test_fit_survives_one_datum_and_extreme_noise(n, noise):
    rng = np.random.default_rng(0)
    W, noise_var = rng.normal(size=(L, K)), np.full(L, noise)
    X, _ = ica.sample(W, noise_var, n, DOF, rng)
    result = ica.fit(X, W, noise_var, DOF, beta=2.0, max_steps=10)
    assert np.all(np.isfinite(result.W)) and np.all(result.q_var > 0)
    assert np.all(np.diff(result.history) > 0)


def test_fit_stops_after_max_steps():
    rng = np.random.default_rng(0)
    W, noise_var = rng.normal(size=(L, K)), np.full(L, 0.1)
    X, _ = ica.sample(W, noise_var, 50, DOF, rng)
    result = ica.fit(X, W, noise_var, DOF, max_steps=2)
    assert len(result.history) == 3 and not result.converged


def test_units_do_not_matter():
    """Data, weights and noise in other units, or a scale taken out of the weights: one problem."""
    rng = np.random.default_rng(0)
    W, noise_var = rng.normal(size=(L, K)), np.array([0.1, 0.2])
    X, _ = ica.sample(W, noise_var, 40, DOF, rng)
    plain = ica.fit(X, W, noise_var, DOF, max_steps=5)
    units = ica.fit(10 * X, 10 * W, 100 * noise_var, DOF, max_steps=5)
    np.testing.assert_allclose(units.W, 10 * plain.W, rtol=1e-3, atol=1e-3)
    scaled = ica.fit(X, W / 7, noise_var, DOF, scale=7.0, max_steps=5)
    np.testing.assert_allclose(scaled.W, plain.W / 7, rtol=1e-3, atol=1e-4)


def test_angles_between_are_angles_of_lines():
    degrees = np.radians([10.0, 70.0, 195.0])
    W = np.stack([np.cos(degrees), np.sin(degrees)]) * [1.0, 5.0, 0.1]
    np.testing.assert_allclose(ica.angles_between(W), [60, 5, 55], atol=1e-9)
    np.testing.assert_allclose(ica.angles_between(-W), [60, 5, 55], atol=1e-9)
    np.testing.assert_allclose(ica.angles_between(np.eye(4)), np.full(6, 90.0))
    near = ica.angles_between(np.array([[1.0, 1.0], [0.0, 1e-9]]))
    np.testing.assert_allclose(near, np.degrees(1e-9), rtol=1e-6)
    assert np.isnan(ica.angles_between(np.array([[1.0, 0.0], [1.0, 0.0]]))).all()


def test_pruned():
    W = np.array([[1.0, 0.0, 0.04, 0.0], [1.0, 2.0, 0.0, 0.2]])
    np.testing.assert_array_equal(ica.pruned(W), [False, False, True, False])
    np.testing.assert_array_equal(ica.pruned(W, threshold=0.15), [False, False, True, True])
    assert ica.pruned(np.zeros((2, 3))).all()
    assert ica.pruned(1e-3 * W, longest=2.0).all()
    np.testing.assert_array_equal(ica.pruned(W, longest=1.0), [False, False, True, False])


X_, W_, D_, Q_ = np.zeros((4, 2)), np.ones((2, 3)), np.ones(2), np.ones((4, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X_, W_, D_, np.ones((4, 2)), Q_, 3.5), r"q_mean must have shape \(4, 3\)"),
        ((X_, W_, D_, Q_, np.ones((3, 3)), 3.5), r"q_var must have shape \(4, 3\)"),
        ((X_, W_, D_, Q_, 0 * Q_, 3.5), r"q_var must be positive"),
        ((X_, W_, D_, Q_, Q_, 0.0), r"dof must be a positive finite number"),
        ((X_, W_, D_, Q_, Q_, 3.5, -1.0), r"scale must be a positive finite number"),
        ((X_, W_, D_, Q_, Q_, 3.5, 1.0, "much"), r"beta must be a positive finite number"),
        ((X_ * np.nan, W_, D_, Q_, Q_, 3.5), r"X must be finite"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ica.free_energy(*arguments)


def test_more_bad_input():
    with pytest.raises(ValueError, match="nodes must be a positive integer; got"):
        ica.cross_entropy(Q_, Q_, 3.5, nodes=2.5)
    with pytest.raises(ValueError, match="points must be a positive integer"):
        ica.cross_entropy_loop(Q_, Q_, 3.5, points=0)
    with pytest.raises(ValueError, match="dof must be at least 2 here; got 1"):
        ica.log_likelihood(X_, W_, D_, 1.0)
    with pytest.raises(ValueError, match="n must be a positive integer; got True"):
        ica.sample(W_, D_, True, 3.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="tolerance must be a positive"):
        ica.fit(X_, W_, D_, 3.5, tolerance=0.0)
    with pytest.raises(ValueError, match="max_steps must be a positive integer"):
        ica.fit(X_, W_, D_, 3.5, max_steps=0)
    with pytest.raises(ValueError, match="threshold must be a positive"):
        ica.pruned(W_, threshold=0.0)

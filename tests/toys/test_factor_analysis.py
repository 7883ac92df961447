"""Factor analysis against Monte Carlo, scipy's densities, finite differences and its own limits."""

import autograd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, ortho_group

from vaelite.toys import factor_analysis as fa

N, L, K = 7, 5, 3


@pytest.fixture
def model():
    rng = np.random.default_rng(3)
    W, noise_var = rng.normal(size=(L, K)), rng.uniform(0.2, 2, L)
    X, _ = fa.sample(W, noise_var, N, rng)
    return X, W, noise_var


def random_model(seed, n, l, k):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, l)), rng.normal(size=(l, k)), rng.uniform(0.05, 3, l)


def gap(W, noise_var, beta=1.0):
    precision = W.T @ np.diag(1 / noise_var) @ W / beta + np.eye(W.shape[1])
    return 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])


@pytest.mark.parametrize(("n", "l", "k"), [(7, 5, 3), (1, 2, 4), (4, 1, 1), (1, 1, 3)])
def test_log_likelihood_against_scipy(n, l, k):
    X, W, noise_var = random_model(0, n, l, k)
    truth = multivariate_normal(np.zeros(l), W @ W.T + np.diag(noise_var)).logpdf(X).sum()
    assert fa.log_likelihood(X, W, noise_var) == pytest.approx(truth, rel=1e-12)


def test_sample_has_the_covariance_of_the_model():
    _, W, noise_var = random_model(1, 1, 3, 2)
    X, Z = fa.sample(W, noise_var, 200_000, np.random.default_rng(0))
    assert X.shape == (200_000, 3) and Z.shape == (200_000, 2)
    np.testing.assert_allclose(np.cov(X.T), W @ W.T + np.diag(noise_var), atol=0.1)
    np.testing.assert_allclose((X - Z @ W.T).var(axis=0), noise_var, rtol=0.02)


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_posterior_is_the_one_of_the_tempered_joint_gaussian(model, beta):
    """Conditioning the joint Gaussian of (z, x) with noise beta D must give the same posterior."""
    _, W, noise_var = model
    recognition, covariance = fa.posterior(W, noise_var, beta)
    to_x = W.T @ np.linalg.inv(W @ W.T + beta * np.diag(noise_var))
    np.testing.assert_allclose(recognition, to_x, atol=1e-12)
    np.testing.assert_allclose(covariance, np.eye(K) - to_x @ W, atol=1e-12)


def test_mean_field_keeps_the_mean_and_the_diagonal_of_the_precision(model):
    _, W, noise_var = model
    recognition, covariance = fa.posterior(W, noise_var, 2.0)
    mean_field, variance = fa.mean_field(W, noise_var, 2.0)
    np.testing.assert_array_equal(recognition, mean_field)
    np.testing.assert_allclose(1 / variance, np.diag(np.linalg.inv(covariance)))
    assert np.all(variance < np.diag(covariance))


@pytest.mark.parametrize("beta", [0.5, 1.0, 5.0])
def test_no_other_factorised_q_is_better(model, beta):
    """The free energy of an arbitrary factorised Gaussian, written out, peaks at the mean field."""
    X, W, noise_var = model

    def general(means, log_var):
        variance = np.exp(log_var)
        fit = -0.5 * np.sum(np.log(2 * np.pi * noise_var) + (X - means @ W.T) ** 2 / noise_var)
        fit -= 0.5 * N * np.sum((W**2).T / noise_var * variance[:, None])
        return fit - beta * 0.5 * (np.sum(means**2) + N * np.sum(variance - 1 - log_var))

    recognition, variance = fa.mean_field(W, noise_var, beta)
    best = general(X @ recognition.T, np.log(variance))
    assert fa.free_energy(X, W, noise_var, beta) == pytest.approx(best, rel=1e-12)
    rng = np.random.default_rng(0)
    for size in (0.01, 0.1, 1.0):
        for _ in range(20):
            means = X @ recognition.T + size * rng.normal(size=(N, K))
            assert general(means, np.log(variance) + size * rng.normal(size=K)) < best


def test_terms_against_monte_carlo(model):
    X, W, noise_var = model
    beta, samples = 2.0, 100_000
    recognition, variance = fa.mean_field(W, noise_var, beta)
    mean = X @ recognition.T
    rng = np.random.default_rng(1)
    Z = mean + np.sqrt(variance) * rng.normal(size=(samples, N, K))
    log_q = -0.5 * np.sum(np.log(2 * np.pi * variance) + (Z - mean) ** 2 / variance, axis=(1, 2))
    log_p = -0.5 * np.sum(np.log(2 * np.pi) + Z**2, axis=(1, 2))
    terms = np.log(2 * np.pi * noise_var) + (X - Z @ W.T) ** 2 / noise_var
    log_x = -0.5 * terms.sum(axis=(1, 2))
    for draws, value in (
        (log_x, fa.reconstruction(X, W, noise_var, beta)),
        (log_q - log_p, fa.kl(X, W, noise_var, beta)),
    ):
        assert abs(draws.mean() - value) < 5 * draws.std() / np.sqrt(samples)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_bound_and_its_gap(seed, n, l, k):
    X, W, noise_var = random_model(seed, n, l, k)
    likelihood = fa.log_likelihood(X, W, noise_var)
    bound = fa.free_energy(X, W, noise_var)
    assert bound <= likelihood + 1e-8
    assert likelihood - bound == pytest.approx(n * gap(W, noise_var), abs=1e-8)
    assert fa.free_energy(X, W, noise_var, 3.0) <= bound + 1e-8
    assert fa.free_energy(X, W, noise_var, 0.5) >= bound - 1e-8


def test_tight_where_the_weights_are_orthogonal_in_units_of_the_noise():
    rng = np.random.default_rng(0)
    X, noise_var = rng.normal(size=(N, L)), rng.uniform(0.1, 2, L)
    orthogonal = np.linalg.qr(rng.normal(size=(L, K)))[0] * [3.0, 2.0, 0.5]
    whitened = np.sqrt(noise_var)[:, None] * orthogonal
    likelihood = fa.log_likelihood(X, whitened, noise_var)
    assert fa.free_energy(X, whitened, noise_var) == pytest.approx(likelihood, rel=1e-12)
    # orthogonal columns in the data space are not enough when the noise is anisotropic
    likelihood = fa.log_likelihood(X, orthogonal, noise_var)
    assert fa.free_energy(X, orthogonal, noise_var) < likelihood - 0.1


def test_rotating_the_latent_space_moves_only_the_free_energy(model):
    X, W, noise_var = model
    R = ortho_group.rvs(K, random_state=0)
    likelihood = fa.log_likelihood(X, W, noise_var)
    assert fa.log_likelihood(X, W @ R, noise_var) == pytest.approx(likelihood, rel=1e-12)
    moved = fa.free_energy(X, W @ R, noise_var) - fa.free_energy(X, W, noise_var)
    assert abs(moved) > 1e-3
    # what the paper prints, R W, is another model
    R = ortho_group.rvs(L, random_state=0)
    assert abs(fa.log_likelihood(X, R @ W, noise_var) - likelihood) > 1e-3


def test_free_energy_against_the_rotation_angle():
    """The closed form of the oscillation, in both normalisations of the paper."""
    X = np.random.default_rng(0).normal(size=(4, 2))
    W, noise_var = np.diag([2.0, 0.7]), np.full(2, 0.3)
    for beta in (0.2, 1.0, 5.0):
        p, r = 1 + np.diag(W) ** 2 / (0.3 * beta)
        aligned = fa.free_energy(X, W, noise_var, beta)
        for angle in (0.1, np.pi / 4, np.pi / 2, 2.5):
            swing = 0.5 * np.log1p((p - r) ** 2 / (4 * p * r) * np.sin(2 * angle) ** 2)
            turned = fa.free_energy(X, W @ fa.rotation(angle), noise_var, beta)
            assert aligned - turned == pytest.approx(beta * 4 * swing, abs=1e-10)


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_beta_is_replicated_data(model, copies):
    """F at beta = 1/M is 1/M times ordinary inference with M copies of each observation."""
    X, W, noise_var = model
    replicated = fa.free_energy(
        np.tile(X, copies), np.tile(W, (copies, 1)), np.tile(noise_var, copies)
    )
    beta = 1 / copies
    assert fa.free_energy(X, W, noise_var, beta) == pytest.approx(beta * replicated, rel=1e-12)


def test_limits_of_beta(model):
    X, W, noise_var = model
    recognition, variance = fa.mean_field(W, noise_var, 1e9)
    np.testing.assert_allclose(variance, 1, rtol=1e-6)
    np.testing.assert_allclose(recognition, 0, atol=1e-6)
    assert fa.kl(X, W, noise_var, 1e9) < 1e-9
    # towards zero, q becomes a spike at the least-squares solution
    recognition, variance = fa.mean_field(W, noise_var, 1e-9)
    root = np.sqrt(noise_var)
    least_squares = np.linalg.pinv(W / root[:, None]) / root
    np.testing.assert_allclose(recognition, least_squares, atol=1e-6)
    assert np.all(variance < 1e-6)


@pytest.mark.parametrize("noise", [1e-12, 1e12])
def test_extreme_noise_stays_finite(noise):
    X, W, _ = random_model(0, 3, 4, 2)
    noise_var = np.full(4, noise)
    # in the singular basis of W nothing cancels; scipy calls the covariance singular
    basis, values, _ = np.linalg.svd(W)
    variances = np.append(values**2, [0, 0]) + noise
    truth = -0.5 * np.sum(np.log(2 * np.pi * variances) + (X @ basis) ** 2 / variances)
    assert fa.log_likelihood(X, W, noise_var) == pytest.approx(truth, rel=1e-3)
    assert fa.free_energy(X, W, noise_var) <= truth + 1e-3 * abs(truth)
    assert np.isfinite(fa.free_energy(X, W, noise_var, 7.0))


@pytest.mark.parametrize("function", [fa.log_likelihood, fa.reconstruction, fa.kl, fa.free_energy])
@pytest.mark.parametrize("argument", [0, 1, 2])
def test_gradients_against_finite_differences(model, function, argument):
    beta = () if function is fa.log_likelihood else (1.7,)
    gradient = autograd.grad(function, argument)(*model, *beta)
    value = model[argument]
    numerical = np.empty_like(value)
    for index in np.ndindex(value.shape):
        ends = []
        for sign in (1, -1):
            moved = list(model)
            moved[argument] = value.copy()
            moved[argument][index] += sign * 1e-5
            ends.append(function(*moved, *beta))
        numerical[index] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(gradient, numerical, rtol=1e-5, atol=1e-6)


def test_gradient_by_beta_and_by_angle(model):
    X, W, noise_var = model
    # q is optimal, so only the explicit beta counts: the derivative is minus the KL
    slope = autograd.grad(fa.free_energy, 3)(X, W, noise_var, 2.0)
    assert slope == pytest.approx(-fa.kl(X, W, noise_var, 2.0), rel=1e-9)

    def turned(angle):
        return fa.free_energy(X[:, :2], W[:2, :2] @ fa.rotation(angle), noise_var[:2])

    numerical = (turned(0.4 + 1e-5) - turned(0.4 - 1e-5)) / 2e-5
    assert autograd.grad(turned)(0.4) == pytest.approx(numerical, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0.1, 3), st.floats(0.1, 5))
def test_over_complete_family(alpha, rho, beta):
    noise_var = np.full(2, 0.4)
    W = fa.over_complete_weights(alpha, rho)
    np.testing.assert_allclose(
        W @ W.T,
        fa.over_complete_weights(0.0, rho) @ fa.over_complete_weights(0.0, rho).T,
        atol=1e-12,
    )
    a = 1 / (0.4 * beta)
    swing = 0.5 * np.log1p(alpha**2 * (1 - alpha**2) * a**2 / (1 + a))
    X = np.array([[1.0, -0.3], [0.2, 2.0], [0.0, 0.0]])
    best = fa.free_energy(X, fa.over_complete_weights(0.0, rho), noise_var, beta)
    value = fa.free_energy(X, W, noise_var, beta)
    assert best - value == pytest.approx(3 * beta * swing, abs=1e-9)


def test_learned_weights_shrink_with_beta_but_keep_their_directions():
    """With W free, the best weights are D^1/2 U (Lambda - beta I)^1/2; none do better."""
    rng = np.random.default_rng(0)
    noise_var = np.array([0.5, 1.0, 0.2, 0.8])
    X = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    root = np.sqrt(noise_var)
    values, vectors = np.linalg.eigh((X / root).T @ (X / root) / 50)
    values, vectors = values[::-1], vectors[:, ::-1]
    for beta in (0.5, 1.0, 5.0):
        lengths = np.sqrt(np.maximum(values[:3] - beta, 0))
        W = root[:, None] * vectors[:, :3] * lengths
        gradient = autograd.grad(fa.free_energy, 1)(X, W, noise_var, beta)
        np.testing.assert_allclose(gradient, 0, atol=1e-8 * 50)
        best = fa.free_energy(X, W, noise_var, beta)
        for _ in range(30):
            assert fa.free_energy(X, W + 0.3 * rng.normal(size=W.shape), noise_var, beta) < best


X_, W_, D_ = np.zeros((3, 2)), np.ones((2, 2)), np.ones(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 4)), W_, D_), r"X must have shape \(any, 2\).*got \(3, 4\)"),
        ((np.zeros(3), W_, D_), r"X must have shape"),
        ((np.zeros((0, 2)), W_, D_), r"X must have shape"),
        ((np.array([[np.nan, 0.0]]), W_, D_), r"X must be finite"),
        ((X_, np.ones(2), D_), r"W must have shape \(any, any\)"),
        ((X_, W_, np.ones(3)), r"noise_var must have shape \(2\)"),
        ((X_, W_, 1.0), r"noise_var must have shape \(2\).*got \(\)"),
        ((X_, W_, np.array([1.0, 0.0])), r"noise_var must be positive; its smallest value is 0"),
        ((X_, W_, D_, 0.0), r"beta must be a positive finite number; got 0.0"),
        ((X_, W_, D_, np.inf), r"beta must be a positive finite number; got inf"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        fa.free_energy(*arguments)
    if len(arguments) == 3:
        with pytest.raises(ValueError, match=message):
            fa.log_likelihood(*arguments)


def test_more_bad_input():
    with pytest.raises(TypeError, match="W must hold real numbers; got dtype complex128"):
        fa.free_energy(X_, W_ * 1j, D_)
    with pytest.raises(ValueError, match="n must be a positive integer; got 0"):
        fa.sample(W_, D_, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="angle must have shape"):
        fa.rotation(np.zeros(3))
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]; got 1.5"):
        fa.over_complete_weights(1.5)
    with pytest.raises(ValueError, match="rho must be a positive finite number; got -1"):
        fa.over_complete_weights(0.5, -1)


def test_validation_does_not_stand_in_the_way_of_differentiation():
    with pytest.raises(ValueError, match=r"X must have shape \(any, 2\)"):
        autograd.grad(fa.free_energy, 1)(np.zeros((3, 4)), W_, D_)
    hessian = autograd.hessian(fa.free_energy, 2)(X_ + 1.0, W_, D_)
    assert hessian.shape == (2, 2) and np.all(np.isfinite(hessian))

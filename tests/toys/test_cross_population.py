"""The linear CPVAE against sampling, other formulas for the same thing, and its own optimiser."""

import autograd
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from vaelite.toys import cross_population as cp
from vaelite.toys import factor_analysis as fa

K, L, D_S, D_T = 3, 5, 2, 4


def some_covariance(rng, size):
    root = rng.normal(size=(size, size + 2))
    return root @ root.T / size


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture
def C(rng):
    return np.stack([some_covariance(rng, L) for _ in range(K)])


def some_model(rng, K=K, L=L, D_s=D_S, D_t=D_T, noise=None):
    noise = rng.uniform(0.3, 2, L) if noise is None else np.full(L, noise)
    return cp.Model(
        A=0.4 * rng.normal(size=(L, D_s)),
        B=0.4 * rng.normal(size=(K, L, D_t)),
        noise_var=noise,
        R=0.4 * rng.normal(size=(D_s, L)),
        shared_var=rng.uniform(0.2, 1, D_s),
        S=0.4 * rng.normal(size=(K, D_t, L)),
        private_var=rng.uniform(0.2, 1, (K, D_t)),
    )


def test_log_evidence_is_the_mean_log_density_of_the_marginal(rng, C):
    model = some_model(rng)
    got = cp.log_evidence(C, model.A, model.B, model.noise_var)
    for k in range(K):
        marginal = model.A @ model.A.T + model.B[k] @ model.B[k].T + np.diag(model.noise_var)
        x = rng.multivariate_normal(np.zeros(L), C[k], 200_000)
        densities = multivariate_normal(np.zeros(L), marginal).logpdf(x)
        assert got[k] == pytest.approx(densities.mean(), abs=5 * densities.std() / 447)


def test_kl_and_information_against_samples(rng):
    C, S, w = some_covariance(rng, L), rng.normal(size=(2, L)), np.array([0.3, 0.8])
    x = rng.multivariate_normal(np.zeros(L), C, 100_000)
    t = x @ S.T + np.sqrt(w) * rng.normal(size=(len(x), 2))
    log_q = -0.5 * (((t - x @ S.T) ** 2 / w) + np.log(2 * np.pi * w)).sum(1)
    log_p = -0.5 * (t**2 + np.log(2 * np.pi)).sum(1)
    log_marginal = multivariate_normal(np.zeros(2), S @ C @ S.T + np.diag(w)).logpdf(t)
    for got, sampled in [
        (cp.kl(S, w, C), log_q - log_p),
        (cp.aggregate_kl(S, w, C), log_marginal - log_p),
        (cp.information(S, w, C), log_q - log_marginal),
    ]:
        assert got == pytest.approx(sampled.mean(), abs=5 * sampled.std() / np.sqrt(len(x)))


def test_information_does_not_depend_on_the_scale_of_the_code(rng):
    C, S, w = some_covariance(rng, L), rng.normal(size=(2, L)), np.array([0.3, 0.8])
    scale = np.array([3.0, 0.1])
    scaled = cp.information(scale[:, None] * S, scale**2 * w, C)
    assert scaled == pytest.approx(cp.information(S, w, C), rel=1e-12)


def test_terms_are_the_means_over_sampled_data_and_codes(rng, C):
    """Equation 6 with loops over data, codes drawn, as Algorithm 1 has it."""
    model, sizes, n = some_model(rng), np.array([40_000, 60_000, 100_000]), 200_000
    got = cp.objective_terms(C, model, sizes, alpha=1.7)
    drawn = np.zeros(4)
    for k, n_k in enumerate(sizes):
        x = rng.multivariate_normal(np.zeros(L), C[k], n_k)
        z = x @ model.R.T + np.sqrt(model.shared_var) * rng.normal(size=(n_k, D_S))
        t = x @ model.S[k].T + np.sqrt(model.private_var[k]) * rng.normal(size=(n_k, D_T))
        mean = z @ model.A.T + t @ model.B[k].T
        log_p = -0.5 * ((x - mean) ** 2 / model.noise_var + np.log(2 * np.pi * model.noise_var))
        drawn[0] += log_p.sum() / n

        def divergence(weights, variances, x):
            return 0.5 * ((x @ weights.T) ** 2 + variances - 1 - np.log(variances)).sum(1)

        drawn[1] += divergence(model.R, model.shared_var, x).sum() / n
        drawn[3] += divergence(model.S[k], model.private_var[k], x).sum() / n
        for j in range(K):
            if j != k:
                other = rng.multivariate_normal(np.zeros(L), C[j], 100_000)
                cross = divergence(model.S[k], model.private_var[k], other).mean()
                drawn[2] += n_k / n / (K - 1) * cross
    np.testing.assert_allclose(got[:4], drawn, rtol=0.01)
    reconstruction, shared, cross, private, objective, elbo = got
    assert objective == pytest.approx(reconstruction - shared - 1.7 * cross, rel=1e-12)
    assert elbo == pytest.approx(reconstruction - shared - private, rel=1e-12)


def test_elbo_with_the_exact_posterior_is_the_evidence(rng):
    """Orthogonal columns: the posterior factorises, and every head is exact."""
    Q = np.linalg.qr(rng.normal(size=(L, L)))[0]
    A, B = 1.3 * Q[:, :1], np.stack([0.7 * Q[:, 1:3], 1.1 * Q[:, 2:4]])
    noise = np.full(L, 0.4)
    exact = [fa.mean_field(np.hstack([A, b]), noise) for b in B]
    model = cp.Model(
        A,
        B,
        noise,
        R=exact[0][0][:1],
        shared_var=exact[0][1][:1],
        S=np.stack([recognition[1:] for recognition, _ in exact]),
        private_var=np.stack([variance[1:] for _, variance in exact]),
    )
    C = np.stack([some_covariance(rng, L) for _ in range(2)])
    sizes = np.array([3.0, 8.0])
    evidence = cp.log_evidence(C, A, B, noise) @ sizes / sizes.sum()
    assert cp.objective_terms(C, model, sizes).elbo == pytest.approx(evidence, rel=1e-12)


def test_gradient_of_the_objective_against_finite_differences(rng, C):
    model = some_model(rng)

    def objective(free):
        terms = cp.objective_terms(C, cp.unpacked(free, model), np.arange(1.0, K + 1), 2.5)
        return terms.objective

    at = cp.packed(model)
    move = rng.normal(size=len(at))
    numerical = (objective(at + 1e-6 * move) - objective(at - 1e-6 * move)) / 2e-6
    assert autograd.grad(objective)(at) @ move == pytest.approx(numerical, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 6.0])
def test_closed_form_code_is_what_the_optimiser_finds(rng, alpha):
    """Axis 0 is common to both, population k alone has axis k + 1; each latent starts near its."""
    noise, axes = 0.3, np.eye(3)
    C = np.stack([np.diag([2.0, 1.5, 0.4]), np.diag([2.0, 0.4, 1.5])])
    random = some_model(rng, 2, 3, 1, 1, noise)
    start = random._replace(
        A=axes[:, :1] + 0.1 * random.A,
        R=axes[:1] + 0.1 * random.R,
        B=axes[1:, :, None] + 0.1 * random.B,
        S=axes[1:, None, :] + 0.1 * random.S,
    )
    found = cp.maximise(C, start, alpha)
    private, shared = cp.private_code(1.5, 0.4, noise, alpha), cp.private_code(2.0, 2.0, noise)
    left = 0.4 / (2 * noise)  # the direction that only the other population has
    objective = -1.5 * np.log(2 * np.pi * noise) - private.cost - shared.cost - left
    assert cp.objective_terms(C, found, alpha=alpha).objective == pytest.approx(objective, rel=1e-7)
    for k in range(2):
        S, w = found.S[k], found.private_var[k]
        assert cp.information(S, w, C[k]) == pytest.approx(private.own_information, rel=1e-3)
        assert cp.information(S, w, C[1 - k]) == pytest.approx(private.other_information, rel=1e-3)
        assert (S @ C[k] @ S.T).item() + w == pytest.approx(private.own_variance, rel=1e-3)
        assert (S @ C[1 - k] @ S.T).item() + w == pytest.approx(1, rel=1e-3)
        assert (found.B[k] ** 2).sum() == pytest.approx(private.decoder_variance, rel=1e-3)


@pytest.mark.parametrize(
    ("own", "other", "noise", "alpha"),
    [(2.1, 0.1, 0.1, 1.0), (3.0, 1.5, 0.2, 4.0), (1.0, 5.0, 0.02, 20.0), (0.3, 0.2, 0.4, 1.0)],
)
def test_closed_form_code_has_the_smallest_cost(own, other, noise, alpha):
    """Against a search over the two numbers of a scalar encoder, the best decoder inserted."""
    code = cp.private_code(own, other, noise, alpha)
    weight, variance = np.meshgrid(np.geomspace(1e-3, 1e2, 600), np.geomspace(1e-4, 1, 600))
    decoder = weight * own / (weight**2 * own + variance)
    error = own - decoder * weight * own
    cross = 0.5 * (weight**2 * other + variance - 1 - np.log(variance))
    cost = error / (2 * noise) + alpha * cross
    assert cost.min() == pytest.approx(code.cost, rel=2e-3)
    assert code.cost <= cost.min() + 1e-12


def test_the_code_of_the_elbo_is_probabilistic_pca():
    """Other = own, alpha = 1: factor analysis with one direction, evidence and all."""
    own, noise = 2.0, 0.3
    code = cp.private_code(own, own, noise)
    assert code.decoder_variance == pytest.approx(own - noise)
    assert code.own_variance == 1
    log_evidence = -0.5 * (np.log(2 * np.pi * own) + 1)  # of a Gaussian under itself
    assert -code.cost - 0.5 * np.log(2 * np.pi * noise) == pytest.approx(log_evidence)


def test_a_code_that_does_not_pay_is_blind():
    noise, own = 0.1, 1.0
    last = (own / noise) ** 2  # where the others show nothing but noise
    assert cp.private_code(own, noise, noise, 0.99 * last).own_information > 0
    blind = cp.private_code(own, noise, noise, 1.01 * last)
    assert blind.own_information == blind.decoder_variance == 0 and blind.own_variance == 1


def test_maximise_only_climbs_and_keeps_the_noise(rng, C):
    start = some_model(rng)
    found = cp.maximise(C, start, 2.0, mutual_information=0.5, tolerance=1e-6)

    def mixture(model):
        terms = cp.objective_terms(C, model, alpha=2.0)
        return 0.5 * terms.objective + 0.5 * terms.elbo

    assert mixture(found) > mixture(start)
    np.testing.assert_array_equal(found.noise_var, start.noise_var)


def test_packed_andunpacked_are_inverse(rng):
    model = some_model(rng)
    for part, again in zip(model, cp.unpacked(cp.packed(model), model), strict=True):
        np.testing.assert_allclose(again, part, rtol=1e-12)


def test_errors_name_the_argument(rng, C):
    model = some_model(rng)
    with pytest.raises(ValueError, match=r"C must be symmetric"):
        cp.objective_terms(C + np.triu(np.ones((L, L)), 1), model)
    with pytest.raises(ValueError, match=r"B must have shape \(2, 5, any\)"):
        cp.objective_terms(C[:2], model)
    with pytest.raises(ValueError, match="two or more populations"):
        cp.objective_terms(C[:1], some_model(rng, K=1))
    with pytest.raises(ValueError, match=r"sizes must have shape \(3\)"):
        cp.objective_terms(C, model, [1.0, 2.0])
    with pytest.raises(ValueError, match="sizes must be positive"):
        cp.objective_terms(C, model, [1.0, 2.0, 0.0])
    with pytest.raises(ValueError, match="private_var must be positive"):
        cp.objective_terms(C, model._replace(private_var=-model.private_var))
    with pytest.raises(ValueError, match=r"mutual_information must lie in \[0, 1\]; got 2"):
        cp.maximise(C, model, mutual_information=2)
    with pytest.raises(ValueError, match="alpha must be positive"):
        cp.private_code(1.0, 1.0, 0.1, alpha=0)
    with pytest.raises(ValueError, match="other must be a positive finite number"):
        cp.private_code(1.0, 0.0, 0.1)
    with pytest.raises(ValueError, match="covariance must be symmetric"):
        cp.kl(np.ones((1, 2)), [1.0], [[1.0, 0.5], [0.0, 1.0]])

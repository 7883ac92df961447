"""The exact toy of the optimal prior against SciPy's quadrature, samples, and its optimiser."""

import autograd
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from vaelite.toys import optimal_prior as op

WORLD = op.World(
    [0.5, 0.2, 0.3], [[0.7, 0.3], [0.5, 0.5], [0.0, 1.0]], [-1.0, 0.8], [0, 0.6, -1], 0.05
)
MODEL = op.Model(0.9, np.array([0.2, 0.1, -0.5]), 0.12, 0.8, np.array([0.1, 0.3, -0.4]), 0.2)
TWO = op.World([0.5, 0.5], [[0.7, 0.3], [0.5, 0.5]], [-1.0, 1.0], [0.0, 0.6], 0.04)
REACH = (-12, 12)


def integral(function, breaks=()):
    """Adaptive quadrature, told where the bumps are."""
    return quad(function, *REACH, points=breaks or None, limit=400, epsabs=1e-12, epsrel=1e-12)[0]


def data_density(x, k, world=WORLD):
    """p(x | s = k) by SciPy's normal."""
    centres = np.array(world.centres) + world.shifts[k]
    return norm.pdf(np.asarray(x)[..., None], centres, np.sqrt(world.variance)) @ np.array(
        world.frequencies[k]
    )


def code_density(z, k, world=WORLD, model=MODEL):
    """q_k(z): a convolution, one SciPy normal a class."""
    means = model.scale * (np.array(world.centres) + world.shifts[k] - model.offsets[k])
    deviation = np.sqrt(model.scale**2 * world.variance + model.code_var)
    return norm.pdf(np.asarray(z)[..., None], means, deviation) @ np.array(world.frequencies[k])


def aggregate_density(z, world=WORLD, model=MODEL):
    return sum(share * code_density(z, k, world, model) for k, share in enumerate(world.shares))


def kl(p, q):
    def term(z):
        return p(z) * np.log(p(z) / q(z)) if p(z) > 1e-290 else 0.0

    return integral(term, list(np.linspace(-3, 3, 25)))


def test_codes_are_the_encoder_averaged_over_the_data():
    z = 0.3
    for k in range(3):
        encoder = integral(
            lambda x, k=k: (
                data_density(x, k)
                * norm.pdf(z, MODEL.scale * (x - MODEL.offsets[k]), np.sqrt(MODEL.code_var))
            ),
            list(np.linspace(-3, 3, 25)),
        )
        got = op.densities(np.array([z, 1.0]), WORLD, MODEL)
        assert got.shape == (3, 2)
        assert got[k, 0] == pytest.approx(encoder, abs=1e-10)


def test_each_term_of_theorem_one_against_its_definition():
    got = op.terms(WORLD, MODEL)
    of_tasks = [lambda z, k=k: code_density(z, k) for k in range(3)]
    task = sum(s * kl(q, aggregate_density) for s, q in zip(WORLD.shares, of_tasks, strict=True))
    assert got.task_information == pytest.approx(task, abs=1e-8)
    assert got.marginal_kl == pytest.approx(kl(aggregate_density, norm.pdf), abs=1e-8)

    def at_datum(x, k):  # KL(q(z|x,k) || q_k), weighed by the density of the datum
        mean, deviation = MODEL.scale * (x - MODEL.offsets[k]), np.sqrt(MODEL.code_var)
        z = mean + deviation * np.linspace(-9, 9, 721)
        q = norm.pdf(z, mean, deviation)
        log_own = np.log(code_density(z, k))
        own = np.sum(q * (np.log(q) - log_own)) * (z[1] - z[0])
        return data_density(x, k) * own

    x = np.linspace(-3.5, 3, 131)
    data = sum(
        share * np.sum([at_datum(one, k) for one in x]) * (x[1] - x[0])
        for k, share in enumerate(WORLD.shares)
    )
    assert got.data_information == pytest.approx(data, abs=1e-6)
    parts = got.task_information + got.marginal_kl + got.data_information
    assert got.kl == pytest.approx(parts, abs=1e-10)


def test_reconstruction_and_bounds_against_samples():
    rng = np.random.default_rng(3)
    x, task, _ = op.sample(WORLD, 400_000, rng)
    z = MODEL.scale * (x - MODEL.offsets[task])
    z = z + np.sqrt(MODEL.code_var) * rng.standard_normal(len(x))
    found = norm.logpdf(x, MODEL.weight * z + MODEL.biases[task], np.sqrt(MODEL.noise))
    got = op.terms(WORLD, MODEL)
    error = found.std() / np.sqrt(len(x))
    assert abs(got.reconstruction - found.mean()) < 4 * error
    assert got.simple == pytest.approx(got.reconstruction - got.kl)
    assert got.optimal - got.simple == pytest.approx(got.marginal_kl)


@pytest.mark.parametrize("prior", ["simple", "optimal"])
def test_evidence_integrates_the_code_and_lies_above_its_bound(prior):
    z = np.linspace(-8, 8, 801)
    weights = (norm.pdf if prior == "simple" else aggregate_density)(z) * (z[1] - z[0])
    x, task, _ = op.sample(WORLD, 10_000, np.random.default_rng(5))
    decoded = MODEL.weight * z + MODEL.biases[task][:, None]
    logs = np.log(norm.pdf(x[:, None], decoded, np.sqrt(MODEL.noise)) @ weights)
    got = op.log_evidence(WORLD, MODEL, prior)
    assert abs(got - logs.mean()) < 4 * logs.std() / np.sqrt(len(x))
    assert getattr(op.terms(WORLD, MODEL), prior) < got


def test_information_about_the_class_against_samples():
    rng = np.random.default_rng(7)
    x, task, label = op.sample(WORLD, 200_000, rng)
    z = MODEL.scale * (x - MODEL.offsets[task])
    z = z + np.sqrt(MODEL.code_var) * rng.standard_normal(len(x))
    deviation = np.sqrt(MODEL.scale**2 * WORLD.variance + MODEL.code_var)
    joint = np.array(WORLD.shares)[:, None] * np.array(WORLD.frequencies)  # (K, C)
    means = MODEL.scale * (np.array(WORLD.centres) + (WORLD.shifts - MODEL.offsets)[:, None])
    each = joint[..., None] * norm.pdf(z, means[..., None], deviation)  # (K, C, N)
    of_class = each.sum(0) / joint.sum(0)[:, None]
    found = np.log(of_class[label, np.arange(len(z))] / each.sum((0, 1)))
    got = op.class_information(WORLD, MODEL)
    assert abs(got - found.mean()) < 4 * found.std() / np.sqrt(len(z))


def test_labels_information_is_that_of_the_counts():
    rng = np.random.default_rng(8)
    _, task, label = op.sample(WORLD, 300_000, rng)
    counts = np.zeros((3, 2))
    np.add.at(counts, (task, label), 1 / len(task))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = counts * np.log(counts / np.outer(counts.sum(1), counts.sum(0)))
    assert op.labels_information(WORLD) == pytest.approx(np.nansum(terms), abs=0.003)
    assert counts[2, 0] == 0
    same = WORLD._replace(frequencies=[[0.3, 0.7]] * 3)
    assert op.labels_information(same) == pytest.approx(0, abs=1e-12)


def test_samples_have_the_moments_of_the_world():
    x, task, label = op.sample(WORLD, 200_000, np.random.default_rng(9))
    assert np.bincount(task) / len(x) == pytest.approx(WORLD.shares, abs=0.005)
    for k, mean in enumerate(op.task_means(WORLD)):
        assert x[task == k].mean() == pytest.approx(mean, abs=0.02)
    inside = x[(task == 1) & (label == 0)]
    assert inside.mean() == pytest.approx(-1.0 + 0.6, abs=0.01)
    assert inside.var() == pytest.approx(0.05, rel=0.03)


def test_the_fitted_decoder_and_scale_are_best_for_their_offsets_and_blur():
    offsets, blur, noise = np.array([0.1, -0.4, 0.3]), 0.1, 0.2
    model = op.fitted(WORLD, offsets, blur, noise)
    np.testing.assert_allclose(np.diff(model.offsets), np.diff(offsets))
    assert model.code_var / model.scale**2 == pytest.approx(blur)

    def bound(scale, mean, weight, biases):
        moved = model._replace(
            scale=scale,
            offsets=model.offsets - mean,
            code_var=blur * scale**2,
            weight=weight,
            biases=biases,
        )
        return op.terms(WORLD, moved).simple

    gradients = [
        autograd.grad(bound, argnum=i)(model.scale, 0.0, model.weight, model.biases)
        for i in range(4)
    ]
    assert np.abs(np.hstack(gradients)).max() < 1e-7


def test_the_simple_prior_matches_the_means_and_has_a_closed_form():
    """With a free bias in encoder and decoder the loss is a linear one in disguise."""
    start = op.fitted(TWO, [0.0, 0.0], 0.3, 0.1)
    best = op.maximise(TWO, start, "simple")
    within = 0.5 * (0.84 + 1.0) + 0.04  # variance within a task: four f (1 - f), and the spread
    np.testing.assert_allclose(best.offsets, op.task_means(TWO), atol=1e-4)
    assert best.code_var / best.scale**2 == pytest.approx(0.1 * within / (within - 0.1), rel=1e-4)
    reached = op.terms(TWO, best).simple
    tau = 0.1 * within / (within - 0.1)
    wanted = -0.5 * (
        np.log(2 * np.pi * 0.1) + within * tau / (within + tau) / 0.1 + np.log(1 + within / tau)
    )
    assert reached == pytest.approx(wanted, abs=1e-9)
    assert reached == pytest.approx(op.log_evidence(TWO, best, "simple"), abs=1e-8)


def test_the_optimal_prior_is_blind_to_a_common_map_of_the_codes():
    moved = MODEL._replace(
        scale=3 * MODEL.scale,
        offsets=MODEL.offsets + 0.7,
        code_var=9 * MODEL.code_var,
        weight=MODEL.weight / 3,
        biases=MODEL.biases + MODEL.weight * MODEL.scale * 0.7,
    )
    one, other = op.terms(WORLD, MODEL), op.terms(WORLD, moved)
    assert one.optimal == pytest.approx(other.optimal, abs=1e-10)
    assert abs(one.simple - other.simple) > 1


def test_the_climb_on_the_optimal_prior_ends_where_the_gradient_vanishes():
    best = op.maximise(TWO, op.fitted(TWO, op.task_means(TWO), 0.1, 0.1), "optimal")
    value = op.terms(TWO, best).optimal
    rng = np.random.default_rng(1)
    for _ in range(20):
        step = 0.01 * rng.standard_normal(6)
        near = op.Model(
            best.scale * np.exp(step[0]),
            best.offsets + step[1] * np.eye(2)[0],
            best.code_var * np.exp(step[2]),
            best.weight + step[3],
            best.biases + step[4:],
            best.noise,
        )
        assert op.terms(TWO, near).optimal < value
    assert value < op.log_evidence(TWO, best, "optimal")


def test_terms_can_be_differentiated():
    def bound(b):
        return op.terms(WORLD, MODEL._replace(offsets=b)).optimal

    slope = autograd.grad(bound)(MODEL.offsets)
    for i in range(3):
        step = 1e-5 * np.eye(3)[i]
        finite = (bound(MODEL.offsets + step) - bound(MODEL.offsets - step)) / 2e-5
        assert slope[i] == pytest.approx(finite, abs=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": [0.5, 0.2, 0.2]}, "shares must hold no negative number and sum to one"),
        ({"frequencies": [[0.7, 0.3], [0.5, 0.4], [0, 1]]}, "each row of frequencies must"),
        ({"frequencies": [[0.7, 0.3], [1.5, -0.5], [0, 1]]}, "each row of frequencies must"),
        ({"shifts": [0.0, 0.6]}, r"shifts must have shape \(3\)"),
        ({"variance": 0.0}, "variance must be a positive finite number"),
        ({"centres": [0.0, np.nan]}, "centres must be finite"),
    ],
)
def test_a_world_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        op.terms(WORLD._replace(**change), MODEL)


def test_a_model_or_a_prior_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="offsets for 2 tasks; the world has 3"):
        op.terms(WORLD, MODEL._replace(offsets=[0, 0.1], biases=[0, 0.1]))
    with pytest.raises(ValueError, match="prior must be 'simple' or 'optimal'; got 'best'"):
        op.log_evidence(WORLD, MODEL, "best")
    with pytest.raises(ValueError, match="prior must be 'simple' or 'optimal'; got None"):
        op.maximise(WORLD, MODEL, None)
    with pytest.raises(ValueError, match="offsets must have 3 values"):
        op.fitted(WORLD, [0.0, 1.0], 0.1, 0.1)
    with pytest.raises(ValueError, match="blur must be a positive"):
        op.fitted(WORLD, [0.0, 1.0, 2.0], -0.1, 0.1)

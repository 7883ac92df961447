"""Figures of chapters 03 to 06: what is drawn is what was computed."""

import numpy as np
import pytest

from vaelite.book import bias_figures, disentangle_figures, isa_figures, lp_nested_figures
from vaelite.toys import factor_analysis as fa

NOISE = np.array([0.5, 0.8])
W = np.array([[1.2, 0.4], [0.3, 0.9]])


def test_contours_are_two_deviations_of_posterior_and_mean_field():
    posterior, mean_field = bias_figures.contours(W, NOISE, beta=2.0)
    P = fa.posterior_precision(W, NOISE, 2.0)
    around = np.stack([posterior.x, posterior.y])
    np.testing.assert_allclose(np.einsum("in,ij,jn->n", around, P, around), 4)
    np.testing.assert_allclose(mean_field.x**2 * P[0, 0] + mean_field.y**2 * P[1, 1], 4)


def test_a_climb_is_drawn_up_to_its_step():
    lengths = np.array([[1.0, 0.5, 0.2], [0.9, 0.6, np.nan]])
    scene, path = bias_figures.climb_panels(np.zeros((4, 2)), W, W, [0, 9], lengths)
    np.testing.assert_allclose(path.curves[1].y, lengths[:, 1])
    np.testing.assert_allclose(path.curves[0].x, [0, 1])
    assert "2 components" in scene.text


def test_two_metrics_differ_by_the_noise():
    figure = bias_figures.two_metrics(W, NOISE)
    raw, scaled = (ax.lines[0].get_xydata()[1] for ax in figure.axes)
    np.testing.assert_allclose(raw, W[:, 0])
    np.testing.assert_allclose(scaled, W[:, 0] / np.sqrt(NOISE))


def test_the_telescope_adds_up():
    covariance = np.array([[1.1, 0.7], [0.7, 0.9]])
    z, mean, variance = np.array([0.3, -1.2]), np.array([0.5, -0.4]), 0.2
    _, stairs = disentangle_figures.telescope(z, mean, variance, covariance)
    steps = [float(part.split()[-1]) for part in stairs.text.replace("−", "-").split(", ")]
    log_q = -0.5 * (2 * np.log(2 * np.pi * variance) + ((z - mean) ** 2).sum() / variance)
    log_p = -0.5 * (2 * np.log(2 * np.pi) + (z**2).sum())
    assert sum(steps) == pytest.approx(log_q - log_p, abs=0.02)
    marginal = -0.5 * (np.log(2 * np.pi * 1.1) + 0.3**2 / 1.1)
    marginal += -0.5 * (np.log(2 * np.pi * 0.9) + 1.2**2 / 0.9)
    assert steps[2] == pytest.approx(marginal - log_p, abs=0.02)


@pytest.mark.parametrize(("p", "area"), [(1.0, 2.0), (2.0, np.pi)])
def test_a_shell_has_the_volume_between_its_ends(p, area):
    rings, volume = lp_nested_figures.shell(p, 0.8, width=0.1)
    inside, outside = volume.points[0].y
    assert inside == pytest.approx(area * 0.8**2, rel=1e-3)
    assert outside == pytest.approx(area * 0.9**2, rel=1e-3)
    ring = np.abs(np.stack([rings.curves[0].x, rings.curves[0].y]))
    np.testing.assert_allclose((ring**p).sum(0) ** (1 / p), 0.8)


def test_a_level_set_is_drawn_where_the_norm_is_one():
    ball = lp_nested_figures.surface(lambda z: np.linalg.norm(z, axis=-1), size=81)
    share = (ball < 255).mean()  # of a window 3.4 wide
    assert share == pytest.approx(np.pi / 3.4**2, rel=0.05)


def test_estimators_have_the_variances_of_the_chapter():
    rng, P, v, x = np.random.default_rng(0), 3.0, 0.2, 0.7
    (panel,) = isa_figures.noise_of_estimators(P, v)
    shown = dict(part.rsplit(" ", 1) for part in panel.text.split(", "))
    mean = (P - 1) * x / P
    epsilon = rng.standard_normal(400_000)
    z = mean + np.sqrt(v) * epsilon
    slope = (x - z) * (P - 1)
    measured = {
        "sampled": np.var(slope - z),
        "closed": np.var(slope - mean),
        "no score": np.var(slope - z + epsilon / np.sqrt(v)),
    }
    for name, variance in measured.items():
        assert float(shown[name]) == pytest.approx(variance, rel=0.02, abs=0.006)


def test_an_interval_is_shown_for_each_number_of_pairs_so_far():
    intervals = np.array([[-0.4, 0.5], [-0.3, 0.3], [-0.1, 0.2]])
    panel = isa_figures.seeds_and_intervals(intervals, 4, 0.06)
    np.testing.assert_allclose(panel.curves[0].y, [-0.4, -0.3, np.nan])
    np.testing.assert_allclose(panel.points[0].y, [-0.3, 0.3])
    assert "4 pairs" in panel.text

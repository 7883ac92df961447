"""Figures of chapters 03 to 10: what is drawn is what was computed."""

import numpy as np
import pytest
import torch
from scipy import special
from torch.distributions import kl_divergence

from vaelite.book import (
    bias_figures,
    cross_population_figures,
    disentangle_figures,
    isa_figures,
    lp_nested_figures,
)
from vaelite.book import cross_population_application_figures as applications
from vaelite.book import factorial_mixture_figures as mixtures
from vaelite.book import optimal_prior_figures as priors
from vaelite.distributions import NormalGamma
from vaelite.factorial_mixture import FactorialMixture
from vaelite.toys import factor_analysis as fa
from vaelite.toys import optimal_prior as laboratories

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


def test_the_gap_of_a_factor_is_written_beside_its_row():
    tables = {"by hand": np.array([[1, 0.311], [0, 0.311]]), "turned": np.full((2, 2), 0.5)}
    figure = disentangle_figures.informations(tables)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["1.00", "0.31", "0.00", "0.31", "0.69", "0.31"]


def test_shares_are_drawn_in_per_cent():
    outcomes = {"one left": {"low": (0.2, 0.1, 0.4)}, "none": {"low": (0.8, 0.6, 0.9)}}
    lines = bias_figures.shares(outcomes).axes[0].lines
    np.testing.assert_allclose(lines[2].get_xdata(), [60, 90])
    assert lines[3].get_xdata() == pytest.approx([80])


def test_the_product_of_marginals_fills_the_corners(monkeypatch):
    drawn = []
    contourf = disentangle_figures.figures.plt.Axes.contourf

    def spy(axes, x, y, density, **options):
        drawn.append(density)
        return contourf(axes, x, y, density, **options)

    monkeypatch.setattr(disentangle_figures.figures.plt.Axes, "contourf", spy)
    disentangle_figures.order_of_averages(np.array([[-1.0, -1.2], [1.0, 0.8]]), 0.3)
    joint, product = drawn
    corner = np.argmin(abs(np.linspace(-2.6, 2.6, 121) + 1.0))
    opposite = np.argmin(abs(np.linspace(-2.6, 2.6, 121) - 0.8))
    assert joint[opposite, corner] < 1e-6 * joint.max()  # z1 = -1, z2 = 0.8: no datum there
    assert product[opposite, corner] == pytest.approx(joint.max() / 2, rel=0.05)


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


def test_pictures_of_a_row_lie_side_by_side_between_black_and_white():
    images = np.stack([np.full((2, 3), value) for value in (-0.5, 0.25, 1.5)])
    figure = applications.pictures({"first": images, "second": images[:, :, :1]})
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.shape == (2, 11)
    np.testing.assert_allclose(drawn[0, [0, 4, 8]], [0, 0.25, 1])
    assert figure.axes[1].get_ylabel() == "second"


def test_a_strip_has_white_between_pictures_grey_or_coloured():
    grey = applications.strip(np.full((2, 3), 2.0), np.full((2, 3), 0.5))
    np.testing.assert_allclose(grey[0], [1, 1, 1, 1, 0.5, 0.5, 0.5])
    assert applications.strip(np.zeros((2, 3, 3)), np.zeros((2, 3, 3))).shape == (2, 7, 3)


def test_shares_are_marked_where_the_training_is():
    lines = {"digit": [0.3, 0.2, 0.1], "grass": [-0.1, 0.4, 0.2]}
    panel = applications.shares(["none", "1", "3"], lines, 1)
    np.testing.assert_allclose([curve.y for curve in panel.curves], list(lines.values()))
    assert [point.y.item() for point in panel.points] == [0.2, 0.4]
    assert panel.text == "digit 0.20, grass 0.40"


def test_clusters_are_drawn_class_by_class():
    points = np.arange(12.0).reshape(6, 2)
    figure = applications.clusters({"left": (points, np.array([0, 1, 0, 2, 1, 0]))})
    first, second, third = (line.get_xydata() for line in figure.axes[0].lines)
    np.testing.assert_allclose(first, points[[0, 2, 5]])
    np.testing.assert_allclose(second, points[[1, 4]])
    np.testing.assert_allclose(third, points[[3]])


def test_the_largest_weights_add_up_and_the_effective_number_is_theirs():
    weights = np.array([1.0, 4, 2, 1, *np.full(8, 0.25), 100])
    panel = applications.importance(np.log(weights) + 800, 12)
    np.testing.assert_allclose(panel.bars.y, np.cumsum([4, 2, 1, 1, *np.full(6, 0.25)]) / 10)
    assert panel.text == f"{10**2 / (16 + 4 + 1 + 1 + 0.5):.1f} effective of 12"


def test_the_schedule_and_both_divergences_are_drawn():
    steps, own, cross = np.arange(3), np.array([1.0, 2, 3]), np.array([0.5, 0.4, 0.3])
    figure = applications.annealing(np.array([1, 1.1, 1.21]), {"annealed": (steps, own, cross)})
    above, below = figure.axes
    np.testing.assert_allclose(above.lines[0].get_ydata(), [1, 1.1, 1.21])
    np.testing.assert_allclose([line.get_ydata() for line in below.lines], [own, cross])


def test_a_task_s_errors_are_drawn_from_the_phase_that_taught_it():
    errors = np.arange(20.0).reshape(4, 5)
    figure = applications.errors_by_phase({"VAE": errors})
    daisy, iris, pansy = (figure.axes[0].lines[task].get_xydata() for task in (1, 2, 4))
    np.testing.assert_allclose(daisy, [[1, 1], [2, 6], [3, 11], [4, 16]])
    np.testing.assert_allclose(iris, [[2, 7], [3, 12], [4, 17]])
    np.testing.assert_allclose(pansy, [[4, 19]])


def test_flowers_that_were_not_taught_yet_stay_white():
    originals, again = np.zeros((5, 2, 2, 3)), np.full((5, 2, 2, 3), 0.5)
    image, bars = applications.learned_so_far(originals, again, [1, 2, 3, 4, 5], 2, 5.0)
    assert image.image.shape == (5, 14, 3)
    shown = image.image[3, [0, 3, 6, 9, 12], 0]
    np.testing.assert_allclose(shown / shown.max(), [0.5, 0.5, 0.5, 1, 1], atol=0.01)
    np.testing.assert_allclose(bars.bars.y, [1, 2, 3, 0, 0])


WORLD = laboratories.World([0.5, 0.5], [[0.7, 0.3], [0.2, 0.8]], [-1.0, 1.0], [0.0, 0.6], 0.04)


@pytest.mark.parametrize("gap", [0.0, 0.6, 2.5])
def test_two_tasks_on_a_line_are_those_of_the_exact_toy(gap):
    line = priors.two_tasks(WORLD, 0.1, gap)
    model = laboratories.fitted(WORLD, [0.0, gap], 0.1, 0.1)
    np.testing.assert_allclose(
        line.tasks, laboratories.densities(priors.GRID, WORLD, model), atol=1e-12
    )
    exact = laboratories.terms(WORLD, model)
    for name in ("task_information", "marginal_kl", "data_information"):
        assert getattr(line, name) == pytest.approx(getattr(exact, name), abs=1e-3)
    other = priors.two_tasks(WORLD, 0.1, gap, share=0.5)
    there = priors.with_share(WORLD, 0.5)
    assert other.task_information == pytest.approx(
        laboratories.terms(there, laboratories.fitted(there, [0.0, gap], 0.1, 0.1))[1], abs=1e-3
    )


@pytest.mark.parametrize("optimal", [0, 1])
def test_the_stack_is_as_high_as_what_is_paid(optimal):
    line = priors.two_tasks(WORLD, 0.1, 0.2)
    panel = priors.stack_panel(line, optimal, top=2.0)
    column = panel.image[:, 0]
    blue = (column == column[-1]).all(-1).sum() / len(column) * 2.0
    assert blue == pytest.approx(line.data_information, abs=0.02)
    total = line.data_information + line.task_information + line.marginal_kl
    inked = (column != column[0]).any(-1).sum() / len(column) * 2.0
    assert inked == pytest.approx(total, abs=0.02)
    paid = total - optimal * line.marginal_kl
    assert panel.curves[0].y[0] == pytest.approx(paid)
    assert panel.text.endswith(f"= {paid:.3f}")


def test_a_ratio_is_shown_with_what_it_reports():
    z, reports = np.linspace(-1, 1, 5), {"fresh": np.array([0.1, 0.4]), "own": np.array([0.2, 9])}
    left, right = priors.ratio_panels(z, z, 2 * z, reports, 1, np.array([0.3, 0.3]), "step 5")
    np.testing.assert_allclose(left.curves[1].y, 2 * z)
    assert right.text == "step 5: fresh 0.40, own 9.00"
    assert right.points[0].y == pytest.approx(0.4)


def test_a_page_repeats_the_sweeps_of_the_mixture():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(30, 2)) * [1.0, 0.6] + rng.integers(-1, 2, size=(30, 1))
    centres = np.array([[-1.5, 0.3], [0.2, 0.9], [1.4, -0.6], [0.1, -1.2]])
    found = mixtures.mixture_sweeps(x, centres, [0, 3], (0.0, 1.0, 0.01, 0.01, 1.0))
    codes = torch.tensor(x)
    gamma = (-0.5 * torch.cdist(codes, torch.tensor(centres)) ** 2).softmax(-1)
    prior = FactorialMixture([4], 2).double()
    for sweep in range(4):
        if sweep in (0, 3):
            n, m, log_var = found[sweep // 3]
            np.testing.assert_allclose(n, gamma.sum(0), atol=1e-4)
        prior.natural_step(codes, torch.zeros_like(codes), [gamma], len(codes), 1.0)
        if sweep in (0, 3):
            np.testing.assert_allclose(m, prior.m[0], atol=1e-4)
            np.testing.assert_allclose(log_var, (prior.b[0] / prior.a[0]).log(), atol=1e-3)
        [gamma] = prior.responsibilities(codes, torch.zeros_like(codes))


def test_digamma_by_arithmetic():
    x = np.array([0.01, 0.3, 1.0, 2.5, 60.0])
    np.testing.assert_allclose(mixtures.digamma(x), special.digamma(x), rtol=1e-6)


def test_natural_steps_leave_a_share_and_small_plain_steps_descend():
    start, best = (
        NormalGamma(*torch.tensor(values, dtype=torch.double))
        for values in ([-1.0, 1.0, 2.0, 1.5], [0.7, 9.0, 5.0, 3.0])
    )
    natural = mixtures.natural_path(start, best, 0.25, 12)
    after = NormalGamma.from_natural_parameters(
        0.75**12 * start.natural_parameters() + (1 - 0.75**12) * best.natural_parameters()
    )
    np.testing.assert_allclose(natural[-1, :2], [after.m, after.a / after.b])
    assert natural[0, 2] == pytest.approx(float(kl_divergence(start, best)))
    plain = mixtures.plain_path(start, best, 1e-3, 12)
    assert (np.diff(plain[:, 2]) < 0).all()
    assert np.isnan(mixtures.plain_path(start, best, 30.0, 12)[-1]).all()


def test_what_a_code_pays_is_drawn_as_it_is():
    prior = FactorialMixture([3], 2).double()
    codes = torch.tensor([[-2.0, 0.0], [-1.8, 0.3], [2.0, 0.1], [0.0, -2.0]]).double()
    groups = torch.eye(3).double()[[0, 0, 1, 2]]
    prior.natural_step(codes, torch.full_like(codes, 0.1), [groups], 400, 1.0)
    some = {"A": ((-1.9, 0.2), (-2.0, -1.0)), "B": ((0.3, -1.7), (-1.0, -2.0))}
    fig = mixtures.which_and_where(prior, some)
    bars = fig.axes[1].patches
    for (mean, log_var), where, which in zip(some.values(), bars[::2], bars[1::2], strict=True):
        mean, log_var = torch.tensor([mean]).double(), torch.tensor([log_var]).double()
        gamma = prior.responsibilities(mean, log_var.exp())
        kl_z, kl_r = prior.kl_z(mean, log_var, gamma), prior.kl_r(gamma)
        assert where.get_width() == pytest.approx(float(kl_z)) and where.get_x() == 0
        assert which.get_width() == pytest.approx(float(kl_r))
        assert which.get_x() == pytest.approx(float(kl_z))


def test_blocks_stand_where_their_names_say():
    pictures = np.zeros((2, 4, 3, 2, 5, 5))
    pictures[1, 2] = 1
    fig = mixtures.blocks(pictures, list("abcd"), ["up", "down"])
    (white,) = [ax for ax in fig.axes if ax.images[0].get_array().min() > 0.9]
    assert white is fig.axes[6]
    assert [ax.get_title() for ax in fig.axes[:4]] == list("abcd")
    assert fig.axes[4].get_ylabel() == "down"


@pytest.mark.parametrize(("power", "independent"), [(2.1, True), (1.0, False), (3.0, False)])
def test_a_radius_says_nothing_of_another_at_the_outer_exponent_alone(power, independent):
    panel = lp_nested_figures.radius_given_another(2.1, power, size=3)
    first, *others = (np.asarray(curve.y) for curve in panel.curves)
    assert all(np.allclose(first, other, atol=1e-6) == independent for other in others)
    if independent:  # the closed form: r^p0 is a Gamma variable
        r = np.asarray(panel.curves[0].x)
        density = 2.1 * r**2 * np.exp(-(r**2.1)) / special.gamma(3 / 2.1)
        np.testing.assert_allclose(first, density, atol=2e-3)


def test_two_waves_of_a_pack_are_as_strong_and_at_a_right_angle():
    even, odd = lp_nested_figures.quadrature_pair()
    assert abs((even * odd).sum()) < 1e-9
    np.testing.assert_allclose((odd**2).sum(), (even**2).sum(), rtol=0.05)


def test_counts_are_judged_by_their_farthest_cell():
    counts = np.array([100, 100, 140, 95])
    _, panel = lp_nested_figures.samples_and_counts(np.zeros((5, 2)), counts, 100.0)
    assert "4.0 deviations" in panel.text
    np.testing.assert_allclose(panel.curves[0].y, 60)
    np.testing.assert_allclose(panel.curves[2].y, 140)


def test_a_table_of_heads_has_colour_where_it_has_text():
    figure = cross_population_figures.matrices({"a": [["1", ""], ["", "1"]]}, "head")
    filled = [patch.get_facecolor()[3] > 0 for patch in figure.axes[0].patches]
    assert filled == [True, False, False, True]

"""Comparisons on made-up results whose differences are known."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from vaelite import claims
from vaelite.book import figures
from vaelite.experiments import comparison, isa
from vaelite.experiments.comparison import Estimate, at, difference
from vaelite.experiments.statistics import bootstrap_interval

METHODS = {"vae": "VAE", "new": "New", "absent": "Absent", "factor-vae": "FactorVAE"}
BASE = [0.10, 0.30, 0.20, 0.40]  # MIG of "vae" at beta 1, seed by seed
GAIN = [0.05, 0.01, 0.03, 0.07]


def entry(trial, mig, reconstruction=-8.0):
    return {"trial": trial, "result": {"mig": mig, "reconstruction": reconstruction}}


@pytest.fixture
def results():
    """Seeds of "new" in reverse, one of them without a partner; beta 4 comes before beta 2."""
    trials = [entry(at("vae", 1.0) | {"seed": k}, mig, -8.0 - k) for k, mig in enumerate(BASE)]
    trials += [entry(at("new", 1.0) | {"seed": 9}, 0.99)]
    trials += [
        entry(at("new", 1.0) | {"seed": k}, BASE[k] + GAIN[k], -8.5 - k) for k in (3, 2, 1, 0)
    ]
    trials += [
        entry(at("vae", b) | {"seed": k}, b / 10 + k, -b) for b in (4.0, 2.0) for k in (0, 1)
    ]
    trials += [entry(at("new", 4.0) | {"seed": 0}, 0.5)]  # one seed has no interval
    trials += [
        entry({"method": "factor-vae", "gamma": 6.0, "seed": k}, 0.3 + k, -20.0 - k) for k in (0, 1)
    ]
    return {
        "experiment": "made_up",
        "trials": trials,
        "seconds": 90.0 * 60,
        "hardware": [{"cpu": "Abacus", "cores": 3}],
    }


@pytest.fixture
def axes():
    _, ax = plt.subplots()
    yield ax
    plt.close("all")


def test_values_come_in_the_order_of_the_run_and_are_empty_where_nothing_was_run(results):
    np.testing.assert_allclose(comparison.values(results, at("vae", 1.0)), BASE)
    np.testing.assert_allclose(
        comparison.values(results, at("vae", 1.0), "reconstruction"), [-8, -9, -10, -11]
    )
    assert comparison.values(results, at("vae", 3.0)).shape == (0,)
    assert comparison.values(None, at("vae", 1.0)).shape == (0,)
    with pytest.raises(ValueError, match="did not measure"):
        comparison.values(results, at("vae", 1.0), "mgi")


def test_difference_pairs_the_seeds(results):
    found = difference(results, at("new", 1.0), at("vae", 1.0))
    np.testing.assert_allclose(found.values, GAIN)
    assert found.mean == pytest.approx(0.04)
    assert found.deviation == pytest.approx(np.std(GAIN, ddof=1))
    assert found.interval == pytest.approx(bootstrap_interval(found.values))
    assert not found.missing
    back = difference(results, at("vae", 1.0), at("new", 1.0))
    np.testing.assert_allclose(back.values, -found.values)
    assert (found.verdict, back.verdict) == (claims.HOLDS, claims.DOES_NOT_HOLD)
    worse = difference(results, at("new", 1.0), at("vae", 1.0), "reconstruction")
    np.testing.assert_allclose(worse.values, -0.5)


def test_difference_without_runs_is_missing_and_without_common_seeds_an_error(results):
    for given, second in ((None, at("vae", 1.0)), (results, at("absent", 1.0))):
        found = difference(given, at("new", 1.0), second)
        assert found.missing
        assert np.isnan([found.mean, *found.interval]).all()
        assert found.text() == found.verdict == "not run yet"
    results["trials"].append(entry(at("other", 1.0) | {"seed": 77}, 0.1))
    with pytest.raises(ValueError, match="no seed in common"):
        difference(results, at("other", 1.0), at("vae", 1.0))


def test_text_of_an_estimate():
    assert Estimate(np.full(3, 0.25)).text() == "+0.250 [+0.250, +0.250], 3 pairs"
    assert Estimate(np.full(12, -1.236)).text(2) == "-1.24 [-1.24, -1.24], 12 pairs"


def test_difference_rows_go_through_all_rivals_before_the_next_beta(results):
    rivals = [("a", "new", "vae"), ("b", "vae", "vae")]
    rows = comparison.difference_rows(results, rivals, (1.0, 2.0))
    assert [row[0] for row in rows] == ["a, β = 1", "b, β = 1", "a, β = 2", "b, β = 2"]
    assert rows[0][1].startswith("+0.040 [")
    assert rows[0][2] == "-0.50 [-0.50, -0.50], 4 pairs"
    assert rows[2][1:] == ["not run yet"] * 2
    assert rows[3][1:] == ["+0.000 [+0.000, +0.000], 2 pairs", "+0.00 [+0.00, +0.00], 2 pairs"]


def test_summaries(results):
    np.testing.assert_allclose(isa.upper_half(np.array([5.0, 1, 4, 2, 3])), [3, 4, 5])
    np.testing.assert_allclose(isa.upper_half(np.array([5.0, 1, 4, 2])), [4, 5])
    runs = comparison.values(results, at("vae", 1.0))
    assert comparison.summary(runs, (np.mean, np.max), digits=2) == ["0.25", "0.40"]
    assert comparison.summary(np.array([]), (np.mean, np.max)) == ["not run yet"] * 2


def test_representative_text(results):
    # Both runs of the upper half are equally far from their mean; the first, by MIG, is taken.
    assert isa.representative_text(results, at("vae", 1.0)) == "0.30, -9.00 (of 4)"
    assert isa.representative_text(results, at("vae", 3.0)) == "not run yet"
    assert isa.representative_text(None, at("vae", 1.0)) == "not run yet"


def test_provenance(results):
    models = f"{len(results['trials'])} models"
    assert comparison.provenance(results) == [models, "90 min", "Abacus, 3 cores"]
    results["hardware"] = [{"cpu": "Abacus", "cores": 3, "gpu": "Loom"}]
    assert comparison.provenance(results)[2] == "Loom, 3 cores"
    assert comparison.provenance(None) == ["not run yet", "", ""]


def test_a_family_decides_by_the_interval_and_counts_every_claim(results, capsys):
    gain = difference(results, at("new", 1.0), at("vae", 1.0))
    family = comparison.ClaimFamily()
    family.decide("isa.5", gain)
    with pytest.raises(claims.ClaimError, match=r"isa\.6"):
        family.decide("isa.6", Estimate(-gain.values), expect=claims.HOLDS)
    family.decide("isa.6", Estimate(-gain.values), expect=claims.DOES_NOT_HOLD)
    family.decide("isa.7", difference(None, at("new", 1.0), at("vae", 1.0)))
    shown = capsys.readouterr().out
    assert "[isa.5] holds" in shown
    assert "[isa.6] does not hold" in shown
    assert list(family.estimates) == ["isa.5", "isa.6", "isa.7"]
    rows = family.bonferroni()
    half = stats.t.ppf(1 - 0.05 / 3 / 2, df=3) * gain.deviation / 2
    assert rows == [
        ["isa.5", f"[{0.04 - half:+.3f}, {0.04 + half:+.3f}]", "no"],
        ["isa.6", f"[{-0.04 - half:+.3f}, {-0.04 + half:+.3f}]", "no"],
        ["isa.7", "not run yet", ""],
    ]
    assert family.bonferroni(error=0.3)[0][2] == "yes"  # 90 % each


@pytest.mark.parametrize("vertical", [False, True])
def test_interval_dots_draw_each_run_its_mean_and_its_interval(axes, vertical):
    rows = {"first": np.array(BASE), "none": np.array([]), "third": np.array(GAIN)}
    comparison.interval_dots(axes, rows, vertical=vertical)
    assert len(axes.lines) == 6
    assert [text.get_text() for text in axes.texts] == ["not run yet"]
    for place, runs, lines in ((0, BASE, axes.lines[:3]), (2, GAIN, axes.lines[3:])):
        along, across = zip(
            *(line.get_data()[:: -1 if vertical else 1] for line in lines), strict=True
        )
        np.testing.assert_allclose(along[0], runs)
        np.testing.assert_allclose(along[1], bootstrap_interval(runs))
        np.testing.assert_allclose(along[2], [np.mean(runs)])
        assert np.abs(across[0] - place).max() < 0.5
        np.testing.assert_allclose(np.concatenate(across[1:]), place)
    axis = axes.xaxis if vertical else axes.yaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == list(rows)


def test_trade_off_draws_a_point_for_each_setting_with_two_seeds(axes, results):
    # Three of "vae", one of "new" (beta 4 has one seed), one of FactorVAE.
    assert comparison.trade_off(axes, results, METHODS) == 5
    lines = {drawn.get_label(): drawn.lines[0] for drawn in axes.containers}
    assert list(lines) == ["VAE", "New", "FactorVAE"]
    np.testing.assert_allclose(lines["VAE"].get_xdata(), [-9.5, -2, -4])
    np.testing.assert_allclose(lines["VAE"].get_ydata(), [0.25, 0.7, 0.9])
    np.testing.assert_allclose(lines["FactorVAE"].get_xdata(), [-20.5])
    labels = [text.get_text() for text in axes.texts]
    assert labels == ["β = 1", "β = 2", "β = 4"]
    low, high = axes.containers[0].lines[2][1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx(bootstrap_interval(BASE))
    # The fourth method keeps the fourth colour, though the third has no runs.
    assert lines["FactorVAE"].get_color() == figures.PINK


def test_trade_off_without_results_says_so(axes):
    assert comparison.trade_off(axes, None, METHODS) == 0
    assert [text.get_text() for text in axes.texts] == ["not run yet"]


def test_histograms_count_each_column(axes):
    columns = {"a": np.array([0.1, 0.2, 1.5]), "b": np.array([1.1, 1.2, 2.4])}
    comparison.histograms(axes, columns, np.array([0.0, 1.0, 2.0, 3.0]))
    heights = {
        text.get_text(): patch.get_xy()[:, 1].max()
        for text, patch in zip(axes.get_legend().get_texts(), axes.patches, strict=True)
    }
    assert heights == {"a": 2, "b": 2}

import numpy as np
import pytest
from scipy import stats

from vaelite.experiments.statistics import bootstrap_interval, mean_interval, proportion_interval


def test_bootstrap_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(300, 25))
    covered = [
        low < 1.0 < high
        for low, high in (bootstrap_interval(sample, resamples=499) for sample in samples)
    ]
    # BCa on 25 skewed values covers somewhat less than its 95 %; the standard error is 0.015.
    assert 0.87 < np.mean(covered) < 0.98


def test_bootstrap_of_a_mean_agrees_with_student():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    expected = stats.t.interval(0.9, 199, values.mean(), stats.sem(values))
    assert np.allclose(bootstrap_interval(values, level=0.9), expected, atol=0.04)


def test_bootstrap_is_reproducible_and_depends_on_its_seed():
    values = np.random.default_rng(2).normal(size=17)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_bootstrap_of_another_statistic():
    values = np.r_[np.random.default_rng(3).normal(size=50), 1e6]
    low, high = bootstrap_interval(values, np.median)
    assert -1 < low <= np.median(values) <= high < 1


def test_bootstrap_of_constant_and_nearly_constant_values():
    assert bootstrap_interval([2.5] * 7) == (2.5, 2.5)
    low, high = bootstrap_interval([1.0] * 9 + [2.0])
    assert 1.0 <= low <= 1.1 <= high <= 2.0
    assert all(np.isfinite(bootstrap_interval([0.0, 1.0])))


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]], [1.0, np.nan], [1.0, np.inf]])
def test_bootstrap_refuses(values):
    with pytest.raises(ValueError, match="values must be"):
        bootstrap_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_level_must_be_a_probability(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        bootstrap_interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        proportion_interval(1, 2, level=level)


@pytest.mark.parametrize(("successes", "trials"), [(0, 9), (9, 9), (3, 11)])
def test_proportion_interval_against_the_binomial_distribution(successes, trials):
    low, high = proportion_interval(successes, trials)
    # At the ends, what was seen or something more extreme has probability 2.5 %.
    if successes > 0:
        assert np.isclose(stats.binom.sf(successes - 1, trials, low), 0.025)
    else:
        assert low == 0.0
    if successes < trials:
        assert np.isclose(stats.binom.cdf(successes, trials, high), 0.025)
    else:
        assert high == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_proportion_interval_refuses(successes, trials):
    with pytest.raises(ValueError, match=r"successes must lie in 0\.\.trials"):
        proportion_interval(successes, trials)


def test_mean_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(2.0, 3.0, size=(4000, 5))
    for level in (0.8, 0.95):
        hits = [low <= 2.0 <= high for low, high in (mean_interval(s, level) for s in samples)]
        assert np.mean(hits) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 4000))


def test_mean_interval_agrees_with_the_table_of_student():
    # Ten values with mean 0 and standard deviation sqrt(10): 2.262 is the quantile for 9 degrees.
    values = np.array([-3.0, -3, -3, -3, -3, 3, 3, 3, 3, 3])
    assert mean_interval(values)[1] == pytest.approx(
        2.2622 * np.std(values, ddof=1) / np.sqrt(10), 1e-4
    )
    assert mean_interval([1.5, 1.5]) == (1.5, 1.5)
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval([1.0])

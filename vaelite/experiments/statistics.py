"""From the outcomes of repeated runs to the intervals that claims are decided by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval for the mean of independent values.

    Differences of pairs are decided by it, however many there are.  Below twenty values the
    bootstrap is too narrow; above, the two agree.  Values that are all equal give the interval of
    length zero: count outcomes that are only yes or no with :func:`proportion_interval` instead.

    Source: Student, "The probable error of a mean", 1908.

    Args:
        values: ``(N,)``, one value a run, N at least 2, all finite.
        level: confidence, between 0 and 1.

    Returns:
        ``(low, high)``.

    Raises:
        ValueError: if there are fewer than two values, one is not finite, or ``level`` is not
            between 0 and 1.
    """
    values = _checked(values, level)
    if np.ptp(values) == 0:
        return (constant := float(values[0])), constant
    low, high = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable = np.mean,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 9999,
) -> tuple[float, float]:
    """Return a bootstrap confidence interval, bias-corrected and accelerated.

    Source: Efron, "Better bootstrap confidence intervals", 1987.  Where that interval is undefined
    (nearly constant values), it is the percentile interval.  Values that are all equal give the
    interval of length zero: such a sample says nothing about its spread, so count outcomes that
    are only yes or no with :func:`proportion_interval` instead.

    Args:
        values: ``(N,)``, one value a run, N at least 2, all finite.
        statistic: takes an array and an ``axis``.
        level: confidence, between 0 and 1.
        seed: seed of the resampling; the same values and seed give the same interval.
        resamples: how many resamples are drawn.

    Returns:
        ``(low, high)``.

    Raises:
        ValueError: if there are fewer than two values, one is not finite, or ``level`` is not
            between 0 and 1.
    """
    values = _checked(values, level)
    if np.ptp(values) == 0:
        return (constant := float(statistic(values, axis=0))), constant
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of degenerate data, which is handled here
            interval = stats.bootstrap(
                (values,),
                statistic,
                confidence_level=level,
                n_resamples=resamples,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite(interval).all():
            break
    return float(interval.low), float(interval.high)


def proportion_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of Clopper and Pearson for the probability of a success.

    Unlike the bootstrap it stays honest when every trial, or none, succeeds.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", 1934.

    Raises:
        ValueError: if the counts are impossible, or ``level`` is not between 0 and 1.
    """
    _check_level(level)
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..trials; got {successes} of {trials}.")
    interval = stats.binomtest(int(successes), int(trials)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def _checked(values: Sequence[float], level: float) -> np.ndarray:
    _check_level(level)
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must be (N,) with N at least 2; got the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; leave failed runs out openly, or count them.")
    return values


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")

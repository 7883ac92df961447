"""Claims: the verdict follows from the evidence, and nothing else."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vaelite import claims

finite = st.floats(-1e6, 1e6)


@given(a=finite, b=finite, threshold=finite)
def test_interval_verdict_is_decided_only_when_the_threshold_lies_outside(a, b, threshold):
    low, high = sorted((a, b))
    found = claims.verdict((low, high), threshold)
    assert (found == claims.NOT_RESOLVED) == (low <= threshold <= high)
    assert (found == claims.HOLDS) == (threshold < low)


@given(a=finite, b=finite, threshold=finite)
def test_negating_a_quantity_exchanges_the_verdicts(a, b, threshold):
    low, high = sorted((a, b))
    opposite = {
        claims.HOLDS: claims.DOES_NOT_HOLD,
        claims.DOES_NOT_HOLD: claims.HOLDS,
        claims.NOT_RESOLVED: claims.NOT_RESOLVED,
    }
    mirrored = claims.verdict((-high, -low), -threshold)
    assert mirrored == opposite[claims.verdict((low, high), threshold)]


@given(a=finite, b=finite, threshold=finite, matters=st.floats(1e-3, 1e6))
def test_a_difference_that_matters_only_splits_what_is_not_resolved(a, b, threshold, matters):
    low, high = sorted((a, b))
    found = claims.verdict((low, high), threshold, matters)
    without = claims.verdict((low, high), threshold)
    inside = threshold - matters < low and high < threshold + matters
    if without == claims.NOT_RESOLVED and inside:
        assert found == claims.SMALLER
    else:
        assert found == without


def test_a_small_difference_that_is_there_holds_and_is_negligible():
    assert claims.verdict((0.01, 0.05), 0.0, 0.06) == claims.HOLDS
    assert claims.negligible((0.01, 0.05), 0.0, 0.06)
    assert not claims.negligible((0.01, 0.07), 0.0, 0.06)
    assert not claims.negligible((-0.07, 0.01), 0.0, 0.06)
    assert claims.verdict((22.0, 25.0), 22.5, 5.0) == claims.SMALLER
    assert not claims.negligible((0.01, 0.05), 0.0)
    with pytest.raises(ValueError, match="matters must be positive"):
        claims.verdict((-1.0, 1.0), 0.0, 0.0)
    with pytest.raises(ValueError, match="matters goes with"):
        claims.verdict(True, matters=1.0)


def test_no_evidence_means_not_run(capsys):
    assert claims.verdict(None) == claims.NOT_RUN
    assert claims.check("test.1", None, claims.NOT_RUN) == claims.NOT_RUN
    with pytest.raises(claims.ClaimError, match="not run"):
        claims.check("test.1", None)


@pytest.mark.parametrize("true", [True, np.bool_(True), np.array(3) > 2, torch.tensor(True)])
def test_every_kind_of_true_holds(true):
    assert claims.verdict(true) == claims.HOLDS


@pytest.mark.parametrize("false", [False, np.bool_(False), torch.tensor(False)])
def test_every_kind_of_false_does_not_hold(false):
    assert claims.verdict(false) == claims.DOES_NOT_HOLD


def test_a_number_is_no_evidence():
    with pytest.raises(TypeError, match="bool or"):
        claims.verdict(0.3)


@pytest.mark.parametrize("interval", [(1.0, 0.0), (math.nan, 1.0), (0.0, math.inf)])
def test_malformed_interval(interval):
    with pytest.raises(ValueError, match="low <= high"):
        claims.verdict(interval, 0.0)


@given(threshold=finite)
def test_threshold_goes_with_an_interval(threshold):
    with pytest.raises(ValueError, match="threshold goes with"):
        claims.verdict(True, threshold)
    with pytest.raises(ValueError, match="needs the threshold"):
        claims.verdict((threshold, threshold))


def test_check_raises_when_the_verdict_is_not_the_expected_one(capsys):
    assert claims.check("test.1", (0.2, 0.4), threshold=0.0) == claims.HOLDS
    with pytest.raises(claims.ClaimError, match=r"test\.1.*does not hold.*low = 0\.2"):
        claims.check("test.1", (0.2, 0.4), threshold=1.0)
    assert claims.check("test.1", False, "does not hold") == claims.DOES_NOT_HOLD
    with pytest.raises(ValueError, match="must be one of"):
        claims.check("test.1", True, "true")


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.ones(3), None])
def test_numbers_are_what_a_notebook_can_hold(value):
    with pytest.raises(ValueError, match="angle must be a finite number or a string; got"):
        claims.check("test.1", True, angle=value)


def test_the_line_does_not_depend_on_the_numbers(capsys):
    claims.check("test.1", (0.2, 0.4), threshold=0.0, seeds=3)
    first = capsys.readouterr().out
    claims.check("test.1", (0.3, 0.5), threshold=0.1, seeds=8)
    assert capsys.readouterr().out == first == "[test.1] holds\n"


@given(threshold=finite, gap=st.floats(1e-3, 1e3))
def test_an_unexpected_claim_is_still_shown(threshold, gap):
    assume(threshold + gap > threshold)
    with pytest.raises(claims.ClaimError):
        claims.check("test.1", (threshold - gap, threshold - gap), threshold=threshold)


def test_registered_claims_are_complete_sentences():
    for claim in claims.registry().values():
        assert claim.statement.endswith("."), claim.id
        assert claim.source, claim.id


def test_the_paper_s_equations_are_called_so():
    for claim in claims.registry().values():
        assert "quation " not in claim.statement.replace("equation of", ""), claim.id

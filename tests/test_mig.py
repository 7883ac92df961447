"""The mutual information gap, against codes whose information is known by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from vaelite.metrics import (
    _mixture_entropy,
    mutual_information_gap,
    mutual_information_gap_from_posterior,
)


def grid(*sizes, repeat=1):
    """All combinations of classes, ``(N, V)``."""
    axes = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes], dim=1).repeat(repeat, 1)


def test_a_code_per_factor_gives_one():
    factors = grid(3, 4)
    useless = torch.zeros(12, 1)
    codes = torch.cat([useless, factors.flip(1) * torch.tensor([-2.0, 0.5])], dim=1)
    assert mutual_information_gap(codes, factors) == pytest.approx(1.0, abs=1e-12)


def test_a_duplicated_code_gives_zero():
    factors = grid(3, 5)
    codes = torch.cat([factors, factors], dim=1).double()
    assert mutual_information_gap(codes, factors) == pytest.approx(0.0, abs=1e-12)


def test_a_pruned_copy_counts_in_full_in_histograms_and_not_in_posteriors():
    """As the docstring warns: bins stretch to each mean's own range."""
    factors = grid(4, 4, repeat=20)
    codes = torch.cat([factors.double(), 1e-4 * factors[:, :1].double()], dim=1)
    assert mutual_information_gap(codes, factors) == pytest.approx(0.5, abs=1e-12)
    assert mutual_information_gap(codes[:, :2], factors) == pytest.approx(1.0, abs=1e-12)
    std = torch.tensor([0.01, 0.01, 1.0]).expand_as(
        codes
    )  # a pruned latent is as wide as its prior
    gap = mutual_information_gap_from_posterior(codes, std, factors)
    assert gap == pytest.approx(1.0, abs=0.05)


def test_a_factor_shared_by_two_codes():
    """Two codes that know a part each, by hand.

    Of 4 equally likely classes, code a knows whether v >= 2 (1 bit), code b whether v == 3, which
    is H(1/4) = 0.811 bits.  The gap is (1 - 0.811) / 2.
    """
    v = grid(4)
    codes = torch.cat([v >= 2, v == 3], dim=1).double()
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert mutual_information_gap(codes, v) == pytest.approx((1 - bits) / 2, abs=1e-12)


def test_one_code_for_two_factors():
    """A code that tells all of both: each factor's gap is whole, MIG does not see the merger."""
    factors = grid(2, 3)
    code = (3 * factors[:, :1] + factors[:, 1:]).double()
    assert mutual_information_gap(code, factors) == pytest.approx(1.0, abs=1e-12)


def test_constant_factors_are_left_out():
    factors = grid(3, 1, 4)
    codes = factors[:, [0]].double()
    # The first factor is known in full, the last not at all; the middle one has no entropy.
    assert mutual_information_gap(codes, factors) == pytest.approx(0.5, abs=1e-12)
    with pytest.raises(ValueError, match="no factor varies"):
        mutual_information_gap(codes, factors[:, [1]])


def test_width_of_the_bins_decides():
    """Four classes at 0, 1, 2, 3: two bins merge them in pairs."""
    v = grid(4)
    assert mutual_information_gap(v.double(), v, bins=2) == pytest.approx(0.5, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-50, 50), st.booleans())
def test_order_affine_maps_and_labels_do_not_matter(seed, scale, shift, negate):
    rng = np.random.default_rng(seed)
    # Dyadic codes, away from the edges of the 16 bins, where rounding may decide.
    codes = rng.integers(0, 16, (60, 3)) + 0.5
    codes[0], codes[1] = 0, 16
    factors = rng.integers(0, 4, (60, 2))
    before = mutual_information_gap(torch.tensor(codes), torch.tensor(factors), bins=16)
    codes = (codes * (-scale if negate else scale) + shift)[:, rng.permutation(3)]
    factors = rng.permutation(50)[factors] - 7
    rows = rng.permutation(60)
    after = mutual_information_gap(torch.tensor(codes[rows]), torch.tensor(factors[rows]), bins=16)
    assert after == pytest.approx(before, abs=1e-9)


def test_independent_codes_stay_within_the_bias_of_histograms():
    generator = torch.Generator().manual_seed(1)
    count, bins, classes = 20_000, 20, 4
    codes = torch.rand(count, 6, generator=generator)
    factors = torch.randint(0, classes, (count, 3), generator=generator)
    # Twice N times the estimate is about chi squared with (bins - 1)(classes - 1) degrees.
    freedom = (bins - 1) * (classes - 1)
    bound = (freedom + 6 * math.sqrt(2 * freedom)) / (2 * count) / math.log(classes)
    assert 0 <= mutual_information_gap(codes, factors, bins) < bound


def test_a_correlated_pair_has_the_information_of_its_channel():
    """A binary symmetric channel with error 0.1: I = ln 2 - H(0.1)."""
    generator = torch.Generator().manual_seed(2)
    v = torch.randint(0, 2, (100_000, 1), generator=generator)
    code = (v ^ (torch.rand(v.shape, generator=generator) < 0.1)).double()
    expected = 1 + (0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / math.log(2)
    assert mutual_information_gap(code, v) == pytest.approx(expected, abs=0.01)


def mixture_entropy(means, stds):
    """By quadrature."""
    means, stds = np.asarray(means), np.asarray(stds)

    def integrand(z):
        density = np.mean(np.exp(-0.5 * ((z - means) / stds) ** 2) / stds) / math.sqrt(2 * math.pi)
        return -density * math.log(density) if density > 0 else 0.0

    edge = 12 * stds.max()
    points = np.unique(means)
    low, high = means.min() - edge, means.max() + edge
    return quad(integrand, low, high, points=points, limit=500)[0]


def test_entropy_of_a_mixture_against_quadrature_and_closed_form():
    mean = torch.tensor([[0.0, 1.0], [0.5, 1.0], [3.0, 1.0]], dtype=torch.float64)
    std = torch.tensor([[1.0, 0.2], [0.3, 0.2], [0.05, 0.2]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    entropy = _mixture_entropy(mean, std, torch.arange(3), 40_000, generator)
    assert entropy[0] == pytest.approx(mixture_entropy(mean[:, 0], std[:, 0]), abs=0.02)
    assert entropy[1] == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.04), abs=0.02)
    one = _mixture_entropy(mean, std, torch.tensor([2]), 40_000, generator)
    assert one[0] == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.0025), abs=0.02)


def test_the_posterior_gap_against_quadrature():
    """Two classes, one code with overlapping normals, one with less overlap, one with none."""
    v = torch.tensor([0, 1]).repeat(50).unsqueeze(1)
    mean = torch.cat([v * 1.0, v * 2.0, v * 0.0], dim=1)
    std = torch.ones_like(mean)
    single = 0.5 * math.log(2 * math.pi * math.e)
    first, second = (mixture_entropy([0, gap], [1, 1]) - single for gap in (2, 1))
    measured = mutual_information_gap_from_posterior(mean, std, v, samples=20_000)
    assert measured == pytest.approx((first - second) / math.log(2), abs=0.02)


def test_the_posterior_gap_of_one_code_and_of_extreme_deviations():
    factors = grid(3, 2, repeat=2)
    code = (2.0 * factors[:, :1] + factors[:, 1:]).float()
    for std in (1e-12, 1e-3):
        gap = mutual_information_gap_from_posterior(code, torch.full_like(code, std), factors)
        assert gap == pytest.approx(1.0, abs=0.1)
    for std in (1e3, 1e12):
        gap = mutual_information_gap_from_posterior(code, torch.full_like(code, std), factors)
        assert gap == pytest.approx(0.0, abs=0.1)
    perfect = mutual_information_gap_from_posterior(factors, torch.full((12, 2), 1e-3), factors)
    assert perfect == pytest.approx(1.0, abs=0.1)
    twice = factors[:, [0, 1, 0, 1]]
    gap = mutual_information_gap_from_posterior(twice, torch.full((12, 4), 1e-3), factors)
    assert gap == pytest.approx(0.0, abs=0.1)


def test_blocks_do_not_change_the_posterior_gap(monkeypatch):
    factors = grid(3, 2, repeat=3)
    mean, std = factors.double() + torch.rand(18, 2), 0.1 + torch.rand(18, 2)
    whole = mutual_information_gap_from_posterior(mean, std, factors, samples=70)
    monkeypatch.setattr("vaelite.metrics._PAIRS", 40)
    parts = mutual_information_gap_from_posterior(mean, std, factors, samples=70)
    assert parts == pytest.approx(whole, abs=1e-12)


def test_bad_input_is_named():
    codes, factors = torch.rand(6, 2), torch.arange(6).reshape(6, 1)
    with pytest.raises(ValueError, match=r"codes must be \(N, D\) and factors \(N, V\)"):
        mutual_information_gap(codes[:, 0], factors)
    with pytest.raises(ValueError, match=r"got \(6, 2\) and \(5, 1\)"):
        mutual_information_gap(codes, factors[:5])
    with pytest.raises(ValueError, match=r"integer classes; got torch\.float32"):
        mutual_information_gap(codes, factors.float())
    with pytest.raises(ValueError, match="codes holds NaN or infinite values"):
        mutual_information_gap(codes.log() * torch.inf, factors)
    with pytest.raises(ValueError, match="bins must be at least 2; got 1"):
        mutual_information_gap(codes, factors, bins=1)
    with pytest.raises(ValueError, match="std must be positive and finite; got a minimum of 0"):
        mutual_information_gap_from_posterior(codes, torch.zeros(6, 2), factors)
    with pytest.raises(ValueError, match=r"std must have mean's shape \(6, 2\); got \(6, 1\)"):
        mutual_information_gap_from_posterior(codes, torch.ones(6, 1), factors)
    with pytest.raises(ValueError, match="samples must be positive; got 0"):
        mutual_information_gap_from_posterior(codes, torch.ones(6, 2), factors, samples=0)

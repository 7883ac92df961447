"""The Normal-Gamma distribution against quadrature, samples, and the calculus of its family."""

import copy
import math
import pickle

import pytest
import torch
from torch.distributions import Gamma, Independent, Normal, StudentT, kl_divergence

from vaelite.distributions import NormalGamma


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def batch():
    """Asymmetric: a column of means, a row of everything else."""
    m = double(-1.3, 0.4)[:, None]
    return NormalGamma(m, double(0.7, 2.0, 9.0), double(2.5, 4.0, 30.0), double(1.2, 0.3, 8.0))


def test_density_is_a_normal_times_a_gamma():
    one = batch()
    value = one.sample((5,))
    mu, alpha = value.unbind(-1)
    truth = Gamma(one.a, one.b).log_prob(alpha)
    truth = truth + Normal(one.m, (one.s * alpha) ** -0.5).log_prob(mu)
    torch.testing.assert_close(one.log_prob(value), truth)


def test_density_integrates_to_one():
    one = NormalGamma(double(0.3)[0], double(1.7)[0], double(2.2)[0], double(0.9)[0])
    mu, log_alpha = torch.linspace(-12, 12, 1201).double(), torch.linspace(-9, 4, 801).double()
    grid = torch.stack(torch.meshgrid(mu, log_alpha.exp(), indexing="ij"), -1)
    density = one.log_prob(grid).exp() * grid[..., 1]
    total = torch.trapezoid(torch.trapezoid(density, mu, dim=0), log_alpha)
    assert total.item() == pytest.approx(1, abs=2e-3)


def test_exponential_family():
    """ln p = lambda . t - A, eq. 12, and the way back."""
    one = batch()
    value = one.sample((4,))
    inner = (one.natural_parameters() * one.sufficient_statistics(value)).sum(-1)
    torch.testing.assert_close(one.log_prob(value), inner - one.log_normalizer)
    again = NormalGamma.from_natural_parameters(one.natural_parameters())
    for name in "msab":
        torch.testing.assert_close(getattr(again, name), getattr(one, name))
    parts = [one.a - 0.5, -(one.b + 0.5 * one.s * one.m**2), one.s * one.m, -0.5 * one.s]
    torch.testing.assert_close(one.natural_parameters(), torch.stack(parts, -1))


def test_expected_statistics_are_the_gradient_of_the_normaliser():
    natural = batch().natural_parameters().requires_grad_()
    one = NormalGamma.from_natural_parameters(natural)
    (slope,) = torch.autograd.grad(one.log_normalizer.sum(), natural)
    torch.testing.assert_close(one.expected_statistics(), slope)


def test_statistics_moments_and_entropy_are_those_of_samples():
    torch.manual_seed(0)
    one, count = batch(), 100_000
    value = one.sample((count,))
    for found, truth in [
        (one.sufficient_statistics(value), one.expected_statistics()),
        (value, one.mean),
        (-one.log_prob(value), one.entropy()),
        ((value - one.mean).square(), one.variance),
    ]:
        error = found.std(0) / math.sqrt(count)
        assert ((found.mean(0) - truth).abs() < 5 * error).all()
    nearby = one.mode + 0.01 * torch.randn(50, 2, 3, 2)
    assert (one.log_prob(one.mode) >= one.log_prob(nearby)).all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_shapes_and_support(shape):
    one = batch()
    for value in (one.sample(shape), one.rsample(shape)):
        assert value.shape == (*shape, 2, 3, 2)
    assert one.log_prob(value).shape == (*shape, 2, 3)
    assert one.batch_shape == (2, 3) and one.event_shape == (2,)
    assert one.support.event_dim == 1 and one.support.check(value).all()
    assert one.natural_parameters().shape == one.expected_statistics().shape == (2, 3, 4)
    assert one.entropy().shape == one.log_normalizer.shape == (2, 3)
    big = one.expand((5, 2, 3))
    assert type(big) is NormalGamma and big.sample(shape).shape == (*shape, 5, 2, 3, 2)
    wrapped = Independent(one, 2)
    torch.testing.assert_close(wrapped.log_prob(value), one.log_prob(value).flatten(-2).sum(-1))


def test_divergence_is_that_of_samples():
    torch.manual_seed(0)
    q, p = batch(), NormalGamma(double(0.0)[0], double(1.0)[0], double(1.6)[0], double(0.8)[0])
    value = q.sample((100_000,))
    ratio = q.log_prob(value) - p.log_prob(value)
    error = ratio.std(0) / math.sqrt(len(ratio))
    found = kl_divergence(q, p)
    assert ((ratio.mean(0) - found).abs() < 5 * error).all()
    assert (found > 0.1).all() and kl_divergence(q, q).abs().max() < 1e-12


def test_the_printed_divergence_is_wrong():
    """C.1 prints the digamma function where log-gamma belongs; samples tell the two apart."""
    torch.manual_seed(0)
    q, p = batch(), NormalGamma(double(0.0)[0], double(1.0)[0], double(1.6)[0], double(0.8)[0])
    swapped = torch.lgamma(q.a) - torch.lgamma(p.a) - torch.digamma(q.a) + torch.digamma(p.a)
    value = q.sample((100_000,))
    ratio = q.log_prob(value) - p.log_prob(value)
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - kl_divergence(q, p) - swapped).abs() > 20 * error).all()


def test_divergence_between_parts_is_the_sum_of_known_ones():
    """With one mean and one s it is that of the gammas; with one gamma, of normals, on average."""
    q, p = NormalGamma(0.0, 1.0, double(3.0), double(2.0)), NormalGamma(0.0, 1.0, 1.5, 0.7)
    gammas = kl_divergence(Gamma(q.a, q.b), Gamma(double(1.5), double(0.7)))
    torch.testing.assert_close(kl_divergence(q, p).double(), gammas, rtol=1e-6, atol=0)


def test_mean_is_students_t_once_the_precision_is_integrated_out():
    torch.manual_seed(0)
    one = NormalGamma(double(0.7)[0], double(2.0)[0], double(3.0)[0], double(1.5)[0])
    mu = one.sample((100_000,))[:, 0]
    truth = StudentT(2 * one.a, one.m, (one.b / (one.a * one.s)).sqrt())
    torch.testing.assert_close(one.variance[0], truth.variance)
    for point in (-0.5, 0.7, 1.4):
        share = (mu < point).double().mean()
        t = truth.sample((100_000,))
        assert share.item() == pytest.approx((t < point).double().mean().item(), abs=0.008)


def test_moments_that_do_not_exist():
    one = NormalGamma(1.0, 1.0, torch.tensor([0.01, 0.8, 3.0]), 1.0)
    assert one.mean[:, 0].isnan().tolist() == [True, False, False]
    assert one.variance[0, 0].isnan() and one.variance[1, 0].isinf() and one.variance[2, 0] == 0.5
    assert one.sample((1000,))[..., 1].min() > 0  # a precision underflows at a = 0.01


def test_pathwise_gradients_are_those_of_the_second_moment():
    """E mu^2 = m^2 + b / (s (a - 1)) and E alpha = a / b."""
    torch.manual_seed(0)
    start = [double(0.5)[0], double(1.5)[0], double(6.0)[0], double(2.0)[0]]
    m, s, a, b = (x.requires_grad_() for x in start)
    value = NormalGamma(m, s, a, b).rsample((100_000,))
    found = torch.autograd.grad(value[:, 0].square().mean() + value[:, 1].mean(), (m, s, a, b))
    exact = m.square() + b / (s * (a - 1)) + a / b
    for one, other in zip(found, torch.autograd.grad(exact, (m, s, a, b)), strict=True):
        assert one.item() == pytest.approx(other.item(), abs=0.02)


def test_copies_vmap_and_dtypes():
    one = batch()
    value = one.sample((2,))
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert torch.equal(other.log_prob(value), one.log_prob(value))
    assert NormalGamma(0, 1, 2, 3).sample().dtype == torch.float32
    assert NormalGamma(double(0.0), 1.0, 2.0, 3.0).sample((3,)).dtype == torch.float64

    def entropy(m, s, a, b):
        return NormalGamma(m, s, a, b, validate_args=False).entropy()

    values = [getattr(one, name) for name in "msab"]
    assert torch.equal(torch.vmap(entropy)(*values), one.entropy())


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf])
def test_parameters_are_looked_at_unless_that_is_switched_off(position, value):
    values = [0.5, 1.0, 2.0, 3.0]
    values[position] = value
    if position == 0 and math.isfinite(value):
        NormalGamma(*values)
        return
    with pytest.raises(ValueError, match=f"{'msab'[position]} must be .*finite; got {value}"):
        NormalGamma(*values)
    NormalGamma(*values, validate_args=False)


def test_bad_input():
    with pytest.raises(TypeError, match="s must be a number or a tensor; got 'x'"):
        NormalGamma(0.0, "x", 1.0, 1.0)
    with pytest.raises(TypeError, match=r"a must be a floating-point tensor; got torch\.int64"):
        NormalGamma(0.0, 1.0, torch.tensor([1]), 1.0)
    with pytest.raises(ValueError, match=r"natural must be \(\.\.\., 4\); got \(3,\)"):
        NormalGamma.from_natural_parameters(torch.zeros(3))
    with pytest.raises(ValueError, match="b must be positive"):
        NormalGamma.from_natural_parameters(torch.tensor([1.0, 0.5, 1.0, -1.0]))
    with pytest.raises(ValueError):
        batch().log_prob(-torch.ones(2, 3, 2).double())

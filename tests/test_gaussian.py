import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from vaelite import gaussian

B, D, G, S = 5, 3, 4, 2


def draws(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def normal(mean, log_var):
    return Independent(Normal(mean, torch.exp(0.5 * log_var)), 1)


def test_kl_standard_normal_agrees_with_torch():
    mean, log_var = draws(B, D), draws(B, D, seed=1)
    expected = kl_divergence(normal(mean, log_var), normal(0 * mean, 0 * mean))
    torch.testing.assert_close(gaussian.kl_standard_normal(mean, log_var), expected)


def test_kl_agrees_with_quadrature():
    mean_q, log_var_q, mean_p, log_var_p = (draws(1, seed=seed) for seed in range(4))
    z = torch.linspace(-30, 30, 200_001, dtype=torch.float64).unsqueeze(-1)
    log_q = gaussian.log_density(z, mean_q, log_var_q)
    log_p = gaussian.log_density(z, mean_p, log_var_p)
    expected = torch.trapezoid(log_q.exp() * (log_q - log_p), z.squeeze(-1))
    found = gaussian.kl(mean_q, log_var_q, mean_p, log_var_p)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=0)


def test_kl_is_not_symmetric_and_vanishes_only_for_equals():
    mean_q, log_var_q, mean_p, log_var_p = (draws(B, D, seed=seed) for seed in range(4))
    forward = gaussian.kl(mean_q, log_var_q, mean_p, log_var_p)
    backward = gaussian.kl(mean_p, log_var_p, mean_q, log_var_q)
    assert (forward - backward).abs().min() > 1e-3
    assert torch.equal(gaussian.kl(mean_q, log_var_q, mean_q, log_var_q), torch.zeros(B).double())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.floats(-20, 20, allow_subnormal=False) for _ in range(4))),
        min_size=1,
        max_size=4,
    )
)
def test_kl_is_never_negative(rows):
    mean_q, log_var_q, mean_p, log_var_p = torch.tensor(rows, dtype=torch.float64).unbind(-1)
    divergence = gaussian.kl(mean_q, log_var_q, mean_p, log_var_p)
    assert divergence >= -1e-12
    to_prior = gaussian.kl(mean_q, log_var_q, 0 * mean_q, 0 * mean_q)
    torch.testing.assert_close(gaussian.kl_standard_normal(mean_q, log_var_q), to_prior)


def test_kl_keeps_its_digits_near_the_prior_in_single_precision():
    log_var = torch.full((1, 1), 1e-4)
    expected = 0.5 * (math.expm1(1e-4) - 1e-4)  # 2.5e-9, far below float32's resolution of 1
    assert gaussian.kl_standard_normal(torch.zeros(1, 1), log_var).item() == pytest.approx(
        expected, rel=1e-2
    )


def test_log_density_broadcasts_over_samples():
    mean, log_var, z = draws(B, D), draws(B, D, seed=1), draws(S, B, D, seed=2)
    found = gaussian.log_density(z, mean, log_var)
    assert found.shape == (S, B)
    torch.testing.assert_close(found, normal(mean, log_var).log_prob(z))


def test_log_standard_normal_agrees_with_torch():
    z = draws(S, B, D)
    found = gaussian.log_standard_normal(z)
    assert found.shape == (S, B)
    torch.testing.assert_close(found, normal(torch.zeros(D), torch.zeros(D)).log_prob(z))


def test_entropy_agrees_with_torch():
    mean, log_var = draws(B, D), draws(B, D, seed=1)
    torch.testing.assert_close(gaussian.entropy(log_var), normal(mean, log_var).entropy())


def test_reparameterize_has_the_right_moments_and_gradients():
    mean, log_var = draws(D), draws(D, seed=1)
    count = 200_000
    noise = draws(count, D, seed=2)
    z = gaussian.reparameterize(mean, log_var, noise)
    variance = log_var.exp()
    assert (((z.mean(0) - mean) / (variance / count).sqrt()).abs() < 5).all()
    assert ((z.var(0) / variance - 1).abs() < 5 * math.sqrt(2 / count)).all()
    mean.requires_grad_(), log_var.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, v: gaussian.reparameterize(m, v, noise[:S]), (mean, log_var)
    )


def test_reparameterize_draws_fresh_noise_from_the_generator():
    mean, log_var = draws(B, D).float(), draws(B, D, seed=1).float()
    generator = torch.Generator().manual_seed(3)
    first = gaussian.reparameterize(mean, log_var, generator=generator)
    second = gaussian.reparameterize(mean, log_var, generator=generator)
    again = gaussian.reparameterize(mean, log_var, generator=generator.manual_seed(3))
    assert first.dtype == torch.float32 and first.shape == (B, D)
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_product_of_experts_is_the_normalised_product_of_densities():
    mean, precision = draws(G, 1, 1), draws(G, 1, 1, seed=1).exp()
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64).unsqueeze(-1)
    log_product = gaussian.log_density(z, torch.zeros(1).double(), torch.zeros(1).double())
    for group in range(G):
        log_product = log_product + gaussian.log_density(
            z, mean[group, 0], -precision[group, 0].log()
        )
    density = log_product.exp()
    density = density / torch.trapezoid(density, z.squeeze(-1))
    expected_mean = torch.trapezoid(density * z.squeeze(-1), z.squeeze(-1))
    expected_var = torch.trapezoid(density * (z.squeeze(-1) - expected_mean) ** 2, z.squeeze(-1))
    found_mean, found_var = gaussian.product_of_experts(mean, precision)
    assert found_mean.item() == pytest.approx(expected_mean.item(), rel=1e-8)
    assert found_var.item() == pytest.approx(expected_var.item(), rel=1e-8)


def test_product_of_experts_ignores_masked_groups_even_with_nan():
    mean, precision = draws(G, B, D), draws(G, B, D, seed=1).exp()
    mask = torch.ones(G, B, dtype=torch.bool)
    mask[1] = False
    mask[:, 2] = False
    mean[~mask] = math.nan
    precision[~mask] = math.inf
    mean.requires_grad_(), precision.requires_grad_()
    found = gaussian.product_of_experts(mean, precision, mask)
    seen = [0, 2, 3]
    expected = gaussian.product_of_experts(mean[seen], precision[seen])
    others = [0, 1, 3, 4]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (B, D)
        torch.testing.assert_close(one[others], other[others])
    assert torch.equal(found[0][2], torch.zeros(D).double())
    assert torch.equal(found[1][2], torch.ones(D).double())
    (found[0].sum() + found[1].sum()).backward()
    for tensor in (mean, precision):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad[~mask] == 0).all()


def test_product_of_experts_at_the_extremes():
    mean = torch.tensor([[[10.0, 5.0]], [[-3.0, 5.0]]])
    precision = torch.tensor([[[1e38, 0.0]], [[1.0, 0.0]]])
    found_mean, found_var = gaussian.product_of_experts(mean, precision)
    torch.testing.assert_close(found_mean, torch.tensor([[10.0, 0.0]]))
    assert found_var[0, 1] == 1 and 0 <= found_var[0, 0] < 1e-37


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept(dtype):
    mean, log_var = draws(B, D).to(dtype), draws(B, D, seed=1).to(dtype)
    assert gaussian.kl_standard_normal(mean, log_var).dtype == dtype
    assert gaussian.kl(mean, log_var, mean, log_var).dtype == dtype
    assert gaussian.entropy(log_var).dtype == dtype
    assert gaussian.product_of_experts(mean[None], log_var.exp()[None])[1].dtype == dtype


def test_bad_input_is_named():
    mean = draws(B, D)
    with pytest.raises(ValueError, match=r"mean \(5, 3\), log_var \(5, 1\)"):
        gaussian.kl_standard_normal(mean, mean[:, :1])
    with pytest.raises(ValueError, match="do not fit together"):
        gaussian.log_density(mean[:4], mean, mean)
    with pytest.raises(TypeError, match=r"log_var must be a floating-point.*got torch.int64"):
        gaussian.entropy(torch.ones(2, dtype=torch.long))
    with pytest.raises(TypeError, match="mean must be a floating-point tensor; got list"):
        gaussian.kl_standard_normal([0.0], mean)
    with pytest.raises(ValueError, match="scalar"):
        gaussian.entropy(torch.tensor(1.0))
    with pytest.raises(TypeError, match="mask must be a tensor of bools"):
        gaussian.product_of_experts(mean[None], mean[None].exp(), torch.ones(1, B))
    with pytest.raises(ValueError, match=r"mask must have shape \(1, 5\)"):
        gaussian.product_of_experts(
            mean[None], mean[None].exp(), torch.ones(1, B, D, dtype=torch.bool)
        )
    with pytest.raises(ValueError, match="share a shape"):
        gaussian.product_of_experts(mean[None], mean.exp())

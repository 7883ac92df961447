"""The density-ratio estimator against Gaussians, where the ratio is known."""

import math

import pytest
import torch

from vaelite.density_ratio import DensityRatio, frozen


def gaussian_pair(count, dim=2, shift=1.0):
    """Samples of N(shift, 1) and N(0, 1) in each of ``dim`` dimensions; KL = dim shift^2 / 2."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, count, dim, generator=generator)
    return noise[0] + shift, noise[1]


@pytest.mark.parametrize(("dim", "shift"), [(2, 1.0), (10, 0.6)])
def test_recovers_the_log_ratio_and_the_kl_of_two_gaussians(dim, shift):
    torch.manual_seed(0)
    q, p = gaussian_pair(24_000, dim, shift)
    ratio = DensityRatio(dim, (32,), lr=3e-3)
    ratio.fit(q[:20_000], p[:20_000], batch_size=400, patience=5)
    z = q[20_000:]
    truth = (shift * z - 0.5 * shift**2).sum(-1)  # ln N(z; shift, I) - ln N(z; 0, I)
    kl = 0.5 * dim * shift**2
    assert (ratio.log_ratio(z) - truth).square().mean().sqrt() < 0.25 * kl
    assert ratio.kl(z).item() == pytest.approx(kl, rel=0.1)


def test_the_best_possible_loss_is_that_of_the_true_ratio():
    """At the true ratio the gradient of the expected loss vanishes."""
    q, p = gaussian_pair(400_000, dim=1)
    ratio = DensityRatio(1, ()).double()
    with torch.no_grad():
        ratio.net[0].weight.fill_(1.0)
        ratio.net[0].bias.fill_(-0.5)
    ratio.loss(q.double(), p.double()).backward()
    for parameter in ratio.parameters():
        assert abs(parameter.grad.item()) < 0.003
    blind = DensityRatio(1, ()).double()
    torch.nn.init.zeros_(blind.net[0].weight), torch.nn.init.zeros_(blind.net[0].bias)
    assert blind.loss(q.double(), p.double()).item() == pytest.approx(math.log(2))


def test_equal_distributions_have_no_divergence():
    torch.manual_seed(1)
    q, p = gaussian_pair(6000, dim=3, shift=0.0)
    ratio = DensityRatio(3, (32,))
    ratio.fit(q[:3000], p[:3000], batch_size=300, patience=3)
    assert abs(ratio.kl(q[3000:]).item()) < 0.05


def test_early_stopping_keeps_an_overfitting_network_honest():
    """With few samples and many steps, training samples show a KL that is not there."""
    torch.manual_seed(2)
    q, p = gaussian_pair(4200, dim=4, shift=0.0)
    stopped, overfitted = DensityRatio(4, (128, 128)), DensityRatio(4, (128, 128))
    stopped.fit(q[:200], p[:200], batch_size=50, patience=3)
    for _ in range(300):
        overfitted.step(q[:200], p[:200])
    assert overfitted.kl(q[:200]).item() > 1.0
    assert abs(stopped.kl(q[:200]).item()) < 0.3


def test_the_best_state_is_restored():
    torch.manual_seed(3)
    q, p = gaussian_pair(400, shift=0.3)
    ratio = DensityRatio(2, (64,), lr=0.03)
    losses = ratio.fit(q, p, batch_size=40, patience=4, seed=5)
    generator = torch.Generator().manual_seed(5)
    count = 80
    held_out = [samples[torch.randperm(400, generator=generator)[:count]] for samples in (q, p)]
    assert ratio.loss(*held_out).item() == pytest.approx(min(losses), rel=1e-5)
    assert len(losses) - losses.index(min(losses)) - 1 == 4


def test_gradient_reaches_the_samples_but_not_a_frozen_network():
    ratio = DensityRatio(3, (8,))
    z = torch.randn(5, 3, requires_grad=True)
    with frozen(ratio):
        value = ratio.kl(z)
    value.backward()
    assert z.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in ratio.parameters())


def test_a_step_does_not_touch_the_samples_graph():
    ratio = DensityRatio(2, (8,))
    source = torch.randn(6, 2, requires_grad=True)
    before = [parameter.clone() for parameter in ratio.parameters()]
    ratio.step(source * 2, torch.randn(6, 2))
    assert source.grad is None
    assert any(not torch.equal(a, b) for a, b in zip(before, ratio.parameters(), strict=True))


def test_a_restored_estimator_goes_on_as_if_it_had_never_stopped():
    torch.manual_seed(4)
    q, p = gaussian_pair(64)
    original, copy = DensityRatio(2, (8,)), DensityRatio(2, (8,))
    for _ in range(3):
        original.step(q, p)
    copy.load_state_dict(original.state_dict())
    copy.remember(original.memory())
    for ratio in (original, copy):
        ratio.step(q, p)
    for a, b in zip(original.parameters(), copy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_shape_of_the_log_ratio_follows_leading_dimensions():
    assert DensityRatio(3).log_ratio(torch.zeros(4, 5, 3)).shape == (4, 5)


@pytest.mark.parametrize(
    ("q", "p", "message"),
    [
        (torch.zeros(10, 3), torch.zeros(10, 2), r"samples_q must be \(N, 2\)"),
        (torch.zeros(10, 2), torch.full((10, 2), math.nan), "samples_p holds NaN"),
        (torch.zeros(10, 2), torch.zeros(9, 2), "as many samples"),
        (torch.zeros(2, 2), torch.zeros(2, 2), "leaves one part empty"),
    ],
)
def test_bad_samples(q, p, message):
    with pytest.raises(ValueError, match=message):
        DensityRatio(2).fit(q, p)


def test_bad_types_and_settings():
    z = torch.zeros(10, 2)
    with pytest.raises(TypeError, match=r"samples_q must be a tensor of .*; got ndarray"):
        DensityRatio(2).fit(z.numpy(), z)
    with pytest.raises(TypeError, match=r"samples_p must be .*32; got torch\.float64"):
        DensityRatio(2).fit(z, z.double())
    for options, message in [
        ({"batch_size": 0}, "batch_size must be a positive integer; got 0"),
        ({"max_epochs": 0}, "max_epochs must be a positive integer; got 0"),
        ({"held_out": math.nan}, "held_out must lie between 0 and 1; got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            DensityRatio(2).fit(z, z, **options)
    with pytest.raises(ValueError, match="lr must be positive and finite; got nan"):
        DensityRatio(2, lr=math.nan)
    with pytest.raises(ValueError, match=r"z must end in 2 coordinates; got \(2, 10\)"):
        DensityRatio(2).log_ratio(z.T)


def test_divergence_is_named_and_the_best_state_restored():
    torch.manual_seed(0)
    q, p = gaussian_pair(64)
    ratio = DensityRatio(2, (8,), lr=1e30)
    with pytest.raises(FloatingPointError, match=r"diverged in epoch \d+: the held-out loss is "):
        ratio.fit(q, p)
    assert all(torch.isfinite(parameter).all() for parameter in ratio.parameters())

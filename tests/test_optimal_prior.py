"""The conditional VAE, the two theorems, and the optimal prior, exact and learned."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import assert_stacked_as_alone
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaelite import gaussian
from vaelite.metrics import log_marginal_likelihood
from vaelite.optimal_prior import (
    CVAE,
    HSICCVAE,
    AggregatePosterior,
    OptimalPriorVAE,
    RatioPrior,
    VampPriorCVAE,
    hsic,
    kl_decomposition,
)
from vaelite.training import fit
from vaelite.vae import Gaussian, StandardNormal

K, P, D = 3, 7, 2


def data(rows=90, seed=0):
    generator = torch.Generator().manual_seed(seed)
    task = torch.randint(K, (rows,), generator=generator)
    x = torch.rand(rows, P, generator=generator) * 0.5 + task[:, None] / 6
    return x, task


def make(kind=CVAE, **options):
    torch.manual_seed(1)
    if kind is VampPriorCVAE:
        x, task = data(11, seed=5)
        options |= {"pseudo_inputs": x, "pseudo_tasks": task}
    return kind.mlp(K, P, [9], D, **options)


KINDS = [CVAE, OptimalPriorVAE, VampPriorCVAE, HSICCVAE]


# Mixtures.


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_mixture_density_is_that_of_torch(points, components, dim, seed):
    g = torch.Generator().manual_seed(seed)
    mean, log_var, z = (
        torch.randn(n, dim, generator=g, dtype=torch.double)
        for n in (components, components, points)
    )
    log_weights = torch.randn(components, generator=g, dtype=torch.double).log_softmax(0)
    truth = MixtureSameFamily(
        Categorical(logits=log_weights), Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    )
    found = gaussian.log_mixture_density(z, mean, log_var, log_weights)
    torch.testing.assert_close(found, truth.log_prob(z))


def test_mixture_density_keeps_its_digits_where_squares_cancel(monkeypatch):
    mean, log_var = torch.full((3, 2), 30.0), torch.full((3, 2), -9.0)
    z = mean[:2].expand(5, 2, 2) + 0.01
    monkeypatch.setattr(gaussian, "_PAIRS", 6)  # several pieces
    found = gaussian.log_mixture_density(z, mean, log_var)
    torch.testing.assert_close(found, gaussian.log_density(z, mean[0], log_var[0]))


def test_mixture_density_has_gradients():
    g = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(s, 2, generator=g, dtype=torch.double).requires_grad_() for s in (3, 4, 4)
    ]
    assert torch.autograd.gradcheck(gaussian.log_mixture_density, inputs)


@pytest.mark.parametrize(
    ("mean", "log_var", "weights", "match"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 2), None, "one component at least"),
        (torch.zeros(3, 2), torch.zeros(4, 2), None, "share a shape"),
        (torch.zeros(3, 5), torch.zeros(3, 5), None, "do not fit together"),
        (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2), "log_weights must have shape"),
    ],
)
def test_mixture_density_refuses(mean, log_var, weights, match):
    with pytest.raises(ValueError, match=match):
        gaussian.log_mixture_density(torch.zeros(6, 2), mean, log_var, weights)


# Theorem 1.


def tasks_of_normals():
    """Two tasks of 2 and 3 encodings in one dimension, and their densities on a grid."""
    mean = torch.tensor([[-1.5], [-0.5], [0.4], [1.0], [2.5]], dtype=torch.double)
    log_var = torch.tensor([[-1.0], [-2.0], [-0.3], [-1.2], [-0.7]], dtype=torch.double)
    task = torch.tensor([0, 0, 4, 4, 4])  # tasks may have any names
    grid = np.linspace(-12, 12, 20_001)
    variance = log_var.exp().numpy()
    each = np.exp(-0.5 * (grid - mean.numpy()) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    return mean, log_var, task, grid, each


def test_decomposition_is_that_of_quadrature():
    mean, log_var, task, grid, each = tasks_of_normals()
    step = grid[1] - grid[0]
    prior = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    q, q_k = each.mean(0), [each[:2].mean(0), each[2:].mean(0)]
    own = [q_k[0]] * 2 + [q_k[1]] * 3

    def kl(first, second):
        return float((first * np.log((first + 1e-300) / second)).sum() * step)

    truth = (
        2 / 5 * kl(q_k[0], q) + 3 / 5 * kl(q_k[1], q),
        kl(q, prior),
        sum(kl(e, o) for e, o in zip(each, own, strict=True)) / 5,
    )
    generator = torch.Generator().manual_seed(0)
    found = kl_decomposition(mean, log_var, task, samples=40_000, generator=generator)
    np.testing.assert_allclose([float(term) for term in found[:3]], truth, atol=0.01)
    assert float(found.total) == pytest.approx(sum(truth), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 99))
def test_the_terms_sum_to_the_closed_kl_and_informations_have_their_ceilings(rows, dim, seed):
    g = torch.Generator().manual_seed(seed)
    mean, log_var = (torch.randn(rows, dim, generator=g, dtype=torch.double) for _ in range(2))
    task = torch.randint(2, (rows,), generator=g)
    found = kl_decomposition(mean, log_var, task, samples=300, generator=g)
    closed = gaussian.kl_standard_normal(mean, log_var).mean()
    torch.testing.assert_close(found.total, closed)
    torch.testing.assert_close(sum(found[:3]), closed)
    shares = torch.bincount(task).double() / rows
    assert -0.2 < found.task_information < -torch.xlogy(shares, shares).sum() + 0.2


def test_alike_tasks_have_no_information_and_apart_ones_have_all():
    mean = torch.randn(40, 3, dtype=torch.double).repeat(2, 1)
    log_var = torch.full_like(mean, -1.0)
    task = torch.arange(2).repeat_interleave(40)
    assert kl_decomposition(mean, log_var, task).task_information.abs() < 1e-9
    apart = kl_decomposition(mean + 100 * task[:, None], log_var, task)
    assert float(apart.task_information) == pytest.approx(math.log(2), abs=1e-9)
    # Encodings that do not overlap: the data information is at its ceiling.
    narrow = kl_decomposition(mean, log_var - 18, task)
    assert float(narrow.data_information) == pytest.approx(math.log(40), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"task": torch.zeros(5)}, TypeError, "tensor of integers"),
        ({"task": torch.zeros(4, dtype=torch.long)}, ValueError, r"task \(N,\)"),
        ({"mean": torch.full((5, 2), math.nan)}, ValueError, "finite"),
        ({"samples": 0}, ValueError, "samples"),
    ],
)
def test_decomposition_refuses(change, error, match):
    good = {"mean": torch.zeros(5, 2), "log_var": torch.zeros(5, 2), "task": torch.arange(5)}
    with pytest.raises(error, match=match):
        kl_decomposition(**good | change)


# The priors.


def test_aggregate_posterior_is_a_density_and_samples_it():
    mean, log_var, _, grid, each = tasks_of_normals()
    prior = AggregatePosterior(mean, log_var)
    points = torch.from_numpy(grid)[:, None]
    np.testing.assert_allclose(prior.log_prob(points).exp().numpy(), each.mean(0), atol=1e-12)
    torch.manual_seed(0)
    drawn = prior.sample(20_000)
    assert drawn.shape == (20_000, 1)
    cumulative = np.interp(drawn[:, 0].numpy(), grid, each.mean(0).cumsum() * (grid[1] - grid[0]))
    assert np.abs(np.sort(cumulative) - (np.arange(20_000) + 0.5) / 20_000).max() < 0.0136  # 0.1 %


def known_ratio(dim=2, shift=0.8):
    """A prior whose ratio is that of N(shift, I) to N(0, I), exactly."""
    prior = RatioPrior(dim, hidden=())
    with torch.no_grad():
        prior.ratio.net[0].weight.fill_(shift)
        prior.ratio.net[0].bias.fill_(-0.5 * dim * shift**2)
    return prior


def test_ratio_prior_with_the_true_ratio_is_the_density():
    torch.manual_seed(0)
    prior = known_ratio()
    assert float(prior.log_normalizer(200_000)) == pytest.approx(0, abs=0.02)
    with pytest.raises(RuntimeError, match="call normalize"):
        prior.log_prob(torch.zeros(3, 2))
    prior.normalize(200_000)
    z = torch.randn(5, 4, 2)
    truth = gaussian.log_density(z, torch.full((2,), 0.8), torch.zeros(2))
    torch.testing.assert_close(prior.log_prob(z), truth, atol=0.02, rtol=0)
    drawn = prior.sample(5_000)
    torch.testing.assert_close(drawn.mean(0), torch.full((2,), 0.8), atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.ones(2), atol=0.08, rtol=0)


def test_a_constant_in_the_ratio_moves_the_bound_but_not_the_normalised_density():
    prior, moved = known_ratio(), known_ratio()
    with torch.no_grad():
        moved.ratio.net[0].bias.add_(3.0)
    for each in (prior, moved):
        torch.manual_seed(0)
        each.normalize(50_000)
    z = torch.randn(6, 2)
    torch.testing.assert_close(prior.log_prob(z), moved.log_prob(z))
    mean, log_var = torch.randn(6, 2), torch.randn(6, 2)
    torch.testing.assert_close(prior.kl(mean, log_var, z) - 3, moved.kl(mean, log_var, z))


def test_normaliser_is_too_low_and_more_so_with_dimensions():
    torch.manual_seed(0)
    low, high = (
        torch.stack([known_ratio(dim, 1.0).log_normalizer(1_000) for _ in range(30)]).mean()
        for dim in (2, 16)
    )
    assert -0.1 < low < 0.05
    assert high < -1
    codes = torch.randn(5_000, 16) + 1
    mended = [known_ratio(16, 1.0).log_normalizer(1_000, codes) for _ in range(30)]
    assert float(torch.stack(mended).mean()) == pytest.approx(0, abs=0.15)
    alone = known_ratio(1, 1.0).log_normalizer(20_000, torch.randn(5_000, 1) + 1)
    assert float(alone) == pytest.approx(0, abs=0.03)


def test_kl_to_the_learned_prior_holds_the_estimator_and_reaches_the_encoder():
    prior = RatioPrior(2)
    mean, log_var = (torch.randn(4, 2, requires_grad=True) for _ in range(2))
    z = gaussian.reparameterize(mean, log_var)
    prior.kl(mean, log_var, z).sum().backward()
    assert all(parameter.grad is None for parameter in prior.parameters())
    through_z = torch.autograd.grad(prior.ratio.log_ratio(z).sum(), mean, retain_graph=True)[0]
    assert through_z.abs().max() > 0
    torch.testing.assert_close(mean.grad, mean.detach() - through_z)


# Models.


def test_encoder_and_decoder_see_the_task():
    model = make()
    x, _ = data(4)
    first, second = (model.encode(x, k)[0] for k in (0, 2))
    assert (first - second).abs().max() > 0
    assert (model.decode(first, 0) - model.decode(first, 2)).abs().max() > 0
    mixed = model.encode(x, torch.tensor([0, 2, 0, 2]))[0]
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1], first[2], second[3]]))
    torch.testing.assert_close(
        model.reconstruct(x, 0, to=2), model.likelihood.mean(model.decode(first, 2))
    )
    assert model.sample(5, 1).shape == (5, P)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_is_trained_alone_and_stacked_alike(kind):
    def build(seed):
        return make(kind).double()

    # A ratio has no normaliser yet.
    assert_stacked_as_alone(build, data(), equal_nan=True, steps=6, batch_size=20, lr=1e-3)


@pytest.mark.parametrize("kind", [CVAE, VampPriorCVAE])
def test_likelihood_of_a_linear_model_is_the_exact_one(kind):
    torch.manual_seed(0)
    model = CVAE.mlp(K, 4, [], 2, likelihood=Gaussian(0.3)).double()
    x, task = torch.randn(5, 4, dtype=torch.double) * 0.5, torch.tensor([0, 1, 2, 0, 1])
    prior_mean, prior_var = torch.zeros(1, 2).double(), torch.ones(1, 2).double()
    if kind is VampPriorCVAE:
        model.prior = AggregatePosterior(
            torch.randn(3, 2).double(), torch.full((3, 2), -0.5).double()
        )
        prior_mean, prior_var = model.prior.mean, model.prior.log_var.exp()
    (layer,) = model.decoder
    w, shifts = layer.weight[:, :2], layer.weight[:, 2:].T + layer.bias
    exact = []
    for row, k in zip(x, task, strict=True):
        components = [
            torch.distributions.MultivariateNormal(
                w @ m + shifts[k], (w * v) @ w.T + 0.3 * torch.eye(4).double()
            ).log_prob(row)
            for m, v in zip(prior_mean, prior_var, strict=True)
        ]
        exact.append(torch.stack(components).logsumexp(0) - math.log(len(components)))
    exact = torch.stack(exact).detach()
    found = log_marginal_likelihood(model, (x, task), 40_000)
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    bound = torch.stack([log_marginal_likelihood(model, (x, task), 1) for _ in range(400)]).mean(0)
    assert (bound < exact + 0.1).all()


def test_the_proposed_bound_is_the_cvaes_plus_the_mean_log_ratio():
    model, plain = make(OptimalPriorVAE), make()
    plain.load_state_dict(model.state_dict(), strict=False)
    batch, noise = data(8), torch.randn(8, D)
    loss, parts, (mean, _) = model.loss(batch, noise)
    other, others = plain.loss(batch, noise)
    torch.testing.assert_close(loss, other - parts["log_ratio"])
    torch.testing.assert_close(parts["kl"], others["kl"])
    torch.testing.assert_close(mean, model.encode(*batch)[0])


def test_estimator_moves_in_its_own_phase_only():
    model = make(OptimalPriorVAE, ratio_steps=3)
    before = copy.deepcopy(model.state_dict())
    batch = data(8)
    loss, _, carry = model.loss(batch)
    loss.backward()
    assert all(p.grad is None for p in model.prior.parameters())
    model.zero_grad(set_to_none=True)
    model.after_step(batch, tuple(c.detach() for c in carry))
    moved = {
        name
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, torch.Tensor) and not torch.equal(tensor, before[name])
    }
    assert {name.split(".")[0] for name in moved - {"prior.log_constant"}} == {"prior"}
    assert model.prior.ratio.optimizer.state_dict()["state"][0]["step"] == 3
    assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("prior"))


def test_estimator_learns_the_pooled_codes_whatever_their_tasks():
    """With the encoder held, T tends to ln q(z)/p(z) for q pooled over tasks by their shares."""
    torch.manual_seed(0)
    model = OptimalPriorVAE.mlp(2, 1, [], 1, ratio_hidden=(32,), ratio_lr=1e-2)
    mean = torch.cat([torch.full((300, 1), -1.0), torch.full((100, 1), 2.0)])
    log_var = torch.full_like(mean, math.log(0.25))
    for step in range(1500):
        if step == 1000:
            model.prior.ratio.optimizer.param_groups[0]["lr"] = 1e-3
        model.after_step(None, (mean, log_var))
    z = torch.linspace(-2, 2.8, 25)[:, None]
    truth = gaussian.log_mixture_density(z, mean, log_var) - StandardNormal(1).log_prob(z)
    found = model.prior.log_ratio(z)
    assert (found - truth).abs().mean() < 0.25


def test_vamp_prior_is_the_mixture_of_its_pseudo_inputs_codes_and_trains_them():
    model = make(VampPriorCVAE)
    prior = model.prior
    z = torch.randn(4, 6, D)
    mixture = AggregatePosterior(*model.encode(prior.inputs, prior.task))
    torch.testing.assert_close(prior.log_prob(z), mixture.log_prob(z))
    loss, _ = model.loss(data(8))
    loss.backward()
    assert prior.inputs.grad.abs().max() > 0
    assert prior.sample(3).shape == (3, D)
    twin = copy.deepcopy(model)  # its prior must use its own encoder
    with torch.no_grad():
        for parameter in twin.encoder.parameters():
            parameter.mul_(0.5)
    assert (twin.prior.log_prob(z) - prior.log_prob(z)).abs().max() > 1e-3
    own = AggregatePosterior(*twin.encode(twin.prior.inputs, twin.prior.task))
    torch.testing.assert_close(twin.prior.log_prob(z), own.log_prob(z))


def test_hsic_is_the_trace_formula():
    torch.manual_seed(0)
    z, task = torch.randn(9, 2).double(), torch.tensor([0, 1, 1, 0, 2, 2, 2, 0, 1])
    distance = torch.cdist(z, z).square()
    kernel = torch.exp(-0.5 * distance / distance.flatten().median())
    same = (task[:, None] == task).double()
    centre = torch.eye(9).double() - 1 / 9
    truth = torch.trace(kernel @ centre @ same @ centre) / 81
    torch.testing.assert_close(hsic(z, task), truth)


def test_hsic_tells_dependence_and_is_blind_to_the_names_of_tasks():
    torch.manual_seed(0)
    z, task = torch.randn(400, 2), torch.arange(400) % 2
    none, much = hsic(z, task), hsic(z + 3 * task[:, None], task)
    assert none < 0.01 < 0.05 < much
    torch.testing.assert_close(hsic(z, 5 - 3 * task), none)


def test_hsic_model_adds_its_weighted_penalty():
    model, plain = make(HSICCVAE, weight=7.0), make()
    batch, noise = data(8), torch.randn(8, D)
    loss, parts = model.loss(batch, noise)
    draw = model.draw(batch, noise)
    torch.testing.assert_close(parts["hsic"], hsic(draw.z, batch[1]))
    torch.testing.assert_close(loss, plain.loss(batch, noise)[0] + 7 * parts["hsic"])


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_of_every_model_are_finite_after_training(kind):
    model = make(kind)
    x, task = data()
    fit(model, (x, task), steps=5, batch_size=16, lr=1e-3, seed=0, progress=False)
    if kind is OptimalPriorVAE:
        model.prior.normalize(1_000)
    assert log_marginal_likelihood(model, (x, task), 7).isfinite().all()


@pytest.mark.parametrize(
    ("batch", "error", "match"),
    [
        (lambda x, s: x, TypeError, "pair"),
        (lambda x, s: (x, s.float()), TypeError, "integers"),
        (lambda x, s: (x, s == 1), TypeError, "integers"),
        (lambda x, s: (x, s[:, None]), ValueError, "one a datum"),
        (lambda x, s: (x, s + 1), ValueError, "between 0 and 2"),
        (lambda x, s: (x, s - 1), ValueError, "between 0 and 2"),
        (lambda x, s: (x[:, :5], s), ValueError, "shape"),
        (lambda x, s: (x * math.nan, s), ValueError, "finite"),
        (lambda x, s: (x * 9, s), ValueError, "between 0 and 1"),
    ],
)
def test_training_refuses_bad_data(batch, error, match):
    with pytest.raises(error, match=match):
        fit(make(), batch(*data()), steps=1, batch_size=4, lr=1e-3, progress=False)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m, x: m.encode(x, 3), "between 0 and 2"),
        (lambda m, x: m.encode(x, torch.tensor([0, 1])), "one a datum"),
        (lambda m, x: m.decode(torch.zeros(4, D), -1), "between 0 and 2"),
        (lambda m, x: m.reconstruct(x, 0, to=9), "between 0 and 2"),
        (lambda m, x: CVAE.mlp(0, P, [9], D), "tasks"),
        (lambda m, x: make(OptimalPriorVAE, ratio_steps=0), "ratio_steps"),
        (lambda m, x: AggregatePosterior(torch.zeros(3, 2), torch.zeros(2, 2)), "share a shape"),
        (lambda m, x: hsic(torch.zeros(3, 2), torch.zeros(2)), "B, D"),
    ],
)
def test_wrong_arguments_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call(make(), data(4)[0])

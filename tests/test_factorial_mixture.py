"""The factorial mixture prior: eq. 4 to 14 against samples, autograd and brute force."""

import itertools
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Dirichlet, Independent, Normal, StudentT
from torch.distributions import kl_divergence as kl
from torch.utils._python_dispatch import TorchDispatchMode

from vaelite import gaussian
from vaelite.convnets import DIGITS, FACES, DeepConvDecoder, DeepConvEncoder, PixelGaussian
from vaelite.disentangle import BetaTCVAE
from vaelite.distributions import NormalGamma
from vaelite.factorial_mixture import (
    ConjugateFactor,
    FactorialMixture,
    FactorialMixtureVAE,
    FirstOrderFactor,
    Hyperprior,
    PointMixture,
    code_moments,
    held,
    pretrain,
    seed,
    step_size,
)
from vaelite.metrics import log_marginal_likelihood
from vaelite.nets import GaussianEncoder
from vaelite.training import Linear, Phase, fit, fit_seeds
from vaelite.vae import VAE
from vaelite.vamp import VampPriorVAE

K, D, B, N = (3, 4), 2, 7, 50


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def encodings(rows=B, dim=4, seed=0, spread=1.5):
    g = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    mean = spread * torch.randn(rows, dim, generator=g, dtype=dtype)
    return mean, torch.randn(rows, dim, generator=g, dtype=dtype) - 1


def fitted(components=K, dim=D, cls=FactorialMixture, rows=40, steps=0, **options):
    """A prior seeded by encodings, so that nothing in it is at its starting value."""
    torch.manual_seed(1)
    prior = cls(components, dim, **options)
    mean, log_var = encodings(rows, prior.dim, seed=3)
    labels = None
    if prior.labelled:
        labels = torch.stack([torch.arange(rows) % k for k in components[: prior.labelled]], -1)
    prior.seed(mean, log_var.exp(), N, labels)
    return prior


def draws(prior, count):
    """Samples of q(xi): I times weights (S, K), means and precisions (S, K, D)."""
    for factor in prior.factors:
        value = NormalGamma(*(getattr(factor, name) for name in "msab")).sample((count,))
        yield Dirichlet(factor.c).sample((count,)), value[..., 0], value[..., 1]


def close(samples, truth, many=5.0):
    error = samples.std(0) / math.sqrt(len(samples))
    assert ((samples.mean(0) - truth).abs() < many * error + 1e-12).all()


# Equations 4 to 6 against samples of q(z|x), q(r) and q(xi).


@pytest.mark.parametrize("kind", [ConjugateFactor, FirstOrderFactor])
def test_divergences_of_a_factor_are_those_of_the_distributions(kind, double):
    hyperprior = Hyperprior(m0=-0.7, s0=0.4, a0=1.3, b0=0.6, c0=2.1)
    factor = kind(5, 3, hyperprior)
    mean, var = torch.randn(40, 3), torch.rand(40, 3)
    factor.natural_step(code_moments(mean, var), torch.rand(40, 5).softmax(-1), 7.0, 0.8)
    m0, s0, a0, b0, c0 = (torch.tensor(value) for value in hyperprior)
    found = factor.expected()
    right = kl(factor.posterior(), NormalGamma(m0, s0, a0, b0)).sum()
    torch.testing.assert_close(found.kl_components, right)
    right = kl(Dirichlet(factor.c), Dirichlet(c0.expand(5)))
    torch.testing.assert_close(found.kl_weights, right)


def test_expected_log_likelihood_and_responsibilities_are_those_of_samples(double):
    prior, count = fitted(), 15_000
    mean, log_var = encodings()
    torch.manual_seed(0)
    gammas = prior.responsibilities(mean, log_var.exp())
    for i, (pi, mu, alpha) in enumerate(draws(prior, count)):
        part = slice(i * D, (i + 1) * D)
        own = mean[:, part], log_var[:, part]
        z = gaussian.reparameterize(*own, torch.randn(count, B, D))
        density = Normal(mu.unsqueeze(1), alpha.unsqueeze(1) ** -0.5).log_prob(z.unsqueeze(2))
        density = density.sum(-1)  # (S, B, K)
        expected = prior.factors[i].expected_log_likelihood(own[0], own[1].exp())
        close(density, expected)
        close(pi.log(), prior.factors[i].expected().log_weights)
        best = (expected + prior.factors[i].expected().log_weights).exp()
        torch.testing.assert_close(gammas[i], best / best.sum(-1, keepdim=True))


def test_the_four_divergences_are_those_of_samples(double):
    prior, count = fitted(), 20_000
    mean, log_var = encodings()
    torch.manual_seed(0)
    gammas = [torch.rand(B, k).softmax(-1) for k in K]
    kl_z, kl_r = prior.kl_z(mean, log_var, gammas), prior.kl_r(gammas)
    for i, (pi, mu, alpha) in enumerate(draws(prior, count)):
        part = slice(i * D, (i + 1) * D)
        q = Normal(mean[:, part].unsqueeze(1), (0.5 * log_var[:, part]).exp().unsqueeze(1))
        p = Normal(mu.unsqueeze(1), alpha.unsqueeze(1) ** -0.5)
        close((gammas[i] * kl(q, p).sum(-1)).sum(-1), kl_z[:, i])
        close(kl(Categorical(gammas[i]), Categorical(pi.unsqueeze(1))), kl_r[:, i])
        factor = prior.factors[i]
        q, p = NormalGamma(factor.m, factor.s, factor.a, factor.b), NormalGamma(0, 1, 0.01, 0.01)
        value = q.sample((count,))
        close((q.log_prob(value) - p.log_prob(value)).sum((-1, -2)), prior.kl_components()[i])
        q, p = Dirichlet(factor.c), Dirichlet(torch.ones(K[i]))
        weights = q.sample((count,))
        close(q.log_prob(weights) - p.log_prob(weights), prior.kl_weights()[i])


def test_responsibilities_are_the_maximum_and_the_closed_kl_is_its_value(double):
    prior = fitted()
    mean, log_var = encodings()
    best = prior.responsibilities(mean, log_var.exp())
    total = (prior.kl_z(mean, log_var, best) + prior.kl_r(best)).sum(-1)
    torch.testing.assert_close(prior.kl(mean, log_var, None), total)
    torch.manual_seed(0)
    for _ in range(20):
        other = [0.9 * gamma + 0.1 * torch.rand_like(gamma).softmax(-1) for gamma in best]
        assert ((prior.kl_z(mean, log_var, other) + prior.kl_r(other)).sum(-1) > total).all()


def test_holding_the_responsibilities_does_not_change_the_gradient(double):
    prior = fitted()
    mean, log_var = (x.requires_grad_() for x in encodings())
    found = torch.autograd.grad(prior.kl(mean, log_var, None).sum(), (mean, log_var))
    gammas = prior.responsibilities(mean, log_var.exp())
    through = (prior.kl_z(mean, log_var, gammas) + prior.kl_r(gammas)).sum()
    for one, other in zip(found, torch.autograd.grad(through, (mean, log_var)), strict=True):
        torch.testing.assert_close(one, other)


def test_sure_responsibilities_count_no_logarithm_of_zero():
    prior = fitted()
    gammas = [torch.eye(k)[torch.arange(B) % k] for k in K]
    expected = [f.expected().log_weights for f in prior.factors]
    truth = torch.stack([-w[torch.arange(B) % k].float() for w, k in zip(expected, K)], -1)  # noqa: B905
    torch.testing.assert_close(prior.kl_r(gammas), truth)


@pytest.mark.parametrize("deviation", [1e-2, 1e-4])
def test_responsibilities_in_single_precision_are_those_in_double(deviation):
    """a / b of 1e8, encodings far from zero: the expanded square keeps two digits in float32."""
    torch.manual_seed(0)
    centres = 3 + torch.randn(5, 6).double()
    mean = (centres[torch.arange(300) % 5] + deviation * torch.randn(300, 6).double()).float()
    var = torch.full_like(mean, deviation**2)
    # A vague hyperprior: the one observation at zero of s0 = 1 would widen all components.
    prior = FactorialMixture([5], 6, hyperprior=Hyperprior(0.0, 1e-10, 0.01, 1e-10, 1.0))
    gamma = torch.eye(5)[torch.arange(300) % 5]
    prior.natural_step(mean, var, [gamma], 300, 1.0)
    m, s, a, b, c = (getattr(prior, name)[0].double() for name in "msabc")
    assert (a / b).max() > 0.2 / deviation**2
    near = (m[1:2] + deviation * torch.randn(40, 6)).float()  # between components, too
    near[:20] = (0.5 * (m[0] + m[1])).float()
    distance = (near.double().unsqueeze(1) - m).square() + deviation**2  # not expanded
    truth = 0.5 * (torch.digamma(a) - b.log() - gaussian.LOG_TWO_PI - 1 / s - a / b * distance)
    found = prior.factors[0].expected_log_likelihood(near, torch.full_like(near, deviation**2))
    torch.testing.assert_close(found, truth.sum(-1), rtol=1e-7, atol=1e-4)
    logits = truth.sum(-1) + torch.digamma(c) - torch.digamma(c.sum())
    gammas = prior.responsibilities(near, torch.full_like(near, deviation**2))
    torch.testing.assert_close(gammas[0], logits.softmax(-1).float(), rtol=1e-3, atol=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // 8)
        return out


def test_four_thousand_components_cost_two_matrices():
    """No tensor of B x K x D; nor anything near the product of the K_i, here 4096 squared."""
    prior = FactorialMixture([4096, 4096], 8)
    mean, log_var = encodings(64, 16)
    mean.requires_grad_()
    with Largest() as largest:
        terms = prior.local_terms(mean, log_var)
        (terms.kl_z + terms.kl_r).sum().backward()
        gammas = prior.responsibilities(mean.detach(), log_var.exp())
        prior.natural_step(mean.detach(), log_var.exp(), gammas, 1000, 0.1)
    assert 64 * 4096 <= largest.elements <= max(64 * 4096, 4 * 4096 * 8) < 64 * 4096 * 8


# Equations 7, 13 and 14.


def elbo(prior, mean, log_var, gammas):
    """Lines (4b) to (4e), for all data, which are the batch."""
    local = prior.kl_z(mean, log_var, gammas).sum() + prior.kl_r(gammas).sum()
    return -(local + prior.kl_components().sum() + prior.kl_weights().sum())


def test_a_full_step_of_length_one_is_coordinate_ascent(double):
    """After it no parameter of q(xi) has a slope; and steps 1 and 3 in turn only ever rise."""
    prior = fitted()
    mean, log_var = encodings(30)
    last = -math.inf
    for _ in range(15):
        gammas = prior.responsibilities(mean, log_var.exp())
        before = elbo(prior, mean, log_var, gammas)
        prior.natural_step(mean, log_var.exp(), gammas, 30, 1.0)
        after = elbo(prior, mean, log_var, gammas)
        assert last - 1e-9 <= before <= after + 1e-9
        last = after
    slopes = {}
    for factor in prior.factors:
        for name in "msabc":
            slopes[name] = getattr(factor, name).requires_grad_()
        grads = torch.autograd.grad(elbo(prior, mean, log_var, gammas), list(slopes.values()))
        for name, grad in zip(slopes, grads, strict=True):
            assert (grad * slopes[name]).abs().max() < 1e-6 * 30, name


@pytest.mark.parametrize("rho", [0.3, 0.02])
def test_any_shorter_full_step_rises_too(double, rho):
    prior = fitted()
    mean, log_var = encodings(30)
    gammas = prior.responsibilities(mean, log_var.exp())
    before = elbo(prior, mean, log_var, gammas)
    prior.natural_step(mean, log_var.exp(), gammas, 30, rho)
    assert elbo(prior, mean, log_var, gammas) > before


def test_the_step_is_the_gradient_through_the_inverse_fisher_matrix(double):
    """autograd in natural parameters; Fisher: the Hessian of the log normaliser."""
    prior = fitted([2], 1, rows=12, hyperprior=Hyperprior(0.3, 2.0, 1.5, 0.8, 1.2))
    mean, log_var = encodings(9, 1)
    gammas = prior.responsibilities(mean, log_var.exp())
    factor, rho = prior.factors[0], 0.3
    start = factor.posterior().natural_parameters().clone()  # (K, D, 4)
    counts = factor.c.clone()

    def objective(natural, c):
        q = NormalGamma.from_natural_parameters(natural, validate_args=False)
        for name in "msab":
            setattr(factor, name, getattr(q, name))
        factor.c = c
        return elbo(prior, mean, log_var, gammas)

    slopes = torch.autograd.functional.jacobian(objective, (start, counts))
    moved = torch.empty_like(start)
    for k in range(2):

        def normaliser(natural):
            return NormalGamma.from_natural_parameters(natural, validate_args=False).log_normalizer

        fisher = torch.autograd.functional.hessian(normaliser, start[k, 0])
        moved[k, 0] = start[k, 0] + rho * torch.linalg.solve(fisher, slopes[0][k, 0])
    fisher = torch.diag(torch.polygamma(1, counts)) - torch.polygamma(1, counts.sum())
    weights = counts + rho * torch.linalg.solve(fisher, slopes[1])

    objective(start, counts)
    prior.natural_step(mean, log_var.exp(), gammas, 9, rho)
    torch.testing.assert_close(factor.posterior().natural_parameters(), moved)
    torch.testing.assert_close(factor.c, weights)


def test_minibatches_stand_for_all_data(double):
    """Eq. 13, written out for one component of each factor; and its mean over batches."""
    hyperprior = Hyperprior(0.4, 1.5, 0.3, 0.7, 2.0)
    prior = fitted(hyperprior=hyperprior)
    mean, log_var = encodings(6)
    gammas = prior.responsibilities(mean, log_var.exp())
    prior.natural_step(mean, log_var.exp(), gammas, 60, 1.0)
    for i, k in [(0, 2), (1, 1)]:
        z, v, g = mean[:, i * D + 1], log_var[:, i * D + 1].exp(), gammas[i][:, k]
        total = 10 * g.sum()
        s = 1.5 + total
        m = (1.5 * 0.4 + 10 * (g * z).sum()) / s
        b = 0.7 + 0.5 * (1.5 * 0.4**2 + 10 * (g * (z**2 + v)).sum() - s * m**2)
        for name, truth in {"m": m, "s": s, "a": 0.3 + 0.5 * total, "b": b}.items():
            torch.testing.assert_close(getattr(prior, name)[i][k, 1], truth)
        torch.testing.assert_close(prior.c[i][k], 2 + total)
    whole = fitted(hyperprior=hyperprior)
    whole.natural_step(mean, log_var.exp(), gammas, 6, 1.0)
    parts = []
    for rows in ([0, 1, 2], [3, 4, 5]):
        part = fitted(hyperprior=hyperprior)
        some = [gamma[rows] for gamma in gammas]
        part.natural_step(mean[rows], log_var[rows].exp(), some, 6, 1.0)
        parts.append(part.factors[1].posterior().natural_parameters())
    truth = whole.factors[1].posterior().natural_parameters()
    torch.testing.assert_close(torch.stack(parts).mean(0), truth)


def test_it_is_natural_parameters_that_are_interpolated(double):
    prior, target, mixed = fitted(), fitted(), fitted()
    mean, log_var = encodings()
    gammas = prior.responsibilities(mean, log_var.exp())
    target.natural_step(mean, log_var.exp(), gammas, N, 1.0)
    mixed.natural_step(mean, log_var.exp(), gammas, N, 0.25)
    for one, other, found in zip(prior.factors, target.factors, mixed.factors, strict=True):
        ends = [f.posterior().natural_parameters() for f in (one, other)]
        torch.testing.assert_close(
            found.posterior().natural_parameters(), 0.75 * ends[0] + 0.25 * ends[1]
        )
        assert ((0.75 * one.m + 0.25 * other.m) - found.m).abs().max() > 1e-2


def test_the_identity_of_a_and_s_holds_after_many_steps_in_single_precision():
    prior = fitted()
    for step in range(1, 200):
        mean, log_var = encodings(seed=step)
        gammas = prior.responsibilities(mean, log_var.exp())
        prior.natural_step(mean, log_var.exp(), gammas, N, step_size(step, 10.0))
    for a, s, c in zip(prior.a, prior.s, prior.c, strict=True):
        torch.testing.assert_close(a - 0.01, (s - 1) / 2, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(c - 1, s[:, 0] - 1, rtol=1e-4, atol=1e-4)
        assert c.sum().item() == pytest.approx(N + len(c), rel=1e-4)


def test_step_sizes_fall_as_robbins_and_monro_want():
    rho = step_size(torch.arange(1, 100_000).double(), 2000.0, 0.7)
    assert (rho.diff() < 0).all() and rho[0].item() == pytest.approx(2001**-0.7)
    assert step_size(1, 0.0) == 1
    assert rho.sum() > 60 and rho.square().sum() < 0.2


# Equations 9 to 11.


def test_density_is_the_sum_over_all_combinations_of_students_t(double):
    prior = fitted()
    z = torch.randn(5, 6, len(K) * D)
    terms = []
    for combination in itertools.product(*map(range, K)):
        log_density = 0.0
        for i, k in enumerate(combination):
            m, s, a, b, c = (getattr(prior, name)[i] for name in "msabc")
            t = StudentT(2 * a[k], m[k], ((s[k] + 1) / s[k] * b[k] / a[k]).sqrt())
            log_density = log_density + Independent(t, 1).log_prob(z[..., i * D : (i + 1) * D])
            log_density = log_density + (c[k] / c.sum()).log()
        terms.append(log_density)
    assert prior.log_prob(z).shape == (5, 6)
    torch.testing.assert_close(prior.log_prob(z), torch.stack(terms).logsumexp(0))


def test_density_is_that_of_samples_of_q(double):
    """E_q(xi) p(z | xi), eq. 9, by Monte Carlo."""
    prior = fitted()
    z = encodings(4, spread=1.0)[0]
    torch.manual_seed(0)
    densities = 1.0
    for i, (pi, mu, alpha) in enumerate(draws(prior, 40_000)):
        own = z[:, None, i * D : (i + 1) * D]
        normal = Normal(mu.unsqueeze(1), alpha.unsqueeze(1) ** -0.5).log_prob(own).sum(-1).exp()
        densities = densities * (pi.unsqueeze(1) * normal).sum(-1)
    close(densities, prior.log_prob(z).exp())


def test_density_in_single_precision_and_in_pieces(monkeypatch):
    prior = fitted([6], 40, rows=3000)
    moments = code_moments(*encodings(3000, 40))
    prior.factors[0].natural_step(moments, torch.eye(6)[torch.arange(3000) % 6], 1e3, 1)
    z = encodings(9, 40)[0]
    found = prior.log_prob(z)
    torch.testing.assert_close(
        found.double(), prior.double().log_prob(z.double()), rtol=1e-5, atol=0
    )
    monkeypatch.setattr("vaelite.factorial_mixture._AT_ONCE", 500)
    torch.testing.assert_close(prior.float().log_prob(z), found)


def test_samples_have_the_density(double):
    """Mean and variance of each coordinate, and the share of each component."""
    prior = fitted(rows=400)
    torch.manual_seed(0)
    prior.natural_step(
        *[x if i == 0 else x.exp() for i, x in enumerate(encodings(400))],
        prior.responsibilities(encodings(400)[0], encodings(400)[1].exp()),
        400,
        1.0,
    )
    z = prior.sample(60_000)
    for i in range(len(K)):
        share = prior.c[i] / prior.c[i].sum()
        variance = (prior.s[i] + 1) / prior.s[i] * prior.b[i] / (prior.a[i] - 1)
        mean = (share[:, None] * prior.m[i]).sum(0)
        second = (share[:, None] * (variance + prior.m[i] ** 2)).sum(0)
        own = z[:, i * D : (i + 1) * D]
        close(own, mean)
        close(own.square(), second)
    held_ = prior.sample(20_000, {1: 2})
    close(held_[:, D:], prior.m[1][2])
    close(held_[:, :D], (prior.c[0] / prior.c[0].sum()) @ prior.m[0])


def test_unused_components_are_dropped_from_samples_and_reported():
    prior = fitted([3], 2)
    for name, value in zip("msab", (0.0, 1.0, 0.01, 0.01), strict=True):
        getattr(prior, name)[0][1] = value
    prior.c[0][1] = 1.0
    assert prior.used()[0].tolist() == [True, False, True]
    assert prior.sample(20_000).abs().max() < 1e4
    assert not prior.sample(20_000, least=0.0).abs().max() < 1e6  # infinite, most often
    with pytest.raises(ValueError, match="component 1 of factor 0 has fewer than 1 data"):
        prior.sample(3, {0: 1})
    with pytest.raises(RuntimeError, match=r"no component of factor 0 has 1 data; .* not seeded"):
        FactorialMixture([3], 2).sample(3)


def test_the_bound_stays_below_the_likelihood(double):
    """Eq. 11 against the importance-sampled likelihood under the closed-form prior."""
    model = trained()
    x = data(12, seed=9)
    torch.manual_seed(0)
    bounds = [model.bound(x) for _ in range(200)]
    whole = torch.stack([b.log_likelihood - b.kl_z - b.kl_r for b in bounds])
    exact = log_marginal_likelihood(model, x, 4000)
    assert (whole.mean(0) < exact + 4 * whole.std(0) / 200**0.5).all()
    assert (bounds[0].kl_z > 0).all() and (bounds[0].kl_r >= 0).all()
    # The gap of the KL: KL[z] + KL[r] pays for q(r) and q(xi) beside KL(q || p).
    mean, log_var = model.encode(x)
    z = gaussian.reparameterize(mean, log_var, torch.randn(4000, *mean.shape))
    sampled = gaussian.log_density(z, mean, log_var) - model.prior.log_prob(z)
    assert (model.prior.kl(mean, log_var, None) > sampled.mean(0) - 1e-2).all()


# The model: three steps, phases, labels.

L = 12


def data(rows=N, seed=0):
    g = torch.Generator().manual_seed(seed)
    kind = torch.arange(rows) % 3
    chance = torch.rand(3, L, generator=torch.Generator().manual_seed(7))
    return torch.bernoulli(chance[kind].round() * 0.8 + 0.1, generator=g).to(
        torch.get_default_dtype()
    )


def labels(rows=N):
    known = torch.arange(rows) % 2 == 0
    column = torch.where(known, torch.arange(rows) % 3, -1)
    return torch.stack([column, torch.where(known.roll(1), torch.arange(rows) // 2 % 2, -1)], 1)


def make(run_seed=0, beta=1.0, prior=None, **options):
    prior = prior or FactorialMixture(K, D)
    options = {"dataset_size": N, "delay": 5.0, "beta": beta, **options}
    return FactorialMixtureVAE.mlp(L, [8], prior.dim, prior=prior, **options)


def labelled(run_seed=0, beta=1.0, **options):
    prior = FactorialMixture((3, 2, 4), D, labelled=2)
    return make(run_seed, beta, prior, **{"label_weight": 3.0, **options})


PHASES = [
    Phase(6, before=pretrain, schedules={"beta": Linear(0.0, 1.0, 5)}),
    Phase(5, before=seed, schedules={"lr": held}),
    Phase(8),
]
OPTIONS = {"phases": PHASES, "batch_size": 10, "lr": 1e-2, "progress": False, "log_every": 2}


def trained(maker=make, x=None, **options):
    torch.manual_seed(3)
    model = maker()
    fit(model, data() if x is None else x, **{**OPTIONS, **options})
    return model


METHODS = {
    "mixture": (make, False),
    "one encoding": (lambda s, beta: make(s, beta, reencode=False), False),
    "point estimates": (lambda s, beta: make(s, beta, PointMixture(K, D)), False),
    "labels": (labelled, True),
}


@pytest.mark.parametrize("name", METHODS)
def test_many_at_once_are_what_each_is_alone(name, double):
    maker, pairs = METHODS[name]
    x = (data(), labels()) if pairs else data()
    runs = [(3, 1.0), (5, 2.0)]
    phases = [Phase(6, before=pretrain), *PHASES[1:]]
    models, histories = fit_seeds(maker, x, runs, **OPTIONS | {"phases": phases})
    for run, model, history in zip(runs, models, histories, strict=True):
        torch.manual_seed(run[0])
        alone = maker(*run)
        expected = fit(alone, x, seed=run[0], **OPTIONS | {"phases": phases})
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-9, atol=1e-9)
        for part, values in expected.parts.items():
            np.testing.assert_allclose(history[part], values, rtol=1e-8, equal_nan=True)
        assert model.stage == alone.stage == "mixture"


@pytest.mark.parametrize(("name", "at"), [("mixture", 9), ("mixture", 13), ("labels", 11)])
def test_an_interrupted_run_goes_on_exactly(name, at, tmp_path, stop, double):
    maker, pairs = METHODS[name]
    x, path = (data(), labels()) if pairs else data(), tmp_path / "run.pt"
    whole = trained(lambda: maker(0, 1.0), x)
    stop.at = stop.steps + at
    with pytest.raises(KeyboardInterrupt):
        trained(lambda: maker(0, 1.0), x, checkpoint=path)
    resumed = trained(lambda: maker(0, 1.0), x, checkpoint=path, resume=True)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_pretraining_is_the_plain_vaes_and_seeding_moves_the_mixture_alone():
    torch.manual_seed(0)
    plain = VAE.mlp(L, [8], 4)
    torch.manual_seed(0)
    model = make()
    options = OPTIONS | {"phases": PHASES[:1]}
    fit(plain, data(), **options | {"phases": [Phase(6, schedules=PHASES[0].schedules)]})
    fit(model, data(), **options)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert all((c == 1).all() for c in model.prior.c) and model.step == 0
    before = [parameter.clone() for parameter in model.parameters()]
    phase = Phase(5, before=seed, schedules={"lr": held})
    fit(model, data(), **OPTIONS | {"phases": [phase]})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert model.step == 5 and all(c.sum() > N for c in model.prior.c)


@pytest.mark.parametrize("reencode", [True, False])
def test_the_third_step_takes_the_moved_encoders_responsibilities(reencode, double):
    model = trained(lambda: make(reencode=reencode))
    x = data(10, seed=5)
    twin = FactorialMixture(K, D)
    twin.load_state_dict(model.prior.state_dict())
    old = [v.detach() for v in model.encode(x)]
    loss, _, carry = model.loss(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss.backward()
    optimizer.step()
    new = [v.detach() for v in model.encode(x)]
    assert (new[0] - old[0]).abs().max() > 1e-3
    model.after_step(x, carry)
    mean, log_var = new if reencode else old
    gammas = twin.responsibilities(mean, log_var.exp())
    twin.natural_step(mean, log_var.exp(), gammas, N, (5.0 + model.step.item()) ** -0.7)
    for one, other in zip(twin.factors, model.prior.factors, strict=True):
        for name in "msabc":
            torch.testing.assert_close(getattr(other, name), getattr(one, name))


def test_the_loss_is_minus_the_elbo_and_beta_weighs_line_4b_alone(double):
    model = trained()
    x, noise = data(10, seed=5), torch.randn(10, 4)
    mean, log_var = model.encode(x)
    gammas = model.prior.responsibilities(mean, log_var.exp())
    local = model.log_likelihood(x, gaussian.reparameterize(mean, log_var, noise))
    local = local - (model.prior.kl_z(mean, log_var, gammas) + model.prior.kl_r(gammas)).sum(-1)
    world = (model.prior.kl_components() + model.prior.kl_weights()).sum() / N
    loss, parts, _ = model.loss(x, noise)
    torch.testing.assert_close(loss, world - local.mean())
    model.beta = 20.0
    torch.testing.assert_close(model.loss(x, noise)[0], loss + 19 * parts["kl_z"])


def test_labels_clamp_responsibilities_and_feed_the_statistics(double):
    prior = fitted((3, 4), 2)
    mean, log_var = encodings()
    free = prior.responsibilities(mean, log_var.exp())
    given = torch.tensor([2, -1, 0, 1, -1, 2, 2])[:, None]
    found = prior.responsibilities(mean, log_var.exp(), given)
    known = given[:, 0] >= 0
    assert torch.equal(found[0][known].argmax(-1), given[known, 0])
    assert torch.equal(found[0][known].sum(-1), torch.ones(5)) and set(
        found[0][known].flatten().tolist()
    ) == {0.0, 1.0}
    torch.testing.assert_close(found[0][~known], free[0][~known])
    torch.testing.assert_close(found[1], free[1])
    prior.natural_step(mean, log_var.exp(), found, B, 1.0)
    count = 1 + 3 + free[0][~known][:, 2].sum()  # the prior's, three labels, and shares
    torch.testing.assert_close(prior.c[0][2], count)


def test_the_term_of_labels_is_the_cross_entropy_of_free_responsibilities(double):
    model = trained(labelled, (data(), labels()))
    x, y, noise = data(10, seed=5), labels(10), torch.randn(10, 6)
    loss, parts, _ = model.loss((x, y), noise)
    total = 0.0
    for i, gamma in enumerate(model.responsibilities(x)[:2]):
        for n in range(10):
            if y[n, i] >= 0:
                total = total - gamma[n, y[n, i]].log()
    torch.testing.assert_close(parts["cross_entropy"], total / 10)
    model.label_weight = 0.0
    torch.testing.assert_close(loss - model.loss((x, y), noise)[0], 3 * total / 10)


def test_the_optimiser_moves_labelled_factors_and_natural_gradients_the_others(double):
    model = trained(labelled, (data(), labels()), phases=PHASES[:2])
    assert model.prior.m[0].std() > 0  # seeded by its labels
    x, y = data(10, seed=5), labels(10)
    before = {name: [v.clone() for v in getattr(model.prior, name)] for name in "msabc"}
    model.after_step((x, y), model.loss((x, y))[2])
    for name, values in before.items():
        moved = [not torch.equal(o, v) for o, v in zip(values, getattr(model.prior, name))]  # noqa: B905
        assert moved == [False, False, True], name
    loss, _, carry = model.loss((x, y))
    loss.backward()
    for factor in model.prior.factors[:2]:
        for name, parameter in factor.named_parameters():
            assert parameter.grad.abs().max() > 0, name
    # Frozen, they are conjugate again.
    model.prior.requires_grad_(False)
    model.after_step((x, y), carry)
    assert not torch.equal(before["m"][0], model.prior.m[0])


def test_gradients_of_a_labelled_factor_vanish_at_the_conjugate_optimum(double):
    """Without the labels' term, first-order and natural gradients want the same q(xi)."""
    prior = FactorialMixture([3], 2, labelled=1)
    mean, log_var = encodings(30, 2)
    y = torch.arange(30)[:, None] % 3
    prior.seed(mean, log_var.exp(), 30, y)
    gammas = prior.responsibilities(mean, log_var.exp(), y)
    objective = elbo(prior, mean, log_var, gammas)
    slopes = torch.autograd.grad(objective, list(prior.parameters()))
    assert max(slope.abs().max() for slope in slopes) < 1e-6 * 30


def test_labels_teach_their_factor():
    torch.manual_seed(0)
    x, y = data(300), torch.arange(300)[:, None] % 3
    hidden = torch.where(torch.rand(300, 1) < 0.6, -1, y)
    prior = FactorialMixture((3, 4), D, labelled=1)
    model = make(prior=prior, dataset_size=300, label_weight=20.0)
    phases = [
        Phase(150, before=pretrain),
        Phase(5, before=seed, schedules={"lr": held}),
        Phase(300),
    ]
    fit(model, (x, hidden), phases=phases, batch_size=50, lr=5e-3, progress=False)
    found = model.responsibilities(data(300, seed=4))[0].argmax(-1)
    assert (found == y[:, 0]).double().mean() > 0.85


def test_three_kinds_of_images_are_found_without_labels():
    torch.manual_seed(0)
    prior = FactorialMixture([3], 2)
    model = make(prior=prior, dataset_size=300, delay=20.0)
    phases = [
        Phase(400, before=pretrain),
        Phase(50, before=seed, schedules={"lr": held}),
        Phase(400),
    ]
    history = fit(model, data(300), phases=phases, batch_size=50, lr=5e-3, progress=False)
    found, kind = model.responsibilities(data(300, seed=4))[0].argmax(-1), torch.arange(300) % 3
    assert sum(found[kind == k].bincount(minlength=3).max() for k in range(3)) > 240
    assert history["loss"][-1] < history["loss"][0]
    assert (
        model.sample(5, {0: 0}).shape == (5, L)
        and model.sample(4, noisy=True).unique().numel() == 2
    )


def test_other_objectives_take_the_prior_and_leave_it():
    prior = fitted()
    before = [m.clone() for m in prior.m]
    model = BetaTCVAE.mlp(L, [8], prior.dim, prior=prior, dataset_size=N)
    fit(model, data(), steps=3, batch_size=10, progress=False)
    plain = VAE.mlp(L, [8], prior.dim, prior=fitted(estimator="sampled"))
    fit(plain, data(), steps=3, batch_size=10, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, prior.m, strict=True))


# Baselines.


def test_point_estimates_are_the_limit_of_a_certain_posterior(double):
    point = fitted(cls=PointMixture)
    sure = FactorialMixture(K, D)
    for factor, own in zip(sure.factors, point.factors, strict=True):
        factor.m.copy_(own.mean)
        factor.s.fill_(1e9)
        factor.a.fill_(1e9)
        factor.b.copy_(1e9 * own.log_var.exp())
        factor.c.copy_(1e9 * own.mixing())
    mean, log_var = encodings()
    torch.testing.assert_close(point.kl(mean, log_var, None), sure.kl(mean, log_var, None))
    z = torch.randn(3, 5, 4)
    torch.testing.assert_close(point.log_prob(z), sure.log_prob(z), rtol=1e-6, atol=1e-6)
    assert point.kl_components().tolist() == point.kl_weights().tolist() == [0, 0]
    assert point.sample(6, {0: 1}).shape == (6, 4)


def test_point_estimates_are_learned_by_gradients():
    model = trained(lambda: make(prior=PointMixture(K, D)), phases=PHASES[:2])
    before = {name: p.clone() for name, p in model.prior.named_parameters()}
    fit(model, data(), steps=5, batch_size=10, lr=1e-2, progress=False)
    assert all(not torch.equal(p, before[name]) for name, p in model.prior.named_parameters())
    assert model.step == 0


def test_vamp_prior_of_a_plain_vae(double):
    torch.manual_seed(0)
    model = VampPriorVAE.mlp(L, [8], 3, pseudo_inputs=data(5))
    mean, log_var = model.encode(data(5))
    z = torch.randn(4, 6, 3)
    terms = torch.stack([gaussian.log_density(z, m, v) for m, v in zip(mean, log_var, strict=True)])
    torch.testing.assert_close(model.prior.log_prob(z), terms.logsumexp(0) - math.log(5))
    fit(model, data(), steps=5, batch_size=10, lr=1e-2, progress=False)
    assert (model.prior.inputs - data(5)).abs().max() > 1e-3
    assert model.prior.sample(7).shape == (7, 3)
    assert log_marginal_likelihood(model, data(4), 20).isfinite().all()
    with pytest.raises(ValueError, match="data must have shape"):
        VampPriorVAE.mlp(L, [8], 3, pseudo_inputs=data(5)[:, :4])


# Networks.


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_networks_have_the_papers_layers():
    encoder, decoder = DeepConvEncoder((1, 28, 28), 128), DeepConvDecoder(64, (1, 28, 28))
    assert count(encoder, decoder) == 567_745  # the paper prints 567,775
    assert encoder(torch.rand(3, 1, 28, 28)).shape == (3, 128)
    assert decoder(torch.rand(2, 3, 64)).shape == (2, 3, 1, 28, 28)
    strict = (DIGITS[0], (1, 2) * 4)
    both = DeepConvEncoder((1, 28, 28), 128, *strict), DeepConvDecoder(64, (1, 28, 28), *strict)
    assert count(*both) == 419_521 and both[1].start == (64, 2, 2)
    assert FACES == ((128, 256, 512, 1024), (2, 2, 2, 2))


@pytest.mark.parametrize("size", [(28, 20), (13, 18)])
def test_any_size_comes_back(size):
    shape = (3, *size)
    encoder = DeepConvEncoder(shape, 8, (4, 6, 5), (2, 1, 2))
    decoder = DeepConvDecoder(4, (6, *size), (4, 6, 5), (2, 1, 2))
    model = FactorialMixtureVAE(
        GaussianEncoder(encoder),
        decoder,
        4,
        shape,
        prior=FactorialMixture([3, 2], 2),
        dataset_size=30,
        likelihood=PixelGaussian(),
    )
    x = torch.randint(0, 256, (30, *shape), dtype=torch.uint8)
    fit(model, x, **OPTIONS)
    assert model.sample(4, {0: 0}, least=0.0).shape == (4, *shape)
    assert model.reconstruct(x[:5]).shape == (5, *shape)


def test_noise_of_pixels_is_bounded_and_normal(double):
    likelihood = PixelGaussian(0.01, 0.3)
    parameters = torch.cat([torch.randn(5, 3, 4, 2), 9 * torch.randn(5, 3, 4, 2)], 1)
    deviation = likelihood.deviation(parameters)
    assert deviation.min() > 0.01 and deviation.max() < 0.3 and deviation.std() > 0.05
    x = torch.rand(5, 3, 4, 2)
    truth = Normal(parameters[:, :3], deviation).log_prob(x)
    torch.testing.assert_close(likelihood.log_density(x, parameters), truth)
    torch.manual_seed(0)
    drawn = torch.stack([likelihood.sample(parameters) for _ in range(3000)])
    torch.testing.assert_close(drawn.std(0), deviation, rtol=0.1, atol=0)


# Every bad input in one sentence.


@contextmanager
def refused(error, message):
    with pytest.raises(error, match=message) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FactorialMixture([], 2), r"components must be a list of K_i.*got \[\]"),
        (lambda: FactorialMixture(3, 2), "components must be a list of K_i.*got 3"),
        (lambda: FactorialMixture([2, 0], 2), "components must be a positive integer; got 0"),
        (lambda: FactorialMixture([2], 0), "dim must be a positive integer; got 0"),
        (lambda: FactorialMixture([2], 2, labelled=2), "between 0 and the 1 factors; got 2"),
        (lambda: FactorialMixture([2], 2, hyperprior=Hyperprior(s0=0.0)), "must be positive"),
        (lambda: FactorialMixture([2], 2, estimator="x"), "must be one of closed, sampled"),
        (lambda: PointMixture([2, -1], 2), "components must be a positive integer; got -1"),
        (lambda: make(prior=fitted(), delay=-1.0), r"delay must not be negative; got -1\.0"),
        (lambda: make(forgetting=-0.7), r"step size .* falls; got -0\.7"),
        (lambda: make(forgetting=0.5), r"forgetting must lie above 0\.5"),
        (lambda: make(label_weight=-1.0), r"label_weight must not be negative; got -1\.0"),
        (lambda: make(dataset_size=0), "dataset_size must be a positive integer; got 0"),
        (lambda: fitted().log_prob(torch.zeros(2, 5)), r"codes must be \(\.\.\., 4\), 2 factors"),
        (
            lambda: fitted().responsibilities(torch.zeros(3, 4), torch.zeros(2, 4)),
            r"mean and var must share a shape .* got \(3, 4\) and \(2, 4\)",
        ),
        (
            lambda: fitted().natural_step(*encodings(), [torch.zeros(B, 3)] * 2, N, 0.1),
            r"responsibilities must have the shapes .*\(7, 3\), \(7, 4\).*got .*\(7, 3\), \(7, 3\)",
        ),
        (lambda: step(rho=0.0), r"rho must be above 0 and at most 1; got 0\.0"),
        (lambda: step(rho=1.5), r"rho must be above 0 and at most 1; got 1\.5"),
        (lambda: step(dataset_size=0), "dataset_size must be a positive integer; got 0"),
        (lambda: fitted().sample(0), "count must be a positive integer; got 0"),
        (lambda: fitted().sample(2, {2: 0}), "factors go from 0 to 1"),
        (lambda: fitted().sample(2, {0: 3}), r"with \(3, 4\) components, counted from 0"),
        (
            lambda: FactorialMixture([4], 2).seed(torch.ones(9, 2), torch.ones(9, 2), N),
            "a factor of 4 components must be seeded by as many different encodings; there are 1",
        ),
        (
            lambda: FactorialMixture([3], 2).seed(
                *encodings(9, 2), N, torch.arange(9)[:, None] % 2
            ),
            "factor 0 has 3 components, but 2 of them have labels",
        ),
        (lambda: DeepConvEncoder((28, 28), 8), r"image_shape must be \(C, H, W\); got \(28, 28\)"),
        (lambda: DeepConvEncoder((1, 8, 8), 8, (4,), (3,)), "strides 1 or 2; got"),
        (lambda: DeepConvDecoder(0, (1, 8, 8)), "latent_dim must be a positive integer; got 0"),
        (lambda: PixelGaussian(0.5, 0.1), r"0 < low < high; got 0\.5 and 0\.1"),
    ],
)
def test_bad_values(call, message):
    with refused(ValueError, message):
        call()


def step(rho=0.1, dataset_size=N):
    gammas = [torch.full((B, k), 1 / k) for k in K]
    fitted().natural_step(*encodings(), gammas, dataset_size, rho)


@pytest.mark.parametrize(
    ("maker", "x", "error", "message"),
    [
        (make, (data(), labels()), TypeError, "data must be a tensor: the prior has 0 labelled"),
        (labelled, data(), TypeError, r"data must be a pair \(x, labels\): the prior has 2 label"),
        (
            labelled,
            (data(), labels().float()),
            TypeError,
            "must be a tensor of integers; got torch",
        ),
        (
            labelled,
            (data(), labels()[:, :1]),
            ValueError,
            r"labels must be \(N, 2\); got \(50, 1\)",
        ),
        (labelled, (data(), labels() + 1), ValueError, "factor 0 must lie between 0 and 2.*to 3"),
        (make, data(40), ValueError, "dataset_size is 50, but .* 40 data"),
        (make, data() * math.nan, ValueError, "data must be finite"),
    ],
)
def test_bad_data(maker, x, error, message):
    with refused(error, message):
        fit(maker(), x, **OPTIONS)
    with refused(error, message):
        fit_seeds(lambda run_seed: maker(), x, [0], **OPTIONS)


def test_a_mixture_without_a_seed_and_a_prior_of_another_kind():
    with refused(RuntimeError, "not seeded: its phases begin with before=pretrain and before=seed"):
        fit(make(), data(), steps=3, batch_size=10, progress=False)
    with refused(TypeError, "prior must be a FactorialMixture or PointMixture; got None"):
        FactorialMixtureVAE.mlp(L, [8], 4, prior=None, dataset_size=N)
    with refused(ValueError, "prior has dimension 4; the latent dimension is 5"):
        FactorialMixtureVAE.mlp(L, [8], 5, prior=fitted(), dataset_size=N)

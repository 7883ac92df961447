"""CPVAE against its equations written out, exact evidence, and what may move when."""

import itertools
import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from vaelite.batches import Unpaired
from vaelite.cpvae import (
    CPVAE,
    FirstTasks,
    NewTask,
    anneal,
    class_log_likelihoods,
    objective_terms,
)
from vaelite.isa import ISAPrior
from vaelite.metrics import log_marginal_likelihood
from vaelite.toys import cross_population as exact
from vaelite.training import fit, fit_seeds
from vaelite.vae import Gaussian, StandardNormal

D_X, D_S, D_T = 6, 3, 2
SIZES = {2: (3, 5), 3: (4, 2, 3), 5: (2, 4, 3, 1, 5)}


def small(populations=3, **options):
    torch.manual_seed(0)
    options.setdefault("activation", nn.Tanh)
    return CPVAE.mlp(populations, D_X, [7, 5], D_S, D_T, **options).double()


def data_for(populations=3):
    """Data, and noise for all of them, in double precision."""
    torch.manual_seed(1)
    data = [torch.randn(n, D_X).double() + k for k, n in enumerate(SIZES[populations])]
    return data, torch.randn(sum(SIZES[populations]), D_S + D_T).double()


def codes(model, x, k):
    """q(z|x) and q_k(t|x) of one datum."""
    z_mean, z_log_var, t_mean, t_log_var = model.encode(x[None])
    z = Normal(z_mean[0], (0.5 * z_log_var[0]).exp())
    return z, Normal(t_mean[k, 0], (0.5 * t_log_var[k, 0]).exp())


def divergence(q):
    return kl_divergence(q, Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))).sum()


def eq_6(model, data, noise, sizes=None, alpha=1.0):
    """Equations 3 and 6 as they are printed, datum by datum."""
    K, terms = len(data), dict.fromkeys(("reconstruction", "shared_kl", "cross_kl"), 0.0)
    terms["private_kl"], row = 0.0, 0
    for k in range(K):
        scale = 1 if sizes is None else sizes[k] / len(data[k])
        for x in data[k]:
            z_code, t_code = codes(model, x, k)
            z = z_code.mean + z_code.stddev * noise[row, :D_S]
            t = t_code.mean + t_code.stddev * noise[row, D_S:]
            image = model.shared_decoder(z) + model.private_decoders[k](t)
            noise_std = (0.5 * model.likelihood.log_var).exp()
            terms["reconstruction"] += scale * Normal(image, noise_std).log_prob(x).sum()
            terms["shared_kl"] += scale * divergence(z_code)
            terms["private_kl"] += scale * divergence(t_code)
            row += 1
        n_k = len(data[k]) if sizes is None else sizes[k]
        for j in range(K):
            if j != k:
                for x in data[j]:
                    own = divergence(codes(model, x, k)[1])
                    terms["cross_kl"] += n_k / (K - 1) / len(data[j]) * own
    bound = terms["reconstruction"] - terms["shared_kl"]
    terms["objective"] = bound - alpha * terms["cross_kl"]
    terms["elbo"] = bound - terms["private_kl"]
    return terms


def gradients(value, model, keep=True):
    return torch.autograd.grad(
        value, list(model.parameters()), retain_graph=keep, materialize_grads=True
    )


# The objective -----------------------------------------------------------------------------------


@pytest.mark.parametrize("populations", SIZES)
def test_terms_and_all_gradients_are_those_of_the_equations(populations):
    model, (data, noise) = small(populations), data_for(populations)
    for alpha in (0.0, 1.0, 7.0):
        found = objective_terms(model, data, alpha=alpha, noise=noise)._asdict()
        expected = eq_6(model, data, noise, alpha=alpha)
        torch.testing.assert_close(found, expected)
    for name in ("objective", "elbo"):
        torch.testing.assert_close(
            gradients(found[name], model), gradients(expected[name], model), msg=name
        )
    sizes = [7 * n + 1 for n in SIZES[populations][::-1]]
    torch.testing.assert_close(
        objective_terms(model, data, sizes, noise=noise)._asdict(),
        eq_6(model, data, noise, sizes),
    )


def test_the_loss_weighs_the_two_objectives():
    data, noise = data_for()
    for weight, sizes in itertools.product((0.0, 0.3, 1.0), (None, (9, 2, 30))):
        model = small(mutual_information=weight, alpha=7.0, sizes=sizes)
        terms = eq_6(model, data, noise, sizes, alpha=7.0)
        total = sum(sizes or SIZES[3])
        expected = -(1 - weight) * terms["elbo"] - weight * terms["objective"]
        loss, parts = model.loss(data, noise)
        torch.testing.assert_close(loss, expected / total)
        assert parts.keys() == {"reconstruction", "shared_kl", "private_kl", "cross_kl"}
        for name, part in parts.items():
            sign = -1 if name == "reconstruction" else 1
            torch.testing.assert_close(part, sign * terms[name] / total)


def test_batches_estimate_the_whole_without_bias():
    """The mean over all pairs of batches is the whole, with each datum's noise its own."""
    model, (data, noise) = small(2), data_for(2)
    noises, sizes = noise.split(SIZES[2]), SIZES[2]
    found = []
    for rows in itertools.product(*(itertools.combinations(range(n), 2) for n in sizes)):
        batch = [x[list(r)] for x, r in zip(data, rows, strict=True)]
        own = torch.cat([e[list(r)] for e, r in zip(noises, rows, strict=True)])
        found.append(torch.stack(objective_terms(model, batch, sizes, noise=own)))
    expected = torch.stack(objective_terms(model, data, noise=noise))
    torch.testing.assert_close(torch.stack(found).mean(0), expected)


def test_data_reach_the_heads_and_decoders_that_the_equation_says_and_no_other():
    """Mixed derivatives: does what term T asks of head k depend on the data of population j?"""
    model, (data, noise) = small(), data_for()
    data = [x.requires_grad_() for x in data]
    terms = objective_terms(model, data, noise=noise)
    own = torch.eye(3, dtype=torch.bool)
    heads = {"reconstruction": own, "shared_kl": own & ~own, "private_kl": own, "cross_kl": ~own}
    for name, expected in heads.items():
        value = getattr(terms, name)
        (gradient,) = torch.autograd.grad(
            value, [model.private_heads.weight], create_graph=True, materialize_grads=True
        )
        blocks = [(block * torch.randn_like(block)).sum() for block in gradient.chunk(3)]
        decoders = [
            torch.autograd.grad(value, list(p), create_graph=True, materialize_grads=True)[0]
            for p in (decoder.parameters() for decoder in model.private_decoders)
        ]
        decoders = [(g * torch.randn_like(g)).sum() for g in decoders]
        for found, wanted in (
            (blocks, expected),
            (decoders, own & (name == "reconstruction")),
        ):
            reached = [
                [
                    bool(g.abs().sum() > 0)
                    for g in torch.autograd.grad(
                        one, data, retain_graph=True, materialize_grads=True
                    )
                ]
                if one.requires_grad
                else [False] * 3
                for one in found
            ]
            assert reached == wanted.tolist(), name


def test_terms_are_those_of_the_exact_linear_model():
    """Cubature at +-sqrt(n) e_i is exact for the squares that noise enters by."""
    torch.manual_seed(2)
    model = linear(3)
    data = [torch.randn(n, D_X).double() @ torch.randn(D_X, D_X).double() for n in (9, 8, 12)]
    rows, n = sum(map(len, data)), D_S + D_T
    points = math.sqrt(n) * torch.cat([torch.eye(n), -torch.eye(n)]).double()
    found = torch.stack(
        [
            torch.stack(objective_terms(model, data, alpha=3.0, noise=p.expand(rows, n)))
            for p in points
        ]
    ).mean(0)
    heads = model.private_heads.weight.detach().unflatten(0, (3, 2, D_T)).numpy()
    bias = model.private_heads.bias.detach().unflatten(0, (3, 2, D_T)).exp().numpy()
    truth = exact.Model(
        model.shared_decoder[0].weight.detach().numpy(),
        np.stack([d[0].weight.detach().numpy() for d in model.private_decoders]),
        np.full(D_X, model.likelihood.log_var.exp().item()),
        model.shared_head.weight[:D_S].detach().numpy(),
        model.shared_head.bias[D_S:].detach().exp().numpy(),
        heads[:, 0],
        bias[:, 1],
    )
    covariances = np.stack([(x.T @ x / len(x)).numpy() for x in data])
    expected = exact.objective_terms(covariances, truth, [9, 8, 12], alpha=3.0)
    np.testing.assert_allclose(found.detach() / rows, list(expected), rtol=1e-9)


def test_the_shared_prior_is_the_one_given():
    (data, noise), x = data_for(), torch.cat(data_for()[0])
    model = small(prior=ISAPrior([2, 1], learned=True))
    mean, log_var, *_ = model.encode(x)
    z = mean + (0.5 * log_var).exp() * noise[:, :D_S]
    expected = Independent(Normal(mean, (0.5 * log_var).exp()), 1).log_prob(z)
    expected = (expected - model.prior.distribution.log_prob(z)).sum()
    found = objective_terms(model, data, noise=noise).shared_kl
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model))


def test_all_data_share_the_statistics_of_the_mixture():
    torch.manual_seed(0)
    model = CPVAE.conv(2, (1, 8, 12), D_S, D_T, width=3)
    data = [torch.rand(5, 1, 8, 12), 3 + torch.rand(4, 1, 8, 12)]
    mean, log_var, *_ = model.encode(torch.cat(data))
    expected = StandardNormal(D_S).kl(mean, log_var, mean).sum()
    torch.testing.assert_close(objective_terms(model, data).shared_kl, expected)
    assert model.decode(mean, mean[:, :D_T], 1).shape == (9, 1, 8, 12)


def test_bytes_and_bools_are_intensities():
    bytes_ = [torch.randint(0, 256, (n, D_X), dtype=torch.uint8) for n in SIZES[3]]
    bools = [x > 99 for x in bytes_]
    model, noise = small(likelihood="bernoulli"), data_for()[1]
    for given_, floats in ((bytes_, [x / 255 for x in bytes_]), (bools, [x * 1.0 for x in bools])):
        torch.testing.assert_close(
            model.loss(given_, noise)[0], model.loss([x.double() for x in floats], noise)[0]
        )


def test_the_anneal_is_the_printed_one():
    assert [anneal(e) for e in (0, 10, 1e6)] == [1.0, pytest.approx(2.5937424601), 1000.0]
    assert anneal(72) < 1000.0 == anneal(73)


# What holds whatever the data --------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 99))
def test_populations_have_no_order_and_data_have_none(order, seed):
    """Permuted populations, permuted data: the same totals; all data twice: twice the totals."""
    model, (data, noise) = small(), data_for()
    noises = noise.split(SIZES[3])
    expected = objective_terms(model, data, alpha=2.0, noise=noise)
    generator = torch.Generator().manual_seed(seed)
    shuffles = [torch.randperm(len(x), generator=generator) for x in data]
    permuted = deepcopy(model)
    permuted.private_decoders = nn.ModuleList(model.private_decoders[k] for k in order)
    for name in ("weight", "bias"):
        blocks = getattr(model.private_heads, name).detach().chunk(3)
        setattr(permuted.private_heads, name, nn.Parameter(torch.cat([blocks[k] for k in order])))
    for times in (1, 2):
        found = objective_terms(
            permuted,
            [data[k][shuffles[k]].repeat(times, 1) for k in order],
            alpha=2.0,
            noise=torch.cat([noises[k][shuffles[k]].repeat(times, 1) for k in order]),
        )
        torch.testing.assert_close(torch.stack(found), times * torch.stack(expected))


# The likelihood of a population ------------------------------------------------------------------


def linear(populations, prior=None, shared_dim=D_S, private_dim=D_T):
    """A linear model, x = A z + B_k t + noise of variance 1/2, with constant encoder variances."""
    torch.manual_seed(4)
    model = CPVAE.mlp(
        populations, D_X, [], shared_dim, private_dim, likelihood=Gaussian(0.5), prior=prior
    ).double()
    with torch.no_grad():
        for decoder in (model.shared_decoder, *model.private_decoders):
            decoder[0].bias.zero_()
        model.shared_head.weight[shared_dim:] = 0
        model.shared_head.bias[:shared_dim] = 0
        model.private_heads.weight.unflatten(0, (populations, 2, private_dim))[:, 1] = 0
        model.private_heads.bias.unflatten(0, (populations, 2, private_dim))[:, 0] = 0
    return model


@torch.no_grad()
def with_exact_posterior(model, wider=1.0):
    """Orthogonal columns, so that the posterior factorises, and the encoder that is exact then.

    ``wider`` scales its variances: the weights then vary, and stay bounded.
    """
    K = model.populations
    basis, _ = torch.linalg.qr(torch.randn(D_X, D_X).double())
    A = basis[:, :D_S] * torch.tensor([2.0, 1.0, 0.5])
    model.shared_decoder[0].weight.copy_(A)
    heads = model.private_heads.weight.unflatten(0, (K, 2, D_T))
    biases = model.private_heads.bias.unflatten(0, (K, 2, D_T))

    def posterior(W):
        precision = 1 + W.square().sum(0) / 0.5
        return (W / precision / 0.5).T, (wider / precision).log()

    model.shared_head.weight[:D_S], model.shared_head.bias[D_S:] = posterior(A)
    evidences = []
    for k, decoder in enumerate(model.private_decoders):
        turned, _ = torch.linalg.qr(torch.randn(3, 3).double())
        B = basis[:, D_S:] @ turned[:, :D_T] * torch.tensor([1.5, 0.7 + k])
        decoder[0].weight.copy_(B)
        heads[k, 0], biases[k, 1] = posterior(B)
        covariance = A @ A.T + B @ B.T + 0.5 * torch.eye(D_X)
        evidences.append(multivariate_normal(np.zeros(D_X), covariance.numpy()))
    x = torch.randn(7, D_X).double() * 2
    return x, torch.tensor(np.stack([one.logpdf(x.numpy()) for one in evidences], 1))


def test_weights_are_constant_where_the_encoder_is_exact():
    model = linear(3)
    x, truth = with_exact_posterior(model)
    found = class_log_likelihoods(model, x, 5)
    torch.testing.assert_close(found.log_likelihood, truth)
    torch.testing.assert_close(found.effective_samples, torch.full_like(truth, 5.0))
    own = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    weights = model.log_weights((x, own), 4)
    torch.testing.assert_close(weights, truth[range(7), own].expand(4, 7))


@pytest.mark.parametrize("chunk", [None, 600, 20_000])
def test_estimates_match_the_exact_evidence(chunk):
    """Within five standard errors of the mean weight; also when the samples come in pieces."""
    model = linear(3)
    x, truth = with_exact_posterior(model, wider=1.4)
    torch.manual_seed(5)
    samples, own = 4_000, torch.tensor([2, 0, 1, 1, 0, 2, 2])
    found = class_log_likelihoods(model, x, samples, chunk)
    error = (1 / found.effective_samples - 1 / samples).sqrt()
    assert (found.effective_samples < 0.95 * samples).all()
    assert ((found.log_likelihood - truth).abs() < 5 * error).all()
    marginal = log_marginal_likelihood(model, (x, own), samples, chunk)
    assert ((marginal - truth[range(7), own]).abs() < 5 * error[range(7), own]).all()


def test_evidence_under_another_prior_matches_quadrature():
    model = linear(2, ISAPrior([1, 1], p0=1.5, p=1.0), 2, 1)
    torch.manual_seed(6)
    x = torch.randn(4, D_X).double()
    with torch.no_grad():
        model.shared_head.bias[2:] = 1.0
        model.private_heads.bias.unflatten(0, (2, 2, 1))[:, 1] = 0.5
    axis = torch.linspace(-12, 12, 481).double()
    z = torch.cartesian_prod(axis, axis)
    truth = []
    for decoder in model.private_decoders:
        B = decoder[0].weight.detach()
        noise = multivariate_normal(np.zeros(D_X), (B @ B.T).numpy() + 0.5 * np.eye(D_X))
        centres = (z @ model.shared_decoder[0].weight.T).detach()
        joint = [
            torch.tensor(noise.logpdf((row - centres).numpy())) + model.prior.log_prob(z)
            for row in x
        ]
        truth.append(torch.stack(joint).logsumexp(1) + 2 * math.log(axis[1] - axis[0]))
    found = class_log_likelihoods(model, x, 20_000)
    error = (1 / found.effective_samples).sqrt()
    assert error.max() < 0.05
    assert ((found.log_likelihood - torch.stack(truth, 1)).abs() < 5 * error).all()


def test_classes_are_scored_as_their_own_populations_are():
    model = small().float()
    x = torch.randn(5, D_X) * 3
    torch.manual_seed(7)
    found = class_log_likelihoods(model, x, 11)
    for k in range(3):
        torch.manual_seed(7)
        weights = model.log_weights((x, torch.full((5,), k)), 11).double().detach()
        ratios = (weights - weights.amax(0)).exp()
        effective = ratios.sum(0) ** 2 / ratios.square().sum(0)
        expected = weights.amax(0) + ratios.mean(0).log()
        torch.testing.assert_close(found.log_likelihood[:, k].double(), expected)
        torch.testing.assert_close(
            found.effective_samples[:, k].double(), effective, rtol=1e-4, atol=0
        )


def test_effective_samples_of_far_away_classes_are_between_one_and_all():
    """In single precision, where log densities of -10^8 have no digits after the point."""
    model = small(likelihood=Gaussian(1e-6)).float()
    found = class_log_likelihoods(model, 100 * torch.randn(20, D_X), 10)
    assert found.log_likelihood.max() < -1e6
    assert found.effective_samples.min() >= 1 - 1e-6
    assert found.effective_samples.max() <= 10 + 1e-5


@torch.no_grad()
def test_the_reconstruction_is_the_mean_log_likelihood():
    model, x = small(), data_for()[0][0]
    found = class_log_likelihoods(model, x, 20_000).reconstruction
    for k in range(3):
        for row, mean in zip(x, found[:, k], strict=True):
            z_code, t_code = codes(model, row, k)
            images = model.decode(z_code.sample((20_000,)), t_code.sample((20_000,)), k)
            terms = Normal(images, (0.5 * model.likelihood.log_var).exp()).log_prob(row).sum(1)
            error = terms.std() * (2 / 20_000) ** 0.5
            assert (mean - terms.mean()).abs() < 5 * error


# Training ----------------------------------------------------------------------------------------


def images(populations=3, count=6):
    torch.manual_seed(8)
    return [torch.rand(count + k, 1, 8, 4) for k in range(populations)]


def convolutional(seed=0, **options):
    torch.manual_seed(seed)
    return CPVAE.conv(3, (1, 8, 4), D_S, D_T, width=2, **options)


def test_many_runs_are_what_each_is_alone():
    data, options = Unpaired(*(x.float() for x in data_for()[0])), {"progress": False}
    options |= {"steps": 12, "batch_size": (3, 2, 2), "schedules": {"alpha": lambda s: anneal(s)}}

    def make(seed, weight):
        return small(mutual_information=weight).float()

    models, histories = fit_seeds(make, data, [(3, 1.0), (4, 0.5)], **options)
    for (seed, weight), model, history in zip([(3, 1.0), (4, 0.5)], models, histories, strict=True):
        alone = make(seed, weight)
        expected = fit(alone, data, seed=seed, **options)
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
        torch.testing.assert_close(model.state_dict(), alone.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    options = {"batch_size": (3, 4, 5), "seed": 2, "progress": False}
    data, whole, halves = Unpaired(*images()), convolutional(), convolutional()
    fit(whole, data, steps=8, **options)
    options["checkpoint"] = tmp_path / "run.pt"
    fit(halves, data, steps=3, **options)
    halves = convolutional(seed=1)
    fit(halves, data, steps=8, resume=True, **options)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict(), rtol=0, atol=0)


def moved(model, before):
    """Parts of the model that changed, batch statistics included; heads by population."""
    after = model.state_dict()
    names = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    names -= {"private_heads", "private_decoders"}
    for k in range(model.populations):
        rows = slice(2 * D_T * k, 2 * D_T * (k + 1))
        for name in ("private_heads.weight", "private_heads.bias"):
            if not torch.equal(after[name][rows], before[name][rows]):
                names.add(f"head {k}")
        own = [name for name in after if name.startswith(f"private_decoders.{k}.")]
        if any(not torch.equal(after[name], before[name]) for name in own):
            names.add(f"decoder {k}")
    return names


def trained(task, model, data):
    before, flags = deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    fit(task, data, steps=3, batch_size=5, progress=False)
    assert [p.requires_grad for p in model.parameters()] == flags
    return moved(model, before)


class Gate(nn.Module):
    """A learned aggregation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, a, b):
        return torch.lerp(b, a, self.weight.sigmoid())


SHARED = {"trunk", "shared_head", "shared_decoder", "likelihood", "aggregate", "prior"}


def test_each_phase_moves_what_it_should_and_nothing_else():
    model, data = convolutional(aggregate=Gate(), prior=ISAPrior([2, 1], learned=True)), images()
    found = trained(FirstTasks(model, 2), model, Unpaired(*data[:2]))
    assert found == SHARED | {"head 0", "head 1", "decoder 0", "decoder 1"}

    earlier = [
        (model.reconstruct(x, k), model.reconstruct(x, k, "shared")) for k, x in enumerate(data)
    ]
    found = trained(NewTask(model, 2, train_shared=False), model, data[2])
    assert found == {"head 2", "decoder 2"}
    for k in (0, 1):
        assert torch.equal(model.reconstruct(data[k], k), earlier[k][0])
        assert torch.equal(model.reconstruct(data[k], k, "shared"), earlier[k][1])

    assert trained(NewTask(model, 1), model, data[1]) == SHARED | {"head 1", "decoder 1"}
    everything = SHARED | {f"{part} {k}" for part in ("head", "decoder") for k in range(3)}
    assert trained(model, model, Unpaired(*data)) == everything


def test_a_frozen_task_takes_no_statistics_also_outside_fit():
    model, x = convolutional(), images()[2]
    task, before = NewTask(model, 2, train_shared=False), deepcopy(model.state_dict())
    task.loss(x)[0].backward()
    assert moved(model, before) == {"decoder 2"}  # its own statistics
    gradients = {name for name, p in model.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in gradients} == {"private_heads", "private_decoders"}
    assert not any(n.startswith(("private_decoders.0", "private_decoders.1")) for n in gradients)


def test_tasks_in_a_stack_are_what_each_is_alone():
    def make(seed):
        return NewTask(small().float(), 1, train_shared=False)

    x = data_for()[0][0].float()
    options = {"steps": 6, "batch_size": 3, "progress": False}
    models, _ = fit_seeds(make, x, [0, 1], **options)
    alone = make(1)
    fit(alone, x, seed=1, **options)
    torch.testing.assert_close(models[1].state_dict(), alone.state_dict(), rtol=1e-3, atol=1e-5)


def test_the_first_tasks_are_a_model_without_the_others():
    model, (data, _) = small(alpha=3.0, sizes=(4, 20, 3)), data_for()
    noise = torch.randn(6, D_S + D_T).double()
    two = small(2, alpha=3.0, sizes=(4, 20))
    state = model.state_dict()
    for name in ("private_heads.weight", "private_heads.bias"):
        state[name] = state[name][: 2 * 2 * D_T]
    two.load_state_dict(
        {name: value for name, value in state.items() if "private_decoders.2" not in name}
    )
    found, expected = FirstTasks(model, 2).loss(data[:2], noise), two.loss(data[:2], noise)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("train_shared", [True, False])
def test_a_new_task_has_the_elbo_of_its_population(train_shared):
    model, (data, noise) = small(), data_for()
    x, noise, total = data[0], noise[:4], 0.0
    for row, e in zip(x, noise, strict=True):
        z_code, t_code = codes(model, row, 1)
        image = model.decode(
            z_code.mean + z_code.stddev * e[:D_S], t_code.mean + t_code.stddev * e[D_S:], 1
        )
        std = (0.5 * model.likelihood.log_var).exp()
        total += Normal(image, std).log_prob(row).sum()
        total -= divergence(z_code) + divergence(t_code)
    loss, parts = NewTask(model, 1, train_shared=train_shared).loss(x, noise)
    torch.testing.assert_close(loss, -total / 4)
    torch.testing.assert_close(loss, sum(parts.values()))
    for name, wanted, found in zip(
        dict(model.named_parameters()),
        gradients(-total / 4, model),
        gradients(loss, model),
        strict=True,
    ):
        fixed = not train_shared and not name.startswith("private_")
        torch.testing.assert_close(found, torch.zeros_like(wanted) if fixed else wanted)


def test_the_loss_is_one_graph():
    """Everything of torch.compile but machine code, at two batch sizes."""
    torch._dynamo.reset()
    model = small(2, alpha=2.0).float()
    compiled = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    for rows in (4, 6):
        data, noise = [torch.randn(rows, D_X), torch.randn(3, D_X)], torch.randn(rows + 3, 5)
        results = []
        for loss_of in (compiled, model.loss):
            loss, parts = loss_of(data, noise)
            results.append([loss, *parts.values(), *gradients(loss, model, keep=False)])
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


# Pictures ----------------------------------------------------------------------------------------


def test_parts_of_a_reconstruction():
    model, x = small(likelihood="bernoulli"), torch.rand(4, D_X).double()
    z, _, t, _ = model.encode(x)
    shared, private = model.shared_decoder(z), model.private_decoders[2](t[2])
    for part, logits in {"both": shared + private, "shared": shared, "private": private}.items():
        torch.testing.assert_close(model.reconstruct(x, 2, part), logits.sigmoid())
    product = small(aggregate=torch.mul)
    torch.testing.assert_close(product.decode(z, t[2], 2), shared * private)
    assert (product.reconstruct(x, 2, "private") == 0).all()


@pytest.mark.parametrize("part", ["both", "shared", "private"])
def test_samples_have_the_moments_of_the_model(part):
    model = linear(2, StandardNormal(D_S))
    torch.manual_seed(9)
    A = model.shared_decoder[0].weight * (part != "private")
    B = model.private_decoders[1][0].weight * (part != "shared")
    found = model.sample(40_000, 1, part).T.cov()
    torch.testing.assert_close(found, (A @ A.T + B @ B.T).detach(), rtol=0, atol=0.03)


def test_looking_at_a_model_leaves_it_as_it_was():
    model, x = convolutional(), images()[0]
    model.private_decoders[1].eval()
    before, modes = deepcopy(model.state_dict()), [m.training for m in model.modules()]
    evaluated = deepcopy(model).eval()
    torch.testing.assert_close(model.reconstruct(x, 0), evaluated.reconstruct(x, 0))
    model.sample(3, 1)
    class_log_likelihoods(model, x, 4)
    assert [m.training for m in model.modules()] == modes
    assert not moved(model, before)
    with pytest.raises(ValueError, match="data must have shape"):
        model.reconstruct(x[:, :, :3], 0)
    assert [m.training for m in model.modules()] == modes


# Bad input ---------------------------------------------------------------------------------------

X = torch.zeros(4, D_X).double()
LABELS = torch.zeros(4, dtype=torch.long)


def with_parts(**changes):
    parts = {
        "trunk": nn.Identity(),
        "trunk_dim": D_X,
        "shared_decoder": nn.Linear(D_S, D_X),
        "private_decoders": [nn.Linear(D_T, D_X) for _ in range(3)],
        "shared_dim": D_S,
        "private_dim": D_T,
        "data_shape": (D_X,),
    }
    return CPVAE(**parts | changes).double()


BAD = {
    "one population": (
        lambda: with_parts(private_decoders=[nn.Linear(D_T, D_X)]),
        "needs two populations or more; got 1",
    ),
    "no shared code": (lambda: CPVAE.mlp(2, D_X, 5, 0, 2), "shared_dim must be a positive integer"),
    "no private code": (lambda: CPVAE.conv(2, (1, 8, 8), 2, 0), "private_dim must be a positive"),
    "no data": (lambda: CPVAE.mlp(2, 0, 5, 2, 2), "data_dim must be a positive integer; got 0"),
    "an empty layer": (lambda: CPVAE.mlp(2, D_X, 0, 2, 2), "hidden must be a positive integer"),
    "true populations": (lambda: CPVAE.mlp(True, D_X, 5, 2, 2), "populations must be a positive"),
    "no width": (lambda: CPVAE.conv(2, (1, 8, 8), 2, 2, width=0), "width must be a positive"),
    "too few sizes": (lambda: small(sizes=[3, 4]), "one for each of 3 populations"),
    "one size": (lambda: small(sizes=12), "one for each of 3 populations; got 12"),
    "an empty size": (lambda: small(sizes=[3, 4, 0]), "size of sizes must be a positive integer"),
    "a prior of another dimension": (
        lambda: small(prior=StandardNormal(4)),
        "prior has dimension 4; the latent dimension is 3",
    ),
    "a number as a prior": (lambda: small(prior=4), "prior must be a Prior"),
    "no aggregation": (lambda: small(aggregate=None), "aggregate must be a function"),
    "another trunk": (
        lambda: with_parts(trunk_dim=5).loss([X, X, X]),
        r"trunk must return \(12, 5\)",
    ),
    "a decoder of one number": (
        lambda: with_parts(
            shared_decoder=nn.Linear(D_S, 1), private_decoders=[nn.Linear(D_T, 1)] * 3
        ).loss([X, X, X]),
        r"must make data of shape \(6,\); they make \(12, 1\)",
    ),
    "too few batches": (lambda: small().loss([X, X]), "each of the 3 populations.*got 2 of them"),
    "one tensor": (lambda: small().validate(X), "each of the 3 populations.*got Tensor"),
    "a batch of none": (lambda: objective_terms(small(), [X, X, X[:0]]), "got an empty one"),
    "another width": (lambda: small().loss([X, X, X[:, :5]]), r"data must have shape \(B, 6\)"),
    "NaN": (lambda: small().validate([X, X, X * torch.nan]), "data must be finite"),
    "sizes of other data": (
        lambda: small(sizes=(4, 4, 5)).validate([X, X, X]),
        r"sizes are \(4, 4, 5\), but the populations have \(4, 4, 4\)",
    ),
    "sizes of other first data": (
        lambda: FirstTasks(small(sizes=(4, 5, 4)), 2).validate([X, X]),
        r"sizes are \(4, 5\), but the populations have \(4, 4\)",
    ),
    "noise for one": (
        lambda: small().loss([X, X, X], torch.zeros(1, 5).double()),
        r"noise must have shape \(12, 5\); got \(1, 5\)",
    ),
    "a misspelt part": (lambda: small().sample(2, 0, "privat"), "part is 'privat'; it must be"),
    "population 3 of 3": (lambda: small().reconstruct(X, 3), "integer from 0 to 2; got 3"),
    "population -1": (lambda: small().decode(X[:, :3], X[:, :2], -1), "from 0 to 2; got -1"),
    "population true": (lambda: small().sample(2, True), "from 0 to 2; got True"),
    "population 1.0": (lambda: NewTask(small(), 1.0), "from 0 to 2; got 1.0"),
    "a population in a tensor": (lambda: NewTask(small(), torch.tensor(1)), "from 0 to 2; got ten"),
    "no samples of a prior": (lambda: small().sample(0, 1), "count must be a positive integer"),
    "data without labels": (lambda: small().log_weights(X, 3), r"\(x, population\)"),
    "labels in decimals": (
        lambda: small().log_weights((X, LABELS * 1.0), 3),
        "population must be an integer from 0 to 2; got 0.0",
    ),
    "label 3": (lambda: small().log_weights((X, LABELS + 3), 3), "from 0 to 2; got 3"),
    "too few labels": (lambda: small().log_weights((X, LABELS[1:]), 3), r"\(4,\).*got \(3,\)"),
    "no weights": (lambda: small().log_weights((X, LABELS), 0), "samples must be a positive"),
    "no samples": (lambda: class_log_likelihoods(small(), X, 0), "samples must be a positive"),
    "no chunk": (lambda: class_log_likelihoods(small(), X, 3, 0), "chunk must be a positive"),
    "nothing to classify": (lambda: class_log_likelihoods(small(), X[:0], 3), "not be empty"),
    "one first task": (lambda: FirstTasks(small(), 1), "between 2 and 3; got 1"),
    "2.5 first tasks": (lambda: FirstTasks(small(), 2.5), "populations must be a positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_sentence(name):
    call, message = BAD[name]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        call()
    assert "\n" not in str(error.value)

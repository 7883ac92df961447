"""Many aspects: the product and the mixture of experts, the two masks, the group lasso."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import assert_stacked_as_alone
from torch.distributions import Categorical as Classes
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Normal

from vaelite import gaussian
from vaelite.factvae import (
    MMVAE,
    MVAE,
    OIVAE,
    Categorical,
    FactVAE,
    GroupMLP,
    JMVAEPlus,
    group_lasso_prox,
)
from vaelite.metrics import log_marginal_likelihood
from vaelite.training import fit
from vaelite.vae import Bernoulli, Gaussian

SIZES, K, N = (4, 2, 3), 2, 40
KINDS = [FactVAE, OIVAE, MVAE, MMVAE, JMVAEPlus]


def data(rows=N, seed=0, whole=False):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 2, generator=g)
    x = [
        z @ torch.randn(2, d, generator=g) + 0.1 * torch.randn(rows, d, generator=g) for d in SIZES
    ]
    observed = torch.rand(rows, len(SIZES), generator=g) < 0.7
    observed[:, 0] |= ~observed.any(1)
    return *x, observed | whole


def make(kind=FactVAE, seed=0, **options):
    torch.manual_seed(seed)
    return kind(SIZES, K, (7,), **options)


# The proximal operator.


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.floats(0, 3), st.integers(0, 99))
def test_prox_is_the_minimum(rows, columns, threshold, seed):
    g = torch.Generator().manual_seed(seed)
    phi = torch.randn(rows, columns, generator=g, dtype=torch.double)
    found = group_lasso_prox(phi, threshold)

    def cost(u):
        return 0.5 * (u - phi).square().sum(0) + threshold * u.norm(dim=0)

    for _ in range(20):
        other = found + 0.1 * torch.randn(found.shape, generator=g, dtype=torch.double)
        assert (cost(found) <= cost(other) + 1e-12).all()
    shrunk = (phi.norm(dim=0) - threshold).clamp(min=0)
    torch.testing.assert_close(found.norm(dim=0), shrunk)
    assert (found[:, phi.norm(dim=0) < threshold] == 0).all()


def test_prox_of_zero_columns_is_zero_and_bad_thresholds_are_refused():
    assert (group_lasso_prox(torch.zeros(3, 2), 0.5) == 0).all()
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="threshold"):
            group_lasso_prox(torch.ones(3, 2), bad)


def test_the_group_lasso_is_the_marginal_of_its_hierarchy():
    """Eq. 7 and 8: the scale integrated out leaves exp(-lambda ||phi||) up to a constant."""
    p, lam = 3, 1.7
    gamma2 = np.geomspace(1e-6, 1e4, 200_001)

    def log_marginal(norm):
        shape, rate = (p + 1) / 2, lam**2 / 2
        log_joint = (
            (shape - 1) * np.log(gamma2) - rate * gamma2
            - p / 2 * np.log(gamma2) - norm**2 / (2 * gamma2)
        )  # fmt: skip
        return np.log(np.trapezoid(np.exp(log_joint), gamma2))

    norms = np.array([0.3, 1.0, 2.5])
    logs = np.array([log_marginal(norm) for norm in norms])
    np.testing.assert_allclose(np.diff(logs), -lam * np.diff(norms), rtol=1e-4)


# Networks.


def test_group_networks_are_networks_of_each_group():
    torch.manual_seed(0)
    net = GroupMLP(SIZES, [6, 5], [3, 1, 2])
    x = [torch.randn(8, size) for size in SIZES]
    padded = torch.stack([torch.nn.functional.pad(part, (0, 4 - part.shape[1])) for part in x])
    found = net(padded)
    for g, part in enumerate(x):
        for index, size in enumerate([SIZES[g], 6, 5]):
            part = part @ net.weights[index][g, :size] + net.biases[index][g]
            part = part.relu() if index < 2 else part
        out = net.out_features[g]
        torch.testing.assert_close(found[g, :, :out], part[:, :out])


# Experts.


def test_the_product_is_that_of_densities_on_a_grid():
    model = FactVAE(SIZES, 1, (7,)).double()
    batch = tuple(part.double() if part.is_floating_point() else part for part in data(5))
    mean, log_var = model.encode(batch)
    prepared = model.prepare(batch)
    expert, precision = model.experts(prepared)
    grid = torch.linspace(-9, 9, 40_001, dtype=torch.double)
    step = grid[1] - grid[0]
    for row in range(5):
        log_q = -0.5 * grid.square()
        for g in range(3):
            if batch[-1][row, g]:
                log_q = log_q - 0.5 * precision[g, row] * (grid - expert[g, row]).square()
        q = (log_q - log_q.max()).exp()
        q = q / (q.sum() * step)
        centre = (grid * q).sum() * step
        torch.testing.assert_close(mean[row, 0], centre, atol=1e-6, rtol=0)
        spread = ((grid - centre).square() * q).sum() * step
        torch.testing.assert_close(log_var[row, 0].exp(), spread, atol=1e-6, rtol=0)


def test_entropy_never_rises_with_a_group():
    model = make()
    *x, _ = data(whole=True)
    entropies = []
    for count in range(4):
        observed = (torch.arange(3) < count).expand(N, 3)
        entropies.append(gaussian.entropy(model.encode((*x, observed))[1]))
    assert all((b <= a + 1e-6).all() for a, b in pairwise(entropies))
    torch.testing.assert_close(entropies[0], gaussian.entropy(torch.zeros(N, K)))


def test_nothing_observed_is_the_prior_and_nan_where_nothing_is_observed_does_no_harm():
    model = make()
    *x, _ = data(6, whole=True)
    nothing = torch.zeros(6, 3, dtype=torch.bool)
    for part in x:
        part.fill_(math.nan)
    mean, log_var = model.encode((*x, nothing))
    assert (mean == 0).all() and (log_var == 0).all()
    loss, _ = model.loss((*x, nothing))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("kind", [FactVAE, MVAE, MMVAE, JMVAEPlus])
def test_an_absent_group_has_no_influence_and_no_gradient(kind):
    model, batch = make(kind, drop=0.0) if kind is FactVAE else make(kind), data(9)
    batch[-1][:, 1] = False
    batch[-1][:, 0] = True
    other = [part.clone() for part in batch]
    other[1].fill_(math.nan)
    losses = []
    for one in (batch, tuple(other)):
        torch.manual_seed(3)
        losses.append(model.loss(one)[0])
    assert losses[0] == losses[1]
    losses[1].backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.ndim == 3:
            assert (parameter.grad[1] == 0).all(), name
            assert parameter.grad[0].abs().max() > 0, name


def test_the_two_masks_are_two():
    """What inference may not see is still scored."""
    model = make(drop=0.999_999).train()
    batch = data(9, whole=True)
    torch.manual_seed(0)
    _, parts = model.loss(batch, torch.zeros(9, K))
    assert parts["kl"] == 0  # nothing was inferred from
    prepared = model.prepare(batch)
    scored = model.log_likelihoods(prepared.x, torch.zeros(9, K)).sum(0).mean()
    torch.testing.assert_close(parts["reconstruction"], -scored)
    model.eval()
    assert model.loss(batch)[1]["kl"] > 0


def test_a_zero_column_cuts_group_and_latent_apart():
    model = make()
    with torch.no_grad():
        model.W[1, :, 0], model.V[1, 0] = 0.0, 0.0
    batch = data(7, whole=True)
    _, precision = model.experts(model.prepare(batch))
    assert (precision[1, :, 0] == 0).all() and (precision[0, :, 0] > 0).all()
    z = torch.randn(7, K)
    moved = z + torch.tensor([5.0, 0.0])
    first, second = model.decode(z), model.decode(moved)
    assert torch.equal(first[1], second[1]) and not torch.equal(first[0], second[0])
    assert (model.norms() == 0).nonzero().tolist() == [[1, 0]]


# Bounds and likelihoods against a linear model, whose evidence is exact.


def linear(kind, seed=1):
    torch.manual_seed(seed)
    likelihoods = [Gaussian(0.3 + 0.1 * g) for g in range(3)]
    model = kind(SIZES, K, (7,), likelihoods=likelihoods).double().eval()
    model.decoder = GroupMLP([K] * 3, [], SIZES).double()
    return model


def exact(model, batch):
    *x, observed = batch
    found = []
    for row in range(len(observed)):
        seen = [g for g in range(3) if observed[row, g]]
        A = torch.cat(
            [(model.W[g].mT @ model.decoder.weights[0][g][:, : SIZES[g]]).mT for g in seen]
        )
        b = torch.cat([model.decoder.biases[0][g, 0, : SIZES[g]] for g in seen])
        v = torch.cat([torch.full((SIZES[g],), 0.3 + 0.1 * g) for g in seen]).double()
        density = MultivariateNormal(b, A @ A.mT + v.diag())
        found.append(density.log_prob(torch.cat([x[g][row] for g in seen])))
    return torch.stack(found).detach()


@pytest.mark.parametrize("kind", KINDS)
def test_importance_sampling_finds_the_evidence_of_any_groups(kind):
    batch = tuple(p.double() if p.is_floating_point() else p for p in data(6, whole=kind is OIVAE))
    model = linear(kind)
    truth = exact(model, batch)
    torch.manual_seed(0)
    found = log_marginal_likelihood(model, batch, 60_000)
    torch.testing.assert_close(found, truth, atol=0.12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_below_the_evidence(kind):
    batch = tuple(p.double() if p.is_floating_point() else p for p in data(6, whole=kind is OIVAE))
    model = linear(kind)
    with torch.no_grad():
        losses = [sum(list(model.loss(batch)[1].values())[:2]) for _ in range(300)]
    assert -torch.stack(losses).mean() < exact(model, batch).mean() + 0.1


def test_the_mixture_is_that_of_torch_and_its_bound_is_tighter_than_jmvaes():
    model, batch = make(MMVAE), data(5)
    prepared = model.prepare(batch)
    experts = model.experts(prepared)
    z = torch.randn(4, 5, K)
    found = model.log_mixture(z, experts, prepared.mask)
    mean, log_var = (part.transpose(0, 1) for part in experts)
    weights = prepared.mask.mT.float()
    truth = MixtureSameFamily(
        Classes(weights), Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    ).log_prob(z)
    torch.testing.assert_close(found, truth)
    twin = make(JMVAEPlus)
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        tight, loose = (
            torch.stack([one.loss(batch)[1]["kl"] for _ in range(400)]).mean()
            for one in (model, twin)
        )
    assert 0 < tight < loose


def test_mvae_sums_the_bounds_of_subsets():
    model, batch = make(MVAE, subsets=0), data(7)
    noise = torch.randn(4, 7, K)
    loss, parts = model.loss(batch, noise)
    prepared = model.prepare(batch)
    whole = sum(model._bound(prepared, prepared.mask, noise[0]))
    torch.testing.assert_close(parts["reconstruction"] + parts["kl"], whole)
    alone = 0
    for g in range(3):
        only = torch.zeros(7, 3, dtype=torch.bool)
        only[:, g] = batch[-1][:, g]
        one = model.prepare((*batch[:-1], only))
        alone = alone + sum(model._bound(one, one.mask, noise[1 + g]))
    torch.testing.assert_close(loss, whole + alone)


def test_mvaes_random_subsets_are_of_what_is_observed():
    model, batch = make(MVAE, subsets=5), data(7)
    none = (*batch[:-1], torch.zeros(7, 3, dtype=torch.bool))
    torch.testing.assert_close(model.loss(none)[0], torch.zeros(()).to(model.W))
    losses = torch.stack([model.loss(batch)[0] for _ in range(200)]).detach()
    assert losses.std() > 0 and (losses > 0).all()


# Algorithm 1.


def test_matrices_take_a_plain_gradient_step_and_the_prox_jointly():
    model = make(sparsity=0.4, phi_lr=0.05, drop=0.0)
    batch = data(9)
    torch.manual_seed(0)
    model.loss(batch)[0].backward()
    W, V = (m.detach() - 0.05 * m.grad for m in (model.W, model.V))
    stacked = torch.cat([W, V.mT], 1)
    norms = stacked.norm(dim=1, keepdim=True)
    wanted = stacked * (1 - 0.4 * 0.05 / norms).clamp(min=0)
    others = {n: p.clone() for n, p in model.named_parameters() if n not in ("W", "V")}
    model.after_step(batch)
    torch.testing.assert_close(model.columns(), wanted)
    assert all(torch.equal(p, others[n]) for n, p in model.named_parameters() if n in others)


def test_the_penalty_is_in_the_loss_and_not_in_its_gradient():
    batch, grads, losses = data(9), [], []
    for sparsity in (0.0, 2.0):
        model = make(sparsity=sparsity)
        torch.manual_seed(0)
        loss, parts = model.loss(batch)
        loss.backward()
        grads.append(model.W.grad.clone())
        losses.append(loss - parts["penalty"])
        assert parts["penalty"] == pytest.approx(sparsity * model.norms().sum().item())
    assert torch.equal(*grads)
    torch.testing.assert_close(*losses)


def test_training_reaches_exact_zeros_and_not_everywhere():
    model = make(sparsity=0.5, phi_lr=1e-2)
    fit(model, data(), steps=400, batch_size=20, lr=3e-3, seed=0, progress=False)
    zeros = int((model.norms() == 0).sum())
    assert 0 < zeros < model.norms().numel()


def test_weights_prior_counts_once_for_all_data():
    model = make(dataset_size=50)
    _, parts = model.loss(data(9))
    weights = [p for m in (model.decoder, model.features, model.means) for p in m.parameters()]
    wanted = sum(w.square().sum() for w in weights) / 100
    torch.testing.assert_close(parts["weights"], wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_is_trained_alone_and_stacked_alike(kind):
    batch = tuple(p.double() if p.is_floating_point() else p for p in data(whole=kind is OIVAE))

    def build(seed):
        return make(kind, seed, sparsity=0.2).double()

    assert_stacked_as_alone(build, batch, steps=6, batch_size=10, lr=1e-3)


# Groups of different kinds.


def test_an_image_beside_its_label():
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    x = (torch.eye(6)[labels] + 0.2 * torch.rand(60, 6)).clamp(max=1)
    y = torch.eye(3)[labels]
    model = FactVAE((6, 3), 2, (16,), likelihoods=[Bernoulli(), Categorical()], phi_lr=2e-2)
    fit(
        model, (x, y, torch.ones(60, 2, dtype=torch.bool)),
        steps=600, batch_size=30, lr=1e-2, seed=0, progress=False,
    )  # fmt: skip
    only_image = torch.tensor([True, False]).expand(60, 2)
    blank = torch.full_like(y, math.nan)
    _, probability = model.eval().reconstruct((x, blank, only_image))
    torch.testing.assert_close(probability.sum(1), torch.ones(60))
    assert (probability.argmax(1) == labels).float().mean() > 0.9


def test_categorical_is_torchs():
    logits = torch.randn(5, 4)
    classes = torch.tensor([0, 3, 1, 2, 3])
    found = Categorical().log_density(torch.eye(4)[classes], logits).sum(-1)
    torch.testing.assert_close(found, Classes(logits=logits).log_prob(classes))
    assert Categorical().sample(logits).sum(-1).tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda *b: b[0], TypeError, "tuple of 3 groups and a mask"),
        (lambda *b: b[:-1], TypeError, "tuple of 3 groups and a mask"),
        (lambda *b: (*b[:-1], b[-1].float()), TypeError, "bools"),
        (lambda *b: (*b[:-1], b[-1][:, :2]), ValueError, r"\(B, 3\)"),
        (lambda *b: (b[1], *b[1:]), ValueError, r"a group must be \(40, 4\)"),
        (lambda *b: (*b[:-1], b[-1] & torch.tensor([True, False, True])), ValueError, "group 1 is"),
        (lambda *b: (b[0] / 0, *b[1:]), ValueError, "group 0 holds NaN"),
    ],
)
def test_training_refuses_bad_data(change, error, match):
    with pytest.raises(error, match=match):
        fit(make(), change(*data()), steps=1, batch_size=4, lr=1e-3, progress=False)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: make(sparsity=-1), "sparsity"),
        (lambda: make(drop=1.0), "drop"),
        (lambda: make(phi_lr=math.nan), "phi_lr"),
        (lambda: make(likelihoods=[Gaussian()]), "3 groups and 1 likelihoods"),
        (lambda: FactVAE((4, 0), 2), "sizes"),
        (lambda: make(dataset_size=0), "dataset_size"),
    ],
)
def test_wrong_settings_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(("kind", "match"), [(OIVAE, "none may be missing"), (MMVAE, "in each")])
def test_models_refuse_what_they_cannot_miss(kind, match):
    *x, observed = data()
    observed[3] = False
    with pytest.raises(ValueError, match=match):
        make(kind).validate((*x, observed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_a_model_of_its_own(kind):
    model = make(kind)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.W.zero_()
    assert model.norms().abs().max() > 0
    assert len(model.sample(3)) == 3 and model.sample(3)[1].shape == (3, 2)

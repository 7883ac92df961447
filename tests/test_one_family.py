"""One family: each member is what it says, sees what it may, and combinations keep their parts."""

import math

import pytest
import torch

from vaelite import one_family
from vaelite.cpvae import CPVAE
from vaelite.factorial_mixture import FactorialMixtureVAE, PointMixture
from vaelite.factvae import FactVAE
from vaelite.metrics import log_marginal_likelihood
from vaelite.one_family import COMBINATIONS, FAMILY, PAPERS, Scenes, Seen, Sizes
from vaelite.optimal_prior import RatioPrior
from vaelite.training import fit
from vaelite.vae import VAE, Gaussian

SIZES = Sizes(views=3, pixels=5, hidden=7, shared=4, private=2, components=3, data=22)


@pytest.fixture(scope="module")
def scenes():
    """Return 22 scenes of three views, 14 and 8 of them, a third of the views missing."""
    generator = torch.Generator().manual_seed(1)
    observed = torch.rand(22, 3, generator=generator) > 0.3
    observed[:, 1] |= ~observed.any(1)
    x = torch.rand(22, 3, 5, generator=generator).masked_fill(~observed.unsqueeze(-1), -1.0)
    return Scenes(x.flatten(1), torch.arange(22).ge(14).long(), observed)


def made(name):
    torch.manual_seed(3)
    return one_family.build(name, SIZES)


def trained(name, scenes, steps=20):
    model = made(name)
    fit(
        model,
        one_family.training_data(model, scenes),
        phases=one_family.phases(model, steps),
        batch_size=[7, 4] if isinstance(model, CPVAE) else 11,
        lr=1e-3,
        seed=2,
        progress=False,
    )
    return model


@pytest.mark.parametrize("name", FAMILY)
def test_every_member_trains_is_looked_at_and_has_a_likelihood(name, scenes):
    model = trained(name, scenes)
    found = one_family.look(model, scenes)
    shared = 4 if isinstance(model, CPVAE) else 6
    assert found.shared.shape == (22, shared) and found.whole.shape == (22, 6)
    assert found.picture.shape == (22, 15) and bool(found.picture.isfinite().all())
    if isinstance(getattr(model, "prior", None), RatioPrior):
        model.prior.normalize(200)
    batch = one_family.likelihood_batch(model, scenes)
    assert bool(log_marginal_likelihood(model, batch, 9).isfinite().all())


def test_papers_and_combinations_are_the_whole_family():
    assert ("vae", *PAPERS, *COMBINATIONS) == tuple(FAMILY)
    with pytest.raises(ValueError, match="no model 'gan'; there are: vae, isa, mixture"):
        one_family.build("gan", SIZES)


@pytest.mark.parametrize("name", FAMILY)
def test_what_was_not_seen_changes_no_likelihood(name, scenes):
    """What a missing view would have shown reaches neither the loss nor the codes."""
    model = made(name)
    z = torch.randn(22, 6)
    hidden = ~scenes.observed.unsqueeze(-1).expand(-1, -1, 5)
    if isinstance(model, FactVAE):
        *views, mask = scenes.views
        prepared = model.prepare((*views, mask))
        other = model.prepare((*(torch.where(view == -1, 9.0, view) for view in views), mask))
        assert torch.equal(model.log_likelihood(prepared, z), model.log_likelihood(other, z))
        return
    parameters = torch.rand(22, 15)
    each = model.likelihood.log_density(scenes.x, parameters).view(22, 3, 5)
    assert not each[hidden].any()
    wanted = torch.distributions.Normal(parameters, math.sqrt(SIZES.noise)).log_prob(scenes.x)
    torch.testing.assert_close(each[~hidden], wanted.view(22, 3, 5)[~hidden])


def test_seen_is_a_normal_where_something_was_seen():
    x, mean = torch.tensor([[0.3, -1.0, 0.0]]), torch.tensor([[0.1, 0.4, 0.2]])
    plain, seen = Gaussian(0.04), Seen(0.04)
    found = seen.log_density(x, mean)
    torch.testing.assert_close(found[:, ::2], plain.log_density(x, mean)[:, ::2])
    assert found[0, 1] == 0
    # No gradient either.
    mean.requires_grad_()
    seen.log_density(x, mean).sum().backward()
    assert mean.grad[0, 1] == 0 and (mean.grad[0, ::2] != 0).all()


def test_each_member_differs_from_the_vae_as_its_line_says():
    plain = made("vae")
    assert type(plain) is VAE
    assert type(made("isa")) is VAE and made("isa").prior.sizes == (2, 2, 2)
    assert isinstance(made("mixture"), FactorialMixtureVAE)
    assert made("mixture").prior.components == (3, 3) and made("mixture").dataset_size == 22
    assert made("optimal prior").tasks == 2
    assert isinstance(made("shared mixture").prior, PointMixture)
    assert isinstance(made("shared ratio").prior, RatioPrior)
    # The same encoder and decoder, weight by weight, wherever the networks are the same.
    for name in ("isa", "mixture"):
        for (key, one), (other, two) in zip(
            plain.named_parameters(), made(name).named_parameters(), strict=False
        ):
            if key.startswith("encoder"):
                assert key == other and one.shape == two.shape


def test_private_codes_of_a_scene_are_those_of_its_population(scenes):
    model = made("cross-population")
    found = one_family.look(model, scenes)
    _, _, private, _ = model.encode(scenes.x)
    for row in (2, 19):
        k = int(scenes.population[row])
        assert torch.equal(found.whole[row, 4:], private[k, row])
        picture = model.reconstruct(scenes.x[row : row + 1], k)
        torch.testing.assert_close(found.picture[row], picture[0])


def test_the_ratio_learns_and_the_networks_feel_it(scenes):
    before = made("shared ratio").prior.ratio.net.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    model = trained("shared ratio", scenes)
    after = model.prior.ratio.net.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    # In the loss the estimator is held, and gradients reach the trunk.
    loss, _, _ = model.loss((scenes.of(0), scenes.of(1)))
    model.zero_grad()
    loss.backward()
    assert all(p.grad is None for p in model.prior.ratio.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.trunk.parameters())


def test_sparse_columns_are_moved_by_proximal_steps_alone(scenes, monkeypatch):
    monkeypatch.setattr(one_family, "STEP_SIZE", 1e-3)
    monkeypatch.setattr(one_family, "SPARSITY", 100.0)
    model = trained("shared sparsity", scenes, steps=60)
    norms = model.shared_decoder.W.norm(dim=-2)
    assert norms.shape == (3, 4)
    assert (norms == 0).all()  # 60 steps of 0.1 shrink every norm to exact zero
    monkeypatch.setattr(one_family, "STEP_SIZE", 0.0)
    still, start = trained("shared sparsity", scenes), made("shared sparsity")
    assert torch.equal(still.shared_decoder.W, start.shared_decoder.W)


def test_a_shared_mixture_is_seeded_from_codes(scenes):
    model = trained("shared mixture", scenes, steps=8)
    for factor in model.prior.factors:
        apart = torch.cdist(factor.mean, factor.mean) + torch.eye(3)
        assert bool((apart > 1e-3).all())  # unseeded components would all be the same


def test_what_a_sparse_decoder_draws_is_what_its_parts_say():
    decoder = one_family.SparseViews(4, SIZES)
    z = torch.randn(2, 6, 4)
    found = decoder(z)
    assert found.shape == (2, 6, 15)
    # A latent whose column is zero in a view changes nothing there, and something elsewhere.
    with torch.no_grad():
        decoder.W[1, :, 2] = 0.0
    other = z.clone()
    other[..., 2] += 1.0
    change = (decoder(other) - decoder(z)).view(2, 6, 3, 5).abs().amax((0, 1, 3))
    assert change[1] == 0 and (change[[0, 2]] > 0).all()

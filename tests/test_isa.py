"""ISA-VAE: the prior in its place, eq. 12, and learned exponents."""

import math

import pytest
import torch

from vaelite.disentangle import BetaTCVAE
from vaelite.isa import ISAPrior
from vaelite.metrics import log_marginal_likelihood
from vaelite.training import fit
from vaelite.vae import VAE, StandardNormal

NORMAL = {"p0": 2.0, "p": 2.0, "scale": 2.0}


def small(cls=VAE, prior=None, **options):
    torch.manual_seed(0)
    return cls.mlp(12, 8, 5, prior=prior or ISAPrior([2, 3]), **options)


def test_with_exponents_of_two_it_is_the_vae_with_a_sampled_kl():
    x, noise = torch.rand(7, 12), torch.randn(7, 5)
    model = small(prior=ISAPrior([2, 3], **NORMAL))
    plain = small(prior=StandardNormal(5))
    mean, log_var = plain.encode(x)
    z = plain.sample_posterior(mean, log_var, noise)
    expected = (plain.log_posterior(z, mean, log_var) - plain.prior.log_prob(z)).mean()
    loss, parts = model.loss(x, noise)
    torch.testing.assert_close(parts["kl"], expected)
    torch.testing.assert_close(loss, parts["reconstruction"] + expected)


def test_sampled_kl_averages_to_the_closed_form():
    x = torch.rand(1, 12).expand(40_000, 12)
    torch.manual_seed(1)
    sampled = small(prior=ISAPrior([2, 3], **NORMAL)).loss(x)[1]["kl"].item()
    closed = small(prior=StandardNormal(5)).loss(x)[1]["kl"].item()
    assert sampled == pytest.approx(closed, abs=0.02)


def test_sampled_kl_has_no_variance_where_posterior_and_prior_agree():
    """The advantage of eq. 12 that the paper mentions: at q = p every sample gives zero."""
    prior = ISAPrior([2, 3], **NORMAL)
    z, zeros = torch.randn(50, 5), torch.zeros(50, 5)
    torch.testing.assert_close(prior.kl(zeros, zeros, z), torch.zeros(50), atol=1e-5, rtol=0)


def test_beta_weighs_the_kl():
    x, noise = torch.rand(7, 12), torch.randn(7, 5)
    loss, parts = small(beta=4.0).loss(x, noise)
    torch.testing.assert_close(loss, parts["reconstruction"] + 4 * parts["kl"])


def test_tc_objective_with_the_isa_prior_at_beta_one_is_the_isa_vae():
    x, noise = torch.rand(30, 12), torch.randn(30, 5)
    tc, isa = small(BetaTCVAE, dataset_size=30), small()
    torch.testing.assert_close(tc.loss(x, noise)[0], isa.loss(x, noise)[0])


def test_learned_exponents_start_where_they_are_told_and_move():
    prior = ISAPrior([2, 3], p=[2.0, 1.7], learned=True)
    torch.testing.assert_close(prior.p.detach(), torch.tensor([2.0, 1.7]))
    model = small(prior=prior)
    data = (torch.rand(64, 12) > 0.5).float()
    fit(model, data, steps=30, batch_size=16, lr=0.01, progress=False)
    moved = model.prior.p.detach()
    assert (moved > 0).all() and not torch.allclose(moved, torch.tensor([2.0, 1.7]), atol=1e-3)


def test_learned_exponents_find_the_exponents_of_the_codes():
    """Maximum likelihood on samples of the prior itself; without the normaliser they run away."""
    torch.manual_seed(0)
    z = ISAPrior([4, 4], 2.1, [1.4, 3.0]).distribution.sample((20_000,))
    prior = ISAPrior([4, 4], 2.1, 2.0, learned=True)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior.distribution.log_prob(z).mean()).backward()
        optimizer.step()
    assert prior.p.tolist() == pytest.approx([1.4, 3.0], abs=0.08)


def test_fixed_exponents_are_no_parameters_but_are_saved():
    prior = ISAPrior([2, 3])
    assert not list(prior.parameters())
    assert "raw_p" in prior.state_dict()
    assert len(list(ISAPrior([2, 3], learned=True).parameters())) == 1


def test_prior_samples_are_decoded():
    assert small().sample(6).shape == (6, 12)


def test_importance_sampling_uses_the_new_prior():
    """With a decoder that ignores z, ln p(x) is known exactly, whatever the prior."""
    model = small()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        model.encoder.net[-1].bias[5:] = 1.0  # a posterior wider than the prior
    x = (torch.rand(3, 12) > 0.5).float()
    torch.manual_seed(0)
    estimate = log_marginal_likelihood(model, x, samples=20_000)
    torch.testing.assert_close(estimate, torch.full((3,), -12 * math.log(2)), atol=0.05, rtol=0)


def test_sizes_must_sum_to_the_latent_dimension():
    with pytest.raises(ValueError, match="prior has dimension 6; the latent dimension is 5"):
        small(prior=ISAPrior([2, 4]))
    with pytest.raises(ValueError, match="p must be positive"):
        ISAPrior([2, 3], p=-1.0)
    with pytest.raises(
        TypeError, match=r"prior must be a Prior, such as StandardNormal\(D\); got \[2, 3\]"
    ):
        small(prior=[2, 3])

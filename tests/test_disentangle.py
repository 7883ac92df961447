"""The three KL terms on toys whose information and total correlation are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelite import disentangle, gaussian
from vaelite.disentangle import BetaTCVAE, FactorVAE, KLTerms
from vaelite.isa import ISAPrior
from vaelite.training import fit
from vaelite.vae import VAE, Prior

COVARIANCE = torch.tensor([[1.3, 0.7], [0.7, 1.1]], dtype=torch.float64)
NOISE = 0.3


def toy(count, seed=0):
    """Encodings whose aggregate posterior is N(0, COVARIANCE): means and one sample each."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(COVARIANCE - NOISE * torch.eye(2, dtype=torch.float64))
    noise = torch.randn(2, count, 2, generator=generator, dtype=torch.float64)
    mean = noise[0] @ root.T
    log_var = torch.full_like(mean, math.log(NOISE))
    return mean + math.sqrt(NOISE) * noise[1], mean, log_var


def standard_normal(z):
    return gaussian.log_density(z, torch.zeros_like(z), torch.zeros_like(z))


def truth():
    """Exact terms: for a Gaussian aggregate each of the three has a closed form."""
    log_det = torch.logdet(COVARIANCE).item()
    variances = COVARIANCE.diagonal()
    index_code = 0.5 * (log_det - 2 * math.log(NOISE))
    total_correlation = 0.5 * (variances.log().sum().item() - log_det)
    dimension_wise = 0.5 * (variances - 1 - variances.log()).sum().item()
    return KLTerms(index_code, total_correlation, dimension_wise)


def test_whole_data_set_as_one_batch_gives_the_known_terms():
    z, mean, log_var = toy(3000)
    weights = disentangle.log_stratified_weights(3000, 3000, dtype=z.dtype)
    terms = disentangle.kl_terms(z, mean, log_var, standard_normal(z), weights)
    for name, exact in truth()._asdict().items():
        estimate = getattr(terms, name)
        error = estimate.std().item() / math.sqrt(3000)
        assert estimate.mean().item() == pytest.approx(exact, abs=5 * error + 0.01), name


def test_the_terms_sum_to_the_kl_whatever_the_weights():
    z, mean, log_var = toy(7)
    for weights in (
        disentangle.log_stratified_weights(7, 50, dtype=z.dtype),
        disentangle.log_uniform_weights(7, 50, dtype=z.dtype),
    ):
        terms = disentangle.kl_terms(z, mean, log_var, standard_normal(z), weights)
        expected = gaussian.log_density(z, mean, log_var) - standard_normal(z)
        torch.testing.assert_close(sum(terms), expected)


@settings(max_examples=50)
@given(batch=st.integers(2, 40), extra=st.integers(0, 10_000))
def test_stratified_rows_sum_to_one_and_the_own_datum_counts_once(batch, extra):
    weights = disentangle.log_stratified_weights(batch, batch + extra, dtype=torch.float64).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(batch, dtype=torch.float64))
    torch.testing.assert_close(
        weights.diagonal(), torch.full((batch,), 1 / (batch + extra), dtype=torch.float64)
    )


def test_stratified_estimate_of_the_aggregate_density_is_unbiased():
    """Over all minibatches that contain datum 0, the mean estimate of q(z_0) is exact."""
    z, mean, log_var = toy(6)
    exact = disentangle.pairwise_log_density(z, mean, log_var).sum(-1).exp().mean(1)[0]
    pairs = disentangle.pairwise_log_density(z[:1], mean, log_var).sum(-1)
    weights = disentangle.log_stratified_weights(3, 6, dtype=z.dtype)
    estimates = [
        torch.logsumexp(weights[0] + pairs[0, [0, j, k]], 0).exp()
        for j in range(1, 6)
        for k in range(j + 1, 6)
    ]
    torch.testing.assert_close(torch.stack(estimates).mean(), exact)


def test_the_symmetric_weights_are_the_published_ones_averaged():
    batch, size = 5, 37
    rows = []
    for special in range(1, batch):
        row = np.full(batch, 1 / (batch - 1))
        row[0], row[special] = 1 / size, (size - batch + 1) / (size * (batch - 1))
        assert row.sum() == pytest.approx(1)
        rows.append(row)
    ours = disentangle.log_stratified_weights(batch, size, dtype=torch.float64).exp()[0]
    np.testing.assert_allclose(np.mean(rows, axis=0), ours)


def test_uniform_weights_overstate_information_by_the_missing_factor():
    """Where the encodings do not overlap, only the own datum counts: the factor is B."""
    mean = 1000 * torch.arange(4, dtype=torch.float64).unsqueeze(1).expand(4, 3)
    log_var = torch.zeros_like(mean)
    right = disentangle.log_stratified_weights(4, 100, dtype=mean.dtype)
    uniform = disentangle.log_uniform_weights(4, 100, dtype=mean.dtype)
    prior = torch.zeros(4, dtype=mean.dtype)
    a = disentangle.kl_terms(mean, mean, log_var, prior, right)
    b = disentangle.kl_terms(mean, mean, log_var, prior, uniform)
    torch.testing.assert_close(a.index_code, torch.full_like(prior, math.log(100)))
    torch.testing.assert_close(b.index_code - a.index_code, torch.full_like(prior, math.log(4)))
    difference = b.total_correlation - a.total_correlation
    torch.testing.assert_close(difference, torch.full_like(prior, 2 * math.log(4)))


@pytest.mark.parametrize(("batch", "size"), [(1, 10), (11, 10)])
def test_weights_of_an_impossible_batch(batch, size):
    with pytest.raises(ValueError, match="between 2 and 10"):
        disentangle.log_stratified_weights(batch, size)


def small(cls, **options):
    torch.manual_seed(0)
    return cls.mlp(12, 8, 3, **options)


def test_tcvae_at_beta_one_estimates_the_vaes_loss():
    x, noise = torch.rand(40, 12), torch.randn(40, 3)
    tc, plain = small(BetaTCVAE, dataset_size=40), small(VAE)
    loss, parts = tc.loss(x, noise)
    mean, log_var = plain.encode(x)
    z = plain.sample_posterior(mean, log_var, noise)
    kl_at_sample = plain.log_posterior(z, mean, log_var) - plain.prior.log_prob(z)
    torch.testing.assert_close(loss, parts["reconstruction"] + kl_at_sample.mean())
    torch.testing.assert_close(parts["reconstruction"], plain.loss(x, noise)[1]["reconstruction"])


def test_beta_weighs_the_total_correlation_alone():
    x, noise = torch.rand(10, 12), torch.randn(10, 3)
    one, six = (small(BetaTCVAE, dataset_size=40, beta=beta) for beta in (1.0, 6.0))
    (a, parts), (b, _) = one.loss(x, noise), six.loss(x, noise)
    torch.testing.assert_close(b - a, 5 * parts["total_correlation"])


def test_permutation_shuffles_every_dimension_over_the_batch():
    torch.manual_seed(0)
    z = torch.arange(50 * 3).reshape(50, 3).float()
    shuffled = disentangle.permute_dimensions(z)
    torch.testing.assert_close(shuffled.sort(0).values, z)  # the marginals are untouched
    together = (shuffled[:, 1] - shuffled[:, 0] == 1).float().mean()
    assert together < 0.2  # rows are torn apart
    assert (shuffled % 3 == torch.arange(3)).all()  # nothing moves between dimensions


def test_permutation_destroys_total_correlation():
    torch.manual_seed(0)
    z, _, _ = toy(20_000)
    assert np.corrcoef(z.T)[0, 1] == pytest.approx(0.7 / math.sqrt(1.3 * 1.1), abs=0.02)
    assert abs(np.corrcoef(disentangle.permute_dimensions(z).T)[0, 1]) < 0.03


def test_factorvae_gamma_zero_is_the_vae():
    x, noise = torch.rand(10, 12), torch.randn(10, 3)
    loss, parts = small(FactorVAE, gamma=0.0, discriminator_hidden=(8,)).loss(x, noise)
    expected, _ = small(VAE).loss(x, noise)
    torch.testing.assert_close(loss, expected)
    assert set(parts) == {"reconstruction", "kl", "total_correlation"}


def test_factorvae_penalty_reaches_the_encoder_but_never_the_discriminator():
    x = torch.rand(10, 12)
    model = small(FactorVAE, gamma=50.0, discriminator_hidden=(8,))
    loss, _ = model.loss(x, torch.randn(10, 3))
    loss.backward()
    with_penalty = model.encoder.net[0].weight.grad.clone()
    assert all(p.grad is None for p in model.discriminator.parameters())
    model.zero_grad()
    model.gamma = 0.0
    torch.manual_seed(0)
    model.loss(x, torch.randn(10, 3))[0].backward()
    assert not torch.allclose(with_penalty, model.encoder.net[0].weight.grad)


def test_factorvae_discriminator_learns_a_known_total_correlation():
    torch.manual_seed(0)
    model = FactorVAE.mlp(2, 4, 2, discriminator_hidden=(64,))
    for group in model.discriminator.optimizer.param_groups:
        group["lr"] = 3e-3
    for step in range(600):
        first, second = (toy(500, seed=10_000 + 2 * step + k)[0].float() for k in range(2))
        model.discriminator.step(first, disentangle.permute_dimensions(second))
    fresh = toy(20_000, seed=1)[0].float()
    estimate = model.discriminator.kl(fresh).item()
    assert estimate == pytest.approx(truth().total_correlation, abs=0.07)


@pytest.mark.parametrize("estimator", Prior.ESTIMATORS)
def test_factorvae_takes_any_prior(estimator):
    """With gamma = 0 it is the VAE with that prior; the penalty does not depend on the prior."""
    x, noise = torch.rand(10, 12), torch.randn(10, 3)
    prior = ISAPrior([1, 2], 1.3, 3.0, estimator=estimator)
    options = {"discriminator_hidden": (8,), "prior": prior}
    losses = []
    for model in (
        small(VAE, prior=prior),
        *(small(FactorVAE, gamma=gamma, **options) for gamma in (0.0, 5.0)),
    ):
        torch.manual_seed(3)
        losses.append(model.loss(x, noise))
    torch.testing.assert_close(losses[1][0], losses[0][0])
    penalty = 5 * losses[2][1]["total_correlation"]
    torch.testing.assert_close(losses[2][0], losses[0][0] + penalty)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VAE.mlp(12, 8, 3),
        lambda: VAE.mlp(12, 8, 3, prior=ISAPrior([2, 1], learned=True)),
        lambda: BetaTCVAE.mlp(12, 8, 3, prior=ISAPrior([2, 1]), dataset_size=5),
        lambda: FactorVAE.mlp(12, 8, 3, discriminator_hidden=(8,)),
    ],
    ids=["VAE", "ISA-VAE", "ISA-TCVAE", "FactorVAE"],
)
def test_data_are_prepared_once_a_loss_and_looked_at_before_training_alone(make, monkeypatch):
    """A loss looks at shapes, never at values: those are ``validate``'s affair, once."""
    calls, prepare = [], VAE.prepare
    monkeypatch.setattr(VAE, "prepare", lambda self, x: calls.append(1) or prepare(self, x))
    model, x = make(), torch.rand(5, 12)
    model.loss(x)
    assert len(calls) == 1
    x[3, 7] = math.nan
    assert model.loss(x)[0].isnan()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ValueError, match="NaN or infinite, the first in row 3"):
        fit(model, x, steps=2, batch_size=2, progress=False)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("cls", [BetaTCVAE, FactorVAE])
def test_models_train(cls):
    torch.manual_seed(0)
    data = (torch.rand(64, 12) > 0.5).float()
    options = {"dataset_size": 64} if cls is BetaTCVAE else {"discriminator_hidden": (8,)}
    model = small(cls, **options)
    before = model.discriminator.net[0].weight.clone() if cls is FactorVAE else None
    history = fit(model, data, steps=150, batch_size=16, progress=False, log_every=50)
    assert history["reconstruction"][-1] < history["reconstruction"][0]
    if before is not None:
        assert not torch.equal(before, model.discriminator.net[0].weight)


def test_shapes_that_would_be_broadcast_are_named():
    z, mean, log_var = toy(6)
    weights = disentangle.log_stratified_weights(6, 20, dtype=z.dtype)
    prior = standard_normal(z)
    with pytest.raises(ValueError, match=r"log_prior must have the shape \(6,\).* got \(6, 1\)"):
        disentangle.kl_terms(z, mean, log_var, prior[:, None], weights)
    with pytest.raises(ValueError, match=r"log_weights \(6, 6\); got \(6,\) and \(6,\)"):
        disentangle.kl_terms(z, mean, log_var, prior, weights[0])
    with pytest.raises(ValueError, match="dataset_size must be a positive integer; got 0"):
        small(BetaTCVAE, dataset_size=0)


def test_factorvae_resumes_exactly(tmp_path):
    data = (torch.rand(64, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    options = {"batch_size": 16, "progress": False, "seed": 3}
    whole, halves = (small(FactorVAE, discriminator_hidden=(8,)) for _ in range(2))
    fit(whole, data, steps=20, **options)
    checkpoint = tmp_path / "factor.pt"
    fit(halves, data, steps=9, checkpoint=checkpoint, **options)
    resumed = small(FactorVAE, discriminator_hidden=(8,))
    fit(resumed, data, steps=20, checkpoint=checkpoint, resume=True, **options)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)

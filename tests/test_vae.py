import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelite import gaussian
from vaelite.nets import GaussianEncoder
from vaelite.vae import VAE, Bernoulli, Gaussian, Prior, StandardNormal

B, D, L, S = 5, 2, 7, 3


class Constant(nn.Module):
    """An encoder that returns what it is given, whatever the data."""

    def __init__(self, mean, log_var):
        super().__init__()
        self.mean, self.log_var = nn.Parameter(mean), nn.Parameter(log_var)

    def forward(self, x):
        return self.mean.expand(len(x), -1), self.log_var.expand(len(x), -1)


def linear_model(seed=0, noise_var=0.3):
    """A VAE whose decoder is linear: the marginal likelihood has a closed form."""
    torch.manual_seed(seed)
    model = VAE(
        GaussianEncoder(nn.Linear(L, 2 * D)),
        nn.Linear(D, L),
        D,
        (L,),
        likelihood=Gaussian(noise_var),
    ).double()
    weights, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
    covariance = weights @ weights.T + noise_var * torch.eye(L, dtype=torch.float64)
    return model, MultivariateNormal(bias, covariance)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE.mlp(L, (6, 4), D).double()


@pytest.fixture
def x():
    return torch.rand(B, L, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_loss_is_the_negative_elbo_written_out(model, x):
    noise = torch.randn(B, D, dtype=torch.float64)
    mean, log_var = model.encode(x)
    z = mean + (log_var / 2).exp() * noise
    p = torch.sigmoid(model.decode(z))
    log_likelihood = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
    model.beta = 3.0
    loss, parts = model.loss(x, noise)
    torch.testing.assert_close(loss, (3.0 * kl - log_likelihood).mean())
    torch.testing.assert_close(parts["reconstruction"], -log_likelihood.mean())
    torch.testing.assert_close(parts["kl"], kl.mean())
    assert set(parts) == {"reconstruction", "kl"}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "learned", "per pixel"])
def test_gradient_agrees_with_finite_differences(likelihood, x):
    torch.manual_seed(0)
    if likelihood == "learned":
        likelihood = Gaussian(0.5, learned=True)
    elif likelihood == "per pixel":
        likelihood = Gaussian(torch.rand(L) + 0.1, learned=True)
    model = VAE.mlp(L, 4, D, likelihood=likelihood, activation=nn.Tanh, beta=2.0).double()
    noise = torch.randn(B, D, dtype=torch.float64)
    model.loss(x, noise)[0].backward()
    step = 1e-5
    for name, parameter in model.named_parameters():
        index = tuple(size // 2 for size in parameter.shape)
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[index] += sign * step
                losses.append(model.loss(x, noise)[0].item())
                parameter[index] -= sign * step
        difference = (losses[0] - losses[1]) / (2 * step)
        assert parameter.grad[index].item() == pytest.approx(difference, rel=1e-5, abs=1e-8), name


def test_elbo_lies_below_the_exact_likelihood_and_touches_it_at_the_posterior():
    model, exact = linear_model()
    x = exact.sample((B,))
    weights, noise_var = model.decoder.weight.detach(), 0.3
    precision = torch.eye(D, dtype=torch.float64) + weights.T @ weights / noise_var
    # In the basis of the posterior's principal axes the exact posterior is diagonal.
    variances, axes = torch.linalg.eigh(torch.linalg.inv(precision))
    model.decoder.weight.data = weights @ axes
    recognition = (model.decoder.weight / noise_var * variances).detach()  # (L, D)
    encoder = nn.Linear(L, 2 * D, dtype=torch.float64)
    with torch.no_grad():
        encoder.weight.zero_(), encoder.bias.zero_()
        encoder.weight[:D] = recognition.T
        encoder.bias[:D] = -model.decoder.bias @ recognition
        encoder.bias[D:] = variances.log()
    truth = exact.log_prob(x)  # (B,)

    def gap(model):
        noise = torch.randn(4000, D, dtype=torch.float64)
        elbos = [-model.loss(row.expand(4000, -1), noise)[0].item() for row in x]
        return truth - torch.tensor(elbos, dtype=torch.float64)

    wrong = gap(model).detach()
    model.encoder = GaussianEncoder(encoder)
    right = gap(model).detach()
    assert (wrong > 0.5).all()
    assert right.abs().max() < 0.15  # Monte Carlo error of 4000 draws
    with torch.no_grad():
        log_weights = model.log_weights(x, S)
    torch.testing.assert_close(log_weights, truth.expand(S, B))


def test_gap_is_the_divergence_from_the_exact_posterior():
    """ln p(x) - ELBO = KL(q || p(z|x)), here with one latent, where every posterior is diagonal."""
    torch.manual_seed(2)
    mean, log_var = torch.tensor([0.7]), torch.tensor([-1.0])
    model = VAE(Constant(mean, log_var), nn.Linear(1, L), 1, (L,), likelihood=Gaussian(0.5))
    model = model.double()
    weights, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
    x = torch.randn(1, L, dtype=torch.float64)
    covariance = weights @ weights.T + 0.5 * torch.eye(L, dtype=torch.float64)
    truth = MultivariateNormal(bias, covariance).log_prob(x).item()
    variance = 1 / (1 + (weights**2).sum() / 0.5)
    posterior_mean = variance * (x - bias) @ weights / 0.5
    divergence = gaussian.kl(*model.encode(x), posterior_mean, variance.log().expand(1, 1)).item()
    # Gauss-Hermite quadrature integrates the quadratic log-likelihood exactly.
    noise, weight = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)]), torch.tensor([1, 4, 1]) / 6
    elbo = sum(
        w.item() * -model.loss(x, e.double().reshape(1, 1))[0].item()
        for e, w in zip(noise, weight, strict=True)
    )
    assert truth - elbo == pytest.approx(divergence, rel=1e-6)


def test_log_weights_are_fresh_and_have_the_right_shape(model, x):
    torch.manual_seed(0)
    first = model.log_weights(x, S)
    torch.manual_seed(0)
    noise = torch.randn(S, B, D, dtype=torch.float64)
    mean, log_var = model.encode(x)
    z = gaussian.reparameterize(mean, log_var, noise)
    for s in range(S):
        for b in range(B):
            p = torch.sigmoid(model.decode(z[s, b]))
            expected = (x[b] * p.log() + (1 - x[b]) * (1 - p).log()).sum()
            expected = expected - 0.5 * (z[s, b] ** 2 + math.log(2 * math.pi)).sum()
            expected = expected - gaussian.log_density(z[s, b], mean[b], log_var[b])
            torch.testing.assert_close(first[s, b], expected)
    assert not torch.equal(first, model.log_weights(x, S))


def test_fresh_noise_is_what_the_global_generator_gives(model, x):
    torch.manual_seed(4)
    fresh, _ = model.loss(x)
    again, _ = model.loss(x)
    noise = torch.randn(B, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.equal(fresh, model.loss(x, noise)[0])
    assert not torch.equal(fresh, again)


def test_gaussian_likelihood_agrees_with_torch():
    x, mean = torch.rand(B, L), torch.rand(S, B, L)
    variance = torch.rand(L) + 0.1
    for likelihood in (Gaussian(variance), Gaussian(variance, learned=True)):
        expected = torch.distributions.Normal(mean, variance.sqrt()).log_prob(x)
        torch.testing.assert_close(likelihood.log_density(x, mean), expected)


def test_learned_noise_finds_the_variance_of_each_pixel():
    deviations = torch.tensor([0.5, 1.0, 2.0])
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * deviations
    likelihood = Gaussian(torch.ones(3), learned=True)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -likelihood.log_density(x, torch.zeros(3)).mean()
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    torch.testing.assert_close(
        likelihood.log_var.exp().detach(), x.square().mean(0), rtol=1e-3, atol=0
    )


def test_learned_noise_does_not_collapse_on_a_constant_pixel():
    likelihood = Gaussian(1e-12, learned=True)
    density = likelihood.log_density(torch.zeros(1), torch.zeros(1))
    assert density.item() == pytest.approx(-0.5 * math.log(2 * math.pi * Gaussian.FLOOR))
    assert not list(Gaussian(1.0).parameters())


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[-1e4, 1e4]])
    density = Bernoulli().log_density(torch.tensor([[0.0, 1.0]]), logits)
    assert density.tolist() == [[0.0, 0.0]]
    wrong = Bernoulli().log_density(torch.tensor([[1.0, 0.0]]), logits)
    assert wrong.tolist() == [[-1e4, -1e4]]


def test_bernoulli_probabilities_sum_to_one():
    logits = torch.randn(4)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # (16, 4)
    total = Bernoulli().log_density(every, logits.expand(16, 4)).sum(-1).exp().sum()
    assert total.item() == pytest.approx(1.0, rel=1e-5)


def test_samples_follow_the_model():
    model, exact = linear_model()
    torch.manual_seed(0)
    noisy = model.sample(40_000, noisy=True)
    assert noisy.shape == (40_000, L) and not noisy.requires_grad
    torch.testing.assert_close(torch.cov(noisy.T), exact.covariance_matrix, rtol=0.1, atol=0.03)
    clean = torch.cov(model.sample(40_000).T)
    expected = exact.covariance_matrix - 0.3 * torch.eye(L)
    torch.testing.assert_close(clean, expected, rtol=0.1, atol=0.03)


def test_binary_samples_are_binary(model):
    assert set(model.sample(50, noisy=True).unique().tolist()) == {0.0, 1.0}
    means = model.sample(50)
    assert ((means > 0) & (means < 1)).all()


def test_reconstruct_decodes_the_posterior_mean(model, x):
    expected = torch.sigmoid(model.decode(model.encode(x)[0]))
    found = model.reconstruct(x)
    assert torch.equal(found, expected) and not found.requires_grad


def test_conv_model_trains_on_images_that_are_not_square():
    torch.manual_seed(0)
    model = VAE.conv((1, 8, 12), D, width=3, likelihood="gaussian")
    images = torch.randint(0, 256, (B, 8, 12), dtype=torch.uint8)
    loss, _ = model.loss(images)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.log_weights(images, S).shape == (S, B)
    assert model.reconstruct(images).shape == (B, 1, 8, 12)
    assert model.sample(4).shape == (4, 1, 8, 12)
    likelihood = model.log_likelihood(images, torch.randn(S, B, D))
    assert likelihood.shape == (S, B)


def test_bytes_images_and_flat_floats_mean_the_same(model):
    images = torch.randint(0, 256, (B, 1, L), dtype=torch.uint8)
    expected = model.encode(images.flatten(1).double() / 255)
    torch.testing.assert_close(model.encode(images), expected)


def test_mlp_mirrors_the_hidden_layers_and_keeps_activations_apart():
    model = VAE.mlp(L, (6, 4), D, decoder_activation=nn.Tanh)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(6, L), (4, 6), (2 * D, 4), (4, D), (6, 4), (L, 6)]
    assert isinstance(model.encoder.net[1], nn.ReLU) and isinstance(model.decoder[1], nn.Tanh)
    assert VAE.mlp(L, 6, D).decoder[0].weight.shape == (6, D)


class Laplace(Prior):
    def log_prob(self, z):
        return -(z.abs() + math.log(2)).sum(-1)

    def sample(self, count):
        return torch.distributions.Laplace(0.0, 1.0).sample((count, self.dim))


def test_a_prior_needs_no_more_than_a_density(x):
    torch.manual_seed(0)
    model = VAE.mlp(L, 4, D, prior=Laplace(D)).double()
    noise = torch.randn(B, D, dtype=torch.float64)
    _, parts = model.loss(x, noise)
    mean, log_var = model.encode(x)
    z = mean + (log_var / 2).exp() * noise
    log_q = torch.distributions.Normal(mean, (log_var / 2).exp()).log_prob(z).sum(-1)
    log_p = torch.distributions.Laplace(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(parts["kl"], (log_q - log_p).mean())


def estimates(prior, count=200_000):
    """Estimates of the KL term with gradients by mean and log variance, ``(count,)`` each."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    mean = torch.full((count, 1), 0.8, dtype=torch.float64, requires_grad=True)
    log_var = torch.full((count, 1), -0.5, dtype=torch.float64, requires_grad=True)
    z = gaussian.reparameterize(mean, log_var, noise)
    torch.manual_seed(1)
    kl = prior.kl(mean, log_var, z)
    slopes = torch.autograd.grad(kl.sum(), (mean, log_var))
    return kl.detach(), *(slope.squeeze(1) for slope in slopes), noise.squeeze(1)


@pytest.mark.parametrize("estimator", StandardNormal.ESTIMATORS)
def test_every_estimator_has_the_mean_and_the_mean_gradient_of_the_closed_form(estimator):
    kl, by_mean, by_log_var, _ = estimates(StandardNormal(1, estimator))
    truth = 0.5 * (0.8**2 + math.exp(-0.5) - 1 + 0.5), 0.8, 0.5 * (math.exp(-0.5) - 1)
    for estimate, exact in zip((kl, by_mean, by_log_var), truth, strict=True):
        error = estimate.std().item() / math.sqrt(len(estimate)) + 1e-12
        assert abs(estimate.mean().item() - exact) < 4.5 * error


def test_how_the_estimators_differ():
    """Against the derivatives by hand, with z = m + s e: score (e / s, (e^2 - 1) / 2)."""
    m, s = 0.8, math.exp(-0.25)
    kl, by_mean, by_log_var, e = estimates(StandardNormal(1, "sampled"))
    torch.testing.assert_close(kl, 0.5 * ((m + s * e) ** 2 - e**2) - math.log(s))
    torch.testing.assert_close(by_mean, m + s * e)
    torch.testing.assert_close(by_log_var, 0.5 * ((m + s * e) * s * e - 1))
    without, without_by_mean, without_by_log_var, _ = estimates(StandardNormal(1, "without score"))
    torch.testing.assert_close(without, kl)
    torch.testing.assert_close(by_mean - without_by_mean, e / s)
    torch.testing.assert_close(by_log_var - without_by_log_var, (e**2 - 1) / 2)
    independent = estimates(StandardNormal(1, "independent"))[0]
    for one in (kl, e):  # neither the estimate at the decoder's sample nor that sample tells of it
        assert abs(torch.corrcoef(torch.stack([independent, one]))[0, 1]) < 0.01


def test_the_decoder_keeps_its_sample_whatever_the_estimator(x):
    parts = []
    for estimator in StandardNormal.ESTIMATORS:
        torch.manual_seed(0)
        model = VAE.mlp(L, 4, D, prior=StandardNormal(D, estimator)).double()
        torch.manual_seed(1)
        parts.append(model.loss(x)[1])
    for other in parts[1:]:
        assert torch.equal(other["reconstruction"], parts[0]["reconstruction"])
    assert len({part["kl"].item() for part in parts}) == 3  # two differ in the gradient alone


def test_samples_of_the_prior_have_the_models_precision(model):
    assert model.prior.sample(3).dtype == torch.float64
    torch.manual_seed(0)
    z = StandardNormal(2).sample(20_000)
    assert z.shape == (20_000, 2) and z.dtype == torch.float32
    torch.testing.assert_close(torch.cov(z.T), torch.eye(2), atol=0.04, rtol=0)
    assert not StandardNormal(2).state_dict()


def test_bad_priors_are_named():
    with pytest.raises(ValueError, match="prior has dimension 3; the latent dimension is 2"):
        VAE.mlp(L, 4, D, prior=StandardNormal(3))
    with pytest.raises(TypeError, match="prior must be a Prior"):
        VAE.mlp(L, 4, D, prior=torch.distributions.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="estimator is 'closed'; it must be one of sampled, with"):
        Laplace(D, "closed")
    with pytest.raises(ValueError, match="dim must be a positive integer; got 0"):
        StandardNormal(0)


def test_data_are_prepared_once_a_step(model, x, monkeypatch):
    calls = []
    prepare = VAE.prepare
    monkeypatch.setattr(VAE, "prepare", lambda self, x: calls.append(1) or prepare(self, x))
    model.loss(x)
    model.log_weights(x, S)
    assert len(calls) == 2


def test_valid_data_pass(model):
    model.validate(torch.rand(B, L))
    model.validate(torch.randint(0, 256, (B, 1, L), dtype=torch.uint8))
    model.validate(torch.zeros(B, L, dtype=torch.uint8))
    model.validate(torch.rand(B, L) > 0.5)
    VAE.mlp(L, 4, D, likelihood="gaussian").validate(5 * torch.randn(B, L))


def test_bad_data_are_named(model):
    data = torch.rand(B, L)
    for value, message in [
        (math.nan, "1 values are NaN or infinite, the first in row 3"),
        (math.inf, "NaN or infinite"),
        (1.5, r"between 0 and 1 for a Bernoulli likelihood; got values from .* to 1.5"),
        (-0.25, r"got values from -0.25"),
    ]:
        bad = data.clone()
        bad[3, 2] = value
        with pytest.raises(ValueError, match=message):
            model.validate(bad)
    with pytest.raises(ValueError, match=r"shape \(B, 7\), as the model has; got \(1, 6\)"):
        model.validate(data[:, :6])
    with pytest.raises(ValueError, match=r"got \(\)"):
        model.validate(torch.tensor(0.5))
    with pytest.raises(ValueError, match="must not be empty"):
        model.validate(data[:0])
    with pytest.raises(ValueError, match="all 0 or 1"):
        model.validate((data > 0.5).to(torch.uint8))
    with pytest.raises(TypeError, match="int64"):
        model.validate(torch.ones(B, L, dtype=torch.long))
    with pytest.raises(TypeError, match="got list"):
        model.validate([[0.0] * L])


def test_height_and_width_are_never_exchanged_silently():
    model = VAE.conv((1, 8, 12), D, width=3)
    assert model.prepare(torch.rand(B, 96)).shape == (B, 1, 8, 12)
    with pytest.raises(ValueError, match=r"\(B, 1, 8, 12\).* got \(5, 12, 8\)"):
        model.loss(torch.rand(B, 12, 8))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="likelihood is 'poisson'; it must be one of"):
        VAE.mlp(L, 4, D, likelihood="poisson")
    for variance in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="variance must be positive and finite"):
            Gaussian(variance)
    with pytest.raises(ValueError, match="a minimum of -1"):
        Gaussian(torch.tensor([1.0, -1.0]))
    with pytest.raises(TypeError, match="likelihood must be one of bernoulli, gaussian, or an"):
        VAE.mlp(L, 4, D, likelihood=Gaussian)
    for shape in ((L + 1,), (B, L)):  # the second would fit a batch, not a datum
        with pytest.raises(ValueError, match=rf"shape \({L},\) of a datum; got"):
            VAE.mlp(L, 4, D, likelihood=Gaussian(torch.ones(shape)))
    for sizes, message in [
        (((8, 12), 4, D), r"data_dim must be a positive integer; got \(8, 12\)"),
        ((L, 4, 0), "latent_dim must be a positive integer; got 0"),
        ((L, 4.5, D), r"hidden must be a positive integer; got 4\.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            VAE.mlp(*sizes)
    with pytest.raises(ValueError, match=r"latent_dim must be a positive integer; got 3\.0"):
        VAE.conv((1, 8, 12), 3.0)

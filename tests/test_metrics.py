import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelite.metrics import active_latents, log_marginal_likelihood
from vaelite.nets import GaussianEncoder
from vaelite.vae import VAE, Gaussian

B, D, L = 5, 2, 7
NOISE_VAR = 0.4


@pytest.fixture
def linear():
    """A VAE with a linear decoder, its exact marginal, data, and the exact posterior's encoder.

    The decoder's columns are orthogonal, so the exact posterior is diagonal.
    """
    torch.manual_seed(0)
    model = VAE(
        GaussianEncoder(nn.Linear(L, 2 * D)),
        nn.Linear(D, L),
        D,
        (L,),
        likelihood=Gaussian(NOISE_VAR),
    ).double()
    model.likelihood.raw_log_var.fill_(math.log(NOISE_VAR))
    basis, _ = torch.linalg.qr(torch.randn(L, D, dtype=torch.float64))
    weights = basis * torch.tensor([1.5, 0.7], dtype=torch.float64)
    bias = torch.randn(L, dtype=torch.float64)
    variance = 1 / (1 + weights.square().sum(0) / NOISE_VAR)  # (D,)
    recognition = weights / NOISE_VAR * variance  # (L, D)
    exact_encoder = nn.Linear(L, 2 * D, dtype=torch.float64)
    with torch.no_grad():
        model.decoder.weight.copy_(weights), model.decoder.bias.copy_(bias)
        exact_encoder.weight.zero_(), exact_encoder.bias.zero_()
        exact_encoder.weight[:D] = recognition.T
        exact_encoder.bias[:D] = -bias @ recognition
        exact_encoder.bias[D:] = variance.log()
        # The wrong encoder: off by a little in mean and width, as a trained one is.
        model.encoder.net.weight.copy_(0.8 * exact_encoder.weight)
        model.encoder.net.bias.copy_(exact_encoder.bias)
        model.encoder.net.bias[D:] += 0.5
    covariance = weights @ weights.T + NOISE_VAR * torch.eye(L, dtype=torch.float64)
    marginal = MultivariateNormal(bias, covariance)
    x = marginal.sample((B,))
    return model, marginal.log_prob(x), x, GaussianEncoder(exact_encoder)


@pytest.mark.parametrize("samples", [1, 13])
@pytest.mark.parametrize("chunk", [None, 1, 4, 1000])
def test_the_exact_posterior_gives_the_exact_value_with_any_samples(linear, samples, chunk):
    model, truth, x, model.encoder = linear
    found = log_marginal_likelihood(model, x, samples, chunk)
    assert found.shape == (B,)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=0)


def test_a_wrong_posterior_converges_to_the_exact_value(linear):
    model, truth, x, _ = linear
    torch.manual_seed(1)
    found = log_marginal_likelihood(model, x, 100_000)
    torch.testing.assert_close(found, truth, rtol=0, atol=0.05)


def test_the_bound_rises_with_the_samples(linear):
    model, truth, x, _ = linear
    torch.manual_seed(2)
    repeats = 3000
    many = x.repeat(repeats, 1)
    bounds = torch.stack(
        [
            log_marginal_likelihood(model, many, samples).view(repeats, B).mean(0)
            for samples in (1, 3, 10, 30)
        ]
    )
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds[0] < truth - 0.05).all()
    assert (bounds < truth + 0.02).all()


def test_one_sample_is_the_elbo(linear):
    model, _, x, _ = linear
    torch.manual_seed(3)
    bound = log_marginal_likelihood(model, x.repeat(20_000, 1), 1).mean()
    elbo = -model.loss(x.repeat(20_000, 1))[0]
    assert bound.item() == pytest.approx(elbo.item(), abs=0.05)


class Given(nn.Module):
    """A model whose weights are given, served in order, that records how it is asked."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.calls, self.modes = weights, [], []

    def log_weights(self, batch, samples):
        self.calls.append((len(batch), samples))
        self.modes.append((self.training, torch.is_grad_enabled()))
        index = batch[:, 0].long()
        start = sum(done for size, done in self.calls[:-1] if size == len(batch))
        return self.weights[start % len(self.weights) :][:samples][:, index]


def test_chunks_add_up_without_overflow():
    weights = torch.tensor([[-2000.0, 900.0], [-2001.0, 905.0], [-2002.0, 100.0]]).double()
    expected = torch.logsumexp(weights, 0) - math.log(3)
    x = torch.tensor([[0.0], [1.0]])
    for chunk, calls in [(1, 6), (2, 4), (3, 2), (6, 1)]:
        model = Given(weights)
        found = log_marginal_likelihood(model, x, 3, chunk)
        torch.testing.assert_close(found, expected)
        assert len(model.calls) == calls
        assert all(data * samples <= chunk for data, samples in model.calls)


class TwoTasks(nn.Module):
    """Data with a task: the model of each task is a linear VAE of its own."""

    def __init__(self, first, second):
        super().__init__()
        self.models = nn.ModuleList([first, second])

    def log_weights(self, batch, samples):
        x, task = batch
        of_tasks = torch.stack([model.log_weights(x, samples) for model in self.models])
        return of_tasks.gather(0, task.expand(1, samples, -1))[0]


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_a_batch_may_be_a_tuple(linear, chunk):
    """With exact posteriors the estimate is exact, datum by datum, whatever the task."""
    model, truth, x, model.encoder = linear
    other = copy.deepcopy(model)
    shift = torch.linspace(-1, 1, L, dtype=torch.float64)
    with torch.no_grad():  # the same model of shifted data
        other.decoder.bias.add_(shift)
        net = other.encoder.net
        net.bias[:D] -= net.weight[:D] @ shift
    task = torch.tensor([0, 1, 1, 0, 1])
    shifted = x + task[:, None] * shift
    found = log_marginal_likelihood(TwoTasks(model, other), (shifted, task), 3, chunk)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=0)


def test_bad_tuples_are_named():
    x, task = torch.rand(B, L), torch.zeros(B, dtype=torch.long)
    model = TwoTasks(VAE.mlp(L, 4, D), VAE.mlp(L, 4, D))
    with pytest.raises(ValueError, match=r"equally many rows, .* got \[5, 4\]"):
        log_marginal_likelihood(model, (x, task[1:]), 3)
    with pytest.raises(TypeError, match="a tuple of tensors; got int"):
        log_marginal_likelihood(model, (x, 3), 3)
    with pytest.raises(ValueError, match="x must be finite"):
        log_marginal_likelihood(model, (x * math.nan, task), 3)


def test_an_impossible_datum_is_minus_infinity_and_not_nan():
    model = Given(torch.full((3, 1), -math.inf))
    assert log_marginal_likelihood(model, torch.zeros(1, 1), 3, 1).tolist() == [-math.inf]


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_mode_and_no_gradients(training):
    model = Given(torch.zeros(3, 2)).train(training)
    log_marginal_likelihood(model, torch.zeros(2, 1), 3, 2)
    assert set(model.modes) == {(False, False)}
    assert model.training is training


def test_the_mode_is_restored_after_an_error():
    model = Given(torch.zeros(3, 2)).train()
    with pytest.raises(IndexError):
        log_marginal_likelihood(model, torch.full((2, 1), 9.0), 3)
    assert model.training


def test_bytes_and_images_are_taken():
    torch.manual_seed(0)
    model = VAE.conv((1, 8, 12), D, width=3)
    images = torch.randint(0, 256, (B, 8, 12), dtype=torch.uint8)
    assert log_marginal_likelihood(model, images, 4).shape == (B,)


def test_bad_settings_are_named():
    model, x = Given(torch.zeros(3, 2)), torch.zeros(2, 1)
    with pytest.raises(ValueError, match="samples must be a positive integer; got 0"):
        log_marginal_likelihood(model, x, 0)
    with pytest.raises(ValueError, match="chunk must be a positive integer; got 0"):
        log_marginal_likelihood(model, x, 3, 0)
    with pytest.raises(ValueError, match=r"samples must be a positive integer; got 2\.5"):
        log_marginal_likelihood(model, x, 2.5)
    with pytest.raises(TypeError, match="or a tuple of tensors; got ndarray"):
        log_marginal_likelihood(model, x.numpy(), 3)


def test_bad_data_are_named():
    model, x = VAE.mlp(7, 4, D), torch.rand(B, 7)
    with pytest.raises(ValueError, match="data must lie between 0 and 1 for a Bernoulli"):
        log_marginal_likelihood(model, x - 1, 3)
    with pytest.raises(ValueError, match="data must be finite"):
        log_marginal_likelihood(model, x * math.nan, 3)


def test_an_active_latent_carries_a_tenth_of_its_variance():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(4000, 3, generator=generator) * torch.tensor([2.0, 0.3, 0.36])
    log_var = torch.zeros_like(mean)  # shares: 4 / 5, 0.09 / 1.09 and 0.13 / 1.13
    assert active_latents(mean, log_var).tolist() == [True, False, True]
    # No unit of the codes can change it.
    assert active_latents(7 * mean, log_var + 2 * math.log(7)).tolist() == [True, False, True]

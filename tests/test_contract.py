"""The contract of training, by a miniature of each coming method.

Every miniature is trained alone and in a stack, broken off and resumed; each must be the same.
"""

import itertools
import signal

import numpy as np
import pytest
import torch
from torch import nn

from vaelite import gaussian
from vaelite.batches import Unpaired
from vaelite.nets import MLP
from vaelite.training import Linear, Phase, fit, fit_seeds
from vaelite.vae import VAE

N, L, D, K = 60, 12, 3, 2
RUNS = [(3, 1.0), (5, 0.3)]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def images(count, seed=0):
    return torch.rand(count, L, generator=torch.Generator().manual_seed(seed))


class MixturePrior(VAE):
    """A prior of K equally likely normals, moved by natural gradients (SVI).

    For unit variances the natural parameters of q(mean_k) = N(m_k, 1 / c_k) are c_k m_k and c_k.
    """

    def __init__(self, *args, dataset_size, **options):
        super().__init__(*args, **options)
        self.dataset_size = dataset_size
        self.register_buffer("precision", torch.ones(K))
        self.register_buffer("weighted", torch.randn(K, D))
        self.register_buffer("step", torch.zeros(()))

    def responsibilities(self, mean):
        centre = self.weighted / self.precision.unsqueeze(-1)
        distance = (mean.unsqueeze(1) - centre).square().sum(-1)
        return torch.softmax(-0.5 * distance - 0.5 * D / self.precision, -1)  # (B, K)

    def loss(self, batch, noise=None):
        mean, log_var = self.encode(batch)
        z = self.sample_posterior(mean, log_var, noise)
        reconstruction = -self.log_likelihood(batch, z).mean()
        r = self.responsibilities(mean)
        centre = self.weighted / self.precision.unsqueeze(-1)
        kl = gaussian.kl_standard_normal(mean.unsqueeze(1) - centre, log_var.unsqueeze(1))
        kl = (r * kl).sum(-1).mean()
        return reconstruction + self.beta * kl, {"reconstruction": reconstruction, "kl": kl}, mean

    def after_step(self, batch, carry):
        """Move the natural parameters, assigned anew."""
        assert len(carry) == len(batch) and not carry.requires_grad
        r = self.responsibilities(carry)
        scale, rho = self.dataset_size / len(batch), (self.step + 2) ** -0.7
        self.precision = (1 - rho) * self.precision + rho * (1 + scale * r.sum(0))
        self.weighted = (1 - rho) * self.weighted + rho * scale * r.T @ carry
        self.step += 1


class Populations(nn.Module):
    """Two populations: a shared trunk, and a decoder each."""

    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.trunk = MLP(L, [8], 2 * D)
        self.decoders = nn.ModuleList([MLP(D, [8], L) for _ in range(2)])

    def validate(self, data):
        first, (second, labels) = data
        assert (len(first), len(second), len(labels)) == (60, 200, 200)

    def loss(self, batch):
        first, (second, labels) = batch
        assert labels.dtype == torch.int64 and labels.shape == second.shape[:1]
        total, parts = 0.0, {}
        for name, x, decoder in zip("ab", (first, second), self.decoders, strict=True):
            mean, log_var = self.trunk(x).chunk(2, -1)
            error = (decoder(gaussian.reparameterize(mean, log_var)) - x).square().sum(-1).mean()
            kl = gaussian.kl_standard_normal(mean, log_var).mean()
            total = total + error + self.beta * kl
            parts |= {f"error {name}": error, f"kl {name}": kl}
        return total, {**parts, "label": labels.to(total.dtype).mean()}


def group_lasso_prox(matrix, threshold):
    norms = matrix.norm(dim=0, keepdim=True)
    return matrix * (1 - threshold / norms.clamp(min=threshold))


class Sparse(nn.Module):
    """A matrix behind the decoder, moved by gradient and proximal steps; Adam moves the rest."""

    rate, penalty = 2e-2, 6.0

    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.encoder, self.decoder = MLP(L, [8], D), MLP(D, [], D)
        self.matrix = nn.Parameter(0.3 * torch.randn(L, D))

    def loss(self, batch):
        z = self.encoder(batch) + self.beta * torch.randn(len(batch), D)
        error = (self.decoder(z) @ self.matrix.T - batch).square().sum(-1).mean()
        return error, {"error": error}

    def after_step_parameters(self):
        return [self.matrix]

    def after_step(self, batch, carry):
        moved = self.matrix.detach() - self.rate * self.matrix.grad
        self.matrix = nn.Parameter(group_lasso_prox(moved, self.rate * self.penalty))


class Clustered(VAE):
    """Pretrained as a plain VAE; then the encodings are drawn to K centres, seeded by data."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("centres", torch.full((K, D), torch.nan))
        self.weight = 0.0
        self.seeded = False

    def loss(self, batch, noise=None):
        loss, parts = super().loss(batch, noise)
        if not self.seeded:
            return loss, parts
        mean, _ = self.encode(batch)
        distance = (mean.unsqueeze(1) - self.centres).square().sum(-1).amin(-1).mean()
        return loss + self.weight * distance, {**parts, "distance": distance}


def seed_clusters(model, data):
    """Some encodings at random, with the run's own noise; and the decoder stays as it is."""
    chosen = torch.randperm(len(data))[:K]
    model.centres = model.encode(data[chosen])[0].detach()
    model.seeded = True
    model.decoder.requires_grad_(False)


class Discriminated(nn.Module):
    """A second network with an optimiser of its own, fed by what the loss carries."""

    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.encoder, self.critic = nn.Linear(L, D), nn.Linear(D, 1)
        self.register_buffer("momentum", torch.zeros(1, D))

    def after_step_parameters(self):
        return self.critic.parameters()

    def loss(self, batch):
        z = self.encoder(batch)
        fooled = self.critic(z).mean()
        return (z - 1).square().mean() + self.beta * fooled, {"fooled": fooled}, {"z": (z,)}

    def after_step(self, batch, carry):
        (z,) = carry["z"]
        with torch.enable_grad():
            loss = nn.functional.softplus(-self.critic(z.detach())).mean()
        (gradient,) = torch.autograd.grad(loss, [self.critic.weight])
        self.momentum.mul_(0.9).add_(gradient)
        with torch.no_grad():
            self.critic.weight -= 0.1 * self.momentum


class Dropped(VAE):
    """Noise of other kinds than normal."""

    def loss(self, batch, noise=None):
        x = torch.bernoulli(self.prepare(batch))
        keep = torch.nn.functional.dropout(torch.ones_like(x), 0.3)
        chosen = torch.randint(0, len(x), (4,))
        shift = torch.distributions.Normal(0.0, 0.1).sample((L,))
        loss, parts = super().loss((x * keep.clamp(max=1)).index_select(0, chosen) * 0.5, noise)
        return loss + (self.decoder[0].bias.mean() * shift.mean()), parts


PHASES = [
    Phase(7, schedules={"beta": Linear(0.0, 1.0, 5)}),
    Phase(9, before=seed_clusters, schedules={"weight": Linear(0.0, 1.0, 4)}, lr=3e-3),
    Phase(5, data=images(40, seed=1), batch_size=7, reset_adam=True),
]
TWO = Unpaired(images(60), (images(200, seed=2), torch.arange(200)))
METHODS = {
    "natural gradients": (
        lambda seed, beta: MixturePrior.mlp(L, [8], D, beta=beta, dataset_size=N),
        images(N),
        {"steps": 20},
    ),
    "populations": (lambda seed, beta: Populations(beta), TWO, {"steps": 20}),
    "populations of their own batch sizes": (
        lambda seed, beta: Populations(beta),
        TWO,
        {"steps": 20, "batch_size": (6, 50)},
    ),
    "proximal steps": (lambda seed, beta: Sparse(beta), images(N), {"steps": 20}),
    "phases": (
        lambda seed, beta: Clustered.mlp(L, [8], D, beta=beta),
        images(N),
        {"phases": PHASES},
    ),
    "a second optimiser": (lambda seed, beta: Discriminated(beta), images(N), {"steps": 20}),
    "other noise": (
        lambda seed, beta: Dropped.mlp(L, [8], D, beta=beta),
        images(N),
        {"steps": 20},
    ),
}
OPTIONS = {"batch_size": 10, "lr": 1e-2, "progress": False, "log_every": 3}


def alone(name, run, **options):
    make, data, own = METHODS[name]
    torch.manual_seed(run[0])
    model = make(*run)
    return model, fit(model, data, seed=run[0], **{**OPTIONS, **own, **options})


def together(name, **options):
    make, data, own = METHODS[name]
    return fit_seeds(make, data, RUNS, **{**OPTIONS, **own, **options})


def assert_equal(one, other, tolerance):
    (model, history), (expected, wanted) = one, other
    mine, theirs = model.state_dict(), expected.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=tolerance, atol=tolerance, msg=name)
    flags = [[p.requires_grad for p in each.parameters()] for each in (model, expected)]
    assert flags[0] == flags[1]
    assert history.steps.tolist() == wanted.steps.tolist()
    assert history.parts.keys() == wanted.parts.keys()
    for part, values in wanted.parts.items():
        np.testing.assert_allclose(
            history[part], values, rtol=10 * tolerance, atol=10 * tolerance, equal_nan=True
        )


@pytest.mark.parametrize("name", METHODS)
def test_many_at_once_are_what_each_is_alone(name):
    for run, model, history in zip(RUNS, *together(name), strict=True):
        assert_equal((model, history), alone(name, run), 1e-10)
        assert not torch.equal(
            next(model.parameters()), next(alone(name, (run[0] + 1, run[1]))[0].parameters())
        )


@pytest.mark.parametrize(("name", "at"), [*itertools.product(METHODS, [6]), ("phases", 16)])
def test_an_interrupted_run_goes_on_exactly(name, at, tmp_path, stop):
    """The phases break off in the first phase, and after the last step of the second."""
    path = tmp_path / "run.pt"
    whole = alone(name, RUNS[0])
    stop.at = stop.steps + at
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {at}"):
        alone(name, RUNS[0], checkpoint=path)
    resumed = alone(name, RUNS[0], checkpoint=path, resume=True)
    assert_equal(resumed, whole, 0.0)
    total = whole[1].steps[-1]
    assert stop.steps == 2 * total

    path.unlink()
    whole = together(name)
    stop.at = stop.steps + at
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {at}"):
        together(name, checkpoint=path)
    resumed = together(name, checkpoint=path, resume=True)
    for one, other in zip(zip(*resumed, strict=True), zip(*whole, strict=True), strict=True):
        assert_equal(one, other, 0.0)

"""The contract of training, by a miniature of each coming method.

Every miniature is trained alone and in a stack, broken off and resumed; each must be the same.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from vaelite import gaussian
from vaelite.batches import Unpaired
from vaelite.disentangle import BetaTCVAE
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

    rate, penalty = 2e-2, 3.0

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
    models, histories = together(name)
    for run, model, history in zip(RUNS, models, histories, strict=True):
        assert_equal((model, history), alone(name, run), 1e-10)
    assert not np.array_equal(histories[0]["loss"], histories[1]["loss"])


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


# Each need against an independent truth.


def test_the_second_update_sees_the_encodings_of_this_step():
    """Two steps on all data, written out: Adam aside, which the encoder's bias alone feels."""
    torch.manual_seed(0)
    model = MixturePrior.mlp(L, [8], D, dataset_size=N)
    x, precision, weighted = images(N), model.precision, model.weighted
    encodings = []
    encode = model.encode
    model.encode = lambda batch: encodings.append(encode(batch)[0].detach()) or encode(batch)
    fit(model, x, steps=2, batch_size=N, progress=False)
    for step, mean in enumerate(encodings):
        centre = weighted / precision[:, None]
        log_r = torch.stack(
            [
                -0.5 * (mean - c).square().sum(1) - 0.5 * D / p
                for c, p in zip(centre, precision, strict=True)
            ],
            1,
        )
        r = log_r.exp() / log_r.exp().sum(1, keepdim=True)
        rho = (step + 2) ** -0.7
        precision = precision + rho * (1 + r.sum(0) - precision)
        target = sum(row[:, None] * z for row, z in zip(r, mean, strict=True))
        weighted = weighted + rho * (target - weighted)
    assert len(encodings) == 2  # once a step
    torch.testing.assert_close(model.precision, precision)
    torch.testing.assert_close(model.weighted, weighted)


def test_a_matrix_moves_by_the_plain_gradient_and_the_rest_by_adam():
    torch.manual_seed(0)
    model, reference = Sparse(0.0), Sparse(0.0)
    reference.load_state_dict(model.state_dict())
    x = images(N)
    fit(model, x, steps=1, batch_size=N, lr=0.01, progress=False)
    reference.loss(x)[0].backward()
    moved = reference.matrix - 2e-2 * reference.matrix.grad
    norms = moved.norm(dim=0)
    torch.testing.assert_close(model.matrix, moved * (1 - 0.06 / norms))
    bias = reference.encoder[0].bias
    expected = bias - 0.01 * bias.grad / (bias.grad.abs() + 1e-8)
    torch.testing.assert_close(model.encoder[0].bias, expected)


def test_proximal_steps_reach_exact_zeros_and_not_everywhere():
    for model in together("proximal steps")[0]:
        zeros = int((model.matrix == 0).all(0).sum())
        assert 0 < zeros < D


class Listener(nn.Module):
    """Writes down every batch."""

    def __init__(self):
        super().__init__()
        self.weight, self.batches = nn.Parameter(torch.zeros(())), []

    def loss(self, batch):
        self.batches.append(batch)
        return (self.weight - torch.rand(())).square(), {}


def heard(data, **options):
    model = Listener()
    fit(model, data, lr=1e-2, progress=False, **{"steps": 6, "batch_size": 10, **options})
    return model


def test_unpaired_data_have_an_order_each_and_pairs_stay_pairs():
    few, many = torch.arange(60.0), torch.arange(200.0)
    heard_both = heard(Unpaired(few, (many, -many)), batch_size=(20, 50), steps=12)
    firsts, seconds = zip(*heard_both.batches, strict=True)
    values, negated = zip(*seconds, strict=True)
    assert all(torch.equal(one, -other) for one, other in zip(values, negated, strict=True))
    for start in range(0, 12, 3):
        assert torch.equal(torch.cat(firsts[start : start + 3]).sort().values, few)
    for start in range(0, 12, 4):
        assert torch.equal(torch.cat(values[start : start + 4]).sort().values, many)
    # Equal sizes do not make equal orders; and the first is what it is alone.
    same = heard(Unpaired(few, few)).batches
    assert not any(torch.equal(one, other) for one, other in same)
    for (one, _), expected in zip(same, heard(few).batches, strict=True):
        assert torch.equal(one, expected)


def test_a_run_cut_into_phases_that_change_nothing_is_the_run():
    torch.manual_seed(0)
    whole, cut = (VAE.mlp(L, [8], D) for _ in range(2))
    cut.load_state_dict(whole.state_dict())
    fit(whole, images(N), steps=17, batch_size=11, progress=False)
    phases = [Phase(8), Phase(1, before=lambda model, data: None), Phase(8)]
    fit(cut, images(N), phases=phases, batch_size=11, progress=False)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_second_phase_does_not_repeat_the_first_ones_batches():
    x = torch.arange(30.0)
    phases = [Phase(3), Phase(3, data=x.clone()), Phase(3, batch_size=5), Phase(3)]
    batches = heard(x, steps=None, phases=phases).batches
    firsts = [batch[:5] for batch in batches]
    for one, other in itertools.combinations(firsts, 2):
        assert not torch.equal(one, other)
    assert [len(batch) for batch in batches] == [10] * 6 + [5] * 3 + [10] * 3


def test_adam_forgets_where_a_phase_says_so():
    """With a fresh memory, Adam's first step has the length of the step size."""

    class Bowl(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.path = nn.Parameter(torch.tensor(3.0)), []

        def loss(self, batch):
            self.path.append(self.weight.item())
            return (self.weight - 1).square(), {}

    moves = {}
    for reset in (False, True):
        model = Bowl()
        phases = [Phase(5, lr=0.5), Phase(2, lr=0.01, reset_adam=reset)]
        fit(model, images(N), phases=phases, batch_size=5, progress=False)
        moves[reset] = abs(model.path[6] - model.path[5])
    assert moves[True] == pytest.approx(0.01, rel=1e-6)
    assert moves[False] != pytest.approx(0.01, rel=1e-2)


def test_what_a_phase_freezes_stays_and_the_history_says_which_parts_there_were():
    torch.manual_seed(3)
    model = Clustered.mlp(L, [8], D)
    frozen = []
    phases = [
        Phase(6),
        Phase(6, before=lambda m, x: (seed_clusters(m, x), frozen.append(m.decoder[0].weight + 0))),
    ]
    history = fit(model, images(N), phases=phases, batch_size=7, progress=False, log_every=4)
    assert torch.equal(model.decoder[0].weight, frozen[0])
    assert history.steps.tolist() == [4, 6, 10, 12]
    assert np.isnan(history["distance"]).tolist() == [True, True, False, False]


def test_dropout_is_what_it_should_be_under_a_stack():
    """Ones with a share p of zeros, the rest scaled; another draw for each model and step."""

    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.layer = nn.Parameter(torch.ones(())), nn.Dropout(0.25)
            self.register_buffer("seen", torch.zeros(30, L))

        def loss(self, batch):
            dropped = self.layer(torch.ones_like(batch) * self.weight)
            return dropped.mean(), {}, dropped

        def after_step(self, batch, carry):
            self.seen = carry

    models, _ = fit_seeds(
        lambda seed: Drops(), images(N), [0, 1], steps=1, batch_size=30, progress=False
    )
    first, second = (model.seen for model in models)
    assert set(first.unique().tolist()) == {0.0, 1 / 0.75}
    assert 0.15 < (first == 0).double().mean() < 0.35
    assert not torch.equal(first, second)


# Every bad input in one sentence, and nothing trained on something else.


def vae(seed=0, **options):
    return VAE.mlp(L, [8], D, **options)


def both(make, data, error, message, **options):
    """Alone and in a stack, the same sentence."""
    options = {"steps": 3, "batch_size": 10, "progress": False, **options}
    with pytest.raises(error, match=message):
        fit(make(0), data, **options)
    with pytest.raises(error, match=message):
        fit_seeds(make, data, [0, 1], **options)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "either steps or phases must be given", {"steps": None}),
        (ValueError, "either steps or phases must be given", {"phases": [Phase(3)]}),
        (TypeError, "phases must hold at least one Phase", {"steps": None, "phases": []}),
        (TypeError, "at least one Phase, and nothing else", {"steps": None, "phases": [3]}),
        (ValueError, "steps must be a positive .* got 0", {"steps": None, "phases": [Phase(0)]}),
        (ValueError, "lr must be a positive", {"steps": None, "phases": [Phase(3, lr=-1.0)]}),
        (TypeError, "before must be a func", {"steps": None, "phases": [Phase(3, before="x")]}),
        (ValueError, "the 4 data; got 10", {"steps": None, "phases": [Phase(3, data=images(4))]}),
        (ValueError, "batch_size must be one integer, or with Unpaired", {"batch_size": (5, 5)}),
        (ValueError, "batch_size must be an integer between .* None", {"batch_size": None}),
        (ValueError, "sets 'loss', which is no number but a method", {"schedules": {"loss": len}}),
        (ValueError, "sets 'encoder', which is no number", {"schedules": {"encoder": len}}),
        (ValueError, "sets 'gamma', which the model does not", {"schedules": {"gamma": len}}),
    ],
)
def test_bad_settings(error, message, options):
    both(vae, images(N), error, message, **options)


def test_bad_unpaired_data():
    with pytest.raises(ValueError, match="two or more data sets; got 1"):
        Unpaired(images(3))
    with pytest.raises(ValueError, match="not Unpaired"):
        Unpaired(images(3), TWO)

    def make(seed):
        return Populations(1.0)

    both(
        make, TWO, ValueError, r"for each of the 2 data sets; got \(1, 2, 3\)", batch_size=(1, 2, 3)
    )
    both(make, TWO, ValueError, "between 1 and the 60 data; got 61", batch_size=(61, 3))
    both(make, Unpaired(images(60), "x"), TypeError, "a data set with x, or Unpaired; got str")
    both(make, (images(60), images(200)), ValueError, r"got \[60, 200\].* go into .*Unpaired")


@pytest.mark.parametrize("cls", [MixturePrior, BetaTCVAE])
def test_a_dataset_size_that_is_not_the_datas(cls):
    both(
        lambda seed: cls.mlp(L, [8], D, dataset_size=N + 1),
        images(N),
        ValueError,
        "dataset_size is 61, but there are 60 data",
    )


def test_a_dataset_size_that_is_not_that_of_a_later_phase():
    def make(seed):
        return MixturePrior.mlp(L, [8], D, dataset_size=N)

    later = [Phase(2), Phase(2, data=images(N + 3))]
    for run in (
        lambda: fit(make(0), images(N), phases=later, batch_size=4, progress=False),
        lambda: fit_seeds(make, images(N), [0], phases=later, batch_size=4, progress=False),
    ):
        with pytest.raises(ValueError, match="dataset_size is 60, but phase 2 has 63 data"):
            run()


class Odd(VAE):
    """A VAE with something wrong, by name."""

    def __init__(self, *args, wrong="", **options):
        super().__init__(*args, **options)
        self._wrong = wrong
        self.kept = None
        self.register_buffer("total", torch.zeros(2))
        self.register_buffer("late", None)

    def loss(self, batch, noise=None):
        loss, parts = super().loss(batch, noise)
        if self._wrong == "keeps":
            self.kept = loss
        if self._wrong == "buffer in loss":
            self.total = self.total + loss.detach()
        outputs = {
            "loss alone": loss,
            "four": (loss, parts, None, None),
            "list of parts": (loss, list(parts.values())),
            "vector": (loss.expand(3), parts),
            "number": (loss, {"kl": 1.0}),
            "carried number": (loss, parts, (loss, 3)),
        }
        return outputs.get(self._wrong, (loss, parts, loss))

    def after_step(self, batch, carry):
        if self._wrong == "shape":
            self.total = torch.zeros(3)
        if self._wrong == "late":
            self.late = carry
        if self._wrong == "new":
            self.register_buffer("added", carry)
        if self._wrong == "parameter":
            self.decoder[0].bias = nn.Parameter(torch.zeros(1))
        if self._wrong == "object":
            self.kept = carry


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("loss alone", TypeError, r"loss must return \(loss, parts\) or .* got Tensor"),
        ("four", TypeError, "or .*carry.*; got tuple of 4"),
        ("list of parts", TypeError, "must return its parts by name; got list"),
        ("vector", TypeError, r"must return scalar tensors; loss is \(3,\)"),
        ("number", TypeError, "must return scalar tensors; kl is float"),
        ("carried number", TypeError, "loss carries to after_step must hold tensors.*; got int"),
        ("shape", ValueError, r"after_step must leave total what it is, .*\(2,\); it assigns"),
        ("late", ValueError, "after_step must leave late what it is, None; it assigns"),
        ("new", ValueError, "after_step adds or removes added; .* in the constructor"),
        ("parameter", ValueError, r"after_step must leave decoder\.0\.bias what it is"),
    ],
)
def test_models_that_break_the_contract(wrong, error, message):
    both(lambda seed: Odd.mlp(L, [8], D, wrong=wrong), images(N), error, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("keeps", "loss assigns kept, which fit_seeds cannot keep .* return .* as carry"),
        ("buffer in loss", "loss assigns total, which fit_seeds cannot keep"),
        ("object", "models differ in kept, which is no number.* keep what after_step changes in"),
    ],
)
def test_what_one_model_can_keep_and_a_stack_cannot_is_refused(wrong, message):
    def make(seed):
        return Odd.mlp(L, [8], D, wrong=wrong)

    fit(make(0), images(N), steps=3, batch_size=10, progress=False)
    with pytest.raises(ValueError, match=message):
        fit_seeds(make, images(N), [0, 1], steps=3, batch_size=10, progress=False)


def test_numbers_that_after_step_changes_reach_each_models_loss():
    class Counting(VAE):
        def after_step(self, batch, carry):
            self.beta = self.beta + batch.mean().item()

    run = {"steps": 5, "batch_size": 10, "progress": False}
    models, _ = fit_seeds(lambda seed: Counting.mlp(L, [8], D), images(N), [0, 1], **run)
    assert models[0].beta != models[1].beta
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        solo = Counting.mlp(L, [8], D)
        fit(solo, images(N), seed=seed, **run)
        assert model.beta == pytest.approx(solo.beta, rel=1e-12)
        torch.testing.assert_close(model.decoder[0].weight, solo.decoder[0].weight)


def test_declarations_that_cannot_be_kept():
    class Declares(VAE):
        declared = staticmethod(lambda model: [])

        def after_step_parameters(self):
            return self.declared(self)

    class Moves(Declares):
        def after_step(self, batch, carry):
            pass

    class Old(VAE):
        def after_step(self, batch):
            pass

    for cls, declared, message in [
        (Declares, lambda m: [m.decoder[0].bias], "to after_step, which is missing"),
        (Moves, lambda m: [nn.Parameter(torch.ones(2))], "must name parameters of the model"),
        (Moves, lambda m: m.parameters(), "must leave at least one parameter to Adam"),
    ]:
        kind = type("Kind", (cls,), {"declared": staticmethod(declared)})
        both(lambda seed, kind=kind: kind.mlp(L, [8], D), images(N), ValueError, message)
    message = r"after_step must take \(batch, carry\); it takes \(batch\)"
    both(lambda seed: Old.mlp(L, [8], D), images(N), TypeError, message)


def test_freezing_in_some_models_only():
    phases = [Phase(2, before=lambda m, x: m.decoder.requires_grad_(m.beta > 1))]
    with pytest.raises(ValueError, match="before must freeze the same parameters in all models"):
        fit_seeds(
            lambda seed, beta: vae(beta=beta),
            images(N),
            [(0, 1.0), (0, 2.0)],
            phases=phases,
            batch_size=10,
            progress=False,
        )


# A checkpoint knows its run.


def fitted(path, data=None, make=vae, **options):
    torch.manual_seed(0)
    options = {"steps": 5, "batch_size": 10, "progress": False, "checkpoint": path, **options}
    return fit(make(), images(N) if data is None else data, **options)


class Other(VAE):
    """The same shapes, another class."""


@pytest.mark.parametrize("resume", [True, False])
def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path, resume):
    path = tmp_path / "run.pt"
    fitted(path, schedules={"beta": Linear(0, 1, 4)})
    content = path.read_bytes()
    changed = images(N)
    changed[17, 3] += 1e-9
    for message, options in [
        ("class was VAE, and is Other now", {"make": lambda: Other.mlp(L, [8], D)}),
        ("class of encoder.net.1 was ReLU, and is Tanh", {"make": lambda: vae(activation=nn.Tanh)}),
        ("digest of the data was", {"data": changed}),
        ("data was 60, and is 50", {"data": images(50)}),
        (
            r"schedule beta at step 1 was 0\.25, and is 0\.5",
            {"schedules": {"beta": Linear(0, 1, 2)}},
        ),
        ("schedules was beta, and is none now", {"schedules": None}),
        ("seed was 0, and is 1", {"seed": 1}),
        ("number of phases was 1, and is 2", {"steps": None, "phases": [Phase(2), Phase(3)]}),
    ]:
        options = {"schedules": {"beta": Linear(0, 1, 4)}, "resume": resume, **options}
        with pytest.raises(ValueError, match=f"belongs to another run: {message}") as caught:
            fitted(path, **options)
        assert ("name another file, or delete this one" in str(caught.value)) is not resume
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_another_beta_is_refused_unless_a_schedule_moves_it(tmp_path):
    path = tmp_path / "run.pt"
    fitted(path)
    with pytest.raises(ValueError, match=r"beta was 1\.0, and is 4\.0 now"):
        fitted(path, make=lambda: vae(beta=4.0), resume=True)
    path.unlink()
    fitted(path, schedules={"beta": Linear(0, 1, 4)})
    fitted(path, schedules={"beta": Linear(0, 1, 4)}, make=lambda: vae(beta=4.0), resume=True)
    # The step size is free to change, and so is the number of steps.
    history = fitted(path, schedules={"beta": Linear(0, 1, 4)}, steps=9, lr=1e-5, resume=True)
    assert history.steps[-1] == 9


def test_another_phase_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    fitted(path, steps=None, phases=[Phase(3), Phase(4)])
    for phases, message in [
        ([Phase(2), Phase(4)], "steps of phase 1 was 3, and is 2 now"),
        ([Phase(3), Phase(4, reset_adam=True)], "reset_adam of phase 2 was False, and is True"),
        ([Phase(3), Phase(4, data=images(N, seed=4))], "digest of the data of phase 2 was"),
        ([Phase(3), Phase(4, batch_size=4)], "batch_size of phase 2 was 10, and is 4 now"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted(path, steps=None, phases=phases, resume=True)
    fitted(path, steps=None, phases=[Phase(3), Phase(6)], resume=True)


def test_single_flipped_bits_never_load_as_something_else(tmp_path):
    """Of every bit that is tried, either the file is refused or it says what it said."""
    path = tmp_path / "run.pt"
    fitted(path)
    content = path.read_bytes()
    torch.manual_seed(0)
    whole = vae()
    fit(whole, images(N), steps=8, batch_size=10, progress=False)
    refused = 0
    for position in range(5, 8 * len(content), 8 * len(content) // 60):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        torch.manual_seed(0)
        model = vae()
        try:
            fit(
                model,
                images(N),
                steps=8,
                batch_size=10,
                progress=False,
                checkpoint=path,
                resume=True,
            )
        except ValueError as error:
            assert "damaged or no checkpoint" in str(error)
            assert path.read_bytes() == damaged
            refused += 1
        else:
            for one, other in zip(model.parameters(), whole.parameters(), strict=True):
                assert torch.equal(one, other)
    assert refused >= 30


def test_two_runs_do_not_share_a_file(tmp_path):
    path = tmp_path / "run.pt"
    inner = []

    def meddle(model, data):
        with pytest.raises(OSError, match=r"run\.pt is in use by another run; wait for it"):
            fitted(path)
        inner.append(True)

    fitted(path, steps=None, phases=[Phase(2), Phase(3, before=meddle)])
    assert inner == [True]
    fitted(path, steps=None, phases=[Phase(2), Phase(3, before=meddle)], resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_state_that_breaks_is_not_saved(tmp_path):
    class Breaks(VAE):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.register_buffer("total", torch.zeros(()))

        def after_step(self, batch, carry):
            self.total = self.total + (math.nan if self.total == 3 else 1)

    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match="diverged at step 4: buffer total is NaN"):
        fitted(path, make=lambda: Breaks.mlp(L, [8], D), checkpoint_seconds=0.0)
    assert torch.load(path)["groups"][0]["step"] == 3

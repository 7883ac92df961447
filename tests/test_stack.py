"""Many models as one stack, against each model trained alone."""

import itertools
import math
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vaelite.disentangle import BetaTCVAE, FactorVAE
from vaelite.isa import ISAPrior
from vaelite.packed import PackedImages
from vaelite.stack import bytes_needed
from vaelite.training import Linear, fit, fit_seeds
from vaelite.vae import VAE, Gaussian, StandardNormal

N, L, D, B = 37, 16, 6, 11
SHAPE = (L, [12, 9], D)
TWO_BETAS = list(itertools.product([3, 5], [0.5, 4.0]))


@pytest.fixture
def data():
    return torch.randint(
        0, 256, (N, L), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def isa(**options):
    return ISAPrior((2, 4), learned=True, **options)


MAKERS = {
    "vae": lambda seed, beta=1.0: VAE.mlp(*SHAPE, beta=beta),
    "gaussian": lambda seed, beta=1.0: VAE.mlp(
        *SHAPE, beta=beta, likelihood=Gaussian(learned=True)
    ),
    "beta-TCVAE": lambda seed, beta=1.0: BetaTCVAE.mlp(*SHAPE, beta=beta, dataset_size=N),
    "FactorVAE": lambda seed, beta=1.0: FactorVAE.mlp(
        *SHAPE, gamma=beta, discriminator_hidden=(8,)
    ),
    "ISA-VAE": lambda seed, beta=1.0: VAE.mlp(*SHAPE, beta=beta, prior=isa()),
    "ISA p0": lambda seed, p0=2.1: VAE.mlp(*SHAPE, prior=isa(p0=1.5 + p0)),
    "ISA-TCVAE": lambda seed, beta=1.0: BetaTCVAE.mlp(
        *SHAPE, beta=beta, dataset_size=N, prior=isa()
    ),
    "convolutional": lambda seed, beta=1.0: VAE.conv((1, 4, 4), D, width=3, beta=beta),
}


def together(make, data, runs, **options):
    options = {"steps": 20, "batch_size": B, "lr": 1e-2, "progress": False, **options}
    return fit_seeds(make, data, runs, **options)


def alone(make, data, run, **options):
    run = run if isinstance(run, tuple) else (run,)
    options.pop("at_once", None)
    options = {"steps": 20, "batch_size": B, "lr": 1e-2, "progress": False, **options}
    torch.manual_seed(run[0])
    model = make(*run)
    return model, fit(model, data, seed=run[0], **options)


def assert_equal_to_solo_runs(make, data, runs, *, rtol, **options):
    models, histories = together(make, data, runs, **options)
    assert len(models) == len(histories) == len(runs)
    for run, model, history in zip(runs, models, histories, strict=True):
        solo, expected = alone(make, data, run, **options)
        for name, value in solo.named_parameters():
            error = (model.get_parameter(name) - value).abs().max()
            assert error <= rtol * max(1.0, value.abs().max()), (run, name, error)
        for name, value in solo.named_buffers():
            torch.testing.assert_close(model.get_buffer(name), value, rtol=rtol, atol=rtol)
        assert history.steps.tolist() == expected.steps.tolist()
        assert history.parts.keys() == expected.parts.keys()
        for name, values in expected.parts.items():
            np.testing.assert_allclose(history[name], values, rtol=10 * rtol, atol=10 * rtol)
    return models


@pytest.mark.parametrize("name", MAKERS)
def test_each_run_equals_its_solo_run(name, data, double):
    models = assert_equal_to_solo_runs(MAKERS[name], data, TWO_BETAS, rtol=1e-10)
    first = [next(model.parameters()) for model in models]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(first, 2))


@pytest.mark.parametrize("name", ["vae", "ISA-VAE", "beta-TCVAE"])
def test_each_run_equals_its_solo_run_in_single_precision(name, data):
    assert_equal_to_solo_runs(MAKERS[name], data, [0, 1, 2], rtol=1e-5)


def test_groups_schedules_and_tuples_of_tensors(data, double):
    class Labelled(VAE):
        def validate(self, data):
            super().validate(data[0])

        def loss(self, batch, noise=None):
            x, label = batch
            loss, parts = super().loss(x, noise)
            return loss * label.double().mean(), parts

    schedules = {"beta": Linear(0.0, 3.0, 15), "lr": Linear(0.0, 1e-2, 9)}
    assert_equal_to_solo_runs(
        lambda seed, beta: Labelled.mlp(*SHAPE, beta=beta),
        (data, torch.arange(N)),
        [*TWO_BETAS, (7, 1.0)],
        rtol=1e-10,
        schedules=schedules,
        at_once=2,
        log_every=3,
    )


def test_packed_images(data, double):
    packed = PackedImages.pack((data > 127).reshape(N, 2, 8))
    assert_equal_to_solo_runs(MAKERS["vae"], packed, [0, 1], rtol=1e-10)


class Noisy(nn.Module):
    """A model with every kind of noise that is known, a buffer, a matrix without bias."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.layer = nn.Linear(L, D, bias=False)
        self.norm = nn.BatchNorm1d(D)
        self.weight = weight
        self.frozen = nn.Parameter(torch.ones(D), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))

    def loss(self, batch, noise=None):
        z = self.norm(self.layer(batch)) * self.frozen
        z = z + torch.randn_like(z) + torch.randn(D, dtype=z.dtype) * torch.rand_like(z)
        deep = F.linear(z.unsqueeze(0) + torch.rand(2, 1, D), self.layer.weight.T)
        flat = F.linear(z[0], self.layer.weight.T)
        square = deep.square().mean() + flat.square().mean()
        return self.weight * square, {"square": square}

    def after_step(self, batch, carry):
        with torch.no_grad():
            self.frozen.add_(0.1 * torch.randn(D) + batch.mean())


def test_noise_buffers_and_a_second_update(data, double):
    models = assert_equal_to_solo_runs(
        lambda seed, weight: Noisy(weight), data, TWO_BETAS, rtol=1e-10
    )
    for model in models:
        assert model.norm.num_batches_tracked == 20
        assert torch.equal(model.unused, torch.ones(3))


def test_a_model_owns_its_tensors_afterwards(data):
    models, _ = together(MAKERS["vae"], data, range(3))
    for model in models:
        for parameter in model.parameters():
            assert parameter.untyped_storage().nbytes() == parameter.nbytes


def test_the_callers_generator_is_left_alone(data):
    state = torch.get_rng_state()
    together(MAKERS["FactorVAE"], data, range(2), progress=True)
    assert torch.equal(torch.get_rng_state(), state)


def test_divergence_names_the_run_the_step_and_the_part(data):
    class Diverging(StandardNormal):
        def kl(self, mean, log_var, z):
            return super().kl(mean, log_var, z) * self.factor

    def make(seed, factor):
        prior = Diverging(D)
        prior.factor = factor
        return VAE.mlp(*SHAPE, prior=prior)

    with pytest.raises(FloatingPointError, match=r"run 4, inf: .* at step 1: kl is inf"):
        together(make, data, [(4, 1.0), (4, math.inf), (5, 1.0)])


def test_ctrl_c_stops_after_the_step(data, stop):
    stop.at, handler = 7, signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 7 of 20"):
        together(MAKERS["vae"], data, [0])
    assert signal.getsignal(signal.SIGINT) is handler


def test_memory_is_reported_and_decides_the_groups(data, capsys, monkeypatch):
    together(MAKERS["vae"], data, range(3), progress=True)
    shown = capsys.readouterr().err
    assert "3 of 3 runs at once, about" in shown and "MiB" in shown and "20/20" in shown
    assert "loss" in shown
    monkeypatch.setattr("vaelite.training._CPU_BUDGET", 1)
    together(MAKERS["vae"], data, range(3), progress=True)
    shown = capsys.readouterr().err
    assert "1 of 3 runs at once" in shown and "60/60" in shown
    together(MAKERS["vae"], data, range(3))
    assert capsys.readouterr().err == ""


def test_large_networks_are_trained_one_after_the_other_and_it_says_so(
    data, capsys, monkeypatch, tmp_path, stop
):
    _, histories = together(MAKERS["vae"], data, range(3))
    assert [history.stacked for history in histories] == [3, 3, 3]
    # The choice depends on the number of parameters alone; here on one that is small.
    monkeypatch.setattr("vaelite.training._LARGE", 100)
    models, histories = together(MAKERS["FactorVAE"], data, range(3), progress=True)
    shown = capsys.readouterr().err
    assert "3 runs one after the other, of networks too large for a stack" in shown
    assert "60/60" in shown
    assert [history.stacked for history in histories] == [1, 1, 1]
    for run, model, history in zip(range(3), models, histories, strict=True):
        solo, expected = alone(MAKERS["FactorVAE"], data, run)
        assert_same_state(model.state_dict(), solo.state_dict())
        assert np.array_equal(history["loss"], expected["loss"])
    # Whoever names a number gets it.
    _, histories = together(MAKERS["vae"], data, range(3), at_once=2)
    assert [history.stacked for history in histories] == [2, 2, 1]
    # A call that is resumed keeps the choice.
    path, stop.at = tmp_path / "runs.pt", stop.steps + 30
    with pytest.raises(KeyboardInterrupt):
        together(MAKERS["FactorVAE"], data, range(3), checkpoint=path)
    monkeypatch.undo()
    again, histories = together(MAKERS["FactorVAE"], data, range(3), checkpoint=path, resume=True)
    assert [history.stacked for history in histories] == [1, 1, 1]
    for model, expected in zip(again, models, strict=True):
        assert_same_state(model.state_dict(), expected.state_dict())


def test_the_estimate_counts_parameters_and_activations():
    model = VAE.mlp(100, [50], 4)
    parameters = 4 * sum(p.nbytes for p in model.parameters())
    small, large = (bytes_needed(model, torch.rand(rows, 100)) for rows in (1, 1000))
    assert parameters < small < 1.1 * parameters
    # Per datum at least data, hidden layers and logits, each twice, and not ten times that.
    floor = 2 * 4 * 1000 * (100 + 50 + 50 + 100)
    assert floor < large - parameters < 10 * floor


def test_models_that_do_not_stack_are_named(data):
    def sizes(seed):
        return VAE.mlp(L, [seed], D)

    with pytest.raises(ValueError, match=r"encoder\.net\.0\.weight is \(\(7, 16\).*\(\(8, 16\)"):
        together(sizes, data, [7, 8])

    def other(seed):
        model = VAE.mlp(*SHAPE)
        model.likelihood.custom = [lambda x: x]
        return model

    with pytest.raises(ValueError, match=r"differ in likelihood\.custom, which is no number"):
        together(other, data, [0, 1])
    same = VAE.mlp(*SHAPE)
    with pytest.raises(ValueError, match="build a new model at each call"):
        together(lambda seed: same, data, [0, 1])


def test_a_loss_that_vmap_cannot_run_is_explained(data):
    class Branching(StandardNormal):
        def kl(self, mean, log_var, z):
            return super().kl(mean, log_var, z) if mean.sum() > 0 else mean.sum(-1)

    class InPlace(StandardNormal):
        def kl(self, mean, log_var, z):
            return super().kl(mean, log_var, z) + torch.empty_like(mean).exponential_().sum(-1)

    for cls in (Branching, InPlace):
        with pytest.raises(RuntimeError) as caught:
            together(lambda seed, cls=cls: VAE.mlp(*SHAPE, prior=cls(D)), data, [0, 1])
        assert "fit_seeds runs VAE.loss" in caught.value.__notes__[0]


def test_bad_settings_are_named(data):
    make = MAKERS["vae"]
    for options, message in [
        ({"batch_size": N + 1}, "batch_size must be an integer between 1 and the 37 data; got 38"),
        ({"steps": 0}, "steps must be a positive integer; got 0"),
        ({"at_once": 0}, "at_once must be a positive integer; got 0"),
        ({"log_every": 0}, "log_every must be a positive integer; got 0"),
        ({"schedules": {"alpha": Linear(0, 1, 2)}}, "sets 'alpha'"),
    ]:
        with pytest.raises(ValueError, match=message):
            together(make, data, [0, 1], **options)
    with pytest.raises(ValueError, match="at least one run; got none"):
        together(make, data, [])
    with pytest.raises(ValueError, match="seed must be an integer that is not negative; got -1"):
        together(make, data, [0, -1])
    with pytest.raises(TypeError, match="got ndarray"):
        together(make, data.numpy(), [0])
    with pytest.raises(ValueError, match=r"shape \(B, 16\)"):
        together(make, data[:, :5], [0])


STEPS, RUNS = 12, [3, 4, 5]  # with two at once: groups of two and one, 24 steps in all
RESUMABLE = ["vae", "FactorVAE", "ISA-VAE"]


def stoppable(name, data, runs=RUNS, **options):
    schedules = {"beta": lambda step: 1.0 + 0.1 * step}
    options = {"steps": STEPS, "at_once": 2, "log_every": 5, "schedules": schedules, **options}
    return together(MAKERS[name], data, runs, **options)


def assert_exactly_equal(one, other):
    for model, expected in zip(one[0], other[0], strict=True):
        assert model.beta == expected.beta
        assert_same_state(model.state_dict(), expected.state_dict())
    for history, expected in zip(one[1], other[1], strict=True):
        assert history.steps.tolist() == expected.steps.tolist() == [5, 10, 12]
        assert history.parts.keys() == expected.parts.keys()
        for name in history.parts:
            assert np.array_equal(history[name], expected[name])


def assert_same_state(one, other):
    """Tensors and, where a module saves more, such as an optimiser's memory, all that too."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    else:
        assert one == other


@pytest.mark.parametrize("name", RESUMABLE)
@pytest.mark.parametrize("at", [4, 12, 17, 24])
def test_ctrl_c_leaves_a_checkpoint_that_resumes_exactly(name, at, data, tmp_path, stop):
    """Inside a first group, at its end, inside a second group, after the last step of all."""
    path = tmp_path / "deep" / "runs.pt"
    stop.at, done = at, at - STEPS * (at > STEPS)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {done} of 12; resume=True"):
        stoppable(name, data, checkpoint=path)
    assert [file.name for file in path.parent.iterdir()] == ["runs.pt"]
    resumed = stoppable(name, data, checkpoint=path, resume=True)
    assert stop.steps == 2 * STEPS
    assert_exactly_equal(resumed, stoppable(name, data))


@pytest.mark.parametrize("name", RESUMABLE)
@pytest.mark.parametrize("at", [3, 13, 20])
def test_a_killed_call_goes_on_from_the_last_checkpoint(name, at, data, tmp_path, stop):
    def kill():
        raise SystemExit

    path = tmp_path / "runs.pt"
    stop.at, stop.event = at, kill
    with pytest.raises(SystemExit):
        stoppable(name, data, checkpoint=path, checkpoint_seconds=0.0)
    assert sum(group["step"] for group in torch.load(path)["groups"]) == at - 1
    resumed = stoppable(name, data, checkpoint=path, resume=True)
    assert_exactly_equal(resumed, stoppable(name, data))


def test_resume_returns_what_is_complete_and_starts_where_nothing_is(data, tmp_path):
    path = tmp_path / "runs.pt"
    first = stoppable("FactorVAE", data, checkpoint=path, resume=True)
    before = path.read_bytes()
    second = stoppable("FactorVAE", data, checkpoint=path, resume=True)
    assert_exactly_equal(second, first)
    assert path.read_bytes() == before
    assert second[1][0].seconds >= first[1][0].seconds > 0


def test_a_resumed_call_keeps_the_groups_that_it_finds(data, tmp_path, monkeypatch, stop):
    path = tmp_path / "runs.pt"
    stop.at = 16
    with monkeypatch.context() as scarce:
        scarce.setattr("vaelite.training._CPU_BUDGET", 1)
        with pytest.raises(KeyboardInterrupt):
            stoppable("vae", data, at_once=None, checkpoint=path)
    resumed = stoppable("vae", data, at_once=None, checkpoint=path, resume=True)
    assert_exactly_equal(resumed, stoppable("vae", data, at_once=1))


def test_a_checkpoint_of_other_runs_is_refused(data, tmp_path):
    path = tmp_path / "runs.pt"
    stoppable("vae", data, checkpoint=path)
    content = path.read_bytes()

    def again(name="vae", data=data, runs=RUNS, **options):
        return stoppable(name, data, runs, checkpoint=path, resume=True, **options)

    for options, message in [
        ({"runs": [3, 4, 6]}, "seeds was 3; 4; 5, and is 3; 4; 6 now"),
        ({"steps": 13}, "steps was 12, and is 13 now"),
        ({"lr": 1e-3}, r"lr was 0\.01, and is 0\.001 now"),
        ({"batch_size": 10}, "batch_size was 11, and is 10 now"),
        ({"data": data[1:]}, "data was 37, and is 36 now"),
        ({"data": data.flip(0)}, "digest of the data was .*, and is"),
        ({"at_once": 3}, "at_once was 2, and is 3 now"),
        ({"name": "ISA-VAE"}, "class of prior was StandardNormal, and is ISAPrior now"),
        (
            {"schedules": {"beta": Linear(1, 2, 3)}},
            r"schedule beta at step 1 was 1\.1, and is 1\.3",
        ),
    ]:
        with pytest.raises(ValueError, match=f"belongs to another run: {message}"):
            again(**options)
    with pytest.raises(ValueError, match="function was fit_seeds, and is fit now"):
        alone(MAKERS["vae"], data, 3, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="function was fit_seeds, and is fit now; name another"):
        alone(MAKERS["vae"], data, 3, checkpoint=path)
    assert path.read_bytes() == content


def test_one_run_of_many_that_was_made_otherwise_is_refused(data, tmp_path):
    path = tmp_path / "runs.pt"
    betas = {3: 1.0, 4: 2.0}

    def make(seed):
        return VAE.mlp(*SHAPE, beta=betas[seed])

    together(make, data, [3, 4], checkpoint=path)
    betas[4] = 2.5
    with pytest.raises(ValueError, match=r"run 4: beta was 2\.0, and is 2\.5 now"):
        together(make, data, [3, 4], checkpoint=path, resume=True)


def test_a_damaged_or_foreign_file_is_named(data, tmp_path, stop):
    path = tmp_path / "runs.pt"
    stoppable("vae", data, checkpoint=path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    stop.steps = 0
    for resume in (True, False):
        with pytest.raises(ValueError, match=r"runs\.pt is damaged or no checkpoint; delete it"):
            stoppable("vae", data, checkpoint=path, resume=resume)
    torch.save({"step": 3}, path)
    with pytest.raises(ValueError, match="was not written by fit or fit_seeds"):
        stoppable("vae", data, checkpoint=path, resume=True)
    with pytest.raises(OSError, match=r"checkpoint .* cannot be written"):
        stoppable("vae", data, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="resume is True, but checkpoint names no file"):
        stoppable("vae", data, resume=True)
    assert stop.steps == 0


def test_weights_that_break_are_caught_before_they_are_saved(data, tmp_path):
    class Broken(VAE):
        """The loss of one run is finite at its seventh step, and its gradient is not."""

        def loss(self, batch, noise=None):
            loss, parts = super().loss(batch, noise)
            return loss + torch.sqrt(self.broken * self.decoder[0].weight.sum()), parts

        def after_step(self, batch, carry):
            self.steps += 1
            if self.steps == 6 and self.seed == 4:
                self.broken.zero_()

    def make(seed):
        model = Broken.mlp(*SHAPE)
        with torch.no_grad():
            model.decoder[0].weight.abs_()
        model.register_buffer("broken", torch.tensor(1e-6))
        model.steps, model.seed = 0, seed
        return model

    path = tmp_path / "runs.pt"
    with pytest.raises(
        FloatingPointError, match=r"run 4: .* step 7: parameter decoder\.0\.weight is NaN"
    ):
        together(make, data, [3, 4], checkpoint=path, checkpoint_seconds=0.0, lr=1e-4, log_every=20)
    (group,) = torch.load(path)["groups"]
    assert group["step"] == 6
    for state in group["models"]:
        assert all(tensor.isfinite().all() for tensor in state.values())

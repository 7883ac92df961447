import errno
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vaelite.training import History, Linear, fit
from vaelite.vae import VAE, Gaussian

N, L, D, B = 23, 7, 2, 5


@pytest.fixture
def data():
    return torch.randint(
        0, 256, (N, L), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def make(hidden=6, cls=VAE, **options):
    torch.manual_seed(0)
    return cls.mlp(L, hidden, D, **options)


def run(model, data, **options):
    return fit(model, data, **{"steps": 30, "batch_size": B, "progress": False, **options})


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Recorder(nn.Module):
    """A model that writes down what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.beta = 1.0
        self.batches, self.betas, self.noises, self.after = [], [], [], []

    def loss(self, batch, noise=None):
        self.batches.append(batch)
        self.betas.append(self.beta)
        self.noises.append(torch.randn(3))
        return self.weight.square(), {"square": self.weight.square()}

    def after_step(self, batch, carry):
        assert carry is None
        self.after.append(batch)


def test_it_learns(data):
    model = make()
    bright = data.clone()
    bright[:, ::2] = 255
    history = run(model, bright, steps=800, lr=1e-2)
    assert isinstance(history, History)
    assert history["loss"][-1] < history["loss"][0] - 1
    np.testing.assert_allclose(
        history["loss"], history["reconstruction"] + history["kl"], rtol=1e-5
    )
    assert history.steps.tolist() == list(range(8, 801, 8))
    assert all(len(values) == 100 for values in history.parts.values())
    assert history.seconds > 0
    assert history.steps_per_second == pytest.approx(800 / history.seconds)


def test_one_seed_one_result(data):
    first, second, third = make(), make(), make()
    torch.manual_seed(123)
    one = run(first, data, seed=1)
    torch.manual_seed(456)
    two = run(second, data, seed=1)
    run(third, data, seed=2)
    assert same(first, second) and not same(first, third)
    assert np.array_equal(one["loss"], two["loss"])


def test_the_callers_generator_is_left_alone(data):
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    fit(make(), data, steps=3, batch_size=B, progress=False)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    run(make_without_seed(), data)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.randn(3), expected)


def make_without_seed():
    state = torch.get_rng_state()
    model = make()
    torch.set_rng_state(state)
    return model


def test_an_update_is_adam_on_the_models_loss(data):
    """One step against Adam's formula, with the noise and the batch that the seed implies."""
    model, reference = make(), make()
    run(model, data, steps=1, batch_size=N, lr=0.01, seed=3)
    stream = int(np.random.SeedSequence((3, 1)).generate_state(1)[0])
    noise = torch.randn(N, D, generator=torch.Generator().manual_seed(stream))
    order = int(np.random.SeedSequence((3, 0)).generate_state(1)[0])
    order = torch.randperm(N, generator=torch.Generator().manual_seed(order))
    reference.loss(data[order].float() / 255, noise)[0].backward()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        gradient = theirs.grad
        expected = theirs - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def test_every_epoch_visits_distinct_rows_in_a_new_order():
    model = Recorder()
    run(model, torch.arange(float(N)), steps=8, batch_size=B)  # four full batches an epoch
    epochs = [torch.cat(model.batches[:4]), torch.cat(model.batches[4:])]
    for epoch in epochs:
        assert len(epoch.unique()) == 4 * B
    assert not torch.equal(epochs[0], epochs[1])
    assert len({tuple(noise.tolist()) for noise in model.noises}) == 8


def test_bytes_become_intensities_and_labels_stay(data):
    labels, mask = torch.arange(N), torch.arange(N) % 2 == 0
    model = Recorder()
    run(model, (data, labels, mask), steps=4)
    for x, index, hidden in model.batches:
        assert index.dtype == torch.int64 and hidden.dtype == torch.bool
        assert torch.equal(x, data[index].float() / 255)
        assert torch.equal(hidden, mask[index])
    assert data.dtype == torch.uint8


def test_a_data_set_is_taken_by_its_x(data):
    first, second = make(), make()
    run(first, data)
    run(second, SimpleNamespace(x=data, labels=None))
    assert same(first, second)


def test_after_step_sees_the_batch_after_the_update(data):
    model = Recorder()
    run(model, data, steps=4)
    assert len(model.after) == 4
    assert all(a is b for a, b in zip(model.after, model.batches, strict=True))


def test_schedules_set_attributes_and_the_step_size(data):
    model = Recorder()
    run(model, data, steps=4, schedules={"beta": Linear(0.0, 1.0, 2)})
    assert model.betas == [0.0, 0.5, 1.0, 1.0]
    frozen, start = make(), make()
    run(frozen, data, schedules={"lr": lambda step: 0.0})
    assert same(frozen, start)
    with pytest.raises(ValueError, match="sets 'alpha', which the model does not have"):
        run(make(), data, schedules={"alpha": Linear(0, 1, 2)})
    with pytest.raises(ValueError, match=r"sets 'loss', which is no number but a method\."):
        run(make(), data, schedules={"loss": Linear(0, 1, 2)})
    with pytest.raises(ValueError, match="steps must be a positive integer; got 0"):
        Linear(0.0, 1.0, 0)


def test_linear_may_fall():
    schedule = Linear(2.0, -1.0, 3)
    assert [schedule(step) for step in range(5)] == [2.0, 1.0, 0.0, -1.0, -1.0]


def test_the_mode_of_the_model_is_restored(data):
    model = make().eval()
    run(model, data)
    assert not model.training


@pytest.mark.parametrize("steps", [30, 11])
def test_ctrl_c_leaves_a_checkpoint_that_resumes_exactly(data, tmp_path, steps, stop):
    path = tmp_path / "deep" / "run.pt"
    options = {"steps": steps, "log_every": 4, "seed": 5, "lr": 1e-2}
    options["schedules"] = {"beta": Linear(0, 1, 20), "lr": Linear(0, 1e-2, 15)}
    whole = make()
    expected = run(whole, data, **options)

    handler = signal.getsignal(signal.SIGINT)
    stop.at = stop.steps + 11
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step 11 of {steps}; resume=True"):
        run(make(), data, checkpoint=path, **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]

    resumed = make(hidden=6)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    history = run(resumed, data, checkpoint=path, resume=True, **options)
    assert stop.steps == 2 * steps
    assert same(whole, resumed)
    assert resumed.beta == whole.beta
    assert history.steps.tolist() == expected.steps.tolist()
    for name in ("loss", "reconstruction", "kl"):
        assert np.array_equal(history[name], expected[name])


def interrupt():
    raise KeyboardInterrupt


def test_interrupts_in_the_middle_of_a_step_keep_the_last_checkpoint(data, tmp_path, stop):
    """KeyboardInterrupt itself, as a second ctrl-C raises it: the torn step is not saved."""
    path = tmp_path / "run.pt"
    stop.at, stop.event = 11, interrupt
    with pytest.raises(KeyboardInterrupt):
        run(make(), data, checkpoint=path, checkpoint_seconds=0.0)
    assert torch.load(path, weights_only=True)["groups"][0]["step"] == 10
    whole, resumed = make(), make()
    run(whole, data)
    run(resumed, data, checkpoint=path, resume=True)
    assert same(whole, resumed)


def test_a_second_ctrl_c_interrupts_at_once(data, stop):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    stop.at = 11
    with pytest.raises(KeyboardInterrupt, match="no checkpoint was asked for"):
        run(make(), data)
    stop.at, stop.event = 15, twice
    with pytest.raises(KeyboardInterrupt, match="interrupted twice"):
        run(make(), data)


def test_resume_starts_afresh_where_nothing_is_and_stops_where_all_is_done(data, tmp_path):
    path = tmp_path / "run.pt"
    first, second = make(), make()
    expected = run(first, data, checkpoint=path, resume=True)
    history = run(second, data, checkpoint=path, resume=True)
    assert same(first, second)
    assert np.array_equal(history["loss"], expected["loss"])
    assert history.seconds >= expected.seconds
    longer, whole = make(), make()
    run(longer, data, steps=40, checkpoint=path, resume=True)
    run(whole, data, steps=40)
    assert same(longer, whole)


def test_divergence_names_the_step_and_the_part_and_keeps_the_checkpoint(data, tmp_path):
    class Diverging(VAE):
        """The KL term becomes infinite at step 8."""

        count = 0

        def loss(self, batch, noise=None):
            self.count += 1
            loss, parts = super().loss(batch, noise)
            more = math.inf if self.count == 8 else 0.0
            return loss + more, {**parts, "kl": parts["kl"] + more}

    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match="diverged at step 8: kl is inf"):
        run(make(cls=Diverging), data, log_every=20, checkpoint=path, checkpoint_seconds=0.0)
    saved = torch.load(path, weights_only=True)["groups"][0]
    assert saved["step"] == 7
    assert all(torch.isfinite(tensor).all() for tensor in saved["models"][0].values())


def test_a_gradient_that_breaks_the_weights_is_caught_before_it_is_saved(data, tmp_path):
    class Broken(VAE):
        """The loss is finite, its gradient is not."""

        count = 0

        def after_step(self, batch, carry):
            self.count += 1

        def loss(self, batch, noise=None):
            loss, parts = super().loss(batch, noise)
            if self.count == 7:
                loss = loss + torch.sqrt(0 * self.decoder[0].weight.sum())
            return loss, parts

    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"step 8: parameter decoder\.0\.weight is NaN"):
        run(make(cls=Broken), data, checkpoint=path, checkpoint_seconds=0.0)
    assert torch.load(path, weights_only=True)["groups"][0]["step"] == 7
    with pytest.raises(FloatingPointError, match="diverged at step 9: reconstruction is nan"):
        run(make(cls=Broken), data)


def test_a_divergence_is_found_at_the_end_of_a_short_run(data):
    model = make()
    with torch.no_grad():
        model.decoder[0].weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 1: reconstruction is nan"):
        run(model, data, steps=3, log_every=50)


def test_a_checkpoint_of_another_architecture_is_refused(data, tmp_path):
    path = tmp_path / "run.pt"
    run(make(), data, checkpoint=path)
    other = make(hidden=5)
    before = [parameter.clone() for parameter in other.parameters()]
    with pytest.raises(
        ValueError,
        match=r"another run: encoder\.net\.0\.weight was \(6, 7\), and is \(5, 7\) now",
    ):
        run(other, data, checkpoint=path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
    learned = make(likelihood=Gaussian(learned=True))
    with pytest.raises(ValueError, match="class of likelihood was Bernoulli, and is Gaussian"):
        run(learned, data, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="another run: seed was 0, and is 1 now"):
        run(make(), data, checkpoint=path, resume=True, seed=1)
    with pytest.raises(ValueError, match="another run: data was 23, and is 20 now"):
        run(make(), data[:20], checkpoint=path, resume=True)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(data, tmp_path, kept):
    path = tmp_path / "run.pt"
    run(make(), data, checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r"run\.pt is damaged or no checkpoint"):
        run(make(), data, checkpoint=path, resume=True)


def test_a_foreign_file_is_named(data, tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"step": 3}, path)
    with pytest.raises(ValueError, match="was not written by fit"):
        run(make(), data, checkpoint=path, resume=True)
    torch.save({"settings": {}}, path)
    with pytest.raises(ValueError, match="was not written by fit"):
        run(make(), data, checkpoint=path, resume=True)
    path.write_text("hello world")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        run(make(), data, checkpoint=path, resume=True)
    torch.save(make(), path)  # a pickled object: never executed
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        run(make(), data, checkpoint=path, resume=True)


def test_a_checkpoint_that_cannot_be_written_stops_before_the_first_step(data, tmp_path):
    model = Recorder()
    with pytest.raises(OSError, match=r"checkpoint .* cannot be written"):
        run(model, data, checkpoint=tmp_path)
    assert not model.batches
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_checkpoint_before(data, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    run(make(), data, checkpoint=path)
    before = path.read_bytes()

    def save(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match=r"run\.pt could not be written after step 30: No space left"):
        run(make(), data, checkpoint=path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_resuming_with_another_step_size_or_too_few_steps(data, tmp_path):
    path = tmp_path / "run.pt"
    run(make(), data, checkpoint=path)
    with pytest.raises(ValueError, match=r"steps is 20, but checkpoint .* is 30 steps old"):
        run(make(), data, steps=20, checkpoint=path, resume=True)
    resumed, changed = make(), make()
    run(resumed, data, steps=40, checkpoint=path, resume=True, lr=1e-5)
    run(changed, data, steps=40, lr=1e-5, schedules={"lr": lambda s: 1e-3 if s < 30 else 1e-5})
    assert same(resumed, changed)


def test_bad_data_stop_before_the_first_step(data):
    model = make()
    before = [parameter.clone() for parameter in model.parameters()]
    floats = data.float() / 255
    floats[4, 1] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite, the first in row 4"):
        run(model, floats)
    with pytest.raises(ValueError, match="between 0 and 1"):
        run(model, data.float())
    with pytest.raises(ValueError, match=r"shape \(B, 7\)"):
        run(model, data[:, :6])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_bad_settings_are_named(data):
    for options, message in [
        ({"batch_size": N + 1}, "batch_size must be an integer between 1 and the 23 data; got 24"),
        ({"batch_size": 2.0}, r"between 1 and the 23 data; got 2\.0"),
        ({"batch_size": 0}, "got 0"),
        ({"steps": 0}, "steps must be a positive integer; got 0"),
        ({"steps": 2.5}, r"steps must be a positive integer; got 2\.5"),
        ({"seed": -1}, "seed must be an integer that is not negative; got -1"),
        ({"seed": None}, "seed must be an integer that is not negative; got None"),
        ({"lr": -1e-3}, r"lr must be a positive finite number; got -0\.001"),
        ({"lr": math.nan}, "lr must be a positive finite number; got nan"),
        ({"log_every": 0}, "log_every must be a positive integer; got 0"),
        ({"resume": True}, "checkpoint names no file"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(make(), data, **options)
    with pytest.raises(TypeError, match=r"schedules\['beta'\] must be a function of the step"):
        run(make(), data, schedules={"beta": 1.0})
    with pytest.raises(TypeError, match=r"model must be a torch Module with loss.*; got VAE"):
        run(VAE, data)
    with pytest.raises(ValueError, match="model has no parameter to train"):
        run(make().requires_grad_(False), data)
    with pytest.raises(TypeError, match="got ndarray"):
        run(make(), data.numpy())
    with pytest.raises(ValueError, match=r"equally many rows; got \[23, 22\]"):
        run(Recorder(), (data, data[1:]))
    with pytest.raises(ValueError, match="at least one tensor"):
        run(Recorder(), ())


def test_the_bar_shows_losses(data, capsys):
    run(make(), data, progress=True)
    assert "30/30" in (shown := capsys.readouterr().err)
    assert "reconstruction" in shown and "kl" in shown
    run(make(), data)
    assert capsys.readouterr().err == ""

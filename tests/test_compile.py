"""Compiled losses and training runs, against the same uncompiled, and what a step must not do."""

import collections
import math
import shutil

import pytest
import torch
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from vaelite import compiled, one_family
from vaelite.cpvae import CPVAE
from vaelite.disentangle import BetaTCVAE, FactorVAE
from vaelite.isa import ISAPrior
from vaelite.one_family import FAMILY, Scenes, Sizes
from vaelite.optimal_prior import HSICCVAE
from vaelite.training import Linear, Phase, fit, fit_seeds
from vaelite.vae import VAE, Gaussian

N, L, D, B = 40, 12, 5, 11
SHAPE = (L, 8, D)
MAKERS = {
    "VAE": lambda seed=0, beta=1.0: VAE.mlp(*SHAPE, beta=beta),
    "learned variance": lambda seed=0, beta=1.0: VAE.mlp(
        *SHAPE, beta=beta, likelihood=Gaussian(learned=True)
    ),
    "fixed exponents": lambda seed=0, beta=1.0: VAE.mlp(*SHAPE, beta=beta, prior=ISAPrior([2, 3])),
    "learned exponents": lambda seed=0, beta=1.0: VAE.mlp(
        *SHAPE, beta=beta, prior=ISAPrior([2, 3], learned=True)
    ),
    "beta-TCVAE": lambda seed=0, beta=1.0: BetaTCVAE.mlp(
        *SHAPE, beta=beta, prior=ISAPrior([2, 3]), dataset_size=N
    ),
    "FactorVAE": lambda seed=0, beta=1.0: FactorVAE.mlp(
        *SHAPE, gamma=beta, discriminator_hidden=(8,)
    ),
}
CXX = any(map(shutil.which, ("c++", "g++", "clang++")))


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()


@pytest.fixture
def no_machine_code(monkeypatch):
    """Everything but the generation of machine code, which takes a minute a model."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")


@pytest.fixture
def data():
    return torch.rand(N, L, generator=torch.Generator().manual_seed(0))


def assert_compiles(model, **options):
    loss_compiled = torch.compile(model.loss, **options)
    parameters = [
        value for name, value in model.named_parameters() if not name.startswith("discriminator")
    ]
    for size in (7, 11):
        x, noise = torch.rand(size, L), torch.randn(size, D)
        results = []
        for loss_of in (loss_compiled, model.loss):
            loss, parts = loss_of(x, noise)
            results.append([loss, *parts.values(), *torch.autograd.grad(loss, parameters)])
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
        assert loss_compiled(x)[0].isfinite()  # and with noise of its own


@pytest.mark.parametrize("name", MAKERS)
def test_the_loss_is_one_graph(name):
    torch.manual_seed(0)
    # The discriminator is frozen by its flags, which torch takes out of the graph.
    assert_compiles(MAKERS[name](), backend="aot_eager", fullgraph=name != "FactorVAE")


@pytest.mark.skipif(not CXX, reason="there is no C++ compiler")
def test_the_step_of_a_stack_becomes_machine_code(data):
    """The loss of one model, its gradient and the noise of each run: all of it."""
    assert_trained_alike("learned exponents", data, runs=[(3, 1.0), (4, 0.5)], tolerance=1e-5)


def alone(name, data, **options):
    torch.manual_seed(3)
    model = MAKERS[name]()
    history = fit(model, data, seed=3, **{**OPTIONS, **options})
    return [model], [history]


OPTIONS = {"batch_size": B, "lr": 1e-2, "progress": False, "steps": 12, "log_every": 5}
# Two batch sizes, a schedule that moves at each step, and a plain phase.
PHASES = [
    Phase(7, schedules={"beta": Linear(0.0, 1.0, 5)}),
    Phase(6, batch_size=8, lr=3e-3),
]


def together(name, data, runs, **options):
    return fit_seeds(MAKERS[name], data, runs, **{**OPTIONS, **options})


def assert_alike(one, other, tolerance=0.0):
    for model, expected in zip(one[0], other[0], strict=True):
        for name, tensor in expected.state_dict().items():
            if isinstance(tensor, torch.Tensor):  # not the state of an optimiser
                found = model.state_dict()[name]
                torch.testing.assert_close(found, tensor, rtol=tolerance, atol=tolerance)
    for history, expected in zip(one[1], other[1], strict=True):
        assert history.parts.keys() == expected.parts.keys()
        for part in history.parts:
            assert history[part] == pytest.approx(expected[part], rel=tolerance, abs=tolerance)


def assert_trained_alike(name, data, runs, tolerance, **options):
    one = together(name, data, runs, compile=True, **options)
    assert_alike(one, together(name, data, runs, **options), tolerance)


@pytest.mark.parametrize("name", MAKERS)
def test_a_compiled_run_has_the_noise_and_the_numbers_of_the_run(name, data, no_machine_code):
    options = {"steps": None, "phases": PHASES}
    assert_alike(
        alone(name, data, compile=True, **options), alone(name, data, **options), tolerance=1e-5
    )


@pytest.mark.parametrize("name", MAKERS)
def test_a_compiled_stack_has_the_noise_and_the_numbers_of_the_stack(name, data, no_machine_code):
    runs, options = [(3, 1.0), (5, 0.5), (3, 2.0)], {"steps": None}
    if name == "FactorVAE":  # whose beta is the same in all runs, and moves
        options["phases"] = PHASES
    else:
        options["phases"] = [Phase(7), Phase(6, batch_size=8)]
    assert_trained_alike(name, data, runs, tolerance=1e-5, **options)


def test_a_schedule_moves_a_compiled_stack(data, no_machine_code):
    runs = [(3,), (4,)]
    assert_trained_alike("VAE", data, runs, 1e-5, steps=None, phases=PHASES)


def test_buffers_that_a_loss_changes_in_place(data, no_machine_code):
    images = data.view(-1, 1, 3, 4).repeat(1, 1, 4, 4)

    def make(seed):
        return VAE.conv((1, 12, 16), D, width=3, batch_norm=True)

    options = {**OPTIONS, "steps": 4}
    one, other = (
        fit_seeds(make, images, [0, 1], compile=compile, **options) for compile in (True, False)
    )
    assert_alike(one, other, tolerance=1e-5)
    assert one[0][0].decoder.norms[0].num_batches_tracked == 4


@pytest.mark.parametrize("stacked", [False, True])
def test_a_compiled_run_is_resumed_exactly(stacked, data, no_machine_code, tmp_path, stop):
    def train(**options):
        if stacked:
            return together("learned exponents", data, [3, 4], compile=True, **options)
        return alone("learned exponents", data, compile=True, **options)

    whole = train()
    stop.at = stop.steps + 5
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5"):
        train(checkpoint=path)
    assert_alike(train(checkpoint=path, resume=True), whole)
    assert stop.steps == 24


def test_what_cannot_be_compiled_is_explained(data, no_machine_code):
    class Counting(VAE):
        def after_step(self, batch, carry):
            self.count = getattr(self, "count", 0) + 1

    class Dropping(VAE):
        def loss(self, batch, noise=None):
            return super().loss(torch.dropout(batch, 0.5, True), noise)

    options = {**OPTIONS, "compile": True}
    with pytest.raises(ValueError, match=r"and Counting\.after_step changes them: keep what"):
        fit_seeds(lambda seed: Counting.mlp(*SHAPE), data, [0, 1], **options)
    with pytest.raises(NotImplementedError, match="this loss calls dropout; train without compile"):
        fit_seeds(lambda seed: Dropping.mlp(*SHAPE), data, [0, 1], **options)
    # One model alone may do both.
    for kind in (Counting, Dropping):
        fit(kind.mlp(*SHAPE), data, **options)


def test_without_a_compiler_one_sentence_says_so(data, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = "compile=True needs a C\\+\\+ compiler, and no-such-compiler is not on the path"
    with pytest.raises(RuntimeError, match=message):
        alone("VAE", data, compile=True)
    with pytest.raises(RuntimeError, match=message):
        together("VAE", data, [0, 1], compile=True)


def test_the_validation_of_distributions_is_left_as_it_was(data, no_machine_code):
    assert Distribution._validate_args
    alone("fixed exponents", data, compile=True, steps=2)
    assert Distribution._validate_args


# What a step must not do --------------------------------------------------------------------------


class Made(TorchDispatchMode):
    """Count the tensors that are made of Python's numbers: on the CPU, wherever the model is."""

    def __init__(self):
        super().__init__()
        self.count = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count[function] += 1
        return function(*args, **(kwargs or {}))


def made_in_a_step(train):
    """Tensors of Python's numbers that 4 steps more make; what is made once does not count."""
    counts = []
    for steps in (2, 6):
        with Made() as made:
            train(steps)
        counts.append(made.count)
    assert (
        counts[1][torch.ops.aten.mm.default]
        + counts[1][torch.ops.aten.addmm.default]
        + counts[1][torch.ops.aten.bmm.default]
        > 0
    )
    return (
        counts[1][torch.ops.aten.lift_fresh.default] - counts[0][torch.ops.aten.lift_fresh.default]
    )


def test_the_counter_sees_a_number_that_becomes_a_tensor(data):
    class Fresh(VAE):
        def loss(self, batch, noise=None):
            loss, parts = super().loss(batch, noise)
            return loss * torch.tensor(1.0), parts

    def train(steps):
        fit(Fresh.mlp(*SHAPE), data, **{**OPTIONS, "steps": steps, "log_every": 100})

    assert made_in_a_step(train) == 4


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_makes_no_tensors_of_numbers(name, data):
    def one(steps):
        alone(name, data, steps=steps, log_every=100)

    def several(steps):
        together(name, data, [(3, 1.0), (4, 2.0)], steps=steps, log_every=100)

    assert made_in_a_step(one) == made_in_a_step(several) == 0


def test_a_step_of_a_conditional_model_makes_no_tensors_of_numbers(data):
    def train(steps):
        model, task = HSICCVAE.mlp(3, L, [9], 2), torch.arange(N) % 3
        fit(model, (data, task), **{**OPTIONS, "steps": steps, "log_every": 100})

    assert made_in_a_step(train) == 0


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_of_the_family_makes_no_tensors_of_numbers(name):
    generator = torch.Generator().manual_seed(1)
    observed = torch.rand(22, 3, generator=generator) > 0.3
    observed[:, 1] |= ~observed.any(1)
    x = torch.rand(22, 3, 5, generator=generator).masked_fill(~observed.unsqueeze(-1), -1.0)
    scenes = Scenes(x.flatten(1), torch.arange(22).ge(14).long(), observed)

    def train(steps):
        torch.manual_seed(3)
        sizes = Sizes(views=3, pixels=5, hidden=7, shared=4, private=2, components=3, data=22)
        model = one_family.build(name, sizes)
        data = one_family.training_data(model, scenes)
        batch_size = [7, 4] if isinstance(model, CPVAE) else 11
        options = {**OPTIONS, "batch_size": batch_size, "log_every": 10_000, "steps": None}
        fit(model, data, phases=one_family.phases(model, 10 * steps), **options)

    assert made_in_a_step(train) == 0


def test_a_fixed_normaliser_follows_its_exponents():
    """Assigned, loaded, copied or moved: it is that of the distribution at the present numbers."""

    def check(prior):
        z = torch.randn(9, D, dtype=prior.raw_p.dtype)
        torch.testing.assert_close(
            prior.log_prob(z), prior.distribution.log_prob(z), rtol=1e-6, atol=1e-6
        )
        return prior

    for learned in (False, True):
        prior = check(ISAPrior([2, 3], 2.3, [1.5, 2.5], 1.7, learned=learned))
        state = prior.state_dict()
        assert list(state) == ["raw_p"]  # as in files of before
        other = ISAPrior([2, 3], 2.3, 3.0, 1.7, learned=learned)
        other.load_state_dict(state)
        z = torch.randn(4, D)
        assert torch.equal(check(other).log_prob(z), prior.log_prob(z))
        double = check(ISAPrior([2, 3], learned=learned).double())
        exact = double.distribution.log_prob(z.double())
        torch.testing.assert_close(double.log_prob(z.double()), exact, rtol=1e-12, atol=1e-12)
        prior.p0 = 3.1
        check(prior)
        prior.scale = 0.4
        check(prior)
        raw = torch.full((2,), math.log(math.expm1(1.2)))
        prior.raw_p = torch.nn.Parameter(raw) if learned else raw
        check(prior)
        assert prior.p.tolist() == pytest.approx([1.2, 1.2])
        with torch.no_grad():
            if learned:
                prior.raw_p += 0.3  # as an optimiser moves it
                check(prior)

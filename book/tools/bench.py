"""Measure speed, and print two Markdown tables: ``make bench``.

Compared are training throughput and importance-sampled likelihoods with pythae 0.1.2 on the same
network, each with the arithmetic that it cannot avoid, and the free energy of independent
component analysis with the loop over single integrals that it replaces.  One row is what a
training run of the ISA-VAE paper on dSprites pays for drawing all images and for unpacking its
batches, spread over its steps.  The cross-population VAE has a row for 2, 5 and 10 populations, its
step beside that of a VAE on as many images, and one for the classification of images among 10
populations.  The factorial mixture has a row for a growing number of components, its step beside a
plain VAE's.  Competitors take turns, so that a busy machine slows all of them, and the fastest of
the turns counts.

A second table holds ratios of the package to itself, beside what they are to be and what they were:
the training loop and a bare one, compiled steps and plain ones, stacks and one run after the other.
They want no pythae: ``python book/tools/bench.py --only ratios`` prints them in the environment of
the book.  On a CPU with ``--threads 1`` they are ratios of processor time, which a busy machine
changes least.

Run it on a machine that does nothing else, with ``--threads`` physical cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from vaelite.batches import Unpaired
from vaelite.convnets import DIGITS
from vaelite.cpvae import CPVAE, class_log_likelihoods
from vaelite.data import sprites
from vaelite.experiments.factorial_mixture.common import make
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE, seed
from vaelite.isa import ISAPrior
from vaelite.metrics import log_marginal_likelihood
from vaelite.nets import MLP, GaussianEncoder
from vaelite.packed import PackedImages
from vaelite.toys import ica
from vaelite.training import fit, fit_seeds
from vaelite.vae import VAE, Gaussian

PIXELS, HIDDEN, LATENT, BATCH = 784, 512, 10, 128
SAMPLES = 100
POPULATION_BATCH = 32
COMPONENTS = (1, 64, 512, 4096)


def main() -> None:
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=10, help="turns; the fastest counts")
    parser.add_argument("--steps", type=int, default=100, help="training steps a turn")
    parser.add_argument("--only", choices=["table", "ratios"], help="one of the two tables")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    where = where or platform.machine()
    print(f"torch {torch.__version__}, {options.threads} threads, {where}")
    print(f"Fastest of {options.repeats} turns; load {os.getloadavg()[0]:.1f} at the start.\n")
    if options.only != "ratios":
        table(device, options)
    if options.only != "table":
        ratios(device, options)


def table(device: torch.device, options: argparse.Namespace) -> None:
    """Print times beside those of competitors."""
    print("| what | unit | vaelite | pythae 0.1.2 | arithmetic | loop | ratio |")
    print("|---|---|---|---|---|---|---|")

    ours, theirs, products = training(device, options.steps, options.repeats)
    show("training step", "ms", ours, theirs, products, None, f"{theirs / ours:.2f} x pythae")
    ours, theirs, decoder = likelihood(device, options.repeats)
    ratio = f"{theirs / ours:.2f} x pythae; {ours / decoder:.2f} x arithmetic"
    show(f"likelihood, {SAMPLES} samples", "ms a datum", ours, theirs, decoder, None, ratio)
    ours, loop = free_energy(options.repeats)
    show("ICA free energy", "ms", ours, None, None, loop, f"{loop / ours:.0f} x loop")
    drawing, step = dsprites(device, min(options.repeats, 3))
    ratio = f"{100 * drawing / step:.2g} % of a training step"
    show("dSprites: draw, unpack", "ms a step", drawing, None, None, None, ratio)
    for populations in (2, 5, 10):
        ours, plain = cross_population(device, populations, options.repeats)
        ratio = f"{ours / plain:.2f} x VAE on {POPULATION_BATCH * populations} images"
        show(f"CPVAE step, {populations} populations", "ms", ours, None, None, None, ratio)
    ours = classification(device, min(options.repeats, 3))
    ratio = f"{256 * ours:.1f} s for 256 images"
    show(f"10 populations, {SAMPLES} samples", "ms an image", ours, None, None, None, ratio)
    plain, *steps = mixtures(device, options.repeats)
    for components, ours in zip(COMPONENTS, steps, strict=True):
        what = f"factorial mixture step, K = {components}"
        show(what, "ms", ours, None, None, None, f"{ours / plain:.2f} x VAE")


def ratios(device: torch.device, options: argparse.Namespace) -> None:
    """Print what the package takes, as a part of what it could do without."""
    clock = time.process_time if device.type == "cpu" and options.threads == 1 else None
    kind = "processor time" if clock else "wall time"
    print(f"\nRatios of {kind}, fastest of {min(options.repeats, 5)} turns that take turns.\n")
    print("| what | aim | before | now |")
    print("|---|---|---|---|")
    for what, aim, before, measure in (
        ("fit / a bare loop, 784-512-10, batch 128", "at most 1.05", "1.06", loop),
        ("ISA-VAE's step, normaliser once / at each step", "at most 0.91", "1", normalizer),
        ("data prepared once / twice a step, VAE 256-64-10", "at most 0.95", "1", prepared),
        (
            "compiled / plain step, VAE 256-64-10",
            "at most 0.80",
            "",
            partial(compiled, runs=1, prior=False),
        ),
        ("compiled / plain step, ISA-VAE 256-64-10", "at most 0.65", "", partial(compiled, runs=1)),
        ("compiled / plain step of 8 stacked, ISA-VAE", "", "", partial(compiled, runs=8)),
        (f"likelihood, {SAMPLES} samples / its decoder", "at most 1.3", "1.64", decoder),
        (
            "fit_seeds / one by one, 4 of 256-64-10",
            "at most 1",
            "",
            partial(seeds, sizes=(256, 64)),
        ),
        ("fit_seeds / one by one, 4 of 784-512-10", "at most 1", "1.33 (two threads)", seeds),
        ("the same, stacked by at_once=4", "", "1.33 (two threads)", partial(seeds, at_once=4)),
        ("mixture of 64 / plain step, 784-512-10, batch 128", "at most 1.3", "", mixture_mlp),
        ("the same, the paper's networks, batch 64", "at most 1.3", "", mixture_deep),
    ):
        found, note = measure(device, min(options.repeats, 5), clock or synchronised(device))
        print(f"| {what} | {aim} | {before} | {found:.2f}{note} |", flush=True)


def synchronised(device: torch.device) -> Callable[[], float]:
    """Return a clock that waits for a GPU."""

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


Clock = Callable[[], float]
RUN = {"lr": 1e-3, "log_every": 100, "progress": False}


def took(run: Callable[[], object], clock: Clock) -> Callable[[], float]:
    """Return a function that runs and returns how long it took."""

    def measure() -> float:
        start = clock()
        run()
        return clock() - start

    return measure


def loop(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """``fit``, and the same model with nothing but Adam around it."""
    x = torch.rand(100 * BATCH, PIXELS, device=device)
    model = VAE.mlp(PIXELS, HIDDEN, LATENT).to(device)

    def bare() -> None:
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        for rows in torch.randperm(len(x), device=device).split(BATCH):
            loss, _ = model.loss(x.index_select(0, rows))
            adam.zero_grad()
            loss.backward()
            adam.step()

    def ours() -> None:
        fit(model, x, steps=100, batch_size=BATCH, **RUN)

    one, other = take_turns(repeats, took(ours, clock), took(bare, clock))
    return one / other, ""


def small(device: torch.device, prior: bool = True) -> VAE:
    """Return a network so small that starting operations is most of a step."""
    return VAE.mlp(256, 64, 10, prior=ISAPrior([2] * 5) if prior else None).to(device)


def small_steps(one: VAE, other: VAE, repeats: int, clock: Clock) -> tuple[float, str]:
    """Train two small models in turns."""
    x = torch.rand(2000, 256, device=next(one.parameters()).device)
    run = partial(fit, data=x, steps=300, batch_size=64, **RUN)
    first, second = (took(partial(run, model), clock) for model in (one, other))
    first, second = take_turns(repeats, first, second)
    return first / second, ""


def normalizer(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """A prior whose exponents are fixed, and one that computes what follows from them again."""

    class Again(ISAPrior):
        def log_prob(self, z: torch.Tensor) -> torch.Tensor:
            return self.distribution.log_prob(z)

    again = VAE.mlp(256, 64, 10, prior=Again([2] * 5)).to(device)
    return small_steps(small(device), again, repeats, clock)


def prepared(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """A step that prepares its batch once, and one that does for encoder and likelihood each."""

    class Again(VAE):
        def _log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return super()._log_likelihood(self.prepare(x), z)

    again = Again.mlp(256, 64, 10).to(device)
    return small_steps(small(device, prior=False), again, repeats, clock)


def compiled(
    device: torch.device, repeats: int, clock: Clock, runs: int, prior: bool = True
) -> tuple[float, str]:
    """Steps as machine code and as they are, and the seconds before the first."""
    x, steps, edge = torch.rand(2000, 256, device=device), 350, 50
    seconds: list[float] = []

    def train(compile: bool) -> float:
        ticks: dict[int, float] = {}

        def lr(step: int) -> float:  # is asked before each step
            if step in (0, edge, steps - 1):
                ticks[step] = clock()
            return 1e-3

        options = {**RUN, "steps": steps, "batch_size": 64, "schedules": {"lr": lr}}
        start = time.perf_counter()
        if runs == 1:
            fit(small(device, prior), x, compile=compile, **options)
        else:
            make = lambda seed: small(device, prior)  # noqa: E731
            fit_seeds(make, x, range(runs), at_once=runs, compile=compile, **options)
        if compile:
            seconds.append(time.perf_counter() - start)
        return ticks[steps - 1] - ticks[edge]

    one, other = take_turns(repeats, lambda: train(True), lambda: train(False))
    spent = one / (steps - 1 - edge) * steps
    return one / other, f" (after {seconds[0] - spent:.0f} s, later {min(seconds) - spent:.0f} s)"


def decoder(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """Likelihoods of importance samples, and decoding as many codes, as many at once."""
    x, pairs = torch.rand(50, PIXELS, device=device), 1300
    model = VAE.mlp(PIXELS, HIDDEN, LATENT).to(device)
    codes = torch.randn(pairs, LATENT, device=device)

    @torch.no_grad()
    def decode() -> None:
        for some in codes.repeat(-(-len(x) * SAMPLES // pairs), 1)[: len(x) * SAMPLES].split(pairs):
            model.decode(some)

    ours = took(lambda: log_marginal_likelihood(model, x, SAMPLES, pairs), clock)
    one, other = take_turns(3 * repeats, ours, took(decode, clock))
    return one / other, ""


def seeds(
    device: torch.device,
    repeats: int,
    clock: Clock,
    sizes: tuple[int, int] = (PIXELS, HIDDEN),
    at_once: int | None = None,
) -> tuple[float, str]:
    """Four runs by one call, and by four."""
    x = torch.rand(2000, sizes[0], device=device)
    options = {**RUN, "steps": 40 if sizes[0] > 256 else 200, "batch_size": 128}
    stacked: list[int] = []

    def together() -> None:
        make = lambda seed: VAE.mlp(*sizes, LATENT).to(device)  # noqa: E731
        _, histories = fit_seeds(make, x, range(4), at_once=at_once, **options)
        stacked.append(histories[0].stacked)

    def one_by_one() -> None:
        for number in range(4):
            fit(VAE.mlp(*sizes, LATENT).to(device), x, seed=number, **options)

    one, other = take_turns(repeats, took(together, clock), took(one_by_one, clock))
    return one / other, " (a stack)" if stacked[0] > 1 else " (one after the other)"


def mixture_mlp(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """The three steps of a factorial mixture, where encoding twice is most of what it adds."""
    return mixture(
        device,
        repeats,
        clock,
        lambda kind, **options: kind.mlp(PIXELS, HIDDEN, LATENT, **options),
        LATENT,
        torch.rand(20 * BATCH, PIXELS, device=device),
    )


def mixture_deep(device: torch.device, repeats: int, clock: Clock) -> tuple[float, str]:
    """The convolutions of the paper, its 64 latents and its batch."""
    latents, shape = 64, (1, 28, 28)

    paper = partial(make, image_shape=shape, latent_dim=latents, settings={"convolutions": DIGITS})
    images = torch.rand(5 * 64, *shape, device=device)
    return mixture(device, repeats, clock, paper, latents, images, batch=64)


def mixture(
    device: torch.device,
    repeats: int,
    clock: Clock,
    make: Callable[..., VAE],
    latents: int,
    x: torch.Tensor,
    batch: int = BATCH,
) -> tuple[float, str]:
    """A mixture of 64 components, and the same networks with the prior N(0, I)."""
    prior = FactorialMixture([64], latents)
    ours = make(FactorialMixtureVAE, prior=prior, dataset_size=len(x)).to(device)
    seed(ours, x)

    def train(model: VAE) -> Callable[[], float]:
        options = {"steps": len(x) // batch, "batch_size": batch, **RUN}
        return took(lambda: fit(model, x, **options), clock)

    one, other = take_turns(2 * repeats, train(ours), train(make(VAE).to(device)))
    return one / other, ""


def show(what: str, unit: str, *cells: float | str | None) -> None:
    """Print one row."""
    shown = ["" if c is None else c if isinstance(c, str) else f"{1e3 * c:.3g}" for c in cells]
    print(f"| {what} | {unit} | " + " | ".join(shown) + " |", flush=True)


def take_turns(repeats: int, *competitors: Callable[[], float]) -> list[float]:
    """Let each competitor run once a turn; return the fewest seconds of each."""
    for competitor in competitors:
        competitor()  # warm-up
    turns = [[competitor() for competitor in competitors] for _ in range(repeats)]
    return [min(times) for times in zip(*turns, strict=True)]


def timed(run: Callable[[], object], device: torch.device, count: int = 1) -> float:
    """Return the wall time of a call, divided by ``count``."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / count


def training(device: torch.device, steps: int, repeats: int) -> list[float]:
    """Return seconds a step: vaelite, pythae, and the step's matrix products alone."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    bytes_ = torch.randint(0, 256, (steps * BATCH, PIXELS), dtype=torch.uint8)
    model = VAE.mlp(PIXELS, HIDDEN, LATENT).to(device)
    on_device = bytes_.to(device)

    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = BaseTrainer(
            pythae_vae(),
            BaseDataset(bytes_.float().view(-1, 1, 28, 28) / 255, torch.zeros(len(bytes_))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=1,
                learning_rate=1e-3,
                per_device_train_batch_size=BATCH,
                optimizer_cls="Adam",
                no_cuda=device.type == "cpu",
            ),
        )
        trainer.prepare_training()

        def ours() -> float:
            history = fit(model, on_device, steps=steps, batch_size=BATCH, progress=False)
            return history.seconds / steps

        return take_turns(
            repeats,
            ours,
            lambda: timed(lambda: trainer.train_step(1), device, steps),
            lambda: timed(lambda: matrix_products(device, steps), device, steps),
        )


def matrix_products(device: torch.device, steps: int) -> None:
    """Do the multiplications of ``steps`` updates, forward and backward, and nothing else."""
    layers = [(PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS)]
    inputs = [torch.randn(BATCH, before, device=device) for before, _ in layers]
    weights = [torch.randn(after, before, device=device) for before, after in layers]
    gradients = [torch.randn(BATCH, after, device=device) for _, after in layers]
    for _ in range(steps):
        for index, (x, weight, gradient) in enumerate(zip(inputs, weights, gradients, strict=True)):
            x @ weight.T
            gradient.T @ x
            if index:  # the data need no gradient
                gradient @ weight


def likelihood(device: torch.device, repeats: int) -> list[float]:
    """Return seconds a datum: vaelite, pythae, and the decoder's products alone."""
    count = 50
    x = torch.rand(count, PIXELS, device=device)
    model = VAE.mlp(PIXELS, HIDDEN, LATENT).to(device)
    theirs = pythae_vae().to(device).eval()
    pairs = 1000  # decoded at once
    codes = torch.randn(pairs, LATENT, device=device)

    @torch.no_grad()
    def decode() -> None:
        for _ in range(count * SAMPLES // pairs):
            model.decode(codes)

    @torch.no_grad()
    def get_nll() -> None:
        theirs.get_nll(x.view(-1, 1, 28, 28), n_samples=SAMPLES, batch_size=SAMPLES)

    return take_turns(
        repeats,
        lambda: timed(lambda: log_marginal_likelihood(model, x, SAMPLES), device, count),
        lambda: timed(get_nll, device, count),
        lambda: timed(decode, device, count),
    )


def free_energy(repeats: int) -> list[float]:
    """Return seconds an evaluation: the quadrature rule, and one integral after another."""
    rng = np.random.default_rng(0)
    dof, noise_var, weights = 3.5, np.full(2, 0.1), rng.standard_normal((2, 3))
    x, _ = ica.sample(weights, noise_var, 1000, dof, rng)
    q_mean, q_var = rng.standard_normal((1000, 3)), rng.uniform(0.05, 0.5, (1000, 3))
    cpu = torch.device("cpu")

    def rule() -> None:
        ica.free_energy(x, weights, noise_var, q_mean, q_var, dof)

    def loop() -> None:
        ica.cross_entropy_loop(q_mean, q_var, dof)

    return take_turns(min(repeats, 5), lambda: timed(rule, cpu), lambda: timed(loop, cpu))


def dsprites(device: torch.device, repeats: int) -> tuple[float, float]:
    """Return seconds a step: drawing and unpacking dSprites, and training the paper's MLP."""
    batch, epochs, total = 2048, 20, math.prod(sprites.CLASSES)
    steps = epochs * (total // batch)
    classes = sprites.grid((1, 1, 4, 4, 4), device)
    images = PackedImages.pack(sprites.render(classes))
    index = torch.randperm(len(images), device=device)[:batch]
    encoder = GaussianEncoder(MLP(4096, (1200, 1200), 40))
    decoder = MLP(20, (1200, 1200, 1200), 4096, activation=nn.Tanh)
    model = VAE(encoder, decoder, 20, (4096,)).to(device)
    # Each call trains on bytes, so that the step holds no unpacking.
    data = images.index_select(0, index)
    drawing, unpacking, step = take_turns(
        repeats,
        lambda: timed(lambda: PackedImages.pack(sprites.render(classes)), device, len(classes)),
        lambda: timed(lambda: [images.index_select(0, index) for _ in range(10)], device, 10),
        lambda: fit(model, data, steps=2, batch_size=batch, progress=False).seconds / 2,
    )
    return drawing * total / steps + unpacking, step


def cross_population(device: torch.device, populations: int, repeats: int) -> list[float]:
    """Return seconds a step: a CPVAE, and a VAE of its total latent size on as many images."""
    images = torch.randint(0, 256, (populations, 1000, PIXELS), dtype=torch.uint8, device=device)
    dims, total = (LATENT, LATENT), LATENT * (1 + populations)
    shared = CPVAE.mlp(populations, PIXELS, HIDDEN, *dims).to(device)
    plain = VAE.mlp(PIXELS, HIDDEN, total, likelihood=Gaussian(learned=True)).to(device)
    steps = 20

    def step(model: nn.Module, data: object, batch: int) -> float:
        return fit(model, data, steps=steps, batch_size=batch, progress=False).seconds / steps

    size = POPULATION_BATCH
    return take_turns(
        repeats,
        lambda: step(shared, Unpaired(*images), size),
        lambda: step(plain, images.flatten(0, 1), size * populations),
    )


def classification(device: torch.device, repeats: int) -> float:
    """Return seconds an image: its likelihood under each of ten populations."""
    model = CPVAE.mlp(10, PIXELS, HIDDEN, 2, 5).to(device)
    x = torch.rand(64, PIXELS, device=device)
    (seconds,) = take_turns(
        repeats, lambda: timed(lambda: class_log_likelihoods(model, x, SAMPLES), device, len(x))
    )
    return seconds


def mixtures(device: torch.device, repeats: int) -> list[float]:
    """Return seconds a step: a plain VAE, and the same networks under a mixture of K normals."""
    images = torch.randint(0, 256, (8192, PIXELS), dtype=torch.uint8, device=device)
    models = [VAE.mlp(PIXELS, HIDDEN, LATENT).to(device)]
    for components in COMPONENTS:
        prior = FactorialMixture([components], LATENT)
        options = {"prior": prior, "dataset_size": len(images)}
        model = FactorialMixtureVAE.mlp(PIXELS, HIDDEN, LATENT, **options).to(device)
        seed(model, images)
        models.append(model)
    steps = 20

    def step(model: nn.Module) -> Callable[[], float]:
        options = {"steps": steps, "batch_size": BATCH, "progress": False}
        return lambda: fit(model, images, **options).seconds / steps

    return take_turns(repeats, *map(step, models))


def pythae_vae() -> torch.nn.Module:
    """Return pythae's default VAE, whose layers are those of ``VAE.mlp(784, 512, 10)``."""
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    return PythaeVAE(config)


@contextlib.contextmanager
def quiet():
    """Silence pythae's progress bars and log."""
    logging.disable(logging.INFO)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
    logging.disable(logging.NOTSET)


if __name__ == "__main__":
    main()

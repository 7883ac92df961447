"""Flowers, one kind after the other: who forgets what it learned first?

Figure 5 of the CPVAE paper.  Five kinds of flowers are five tasks and five populations.  Tasks 1
and 2 are learned together, the CPVAE by its objective J; then 3, 4 and 5, one after the other, by
the ELBO, with no more data of the tasks before.

**Methods.**  ``cpvae``, whose shared parts are trained on at a tenth of the step size, as in
appendix B.2; ``cpvae frozen``, whose shared parts stay as they are after tasks 1 and 2, so that it
forgets nothing, by construction; ``vae``, of the same total latent size (60), on the same schedule,
tasks 1 and 2 mixed; ``vae equal``, with channels added until it has as many parameters as the
CPVAE.  Each task starts with a fresh Adam.

**Data.**  Real flowers at 32 x 32 in colour (60 for training, 20 held out, of each kind), where the
paper states no size; drawn ones in the quick profile.

**What is measured**: the mean squared error of reconstructions from posterior means, a pixel and
channel, of the held-out flowers of all five tasks, after each of the four phases (``errors``).
From it follow ``forgetting``, by how much the error of tasks 1 to 4 rose, on average, from the
phase that taught them to the end, and ``final_error``, the mean over all tasks at the end.  Batch
normalisation uses running statistics, which drift to the task at hand: ``forgetting_refreshed`` is
measured with statistics taken anew, on the training flowers of all tasks so far, which continual
learning would not have any more.  ``parameters`` counts them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import data as data_sets
from vaelite.batches import Unpaired
from vaelite.cpvae import CPVAE, FirstTasks, NewTask
from vaelite.data.flowers import CLASSES
from vaelite.experiments import networks
from vaelite.experiments.networks import check_method, device, seeded
from vaelite.nets import evaluated
from vaelite.training import History, fit
from vaelite.vae import VAE, Gaussian

TASKS = len(CLASSES)
METHODS = ["vae", "vae equal", "cpvae", "cpvae frozen"]
COMMON = {
    "methods": METHODS,
    "noise": 0.01,
    "lr": [1e-3, 1e-4],
    "shared_dim": 10,
    "private_dim": 10,
}

SETTINGS = {
    "quick": {
        **COMMON,
        "data": "flowers",
        "size": 16,
        "width": 6,
        "batch_size": 16,
        "steps": 300,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        "data": "flowers17",
        "size": 32,
        "width": 8,
        "batch_size": 16,
        "steps": 1200,
        "seeds": 10,
        "real_data": ["flowers17"],
    },
    "full": {
        **COMMON,
        "data": "flowers17",
        "size": 64,
        "width": 64,
        "batch_size": 32,
        "steps": 50_000,
        "seeds": 10,
        "real_data": ["flowers17"],
    },
}


anchors, trials = networks.no_anchors, networks.trials


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    check_method(trial["method"], METHODS)
    method, width = trial["method"], settings["width"]
    if method.startswith("cpvae"):
        return _cpvae(settings)
    return _vae(settings, equal_width(settings) if method == "vae equal" else width)


def _cpvae(settings: Mapping[str, Any]) -> CPVAE:
    likelihood = Gaussian(settings["noise"], learned=True)
    shape, dims = _shape(settings), (settings["shared_dim"], settings["private_dim"])
    options = {"width": settings["width"], "batch_norm": settings.get("batch_norm", True)}
    return CPVAE.conv(TASKS, shape, *dims, likelihood=likelihood, **options)


def _vae(settings: Mapping[str, Any], width: int) -> VAE:
    likelihood = Gaussian(settings["noise"], learned=True)
    latents = settings["shared_dim"] + TASKS * settings["private_dim"]
    options = {"width": width, "batch_norm": settings.get("batch_norm", True)}
    return VAE.conv(_shape(settings), latents, likelihood=likelihood, **options)


def _shape(settings: Mapping[str, Any]) -> tuple[int, int, int]:
    return 3, settings["size"], settings["size"]


def parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def equal_width(settings: Mapping[str, Any]) -> int:
    """Return the width at which the VAE has as many parameters as the CPVAE, as near as can be."""
    return _equal_width(tuple(settings[key] for key in _SIZES))


_SIZES = ("size", "width", "shared_dim", "private_dim", "noise")


@lru_cache(maxsize=4)
def _equal_width(sizes: tuple) -> int:
    settings = dict(zip(_SIZES, sizes, strict=True))
    with torch.random.fork_rng():
        wanted = parameters(_cpvae(settings))
        low = high = settings["width"]
        while parameters(_vae(settings, high)) < wanted:
            low, high = high, high + max(1, high // 4)
        counts = {width: parameters(_vae(settings, width)) for width in range(low, high + 1)}
    return min(counts, key=lambda width: abs(counts[width] - wanted))


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Teach a trial's model all tasks; what it can after each phase is kept in its buffers.

    Each phase is saved to a file of its own.  A resumed trial goes through all of them again, and
    takes a finished phase's model from its file.
    """
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings).to(device())
    images = [flowers("train", settings, task) for task in range(TASKS)]
    later = settings["steps"] // 5
    files = [
        checkpoint and Path(checkpoint).with_suffix(f".{task}.checkpoint")
        for task in range(2, TASKS)
    ]
    histories, errors, refreshed = [], [], []
    for task, file in enumerate([checkpoint, *files], start=1):
        first = task == 1
        history = fit(
            *_lesson(model, trial["method"], images, task),
            steps=settings["steps"] - 3 * later if first else later,
            batch_size=_batch_size(model, first, settings),
            lr=settings["lr"][0 if first else 1],
            seed=trial["seed"],
            progress=False,
            checkpoint=file,
            resume=file is not None,
        )
        histories.append(history)
        errors.append(errors_of(model, settings))
        refreshed.append(errors_of(refresh(model, images[: task + 1]), settings))
    model.register_buffer("errors", torch.tensor(errors))
    model.register_buffer("errors_refreshed", torch.tensor(refreshed))
    ends = np.cumsum([0, *(history.steps[-1] for history in histories)])
    steps = [end + history.steps for end, history in zip(ends, histories, strict=False)]
    loss = np.concatenate([history["loss"] for history in histories])
    seconds = sum(history.seconds for history in histories)
    for file in filter(None, files):  # the first is the caller's
        file.unlink(missing_ok=True)
    return [model], [History(np.concatenate(steps), {"loss": loss}, seconds)]


def _lesson(
    model: nn.Module, method: str, images: Sequence[Tensor], task: int
) -> tuple[nn.Module, Any]:
    """Return what is trained in a phase, and on what; phase 1 teaches tasks 0 and 1."""
    if isinstance(model, VAE):
        return model, torch.cat(list(images[:2])) if task == 1 else images[task]
    if task == 1:
        return FirstTasks(model, 2), Unpaired(*images[:2])
    return NewTask(model, task, train_shared=method == "cpvae"), images[task]


def _batch_size(model: nn.Module, first: bool, settings: Mapping[str, Any]) -> int:
    """Return the size for one set of images: a step sees twice ``batch_size`` images."""
    return settings["batch_size"] * (1 if first and isinstance(model, CPVAE) else 2)


def flowers(split: str, settings: Mapping[str, Any], task: int) -> Tensor:
    """Return the flowers of a task, ``(N, 3, size, size)`` uint8."""
    x, labels = _load(split, settings["data"], settings["size"])
    return x[labels == task].to(device())


@lru_cache(maxsize=4)
def _load(split: str, name: str, size: int) -> tuple[Tensor, Tensor]:
    loaded = data_sets.load(name, split=split, classes=CLASSES, size=size)
    return loaded.x, loaded.labels


@torch.no_grad()
def errors_of(model: nn.Module, settings: Mapping[str, Any]) -> list[float]:
    """Return the mean squared error of each task's held-out flowers."""
    found = []
    with evaluated(model):
        for task in range(TASKS):
            x = model.prepare(flowers("test", settings, task))
            again = model.reconstruct(x, task) if isinstance(model, CPVAE) else model.reconstruct(x)
            found.append(float((x - again).square().mean()))
    return found


@torch.no_grad()
def refresh(model: nn.Module, images: Sequence[Tensor]) -> nn.Module:
    """Return a copy whose batch statistics are those of all images of the tasks so far."""
    model = copy.deepcopy(model).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain average
    if isinstance(model, VAE):
        model.reconstruct(torch.cat(list(images)))
        return model
    z, _, t, _ = model.encode(torch.cat(list(images)))
    model.shared_decoder(z)
    rows = [len(x) for x in images]
    for k in range(len(images)):
        model.private_decoders[k](t[k].split(rows)[k])
    return model


def measure(
    model: nn.Module, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the module's docstring lists."""
    errors, refreshed = model.errors.tolist(), model.errors_refreshed.tolist()
    return {
        "errors": errors,
        "errors_refreshed": refreshed,
        "forgetting": forgetting(errors),
        "forgetting_refreshed": forgetting(refreshed),
        "final_error": sum(errors[-1]) / TASKS,
        "parameters": parameters(model),
    }


def forgetting(errors: Sequence[Sequence[float]]) -> float:
    """Return by how much the error of all tasks but the last rose since they were learned.

    Args:
        errors: after each phase, of each task; the first phase teaches two tasks.
    """
    learned = [max(task - 1, 0) for task in range(TASKS - 1)]
    rises = [errors[-1][task] - errors[phase][task] for task, phase in enumerate(learned)]
    return sum(rises) / len(rises)

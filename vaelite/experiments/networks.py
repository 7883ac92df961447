"""What experiments that train networks share: trials of methods, models by their seed, training.

A trial is a method and a seed.  All methods of a seed share what they can: the order of the data,
and the initial weights of networks of the same shape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vaelite.profile import seed
from vaelite.training import History, fit, fit_seeds


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each seed's methods in turn, from ``first_seed``, by default 0, to ``seeds``."""
    return [
        {"method": method, "seed": seed(repeat)}
        for repeat in range(settings.get("first_seed", 0), settings["seeds"])
        for method in settings["methods"]
    ]


def no_anchors(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return none: the networks are too large for their weights to be kept."""
    return []


def check_method(method: str, methods: Iterable[str]) -> None:
    """Refuse a method that is none of an experiment's.

    Raises:
        ValueError: names it, and those that there are.
    """
    if method not in methods:
        known = ", ".join(methods)
        raise ValueError(f"there is no method {method!r}; there are: {known}.")


def device() -> torch.device:
    """Return where experiments train: on a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's global generator begin at a seed, and leave it afterwards as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def fit_each(
    group: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    make_model: Callable[[dict, dict], nn.Module],
    training_data: Callable[[Mapping, Mapping], Any],
    checkpoint: str | os.PathLike | None = None,
    schedules: Mapping[str, Callable[[int], float]] | None = None,
    batch_size: int | Sequence[int] | None = None,
) -> tuple[list[nn.Module], list[History]]:
    """Train the models of trials one after the other: networks too wide to gain from a stack.

    Args:
        group: the trials.
        settings: those of the profile.
        make_model: builds a trial's model, from torch's global generator.
        training_data: returns a trial's data.
        checkpoint: a file to save to, and to go on from where it exists; for a group of one.
        schedules: as for :func:`vaelite.training.fit`.
        batch_size: by default ``settings["batch_size"]``.
    """
    models, histories = [], []
    for trial in group:
        with seeded(trial["seed"]):
            model = make_model(dict(trial), dict(settings))
        history = fit(
            model,
            training_data(trial, settings),
            steps=settings["steps"],
            batch_size=batch_size or settings["batch_size"],
            lr=settings["lr"],
            seed=trial["seed"],
            device=device(),
            schedules=schedules,
            progress=False,
            checkpoint=checkpoint if len(group) == 1 else None,
            resume=checkpoint is not None,
        )
        models.append(model)
        histories.append(history)
    return models, histories


def fit_together(
    group: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    make_model: Callable[[Mapping, Mapping], nn.Module],
    data: Any,
    checkpoint: str | os.PathLike | None = None,
) -> tuple[list[nn.Module], list[History]]:
    """Train the models of trials that differ in the seed alone, in one stack.

    A model trained in another group, or alone, is the same up to rounding; over thousands of steps
    rounding grows, so a model that must be the stored one is trained with its whole group.

    Args:
        group: the trials.
        settings: those of the profile.
        make_model: builds a trial's model, from torch's global generator.
        data: what all of them are trained on.
        checkpoint: a file to save to, and to go on from where it exists.

    Returns:
        Models and histories, in the order of the trials.
    """
    return fit_seeds(
        lambda one_seed: make_model(group[0], settings),
        data,
        [trial["seed"] for trial in group],
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        lr=settings["lr"],
        device=device(),
        progress=False,
        at_once=len(group),
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )

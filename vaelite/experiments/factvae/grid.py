"""The scale of lambda: how often does the penalty switch off nothing, something, everything?

The factVAE paper says lambda = 1 and neither a step size nor whether the likelihood beside the
penalty is that of a datum or of all N.  Per datum, the paper's objective (eq. 9, a sum over all
data) has the penalty lambda / N.  Here lambda, *beside a loss in nats a datum*, goes from 1 / N to
10, and the step size eta from 1e-4 to 1e-2: a step shrinks a norm by eta lambda.  All runs have as
many steps.  Two walks to train on; data, model and measures are those of
:mod:`vaelite.experiments.factvae.mocap`, its seeds too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vaelite.experiments.factvae import common, mocap
from vaelite.experiments.factvae.mocap import measure
from vaelite.profile import seed
from vaelite.training import History

GRID = {"sparsities": [0.0, "1/N", 0.1, 1.0, 3.0, 10.0], "step_sizes": [1e-4, 1e-3, 1e-2]}
SETTINGS = {
    "quick": {
        **mocap.SETTINGS["quick"],
        "walks": [1],
        "sparsities": [0.0, 3.0],
        "step_sizes": [1e-2],
    },
    "standard": {**mocap.SETTINGS["standard"], **GRID, "walks": [2], "seeds": 3},
    "full": {**mocap.SETTINGS["full"], **GRID, "walks": [2], "seeds": 10},
}

__all__ = ["SETTINGS", "make_model", "measure", "train", "trials"]


def trials(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All cells of the grid for a seed, then the next seed."""
    return [
        {
            "method": "factvae",
            "walks": count,
            "sparsity": sparsity,
            "step_size": step_size,
            "seed": seed(repeat),
        }
        for repeat in range(settings["seeds"])
        for count in settings["walks"]
        for step_size in settings["step_sizes"]
        for sparsity in settings["sparsities"]
    ]


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """Build a trial's model; 1 / N is a number once the data are known."""
    data = mocap.batch(mocap.walks(trial, settings)[0])
    sparsity = 1 / len(data[-1]) if trial["sparsity"] == "1/N" else trial["sparsity"]
    model = common.make_model(trial["method"], data, settings, sparsity, trial["step_size"])
    return mocap.with_curve(model, settings)


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial."""
    return mocap.train(group, settings, checkpoint, make_model)

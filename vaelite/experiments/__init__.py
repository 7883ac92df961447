"""Experiments: what takes longer than a chapter may, run trial by trial, resumable.

:mod:`.runner` says how an experiment is written and runs it, :mod:`.networks` trains models,
:mod:`.results` keeps what was measured, :mod:`.statistics` and :mod:`.comparison` say what follows.
"""

from vaelite.experiments.catalogue import names
from vaelite.experiments.results import collect, hardware, load_results, results_folder
from vaelite.experiments.runner import Experiment, get, load_models

__all__ = [
    "Experiment",
    "collect",
    "get",
    "hardware",
    "load_models",
    "load_results",
    "names",
    "results_folder",
]

"""What the papers report, beside what the stored results say; one function an experiment.

Each takes the results of one profile and returns rows of quantity, paper, ours.  The paper's side
is a fact with its place in the paper; ours is computed.
"""

from __future__ import annotations

import numpy as np

from vaelite.experiments import collect
from vaelite.experiments.statistics import bootstrap_interval

Rows = list[tuple[str, str, str]]


def variational_biases(results: dict) -> Rows:
    """Stühmer et al. (2020), appendix B.8: what is left of three sources."""
    noises = results["settings"]["noise_sd"]
    few = [level for level in noises if level <= 0.25]
    many = [level for level in noises if level >= 1]

    def share(key: str, beta: float, levels: list[float]) -> str:
        by_seed: dict[int, list[bool]] = {}
        for entry in results["trials"]:
            trial = entry["trial"]
            if trial["method"] == "fit" and trial["beta"] == beta and trial["noise_sd"] in levels:
                by_seed.setdefault(trial["seed"], []).append(entry["result"][key])
        return _percent([np.mean(outcomes) for outcomes in by_seed.values()])

    rows = [
        (
            "β = 1: three directions left, more orthogonal than the true ones",
            "so on its one data set (figure 1, B.8)",
            f"{share('reported_for_beta_1', 1.0, noises)} of the fits on the map",
        ),
        (
            "β = 1: the components left are more orthogonal than the true ones",
            "so (2.3, B.8)",
            f"{share('more_orthogonal', 1.0, noises)} of the fits on the map",
        ),
    ]
    for name, levels in (("at most 0.25", few), ("at least 1", many)):
        if levels:
            rows.append(
                (
                    f"β = 5: one pruned, two at a right angle; noise deviation {name}",
                    "so on its one data set, noise not given (figure 1, B.8)",
                    f"{share('reported_for_beta_5', 5.0, levels)} of the fits",
                )
            )
    return rows


def latent_variables(results: dict) -> Rows:
    """Burda et al. (2016), table 1, for binary MNIST; the digits have no published number."""
    settings = results["settings"]
    published = "-86.76 (Burda et al., 2016, table 1)" if settings["data"] == "mnist" else "none"
    rows = []
    for latents in settings["latents"]:
        values = collect(results, "log_likelihood", latents=latents)
        low, high = bootstrap_interval(values)
        count = f"{latents} latent" if latents == 1 else f"{latents} latents"
        rows.append(
            (
                f"log-likelihood of held-out {settings['data']}, {count} (nats)",
                published if latents == 50 else "none",
                f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}], {len(values)} seeds",
            )
        )
    return rows


def _percent(shares: list[float]) -> str:
    """Show a mean share over seeds with its 95 % interval."""
    low, high = bootstrap_interval(shares)
    return f"{100 * np.mean(shares):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

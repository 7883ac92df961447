"""Compare methods by paired seeds, from the stored results of an experiment.

Results are what :func:`vaelite.experiments.load_results` returns: a dictionary, or None where
nobody ran the experiment yet.  A setting is a trial without its seed, such as
``at("isa-vae", 1.0)``.  What was not run leads to an empty :class:`Estimate`, whose text and
verdict are "not run yet"; a text that is built from estimates needs no case for it::

    results = load_results("isa_sprites", "standard")
    gain = difference(results, at("isa-vae", 1.0), at("beta-vae", 1.0))
    gain.text()                      # "-0.001 [-0.010, +0.008], 32 pairs"
    family = ClaimFamily()
    family.decide("isa.5", gain, expect="not resolved at this scale")
    rows = family.bonferroni()       # the same claims at a level that counts all of them

Nothing here knows a paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from vaelite import claims
from vaelite.book import figures
from vaelite.experiments.results import collect
from vaelite.experiments.statistics import bootstrap_interval

NOT_RUN = "not run yet"

# Marker, line and colour of a method, by its place in the list of methods.
_LOOKS = (
    ("o", "-", figures.BLUE),
    ("s", "--", figures.ORANGE),
    ("^", ":", figures.GREEN),
    ("v", "-.", figures.PINK),
    ("D", "--", figures.YELLOW),
    ("P", ":", figures.GREY),
    ("X", "-.", figures.SKY),
)
_JITTER = 0.2  # half the height of a row's cloud of dots


def at(method: str, beta: float) -> dict[str, Any]:
    """Return the setting of a method at a weight beta of the KL term."""
    return {"method": method, "beta": beta}


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over seeds, with its interval.

    Attributes:
        values: ``(seeds,)``, such as paired differences; empty where nothing was run.
    """

    values: np.ndarray

    @property
    def missing(self) -> bool:
        """Whether nothing was run."""
        return not len(self.values)

    @property
    def mean(self) -> float:
        """Mean of the values; NaN where nothing was run."""
        return float("nan") if self.missing else float(self.values.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the values, of which there must be two."""
        return float(self.values.std(ddof=1))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Bootstrap interval of the mean at 95 %; NaNs where nothing was run.

        Raises:
            ValueError: if there is one value only.
        """
        return (float("nan"),) * 2 if self.missing else bootstrap_interval(self.values)

    @property
    def verdict(self) -> str:
        """What :func:`vaelite.claims.verdict` says of "the mean exceeds zero", or "not run yet"."""
        return NOT_RUN if self.missing else claims.verdict(self.interval, 0)

    def text(self, digits: int = 3) -> str:
        """Return mean, interval and number of pairs for a table, or "not run yet"."""
        if self.missing:
            return NOT_RUN
        mean, low, high = (f"{value:+.{digits}f}" for value in (self.mean, *self.interval))
        return f"{mean} [{low}, {high}], {len(self.values)} pairs"


def values(
    results: Mapping[str, Any] | None, setting: Mapping[str, Any], key: str = "mig"
) -> np.ndarray:
    """Return what the runs of a setting measured.

    Returns:
        ``(seeds,)``, in the order of the run; empty where the setting was not run.

    Raises:
        ValueError: if it was run, but ``key`` was not measured.
    """
    if not _was_run(results, setting):
        return np.array([])
    return np.array(collect(results, key, **setting), dtype=float)


def paired_differences(
    results: Mapping[str, Any], key: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> np.ndarray:
    """Return ``first - second`` for every seed that both settings have.

    Args:
        results: what a run of an experiment returned or stored.
        key: what to compare, such as ``"mig"``.
        first: a trial without its seed, such as ``{"method": "isa-vae", "beta": 1.0}``.
        second: the same for what is subtracted.

    Returns:
        ``(seeds,)``, in the order of the seeds.

    Raises:
        ValueError: if the two have no seed in common.
    """
    by_seed: list[dict[int, float]] = [
        {
            entry["trial"]["seed"]: entry["result"][key]
            for entry in results["trials"]
            if {**entry["trial"], "seed": None} == {**setting, "seed": None}
        }
        for setting in (first, second)
    ]
    common = sorted(by_seed[0].keys() & by_seed[1].keys())
    if not common:
        raise ValueError(f"{dict(first)} and {dict(second)} have no seed in common.")
    return np.array([by_seed[0][one] - by_seed[1][one] for one in common])


def difference(
    results: Mapping[str, Any] | None,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    key: str = "mig",
) -> Estimate:
    """Return the estimate of ``first - second``, paired by seed.

    Its values are :func:`paired_differences`; they are empty where one of
    the two settings was not run.

    Raises:
        ValueError: if both were run, but with no seed in common.
    """
    if not (_was_run(results, first) and _was_run(results, second)):
        return Estimate(np.array([]))
    return Estimate(paired_differences(results, key, first, second))


def difference_rows(
    results: Mapping[str, Any] | None,
    rivals: Sequence[tuple[str, str, str]],
    betas: Sequence[float],
) -> list[list[str]]:
    """Return rows of a table: paired differences of MIG and of reconstruction.

    Args:
        results: stored results or None.
        rivals: label, first and second method, as in ``("ISA-VAE - VAE", "isa-vae", "beta-vae")``.
        betas: where to compare them; all rivals at the first beta come first.

    Returns:
        ``[label and beta, difference of MIG, difference of reconstruction]`` for each.
    """
    return [
        [
            f"{label}, β = {beta:g}",
            difference(results, at(first, beta), at(second, beta)).text(),
            difference(results, at(first, beta), at(second, beta), "reconstruction").text(2),
        ]
        for beta in betas
        for label, first, second in rivals
    ]


def summary(
    runs: np.ndarray, statistics: Iterable[Callable[[np.ndarray], float]], digits: int = 3
) -> list[str]:
    """Return each statistic of the runs' values as text, or "not run yet" for each."""
    return [f"{of(runs):.{digits}f}" if len(runs) else NOT_RUN for of in statistics]


def provenance(results: Mapping[str, Any] | None) -> list[str]:
    """Return how many models a run trained, for how long and on what, for a table."""
    if results is None:
        return [NOT_RUN, "", ""]
    machine = results["hardware"][0]
    return [
        f"{len(results['trials'])} models",
        f"{results['seconds'] / 60:.0f} min",
        f"{machine.get('gpu', machine['cpu'])}, {machine['cores']} cores",
    ]


class ClaimFamily:
    """Claims of the form "the mean exceeds zero" that one text decides by intervals.

    Attributes:
        estimates: what each claim was decided by, by its id.
    """

    def __init__(self):
        self.estimates: dict[str, Estimate] = {}

    def decide(self, id: str, estimate: Estimate, expect: str = claims.HOLDS) -> None:
        """Check a claim by the interval of its estimate, or show that nothing was run.

        Raises:
            ClaimError: if it was run and the verdict is not ``expect``.
        """
        self.estimates[id] = estimate
        if estimate.missing:
            show_not_run(id)
            return
        pairs = len(estimate.values)
        claims.check(
            id, estimate.interval, expect=expect, threshold=0, mean=estimate.mean, pairs=pairs
        )

    def bonferroni(self, error: float = 0.05) -> list[list[str]]:
        r"""Return rows of a table: each claim at a level that counts all claims.

        The intervals are Student's, at the level :math:`1 - \mathrm{error} / m` for m claims; the
        chance that any of them misses its mean is at most ``error``.

        Returns:
            ``[id, interval, whether it excludes zero]`` for each.
        """
        rows = []
        for id, estimate in self.estimates.items():
            if estimate.missing:
                rows.append([id, NOT_RUN, ""])
                continue
            level, runs = 1 - error / len(self.estimates), estimate.values
            low, high = stats.t.interval(level, len(runs) - 1, runs.mean(), stats.sem(runs))
            excludes = "yes" if low > 0 or high < 0 else "no"
            rows.append([id, f"[{low:+.3f}, {high:+.3f}]", excludes])
        return rows


def show_not_run(id: str) -> None:
    """Display that the runs which decide a claim are missing."""
    from IPython.display import Markdown, display

    display(Markdown(f"**Claim {id}: {NOT_RUN}.** {claims.registry()[id].statement}"))


def show_missing(ax: Axes) -> None:
    """Write "not run yet" into the middle of an empty panel."""
    ax.text(0.5, 0.5, NOT_RUN, ha="center", transform=ax.transAxes)


def interval_dots(ax: Axes, rows: Mapping[str, np.ndarray], *, vertical: bool = False) -> None:
    """Draw a row for each entry: a small dot a run, the mean, and a bar for its 95 % interval.

    Args:
        ax: where to draw; the rows' labels become its ticks.
        rows: ``(seeds,)`` by label, from top to bottom; an empty one says "not run yet".
        vertical: draw columns from left to right instead.
    """

    def plot(along: Sequence[float], across: Sequence[float], look: str, **options) -> None:
        ax.plot(*((across, along) if vertical else (along, across)), look, **options)

    for place, runs in enumerate(rows.values()):
        if not len(runs):
            ax.text(*((place, 0) if vertical else (0, place)), NOT_RUN, va="center", fontsize=11)
            continue
        jitter = np.random.default_rng(0).uniform(-_JITTER, _JITTER, len(runs))
        plot(runs, place + jitter, ".", color=figures.SKY, markersize=6)
        plot(bootstrap_interval(runs), [place, place], "-", color=figures.BLACK, lw=3)
        plot([runs.mean()], [place], "o", color=figures.ORANGE, markersize=7)
    if vertical:
        ax.set_xticks(range(len(rows)), rows)
    else:
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.4, -0.6)


def trade_off(ax: Axes, results: Mapping[str, Any] | None, methods: Mapping[str, str]) -> int:
    """Draw MIG against reconstruction: a point a setting, with 95 % intervals of both means.

    A method keeps its marker, line and colour in every figure with the same ``methods``.  The
    strengths are written beside the points of the first.  The legend comes below the panel.

    Args:
        ax: where to draw.
        results: stored results, or None, which leads to "not run yet".
        methods: labels by the methods' names, seven at most; those without runs are skipped, and
            so are settings with a single seed, which have no interval.

    Returns:
        How many points were drawn.
    """
    ax.set(xlabel="reconstruction, nats", ylabel="MIG")
    count = 0
    looks = zip(methods.items(), _LOOKS[: len(methods)], strict=True)
    for place, ((method, label), (marker, line, colour)) in enumerate(looks):
        strengths, points = [], []
        for setting in _settings(results, method):
            two = [Estimate(values(results, setting, key)) for key in ("reconstruction", "mig")]
            if len(two[0].values) > 1:
                strengths.append(setting.get("beta", setting.get("gamma")))
                points.append([[estimate.mean, *estimate.interval] for estimate in two])
        if not points:
            continue
        (x, *x_interval), (y, *y_interval) = np.array(points).transpose(1, 2, 0)
        bars = {"yerr": _bars(y, *y_interval), "xerr": _bars(x, *x_interval)}
        look = {"fmt": marker + line, "color": colour, "lw": 1.2, "markersize": 6}
        ax.errorbar(x, y, **bars, **look, label=label)
        for i, strength in enumerate(strengths if place == 0 else []):
            ax.annotate(
                f"β = {strength:g}",
                (x[i], y[i]),
                xytext=(5, -14),
                textcoords="offset points",
                fontsize=10,
                color=colour,
            )
        count += len(points)
    if count:
        handles = ax.get_legend_handles_labels()
        ax.figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=11)
    else:
        show_missing(ax)
    return count


def histograms(ax: Axes, columns: Mapping[str, np.ndarray], bins: np.ndarray) -> None:
    """Draw a histogram of models for each column, all on one axis, up to three.

    Args:
        ax: where to draw.
        columns: ``(models,)`` by label.
        bins: edges of the bins.
    """
    look = {"histtype": "stepfilled", "alpha": 0.5, "edgecolor": "black"}
    for k, (label, column) in enumerate(columns.items()):
        line, colour = ("-", "--", ":")[k], figures.COLOURS[k]
        ax.hist(column, bins, **look, color=colour, linestyle=line, label=label)
    ax.set(ylabel="models")
    ax.legend(fontsize=10)


def _was_run(results: Mapping[str, Any] | None, setting: Mapping[str, Any]) -> bool:
    return results is not None and any(
        all(entry["trial"].get(name) == value for name, value in setting.items())
        for entry in results["trials"]
    )


def _settings(results: Mapping[str, Any] | None, method: str) -> list[dict[str, Any]]:
    """Return the settings of a method, from the weakest to the strongest."""
    trials = [entry["trial"] for entry in results["trials"]] if results else []
    found = {
        (name, trial[name])
        for trial in trials
        for name in ("beta", "gamma")
        if trial["method"] == method and name in trial
    }
    return [{"method": method, name: value} for name, value in sorted(found)]


def _bars(middle: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Lengths of error bars; a skewed bootstrap interval may exclude the mean."""
    return [np.maximum(middle - low, 0), np.maximum(high - middle, 0)]

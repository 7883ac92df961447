"""Compare methods by paired seeds, from the stored results of an experiment.

Results are what :func:`vaelite.experiments.load_results` returns: a dictionary, or None where
nobody ran the experiment yet.  A setting is a trial without its seed, such as
``at("isa-vae", 1.0)``.  What was not run leads to an empty :class:`Estimate`, whose text and
verdict are "not run yet"; a text that is built from estimates needs no case for it::

    results = load_results("isa_sprites", "standard")
    gain = difference(results, at("isa-vae", 1.0), at("beta-vae", 1.0))
    gain.text()                      # "−0.001 [−0.010, +0.008], 32 pairs"

A claim with a plan (:mod:`vaelite.claims.plan`) needs no line of that: :func:`decide` reads the
stored results that its plan names, and shows the box; :func:`forest` draws many of them::

    finding = decide("isa.5")
    forest(["isa.5", "isa.6", "isa.22"])

Nothing here knows a paper.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vaelite import claims
from vaelite.book import figures
from vaelite.book.chapter import number
from vaelite.claims import Claim
from vaelite.claims.plan import Plan
from vaelite.experiments import catalogue
from vaelite.experiments.results import collect, load_results, stored
from vaelite.experiments.statistics import mean_interval, proportion_interval

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
        share: whether each value is a share of outcomes that are yes or no.
    """

    values: np.ndarray
    share: bool = False

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
        """The interval at 95 %; NaNs where nothing was run; see :meth:`interval_at`."""
        return (float("nan"),) * 2 if self.missing else self.interval_at(0.95)

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return Student's interval of the mean at a level.

        Where all outcomes are alike, shares have no spread to judge by: then it is the exact
        interval for as many equal trials.

        Raises:
            ValueError: if there is one value only.
        """
        if self.share and np.ptp(self.values) == 0 and self.values[0] in (0, 1):
            return proportion_interval(int(self.values.sum()), len(self.values), level)
        return mean_interval(self.values, level)

    @property
    def verdict(self) -> str:
        """What :func:`vaelite.claims.verdict` says of "the mean exceeds zero", or "not run yet"."""
        return NOT_RUN if self.missing else claims.verdict(self.interval, 0)

    def text(
        self, digits: int = 3, unit: str = "", noun: str = "pairs", *, signed: bool = True
    ) -> str:
        """Return mean, interval and number of pairs for a table, or "not run yet"."""
        if self.missing:
            return NOT_RUN
        sign = "+" if signed else ""
        mean, low, high = (
            number(value, f"{sign}.{digits}f") for value in (self.mean, *self.interval)
        )
        return f"{mean} [{low}, {high}]{' ' * bool(unit)}{unit}, {len(self.values)} {noun}"


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


def by_seed(results: Mapping[str, Any] | None, where: Mapping[str, Any], key: str) -> Estimate:
    """Return the estimate of a quantity's mean, each seed with its mean over all matching trials.

    Args:
        results: stored results or None.
        where: what a trial's entries are; a list allows each of its values.
        key: what was measured, or follows from it by the experiment's ``DERIVED``.
    """
    found: dict[int, list[float]] = {}
    stored = results is None or all(key in entry["result"] for entry in results["trials"][:1])
    derived = {} if stored else _derived(results["experiment"])  # imports the experiment
    for entry in results["trials"] if results else []:
        trial = entry["trial"]
        allowed = ((name, v if isinstance(v, list) else [v]) for name, v in where.items())
        if all(trial.get(name) in values for name, values in allowed):
            found.setdefault(trial["seed"], []).append(_quantity(entry, key, derived))
    share = all(isinstance(value, bool) for values in found.values() for value in values)
    return Estimate(np.array([np.mean(found[seed]) for seed in sorted(found)]), share)


def _quantity(entry: Mapping[str, Any], key: str, derived: Mapping[str, Callable]) -> float | bool:
    if key in derived:
        return derived[key]({**entry["trial"], **entry["result"]})
    if key not in entry["result"]:
        known = ", ".join([*entry["result"], *derived])
        raise ValueError(f"{key!r} was not measured; there are: {known}.")
    return entry["result"][key]


@cache
def _derived(experiment: str) -> Mapping[str, Callable]:
    """Return what follows from a stored row of an experiment and is not stored."""
    if experiment not in catalogue.names():
        return {}
    return getattr(importlib.import_module(catalogue.module_name(experiment)), "DERIVED", {})


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> Mapping[str, Any] | None:
    """Read stored results once for the many claims that they decide."""
    return load_results(*path.stem.rsplit(".", 1))


def _stored(plan: Plan) -> Mapping[str, Any] | None:
    path = stored(f"{plan.experiment}.{plan.profile}.json")
    return _read(path, path.stat().st_mtime_ns) if path.exists() else None


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


@dataclass(frozen=True, eq=False)
class Finding:
    """What stored results say about a planned claim.

    Attributes:
        claim: the claim with its plan.
        estimate: the mean difference (or the mean) with its interval.
        verdict: one of the five.
        survives: whether the verdict stands at the level that counts all comparisons of the family
            (Bonferroni); None where nothing was decided.
        comparisons: how many comparisons the family has, planned or exploratory as this one is.
    """

    claim: Claim
    estimate: Estimate
    verdict: str
    survives: bool | None
    comparisons: int

    @property
    def negligible(self) -> bool:
        """Whether the whole interval lies closer to the threshold than would matter."""
        plan, estimate = self.claim.plan, self.estimate
        interval = None if estimate.missing else estimate.interval
        return claims.negligible(interval, plan.threshold, plan.matters)

    @property
    def label(self) -> str:
        """What is estimated, such as "ISA-VAE minus VAE"."""
        return claims.words(self.claim.id).difference(self.claim.plan)

    def numbers(self) -> str:
        """Return mean, interval and number, such as "+0.02 [−0.01, +0.05] nats, 10 pairs"."""
        quantity = claims.words(self.claim.id).quantities[self.claim.plan.quantity]
        noun = "seeds" if self.claim.plan.second is None else "pairs"
        signed = self.claim.plan.second is not None
        return self.estimate.text(quantity["digits"], quantity["unit"], noun, signed=signed)

    def remarks(self) -> str:
        """Return what else a reader has to know: what would matter, plan, scale, correction."""
        plan = self.claim.plan
        quantity = claims.words(self.claim.id).quantities[plan.quantity]
        kind = "planned" if plan.planned else "exploratory"
        parts = [kind, f"{plan.profile} profile"]
        if plan.matters is not None:
            size = f"{plan.matters:g} {quantity['unit']}".strip()
            small = self.negligible and self.verdict in (claims.HOLDS, claims.DOES_NOT_HOLD)
            parts.append(
                f"smaller than {size}, which would matter" if small else f"{size} would matter"
            )
        if self.survives is not None:
            noun = "comparison" if self.comparisons == 1 else "comparisons"
            survives = "survives" if self.survives else "does not survive"
            parts.append(f"{survives} the correction for {self.comparisons} {kind} {noun}")
        return "; ".join(parts)


def evaluate(id: str) -> Finding:
    """Compute what the stored results say about a planned claim.

    The interval of the mean over seeds is Student's, of paired differences where two settings are
    compared (:meth:`Estimate.interval_at`, :func:`by_seed`).  The correction is Bonferroni's, over
    all comparisons of the family that are planned (or exploratory), run or not.

    Raises:
        ValueError: if the claim is not registered, or has no plan.
    """
    claim = _planned(id)
    plan = claim.plan
    results = _stored(plan)
    if plan.second is None:
        estimate = by_seed(results, plan.first, plan.quantity)
    else:
        estimate = difference(results, plan.first, plan.second, plan.quantity)
    same = [other for other in claims.planned(plan.family).values() if _counts(other, claim)]
    found, strict = (_verdict(plan, estimate, 1 - 0.05 / count) for count in (1, len(same)))
    decided = found not in (claims.NOT_RESOLVED, claims.NOT_RUN)
    return Finding(claim, estimate, found, strict == found if decided else None, len(same))


def decide(id: str) -> Finding:
    """Evaluate a planned claim, show its box, and insist on the verdict that its plan expects.

    One line in a chapter is enough: ``comparison.decide("isa.5");``.  The box carries sentence,
    verdict, numbers and provenance; its plain text holds no number.

    Returns:
        The finding, whose ``estimate`` a text may quote.

    Raises:
        ClaimError: if it was run and the verdict is not the expected one.
        ValueError: see :func:`evaluate`.
    """
    finding = evaluate(id)
    plan, estimate = finding.claim.plan, finding.estimate
    provenance = {
        "experiment": plan.experiment,
        "profile": plan.profile,
        "planned": plan.planned,
        "comparisons": finding.comparisons,
    }
    if estimate.missing:
        claims.check(id, None, claims.NOT_RUN, provenance=provenance)
        return finding
    provenance |= {"pairs": len(estimate.values), "survives": finding.survives}
    claims.check(
        id,
        _oriented(plan, estimate.interval),
        plan.expected,
        threshold=_sign(plan) * plan.threshold,
        matters=plan.matters,
        shown=f"{finding.label}: {finding.numbers()}. {_sentence(finding.remarks())}",
        provenance=provenance,
        mean=estimate.mean,
    )
    return finding


def findings(ids: str | Iterable[str]) -> list[Finding]:
    """Evaluate planned claims, given by their ids or as a family; planned ones come first."""
    chosen = list(claims.planned(ids)) if isinstance(ids, str) else list(ids)
    if not chosen:
        raise ValueError(f"no claim has a plan of the family {ids!r}.")
    found = [evaluate(id) for id in chosen]
    return sorted(found, key=lambda finding: not finding.claim.plan.planned)  # stable


def _planned(id: str) -> Claim:
    if id not in claims.registry():
        raise ValueError(f"claim {id} is not registered.")
    if (claim := claims.registry()[id]).plan is None:
        raise ValueError(f"claim {id} has no plan; use claims.check with the chapter's evidence.")
    return claim


def _counts(other: Claim, claim: Claim) -> bool:
    return other.plan.planned == claim.plan.planned


def _sign(plan: Plan) -> int:
    return 1 if plan.side == "above" else -1


def _oriented(plan: Plan, interval: tuple[float, float]) -> tuple[float, float]:
    """Mirror an interval where the claim says "below", so that "holds" is always above."""
    low, high = interval
    return (low, high) if plan.side == "above" else (-high, -low)


def _verdict(plan: Plan, estimate: Estimate, level: float) -> str:
    if estimate.missing:
        return claims.NOT_RUN
    interval = _oriented(plan, estimate.interval_at(level))
    return claims.verdict(interval, _sign(plan) * plan.threshold, plan.matters)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


_SHADE = "#ececec"
_MARKS = {  # marker and colour of a verdict in a forest plot
    claims.HOLDS: (">", figures.GREEN),
    claims.DOES_NOT_HOLD: ("<", figures.ORANGE),
    claims.SMALLER: ("D", figures.BLUE),
    claims.NOT_RESOLVED: ("o", figures.GREY),
}


def forest(ids: str | Iterable[str], caption: str = "") -> list[Finding]:
    """Display planned claims as one forest plot: a row a comparison, a panel a quantity.

    Planned comparisons come first, with filled markers, exploratory ones after them, with open
    ones.  The label stands above its interval, so that a phone shows both.  What is shaded is
    smaller than the difference that matters.  What was not run is left out.

    Args:
        ids: the claims' ids, or a family.
        caption: what to see, in a sentence.

    Returns:
        The findings that are drawn, from top to bottom.

    Raises:
        ValueError: if none of them was run; see :func:`evaluate`, too.
    """
    panels: dict[tuple[str, bool], list[Finding]] = {}
    for finding in findings(ids):
        if not finding.estimate.missing:
            plan = finding.claim.plan
            panels.setdefault((plan.quantity, plan.second is None), []).append(finding)
    if not panels:
        raise ValueError("nothing to draw: none of these comparisons was run.")
    found = [finding for panel in panels.values() for finding in panel]
    legend = _forest_legend(found)
    heights = [0.66 * len(panel) + 0.3 for panel in panels.values()]  # inches
    total = sum(heights) + 0.6 * len(panels) + 0.25 * len(legend)  # axes' labels, then the legend
    fig, axes = figures.subplots(
        len(panels), height=total / len(panels), squeeze=False, height_ratios=heights
    )
    for ax, panel in zip(axes[:, 0], panels.values(), strict=True):
        _forest_panel(ax, panel)
    fig.legend(handles=legend, loc="outside lower left", fontsize=11)
    listed = " ".join(f"{f.claim.id}, {f.label}: {f.verdict}." for f in found)
    figures.show(fig, f"Forest plot with a row for each comparison. {listed}", caption)
    return found


def _forest_panel(ax: Axes, panel: Sequence[Finding]) -> None:
    spoken, plan = claims.words(panel[0].claim.id), panel[0].claim.plan
    quantity = spoken.quantities[plan.quantity]
    for place, finding in enumerate(panel):
        plan, (marker, colour) = finding.claim.plan, _MARKS[finding.verdict]
        rows = [place + 0.1, place + 0.5]  # below the label, which nothing crosses
        if plan.matters is not None:
            across = [plan.threshold - plan.matters, plan.threshold + plan.matters]
            ax.fill_between(across, *rows, color=_SHADE, lw=0, zorder=0)
        ax.plot([plan.threshold] * 2, rows, ":", color=figures.GREY, lw=1.2, zorder=0)
        ax.plot(finding.estimate.interval, [place + 0.3] * 2, "-", color=colour, lw=2.5)
        face = colour if plan.planned else "white"
        ax.plot(finding.estimate.mean, place + 0.3, marker, color=colour, mfc=face, markersize=8)
        lines = (f"{finding.claim.id}  {finding.label}", spoken.context(plan))
        for line, above, shade in zip(lines, (0.3, 0.04), (figures.BLACK, "#555555"), strict=True):
            look = {"fontsize": 10, "va": "center", "color": shade}
            ax.text(0.0, place - above, line, transform=ax.get_yaxis_transform(), **look)
    unit = f", {quantity['unit']}" if quantity["unit"] else ""
    name = quantity["name"] if plan.second is None else f"difference of {quantity['name']}"
    ax.set(xlabel=name + unit, ylim=(len(panel) - 0.5, -0.5), yticks=[])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.spines["left"].set_visible(False)


def _forest_legend(found: Sequence[Finding]) -> list[Artist]:
    kinds = {finding.verdict for finding in found}
    marks = [
        Line2D([], [], marker=marker, color=colour, label=verdict)
        for verdict, (marker, colour) in _MARKS.items()
        if verdict in kinds
    ]
    if not all(finding.claim.plan.planned for finding in found):
        hollow = {"marker": "o", "mfc": "white", "color": figures.BLACK, "ls": "none"}
        marks.append(Line2D([], [], **hollow, label="open marker: exploratory"))
    return [*marks, Patch(color=_SHADE, label="shaded: too small to matter")]


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
        plot(mean_interval(runs), [place, place], "-", color=figures.BLACK, lw=3)
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
                xytext=(-6, -13),
                textcoords="offset points",
                ha="right",
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
    """Lengths of error bars."""
    return [middle - low, high - middle]

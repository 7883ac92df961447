"""What the papers report, beside what we found: figure by figure, table by table.

The paper's side is data, in ``book/papers/``, each fact with its place.  Ours is the verdict of a
claim, or is computed here from stored results; nothing on it is typed by hand.
"""

from __future__ import annotations

import html
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import ledger
import notebooks
import numpy as np

from vaelite import claims, experiments
from vaelite.experiments import collect, comparison, isa
from vaelite.experiments.comparison import Estimate, at, values

NOT_RUN = "not run yet"
# In the order of the page.
PAPERS = ("isa_vae", "factorial_mixture", "optimal_prior", "cpvae", "factvae", "burda")


def paper_versus_ours() -> str:
    """Return every figure and table of the papers that the book has done."""
    parts = []
    for paper in map(read, PAPERS):
        parts.append(f"## {paper['title']}")
        for place in paper["place"]:
            parts += [f"### {place['name']}: {place['shows']}", _links(place["chapters"])]
            rows = [(quantity, said, ours(source)) for quantity, said, source in place["rows"]]
            if rows:
                parts.append(ledger.stacked(rows, ("Quantity", "Paper", "Ours"), kind="versus"))
    return "\n\n".join(parts)


def read(paper: str) -> dict[str, Any]:
    """Return what a paper reports, as its file says it."""
    path = notebooks.ROOT / "book" / "papers" / f"{paper}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def ours(source: str) -> str:
    """Return our side of a row: a claim by its id, or a computation with its arguments.

    Raises:
        ValueError: if there is no such claim or computation.
    """
    if source in claims.registry():
        return _claim(source)
    name, *arguments = source.split()
    if name not in COMPUTED:
        raise ValueError(f"{source!r} is neither a claim nor one of {', '.join(COMPUTED)}.")
    return COMPUTED[name](*arguments)


def _claim(id: str) -> ledger.Html:
    """Return a claim's numbers, verdict and link, and the full profile's numbers if there are."""
    row = _rows()[id]
    verdict = (
        f'<span class="verdict claim-{claims.KINDS[row.verdict]}">{html.escape(row.verdict)}</span>'
    )
    full = html.escape(_full(id))
    return ledger.Html(
        f"{html.escape(row.numbers)} {verdict} ({ledger.row_link(id, '')}).{full}".strip()
    )


def _full(id: str) -> str:
    plan = claims.registry()[id].plan
    if plan is None or plan.second is None:
        return ""
    results = experiments.load_results(plan.experiment, "full")
    estimate = comparison.difference(results, plan.first, plan.second, plan.quantity)
    quantity = claims.words(id).quantities[plan.quantity]
    text = estimate.text(quantity["digits"], quantity["unit"])
    return "" if estimate.missing else f" Full profile: {text}."


@cache
def _rows() -> Mapping[str, ledger.Row]:
    return {row.claim.id: row for row in ledger.rows()}


def three_numbers(name: str) -> str:
    """Return mean, median and maximum of the MIG at beta = 1, of both methods of figure 5a."""
    results = experiments.load_results(name, "standard")
    shown = []
    for label, method in (("VAE", "beta-vae"), ("ISA-VAE (s = 1)", "isa-vae")):
        migs = values(results, at(method, 1.0))
        numbers = comparison.summary(migs, (np.mean, np.median, np.max))
        shown.append(f"{label}: {', '.join(numbers)} ({len(migs)} runs)")
    return "; ".join(shown)


def sorted_exponents() -> str:
    """Return the means of the learned exponents on heads, sorted within each model."""
    results = experiments.load_results("isa_heads", "standard")
    if results is None:
        return NOT_RUN
    learned = collect(results, "exponents", method="isa-vae learned")
    means = np.sort(learned, axis=1).mean(0)
    return f"means {', '.join(f'{mean:.2f}' for mean in means)} ({len(learned)} models)"


def representative(method: str, beta: str) -> str:
    """Return MIG and reconstruction of the model that the paper's rule chooses."""
    found = []
    for level in ("standard", "full"):
        results = experiments.load_results("isa_sprites", level)
        text = isa.representative_text(results, at(method, float(beta))).replace("-", "−")
        if text != NOT_RUN:
            size = results["settings"]["data"]["size"]
            found.append(f"{text}; {size} × {size} pixels")
    return ". ".join(found) or NOT_RUN


def mean(name: str, method: str, key: str, digits: str) -> str:
    """Return a quantity's mean over the seeds of a setting.

    The method's name has _ in place of spaces; parameters follow it, as in ``mvae,walks=2``.
    """
    results = experiments.load_results(name, "standard")
    method, *rest = method.split(",")
    parameters = (entry.split("=") for entry in rest)
    where = {"method": method.replace("_", " ")} | {name: int(value) for name, value in parameters}
    found = values(results, where, key)
    return Estimate(found).text(int(digits), "", "seeds", signed=False)


def setting(name: str, key: str) -> str:
    """Return a setting of the standard and of the full profile."""
    shown = []
    for level in ("standard", "full"):
        value = experiments.get(name).settings[level][key]
        text = " + ".join(map(str, value)) if isinstance(value, list) else f"{value:,}"
        shown.append(f"{level}: {text} steps" if key == "steps" else f"{level}: {text}")
    return "; ".join(shown)


def strengths(name: str, key: str) -> str:
    """Return the values of beta or gamma in the standard and in the full profile."""
    shown = []
    for level in ("standard", "full"):
        runs = experiments.get(name).settings[level]["runs"]
        found = sorted({value for run in runs for value in run.get(key, [])})
        shown.append(f"{level}: {', '.join(f'{value:g}' for value in found)}")
    return "; ".join(shown)


def log_likelihood(level: str, latents: str) -> str:
    """Return the held-out log-likelihood of a VAE with so many latents."""
    results = experiments.load_results("latent_variables", level)
    if results is None:
        return NOT_RUN
    found = collect(results, "log_likelihood", latents=int(latents))
    return Estimate(np.array(found)).text(2, "nats", "seeds", signed=False)


COMPUTED = {
    compute.__name__: compute
    for compute in (
        three_numbers,
        sorted_exponents,
        representative,
        mean,
        setting,
        strengths,
        log_likelihood,
    )
}


def _links(chapters: Iterable[str]) -> str:
    links = []
    for number in chapters:
        [source] = [path for path in notebooks.chapters() if path.name.startswith(number)]
        links.append(f"[chapter {number}](../chapters/{source.stem}.ipynb)")
    return f"Drawn or derived in {' and '.join(links)}."

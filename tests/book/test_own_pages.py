"""The pages for who comes with data of their own: their code runs, their claims stand."""

import re

import contents
import notebooks
import numpy as np
import pages
import pytest
import torch
from notebooks import ROOT

from vaelite import claims
from vaelite.experiments import comparison
from vaelite.vae import VAE, Prior

DECIDE = (ROOT / "book" / "decide.md").read_text(encoding="utf-8")
OWN = (ROOT / "book" / "own_model.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (\d)\. \w+\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)

# What the sentences of the decision page rely on.  When a verdict changes, read its sentence again.
HOLDS, NOT, SMALLER = claims.HOLDS, claims.DOES_NOT_HOLD, claims.SMALLER
RELIED_ON = {
    "cp.11": NOT,
    "cp.13": NOT,
    "cp.14": HOLDS,
    "cp.16": HOLDS,
    "cpa.3": claims.NOT_RESOLVED,
    "op.7": NOT,
    "op.15": HOLDS,
    "op.31": NOT,
    "op.38": NOT,
    "op.46": NOT,
    "op.53": NOT,
    "op.61": NOT,
    "op.65": HOLDS,
    "fv.35": HOLDS,
    "fv.59": SMALLER,
    "fv.69": NOT,
    "fv.71": NOT,
    "fv.73": NOT,
    "one.89": HOLDS,
    "fm.3": HOLDS,
    "fm.53": HOLDS,
    "fm.54": NOT,
    "fm.59": HOLDS,
    "fm.62": NOT,
    "dt.1": HOLDS,
    "dt.2": HOLDS,
    "isa.5": SMALLER,
    "isa.21": SMALLER,
    "lv.12": HOLDS,
    "lv.17": HOLDS,
    "lv.18": HOLDS,
    "lv.25": SMALLER,
    "lv.26": HOLDS,
}


def code_of(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def chapters_in(text):
    return set(re.findall(r"\.\./chapters/(\d\d)_", text))


@pytest.fixture(scope="module")
def recorded():
    """The verdicts that the executed chapters recorded."""
    found = {}
    for source in notebooks.chapters():
        for record in notebooks.claims_of(notebooks.read_executed(source)):
            found[record["id"]] = record["verdict"]
    return found


def test_every_line_of_the_decision_page_runs(capsys):
    first, *blocks = code_of(DECIDE)
    assert len(blocks) == len(SECTION.findall(DECIDE)) == 6
    torch.manual_seed(0)
    namespace = {}
    exec(first, namespace)
    namespace["budget"] = {"steps": 3, "batch_size": 64}
    models = []
    for block in blocks:
        exec(re.sub(r"Phase\(\d+", "Phase(3", block), namespace)
        models.append(type(namespace["model"]).__name__)
        x, model = namespace["x"], namespace["model"]
        assert all(p.isfinite().all() for p in model.parameters())
    assert models == [
        "CPVAE",
        "OptimalPriorVAE",
        "FactVAE",
        "FactorialMixtureVAE",
        "BetaTCVAE",
        "VAE",
    ]
    assert x.shape == (1797, 64) and torch.isfinite(namespace["score"])
    assert 0 <= namespace["told"] <= 1
    share = (namespace["task"] == 0).float().mean()
    assert f"the largest, here {share:.0%}".replace("%", " %") in DECIDE
    assert [part.shape for part in namespace["filled"]] == [(1797, n) for n in (20, 20, 24)]


def test_the_checks_that_the_decision_page_names_exist():
    namespace = {}
    exec(code_of(DECIDE)[0], namespace)
    x, D = namespace["x"], namespace["D"]
    cpvae = namespace["CPVAE"].mlp(2, D, 8, 2, 2, mutual_information=0.0)
    assert cpvae.reconstruct(x[:3], 0, part="private").shape == (3, D)
    optimal = namespace["OptimalPriorVAE"].mlp(2, D, 8, 2)
    optimal.prior.normalize(samples=100, codes=torch.randn(50, 2))
    assert torch.isfinite(optimal.prior.log_constant)
    assert len(namespace["FactorialMixture"]([10], 8).used()[0]) == 10
    # Two kinds of labels and a free rest, in use after a few steps.
    for words in ("([7, 5, 16], 4, labelled=2)", "the model has 12", "sample(16, {0: 3, 1: 2})"):
        assert words in DECIDE
    labels = torch.stack([torch.arange(len(x)) % 7, torch.arange(len(x)) % 5], 1)
    mixture = namespace["FactorialMixtureVAE"].mlp(
        D,
        8,
        12,
        prior=namespace["FactorialMixture"]([7, 5, 16], 4, labelled=2),
        dataset_size=len(x),
        label_weight=50.0,
    )
    phases = [namespace["Phase"](2, before=namespace[name]) for name in ("pretrain", "seed")]
    namespace["fit"](mixture, (x, labels), phases=phases, batch_size=64, progress=False)
    assert mixture.sample(16, {0: 3, 1: 2}).shape == (16, D)


@pytest.mark.parametrize(
    "name", ["VAE", "BetaTCVAE", "CVAE", "OptimalPriorVAE", "CPVAE", "mixture"]
)
def test_every_model_takes_readings_as_the_decision_page_says(name):
    (line,) = re.findall(r"`(likelihood=Gaussian.*?)`", DECIDE)
    namespace = {}
    exec(code_of(DECIDE)[0], namespace)
    exec(f"D = 5; options = dict({line})", namespace)
    first = {"CVAE": (2,), "OptimalPriorVAE": (2,), "CPVAE": (2,)}.get(name, ())
    sizes = (5, 8, 4, 2) if name == "CPVAE" else (5, 8, 4)
    options = namespace["options"]
    if name in ("BetaTCVAE", "mixture"):
        options["dataset_size"] = 9
    if name == "mixture":
        options["prior"] = namespace["FactorialMixture"]([3], 4)
    kind = namespace["FactorialMixtureVAE" if name == "mixture" else name]
    model = kind.mlp(*first, *sizes, **options)
    assert model.likelihood.learned and model.likelihood.log_var.shape == (5,)


def test_every_claim_of_the_decision_page_says_what_its_sentence_needs(recorded):
    cited = {match["id"] for match in pages.CLAIM.finditer(DECIDE)}
    assert cited == RELIED_ON.keys()
    assert pages.settle(DECIDE).count("claims.md#") == DECIDE.count("claims.md#")
    for id in cited:
        plan = claims.registry()[id].plan
        verdict = recorded[id] if plan is None else comparison.evaluate(id).verdict
        assert verdict == RELIED_ON[id], f"{id}: {verdict}"


def test_five_data_sets_are_led_to_the_chapter_of_their_first_yes():
    sections = {number: chapters_in(text) for number, text in SECTION.findall(DECIDE)}
    listed = re.findall(r"^(\d)\. \[[^\]]+\]\(#(\d)-(\w+)\)", DECIDE, re.MULTILINE)
    titles = re.findall(r"^## (\d)\. (\w+)$", DECIDE, re.MULTILINE)
    assert [(a, b, word) for a, b, word in listed] == [(n, n, w.lower()) for n, w in titles]
    tail = DECIDE[DECIDE.index("## Five data sets") : DECIDE.index("## Now with")]
    examples = re.findall(r"^\*\*(.*?)\*\*(.*?)(?=^\*\*|\Z)", tail, re.MULTILINE | re.DOTALL)
    assert len(examples) == 5
    reached = []
    for name, text in examples:
        answers = re.findall(r"(\d)(?: (yes|no))?(?=[,:])", text[text.rindex("1 ") :])
        numbers, words = zip(*answers, strict=True)
        assert list(numbers) == [str(n) for n in range(1, len(numbers) + 1)], name
        assert set(words[:-1]) <= {"no"} and words[-1] == ("" if numbers[-1] == "6" else "yes"), (
            name
        )
        assert chapters_in(text) <= sections[numbers[-1]], name
        reached.append(numbers[-1])
    assert sorted(reached) == ["1", "2", "3", "4", "6"]


def test_a_model_of_your_own_takes_twenty_lines_and_works():
    first, *rest = code_of(OWN)
    lines = [line for line in first.splitlines() if line.strip()]
    body = [line for line in lines if not line.startswith(("import", "from"))]
    assert len(body) <= 20 and max(map(len, first.splitlines())) <= 88
    namespace = {}
    torch.manual_seed(0)
    for block in (first, *rest):
        exec(block, namespace)
    model, history = namespace["model"], namespace["history"]
    assert isinstance(model, VAE) and isinstance(model.prior, Prior)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    # Better than a guess of every pixel by its own mean, which knows no picture.
    test = namespace["test"]
    means = namespace["load"]("digits", split="train").flat().mean(0).clamp(1e-3, 1 - 1e-3)
    alone = (test * means.log() + (1 - test) * (1 - means).log()).sum(1).mean()
    assert namespace["score"] > alone + 1
    assert namespace["new"].shape == (16, 64) and 0 < namespace["active"] <= 8


def test_the_check_of_the_prior_notices_a_wrong_one():
    first, _, check = code_of(OWN)
    wrong = first[: first.index("model =")].replace(".sum(-1)", ".sum(-1) + 0.1")
    assert wrong != first[: first.index("model =")]
    namespace = {}
    exec(wrong, namespace)
    with pytest.raises(AssertionError):
        exec(check, namespace)
    wide = first[: first.index("model =")].replace("1.0).sample", "1.3).sample")
    exec(wide, namespace)
    with pytest.raises(AssertionError):
        exec(check, namespace)


def test_what_is_to_come_is_text_and_what_is_wrong_is_refused(monkeypatch):
    monkeypatch.setattr(contents, "PLANNED", {99: "Of the future"})
    link = "[chapter 99](../chapters/99_future.ipynb)"
    assert pages.settle(f"see {link}.") == "see chapter 99 (planned)."
    here = "[chapter 01](../chapters/01_latent_variables.ipynb), [lv.12](claims.md#lv-12)"
    assert pages.settle(here) == here
    monkeypatch.setattr(pages, "TO_COME", {"zz": 99})
    assert pages.settle("([zz.4](claims.md#zz-4))") == "(zz.4)"
    with pytest.raises(ValueError, match=r"claim lv\.999 is not registered"):
        pages.settle("[lv.999](claims.md#lv-999)")
    with pytest.raises(ValueError, match=r"link of claim lv\.12 leads to lv-1"):
        pages.settle("[lv.12](claims.md#lv-1)")


def test_numbers_of_the_digits_on_the_page():
    count, pixels = re.search(r"here ([\d,]+) digits of (\d+) pixels", DECIDE).groups()
    from sklearn.datasets import load_digits

    assert np.shape(load_digits().data) == (int(count.replace(",", "")), int(pixels))

"""The page of findings: groups of claims whose verdicts are what the groups say."""

import re

import findings
import ledger
import pytest

from vaelite import claims
from vaelite.experiments import comparison

GROUPS = [group for section in findings.sections() for group in section["group"]]
CITED = [(id, verdict) for group in GROUPS for id, verdict in findings.cited(group).items()]


@pytest.fixture(scope="module")
def page():
    return findings.findings()


@pytest.mark.parametrize(("id", "verdict"), CITED)
def test_a_claim_has_the_verdict_that_its_group_says(id, verdict):
    assert ledger.row(id).verdict == verdict


def test_every_kind_of_finding_and_every_paper_is_there():
    assert {verdict for _, verdict in CITED} == set(claims.VERDICTS) - {claims.NOT_RUN}
    assert {id.partition(".")[0] for id, _ in CITED} >= {
        "vb",
        "dt",
        "ln",
        "isa",
        "op",
        "cp",
        "cpa",
        "fm",
        "fv",
    }
    titles = [section["title"] for section in findings.sections()]
    assert titles[:3] == ["What held", "What did not hold", "What was smaller than what matters"]
    assert titles[-1] == "What the papers do not say"


def test_a_section_of_one_verdict_has_no_group_without_it():
    for title, verdict in zip(
        ("What held", "What did not hold", "What was smaller than what matters", "What stays open"),
        (claims.HOLDS, claims.DOES_NOT_HOLD, claims.SMALLER, claims.NOT_RESOLVED),
        strict=True,
    ):
        (section,) = (one for one in findings.sections() if one["title"] == title)
        assert all(verdict in group for group in section["group"])


def test_sentences_hold_no_measured_number_and_stand_once():
    sentences = [group["sentence"] for group in GROUPS]
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence.endswith(".")
        assert not re.search(r"\d+\.\d", sentence), sentence


def test_the_page_shows_each_cited_claim_with_seeds_and_command(page):
    shown = re.findall(r'<article [^>]*id="([a-z]+-\d+)"', page)
    assert shown == [id.replace(".", "-") for id, _ in CITED]
    assert page.count('<p class="ledger-source">Seeds: ') == len(CITED)
    for block in re.findall(r"<details class=\"finding\">.*?</details>", page, re.DOTALL):
        assert "\n\n" not in block


@pytest.mark.parametrize("id", [id for id, _ in CITED if claims.registry()[id].plan])
def test_seeds_and_command_are_those_of_the_evidence(id):
    row = ledger.row(id)
    assert len(findings._seeds(row.claim.plan)) == len(comparison.evaluate(id).estimate.values)
    plan = row.claim.plan
    wanted = f"python -m vaelite reproduce {plan.experiment} --profile {plan.profile}"
    assert findings.command(row) == wanted


def test_the_tally_counts_every_claim(page):
    *_, last = re.findall(r"<tr>(.*?)</tr>", page[page.index("## All claims") :])
    assert sum(map(int, re.findall(r">(\d+)<", last))) == len(claims.registry())


def test_a_wrong_group_is_refused():
    wrong = {"sentence": "S.", "does not hold": ["lv.1"]}
    with pytest.raises(ValueError, match=r"lv\.1 is under 'does not hold' .* verdict is 'holds'"):
        findings._group(wrong)
    with pytest.raises(ValueError, match=r"lv\.999 of the findings is not registered"):
        findings.cited({"sentence": "S.", "holds": ["lv.999"]})
    with pytest.raises(ValueError, match="'true' must be one of holds, does not hold"):
        findings.cited({"sentence": "S.", "true": ["lv.1"]})
    with pytest.raises(ValueError, match=r"lv\.1 is twice under"):
        findings.cited({"sentence": "S.", "holds": ["lv.1"], "does not hold": ["lv.1"]})

"""The plan: every comparison of the book, evaluated; sentences that say what is computed.

``plan_problems`` and ``reviewed_problems`` are functions, so that a list of deliberate mistakes can
show that they notice.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from vaelite import claims
from vaelite.experiments import comparison, load_results, names

REVIEWED = Path(__file__).with_name("claims_reviewed.json")
UNDECIDED = (claims.NOT_RESOLVED, claims.NOT_RUN)


def digest(statement: str) -> str:
    """What stands for a sentence in the list of reviewed ones."""
    return hashlib.sha256(" ".join(statement.split()).encode()).hexdigest()[:12]


def reviewed_problems(registry: Mapping[str, claims.Claim] | None = None) -> list[str]:
    """Return a sentence for each hand-written statement that nobody has reviewed as it stands."""
    registry = claims.registry() if registry is None else registry
    reviewed = json.loads(REVIEWED.read_text(encoding="utf-8"))
    by_hand = {id: claim for id, claim in registry.items() if claim.plan is None}
    found = [
        f"the sentence of {id} is not the one that was reviewed: read it beside its evidence, then "
        "run `python tests/test_plan.py`."
        for id, claim in by_hand.items()
        if reviewed.get(id) != digest(claim.statement)
    ]
    return found + [f"{id} is reviewed, but not registered." for id in reviewed.keys() - by_hand]


def plan_problems() -> list[str]:
    """Return a sentence for each planned claim whose stored results say something else."""
    found = []
    for id, claim in claims.planned().items():
        finding = comparison.evaluate(id)
        if finding.verdict not in (claim.plan.expected, claims.NOT_RUN):
            found.append(
                f"{id} is expected to come out as {claim.plan.expected!r}, but {finding.verdict}: "
                f"{finding.label}, {finding.numbers()}."
            )
        if finding.estimate.missing and _should_be_there(claim.plan):
            found.append(f"{id} has no results, though its run is stored.")
    return found


def _should_be_there(plan) -> bool:
    """Whether the stored file says that both settings were run."""
    results = load_results(plan.experiment, plan.profile)
    if results is None:
        return False
    trials = [entry["trial"] for entry in results["trials"]]
    return all(
        any(setting.items() <= trial.items() for trial in trials)
        for setting in (plan.first, plan.second)
        if setting is not None
    )


def test_every_planned_comparison_comes_out_as_the_book_says():
    assert not plan_problems()


def test_every_comparison_names_a_difference_that_would_matter_and_says_why():
    for id, claim in claims.planned().items():
        assert claim.plan.matters and claim.plan.why, id


def test_every_plan_names_an_experiment_and_a_verdict():
    for id, claim in claims.planned().items():
        assert claim.plan.experiment in names(), id
        assert claim.plan.expected in claims.VERDICTS, id
        assert claim.plan.expected != claims.NOT_RUN, id


def test_no_comparison_is_planned_twice():
    plans = [
        (p.experiment, p.profile, repr(p.first), repr(p.second), p.quantity, p.side)
        for p in (claim.plan for claim in claims.planned().values())
    ]
    assert len(set(plans)) == len(plans)


@pytest.mark.parametrize("id", claims.planned())
def test_a_sentence_names_both_settings_in_the_order_of_the_difference(id):
    claim, words = claims.registry()[id], claims.words(id)
    first = claim.statement.index(words.label(claim.plan.first))
    verb = claim.statement.index(words.quantities[claim.plan.quantity][claim.plan.side])
    assert first < verb
    if claim.plan.second is not None:
        assert claim.statement.rindex(words.label(claim.plan.second)) > verb


def test_verbs_say_the_direction_that_is_computed():
    """The words that generate the sentences are few: they are held here one by one."""
    higher = {"higher", "better", "larger", "more"}
    lower = {"lower", "worse", "smaller", "fewer"}
    for prefix in {id.partition(".")[0] for id in claims.planned()}:
        for key, quantity in claims.words(f"{prefix}.1").quantities.items():
            assert higher & set(quantity["above"].split()), key
            assert not lower & set(quantity["above"].split()), key
            assert " not " not in quantity["above"], key
            if "below" in quantity:
                assert lower & set(quantity["below"].split()), key
                assert not higher & set(quantity["below"].split()), key


def test_labels_are_told_apart():
    for id, claim in claims.planned().items():
        words, plan = claims.words(id), claim.plan
        if plan.second is not None and plan.first.get("beta") == plan.second.get("beta"):
            assert words.label(plan.first) != words.label(plan.second), id


def test_swapping_a_plan_turns_its_sentence_and_its_verdict():
    """What a sentence says cannot be turned around without turning what is computed."""
    for id, claim in claims.planned().items():
        plan = claim.plan
        finding = comparison.evaluate(id)
        if plan.second is None or finding.verdict not in (claims.HOLDS, claims.DOES_NOT_HOLD):
            continue
        swapped = claims.Plan(**{**plan.__dict__, "first": plan.second, "second": plan.first})
        assert claims.words(id).sentence(swapped) != claim.statement
        low, high = finding.estimate.interval
        assert claims.verdict((-high, -low), 0.0, plan.matters) != finding.verdict


def test_sentences_written_by_hand_are_the_reviewed_ones():
    assert not reviewed_problems()


def test_a_sentence_turned_around_is_noticed():
    turned = {
        id: claims.Claim(id, claim.statement.replace(" is ", " is not "), claim.source)
        for id, claim in claims.registry().items()
        if claim.plan is None and " is " in claim.statement
    }
    assert turned
    found = reviewed_problems({**claims.registry(), **turned})
    assert len(found) == len(turned)


if __name__ == "__main__":
    sentences = {
        id: digest(claim.statement) for id, claim in claims.registry().items() if claim.plan is None
    }
    REVIEWED.write_text(json.dumps(sentences, indent=1) + "\n", encoding="utf-8")

"""What stored results promise: that today's code declares, trains and measures the same."""

import hashlib
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from vaelite import data, profile
from vaelite.experiments import checks, get, names
from vaelite.experiments.results import read, results_folder

FOLDER = results_folder()
REVIEWED = Path(__file__).parents[1] / "results_reviewed.json"
STORED = [
    (name, chosen)
    for name in names()
    for chosen in profile.PROFILES
    if (FOLDER / f"{name}.{chosen}.json").exists()
]
# All tests of one experiment in turn, so that its data are drawn once.
every_stored = pytest.mark.parametrize(("name", "chosen"), STORED, scope="module")


@cache
def stored(name, chosen="standard"):
    return read(FOLDER / f"{name}.{chosen}.json")


def needs_data(results):
    """Skip where real data of a run are not at hand; a test downloads nothing."""
    for name in results["settings"].get("real_data", []):
        if not data.real_set(name).path.exists():
            pytest.skip(f"{name} is not in the cache of data sets")


def digest(results):
    """What stands for all trials and their numbers in the list of those that a run has written."""
    rows = [[entry["trial"], entry["result"]] for entry in results["trials"]]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def reviewed_problems(name, chosen, results):
    """Identities and anchors hold some numbers of some rows; this holds every number."""
    wanted = json.loads(REVIEWED.read_text(encoding="utf-8")).get(f"{name}.{chosen}")
    if wanted == digest(results) or (wanted is None and chosen != "standard"):
        return []
    return [
        f"the numbers of {name}.{chosen}.json are not those that were reviewed; if a run wrote "
        "them, look at `make verify`, then run `python tests/experiments/test_stored.py`."
    ]


def passes(problems):
    """Fail with all that a check complains of."""
    assert not problems, "\n".join(problems[:5])


def test_every_experiment_has_results_of_the_standard_profile():
    assert {name for name, chosen in STORED if chosen == "standard"} == set(names())


def test_nothing_lies_beside_the_results_that_belongs_to_none():
    belonging = {
        f"{name}.{chosen}{end}" for name, chosen in STORED for end in (".json", ".anchors.npz")
    }
    found = {
        path.name
        for path in FOLDER.iterdir()
        if not re.search(r"\.partial\.|\.checkpoint$", path.name)
    }
    assert found <= belonging


@every_stored
def test_settings_seeds_and_trials_are_those_that_the_code_declares(name, chosen):
    passes(checks.declared(stored(name, chosen), get(name)))


@every_stored
def test_every_row_keeps_its_identities(name, chosen):
    passes(checks.identities(stored(name, chosen)))


@every_stored
def test_the_numbers_are_those_that_a_run_has_written(name, chosen):
    passes(reviewed_problems(name, chosen, stored(name, chosen)))


@pytest.mark.parametrize("name", names())
def test_a_thousandth_in_any_kind_of_number_is_noticed(name):
    """In the last row that has it, which need hold no anchor, and though no identity holds it."""
    results = read(FOLDER / f"{name}.standard.json")
    rows = [entry["result"] for entry in results["trials"]]
    places = {key: row for row in rows for key in row if isinstance(row[key], float)}
    assert places
    for key, row in places.items():
        kept, row[key] = row[key], row[key] * 1.001 + 1e-9
        assert reviewed_problems(name, "standard", results), key
        row[key] = kept
    assert not reviewed_problems(name, "standard", results)


@every_stored
def test_the_first_steps_are_those_of_the_trace(name, chosen):
    needs_data(stored(name, chosen))
    passes(checks.trace(stored(name, chosen), get(name)))


@every_stored
def test_anchors_are_measured_as_stored(name, chosen):
    path = FOLDER / f"{name}.{chosen}.json"
    needs_data(stored(name, chosen))
    passes(checks.anchors(stored(name, chosen), get(name), path))


@every_stored
def test_results_say_which_code_made_them(name, chosen):
    results = stored(name, chosen)
    commits = [*results["commits"]["trials"], *results["commits"]["anchors"]]
    if get(name).train is not None:
        commits.append(results["commits"]["trace"])
        declared = get(name).anchors([entry["trial"] for entry in results["trials"]])
        assert results["trace"] and results["anchors"]["trials"] == declared
    for commit in commits:
        assert re.fullmatch(r"[\w.-]*[0-9a-f]{7,40}", commit), commit
    assert results["hardware"] and results["versions"]["torch"]


def test_the_commits_that_results_name_are_in_the_history():
    def git(*arguments):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shallow = git("rev-parse", "--is-shallow-repository")
    if shallow.returncode or shallow.stdout.strip() != "false":
        pytest.skip("this copy of the book has no history")
    named = set()
    for name, chosen in STORED:
        commits = stored(name, chosen)["commits"]
        named |= {*commits["trials"], *commits["anchors"], commits["trace"]}
    for commit in named - {None}:
        assert not git("merge-base", "--is-ancestor", commit, "HEAD").returncode, commit


@every_stored
def test_methods_are_compared_on_the_same_seeds(name, chosen):
    """At one strength, the seeds of every method are the first ones of the longest list."""
    by_strength = {}
    for entry in stored(name, chosen)["trials"]:
        trial = dict(entry["trial"])
        seed, method = trial.pop("seed"), trial.pop("method", None)
        by_strength.setdefault(str(trial), {}).setdefault(method, []).append(seed)
    for methods in by_strength.values():
        longest = max(methods.values(), key=len)
        for seeds in methods.values():
            assert seeds == longest[: len(seeds)]


if __name__ == "__main__":
    digests = {f"{name}.{chosen}": digest(stored(name, chosen)) for name, chosen in STORED}
    REVIEWED.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaelite import experiments, profile
from vaelite.experiments import (
    Experiment,
    anchors,
    catalogue,
    checks,
    collect,
    load_models,
    load_results,
    runner,
)
from vaelite.experiments import results as stored
from vaelite.experiments.isa import common as isa
from vaelite.training import History

SETTINGS = {
    "quick": {"repeats": 3, "betas": (1.0, 5.0)},
    "standard": {"repeats": 7, "betas": [1.0]},
    "full": {"repeats": 11, "betas": [1.0]},
}


def trials(settings):
    return [
        {"beta": beta, "seed": profile.seed(repeat)}
        for beta in settings["betas"]
        for repeat in range(settings["repeats"])
    ]


def run_trial(trial, settings):
    rng = np.random.default_rng(trial["seed"])
    return {"mean": rng.normal(trial["beta"], size=5).mean(), "big": trial["beta"] > 2}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELITE_RESULTS", str(tmp_path))
    monkeypatch.delenv("VAELITE_SEED", raising=False)
    monkeypatch.setattr(catalogue, "names", lambda: ["toy"])

    def make(run_trial=run_trial, trials=trials, settings=SETTINGS, **others):
        others = {"code_digest": "abc", **others}
        return Experiment("toy", settings, trials, run_trial=run_trial, **others)

    make.folder = tmp_path
    return make


def failing_at(number, error):
    """A run_trial that raises at its call of that number, counted from 0, and once only."""
    calls = []

    def run(trial, settings):
        calls.append(trial)
        if len(calls) == number + 1:
            raise error
        return run_trial(trial, settings)

    run.calls = calls
    return run


def without_times(results):
    other = ("seconds", "trials", "trace", "anchors", "commits")
    kept = {key: value for key, value in results.items() if key not in other}
    return kept | {"trials": [(entry["trial"], entry["result"]) for entry in results["trials"]]}


def test_a_run_is_stored_and_read_back(toy):
    results = toy().run("quick", folder=toy.folder, progress=False)
    assert load_results("toy", "quick") == results
    assert [path.name for path in toy.folder.iterdir()] == ["toy.quick.json"]
    assert len(results["trials"]) == 6
    assert results["settings"] == {"repeats": 3, "betas": [1.0, 5.0]}
    assert results["commits"]["trials"] == {stored.commit(): 6}
    assert "code_digest" not in results
    assert results["seconds"] >= 0
    assert {"python", "numpy", "torch", "vaelite"} <= set(results["versions"])
    assert results["hardware"][0]["cores"] >= 1


def test_what_is_done_is_on_disk_before_the_run_ends(toy):
    seen = []

    def run(trial, settings):
        seen.append([name for name in files(toy) if not name.endswith(".lock")])
        return run_trial(trial, settings)

    toy(run).run("quick", folder=toy.folder, progress=False)
    assert seen[0] == []
    assert seen[1] == seen[-1] == ["toy.quick.partial.json"]


def test_a_stored_file_has_one_line_for_each_trial(toy):
    toy().run("quick", folder=toy.folder, progress=False)
    lines = (toy.folder / "toy.quick.json").read_text().splitlines()
    assert sum('"seed"' in line for line in lines) == 6


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(toy, monkeypatch):
    first = toy().run("quick", progress=False)
    assert without_times(first) == without_times(toy().run("quick", progress=False))
    monkeypatch.setenv("VAELITE_SEED", "100")
    other = toy().run("quick", progress=False)
    assert other["base_seed"] == 100
    assert set(collect(first, "mean")).isdisjoint(collect(other, "mean"))


def test_without_a_folder_nothing_is_written(toy):
    toy().run("quick", progress=False)
    assert list(toy.folder.iterdir()) == []
    assert load_results("toy", "quick") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_run_resumes_where_it_stopped(toy, error):
    whole = toy().run("quick", progress=False)
    broken = failing_at(4, error)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        toy(broken).run("quick", folder=toy.folder, progress=False)
    assert load_results("toy", "quick") is None
    resumed = toy(broken).run("quick", folder=toy.folder, resume=True, progress=False)
    assert without_times(resumed) == without_times(whole)
    assert len(broken.calls) == 4 + 1 + 2  # four done, one failed, two left
    assert [path.name for path in toy.folder.iterdir()] == ["toy.quick.json"]


def test_a_failing_trial_is_named(toy):
    with pytest.raises(RuntimeError, match=r"toy: trial .*'seed': 1.* failed: KeyError: 'x'"):
        toy(failing_at(1, KeyError("x"))).run("quick", progress=False)


def test_an_interrupted_run_leaves_the_complete_one_alone(toy):
    complete = toy().run("quick", folder=toy.folder, progress=False)
    with pytest.raises(KeyboardInterrupt):
        toy(failing_at(2, KeyboardInterrupt())).run("quick", folder=toy.folder, progress=False)
    assert load_results("toy", "quick") == complete


def test_resuming_a_complete_run_does_nothing(toy):
    first = toy().run("quick", folder=toy.folder, progress=False)
    idle = failing_at(0, AssertionError("a trial ran"))
    assert toy(idle).run("quick", folder=toy.folder, resume=True, progress=False) == first


def interrupt(toy):
    with pytest.raises(KeyboardInterrupt):
        toy(failing_at(2, KeyboardInterrupt())).run("quick", folder=toy.folder, progress=False)


def test_trials_of_other_code_are_not_resumed(toy):
    interrupt(toy)
    with pytest.raises(ValueError, match=r"another code digest; run it again without --resume"):
        toy(code_digest="def").run("quick", folder=toy.folder, resume=True, progress=False)


def test_trials_of_other_settings_are_not_resumed(toy):
    interrupt(toy)
    other = {"quick": {**SETTINGS["quick"], "repeats": 4}}
    with pytest.raises(ValueError, match="another settings"):
        toy(settings=other).run("quick", folder=toy.folder, resume=True, progress=False)


def test_trials_of_another_seed_are_not_resumed(toy, monkeypatch):
    interrupt(toy)
    monkeypatch.setenv("VAELITE_SEED", "5")
    with pytest.raises(ValueError, match="another base seed"):
        toy().run("quick", folder=toy.folder, resume=True, progress=False)


def test_trials_in_another_order_are_not_resumed(toy):
    interrupt(toy)
    turned = toy(trials=lambda settings: trials(settings)[::-1])
    with pytest.raises(ValueError, match="not those of this run, in their order"):
        turned.run("quick", folder=toy.folder, resume=True, progress=False)


def test_without_resume_an_interrupted_run_starts_again(toy):
    interrupt(toy)
    counted = failing_at(99, None)
    toy(counted).run("quick", folder=toy.folder, progress=False)
    assert len(counted.calls) == 6


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (float("nan"), None),
        (1 / 3, 0.3333333333),
        (1.5e-300, 1.5e-300),
        (np.array([1.0, -np.inf]), [1.0, None]),
        ({"a": (1, "b", None)}, {"a": [1, "b", None]}),
    ],
)
def test_what_a_result_may_hold(toy, value, stored):
    results = toy(lambda trial, settings: {"x": value}).run("quick", progress=False)
    assert collect(results, "x", beta=5.0, seed=1) == [stored]
    json.dumps(results, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [({1: 2}, "keys must be strings"), (object(), r"result\['x'\] is a object")],
)
def test_what_a_result_may_not_hold(toy, value, message):
    with pytest.raises(RuntimeError, match=message):
        toy(lambda trial, settings: {"x": value}).run("quick", progress=False)


def test_a_trial_cannot_change_the_settings_that_are_stored(toy):
    def run(trial, settings):
        settings["repeats"] = trial["seed"] = "changed"
        return {}

    results = toy(run).run("quick", progress=False)
    assert results["settings"]["repeats"] == 3
    assert [entry["trial"]["seed"] for entry in results["trials"]] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "has no trials"),
        ([{"beta": 1.0}], 'integer "seed"'),
        ([{"seed": 0.5}], 'integer "seed"'),
        ([{"seed": 1, "beta": 2}, {"beta": 2, "seed": 1}], "two trials are equal"),
    ],
)
def test_malformed_trials(toy, bad, message):
    with pytest.raises(ValueError, match=message):
        toy(trials=lambda settings: bad).run("quick", progress=False)


def test_unknown_names(toy):
    for ask in (experiments.get, lambda name: load_results(name, "quick")):
        with pytest.raises(ValueError, match="there is no experiment 'nothing'; there are: toy"):
            ask("nothing")
    with pytest.raises(ValueError, match="no profile 'huge'; it has quick, standard, full"):
        toy().run("huge")
    with pytest.raises(ValueError, match="there is no profile 'huge'"):
        load_results("toy", "huge")


def test_collect_says_what_is_missing(toy):
    results = toy().run("quick", progress=False)
    assert collect(results, "big", beta=5.0) == [True, True, True]
    with pytest.raises(ValueError, match="no trial of toy has"):
        collect(results, "mean", beta=3.0)
    with pytest.raises(ValueError, match="did not measure 'median'; it measured mean, big"):
        collect(results, "median")


@pytest.mark.parametrize("there", ["toy.quick.json", "toy.quick.partial.json", None])
def test_results_that_cannot_be_written_stop_before_the_first_trial(toy, there):
    first = failing_at(0, ValueError("too late"))
    if there is None:
        folder = toy.folder / "file"
        folder.write_text("")
    else:
        folder = toy.folder
        (folder / there).mkdir()
    with pytest.raises(OSError, match=r"the results file .*json cannot be written: "):
        toy(first).run("quick", folder=folder, progress=False)
    assert first.calls == []


def test_a_run_survives_another_that_takes_the_unfinished_file_away(toy, monkeypatch):
    write = stored.write

    def write_and_lose(what, path):
        write(what, path)
        if "partial" in path.name:
            path.unlink()

    monkeypatch.setattr(runner, "write", write_and_lose)
    toy().run("quick", folder=toy.folder, progress=False)
    assert [path.name for path in toy.folder.iterdir()] == ["toy.quick.json"]
    assert len(load_results("toy", "quick")["trials"]) == 6


INCOMPLETE = '{"trials": [], "settings": {}, "code_digest": ""}'


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", INCOMPLETE])
def test_a_damaged_file_says_what_to_do(toy, text):
    (toy.folder / "toy.quick.json").write_text(text)
    with pytest.raises(ValueError, match=r"toy\.quick\.json is damaged; delete it"):
        load_results("toy", "quick")


def test_where_results_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELITE_RESULTS", str(tmp_path))
    assert experiments.results_folder() == tmp_path
    monkeypatch.delenv("VAELITE_RESULTS")
    assert (experiments.results_folder() / ".." / ".." / "vaelite").resolve().is_dir()
    # Installed without its repository, the package keeps its hands off the installation.
    monkeypatch.setattr(stored, "__file__", str(tmp_path / "vaelite" / "a" / "__init__.py"))
    assert experiments.results_folder() == Path("book/results")


def test_a_stored_file_names_no_machine_and_no_folder(toy):
    import platform

    toy().run("quick", folder=toy.folder, progress=False)
    text = (toy.folder / "toy.quick.json").read_text()
    assert platform.node() not in text
    assert str(toy.folder) not in text


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_of_the_package_keeps_the_protocol(name):
    experiment = experiments.get(name)
    assert list(experiment.settings) == ["quick", "standard", "full"]
    for settings in experiment.settings.values():
        settings = stored.plain(dict(settings), "settings")
        runner._check_trials(name, experiment.trials(settings))
    assert len(experiment.code_digest) == 64


class Known(torch.nn.Module):
    """A model that knows one number."""

    def __init__(self, mean=0.0, size=1):
        super().__init__()
        self.register_buffer("mean", torch.tensor([mean] * size, dtype=torch.float64))


def training(run, size=1):
    """The functions of an experiment with models; ``run`` gives the rows of a group."""

    def train(group, settings, checkpoint=None):
        if settings["steps"] == runner.TRACE_STEPS:
            rows = [run_trial(trial, settings) for trial in group]
        else:
            rows = run(group, settings, checkpoint)
        steps = np.arange(settings["steps"]) + 1
        losses = [row["mean"] / steps for row in rows]
        histories = [History(steps, {"loss": loss, "kl": 2 * loss}, 0.0) for loss in losses]
        return [Known(row["mean"], size) for row in rows], histories

    return {
        "run_trial": None,
        "train": train,
        "make_model": lambda trial, settings: Known(size=size),
        "measure": lambda model, trial, settings: {
            "mean": model.mean[0].item(),
            "big": trial["beta"] > 2,
        },
    }


def grouped(calls, fail_at=None):
    """Rows of groups; it notes the seeds of each, and is interrupted once, at that call."""

    def run(group, settings, checkpoint):
        calls.append([(trial["beta"], trial["seed"]) for trial in group])
        if len(calls) - 1 == fail_at:
            raise KeyboardInterrupt
        return [run_trial(trial, settings) for trial in group]

    return training(run)


TOGETHER = {**SETTINGS, "quick": {"repeats": 3, "betas": [1.0, 5.0], "at_once": 2, "steps": 20}}
FILES = ["toy.quick.anchors.npz", "toy.quick.json"]


def files(toy):
    return sorted(path.name for path in toy.folder.iterdir())


def test_seeds_of_one_setting_run_together(toy):
    calls = []
    experiment = toy(settings=TOGETHER, **grouped(calls))
    results = experiment.run("quick", progress=False)
    assert calls == [[(1.0, 0), (1.0, 1)], [(1.0, 2)], [(5.0, 0), (5.0, 1)], [(5.0, 2)]]
    one_by_one = toy(settings=TOGETHER).run("quick", progress=False)
    assert without_times(results) == without_times(one_by_one)


def test_a_run_of_groups_resumes_at_the_group_that_was_interrupted(toy):
    whole = toy(settings=TOGETHER).run("quick", progress=False)
    calls = []
    broken = toy(settings=TOGETHER, **grouped(calls, fail_at=2))
    with pytest.raises(KeyboardInterrupt):
        broken.run("quick", folder=toy.folder, progress=False)
    resumed = broken.run("quick", folder=toy.folder, resume=True, progress=False)
    assert without_times(resumed) == without_times(whole)
    assert len(calls) == 5
    assert calls[2] == calls[3]


def test_a_group_returns_as_many_models_as_it_has_trials(toy):
    short = toy(settings=TOGETHER, **training(lambda group, *_: [{"mean": 1.0}]))
    with pytest.raises(RuntimeError, match=r"1 more seeds\) failed: .*1 models after"):
        short.run("quick", progress=False)


def saving(seen, fail_at=None):
    """Rows of groups; it notes what its checkpoint holds, saves there, and may stop."""

    def run(group, settings, checkpoint):
        seen.append(checkpoint and (checkpoint.name, checkpoint.exists()))
        if checkpoint:
            checkpoint.write_text("half a group")
        if len(seen) - 1 == fail_at:
            raise KeyboardInterrupt
        return [run_trial(trial, settings) for trial in group]

    return training(run)


def test_each_group_is_given_a_checkpoint_of_its_own_which_is_deleted_when_it_is_done(toy):
    seen, others = [], []
    functions = saving(seen)
    save = functions["train"]

    def train(group, settings, checkpoint):
        if checkpoint:
            others.append([path.name for path in toy.folder.glob("*.checkpoint")])
        return save(group, settings, checkpoint)

    experiment = toy(settings=TOGETHER, **functions | {"train": train})
    experiment.run("quick", folder=toy.folder, progress=False)
    assert others[:2] == [[], []]  # later groups come faster than files are written
    names = [name for name, _ in seen]
    assert len(set(names)) == len(names) == 4
    assert all(name.startswith("toy.quick.") and name.endswith(".checkpoint") for name in names)
    assert not any(exists for _, exists in seen)
    assert files(toy) == FILES


def test_without_a_folder_no_checkpoint_is_asked_for(toy):
    seen = []
    toy(settings=TOGETHER, **saving(seen)).run("quick", progress=False)
    assert seen == [None] * 4
    assert list(toy.folder.iterdir()) == []


@pytest.mark.parametrize("group", [0, 2])
def test_resuming_offers_the_checkpoint_of_the_group_that_was_interrupted(toy, group):
    seen, whole = [], toy(settings=TOGETHER).run("quick", progress=False)
    experiment = toy(settings=TOGETHER, **saving(seen, fail_at=group))
    with pytest.raises(KeyboardInterrupt):
        experiment.run("quick", folder=toy.folder, progress=False)
    assert (toy.folder / seen[group][0]).exists()
    resumed = experiment.run("quick", folder=toy.folder, resume=True, progress=False)
    assert seen[group + 1] == (seen[group][0], True)
    assert not any(exists for _, exists in seen[group + 2 :])
    assert without_times(resumed) == without_times(whole)
    assert files(toy) == FILES


def test_an_old_complete_run_does_not_hide_the_first_group_of_a_new_one(toy):
    toy(settings=TOGETHER).run("quick", folder=toy.folder, progress=False)
    seen = []
    newer = toy(settings=TOGETHER, **saving(seen, fail_at=0), code_digest="def")
    with pytest.raises(KeyboardInterrupt):
        newer.run("quick", folder=toy.folder, progress=False)
    assert load_results("toy", "quick")["trace"] == []
    newer.run("quick", folder=toy.folder, resume=True, progress=False)
    assert seen[1] == (seen[0][0], True)
    assert load_results("toy", "quick")["trace"] != []


def test_a_checkpoint_of_other_code_settings_or_seeds_is_never_offered(toy, monkeypatch):
    seen = []

    def interrupted(**other):
        made = {"settings": TOGETHER, **other}
        experiment = toy(**saving(seen, fail_at=len(seen)), **made)
        with pytest.raises(KeyboardInterrupt):
            experiment.run("quick", folder=toy.folder, resume=True, progress=False)

    interrupted()
    interrupted(code_digest="def")
    interrupted(settings={"quick": {**TOGETHER["quick"], "repeats": 2}})
    monkeypatch.setenv("VAELITE_SEED", "5")
    interrupted()
    monkeypatch.delenv("VAELITE_SEED")
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "0"})
    interrupted()
    assert len({name for name, _ in seen}) == 5
    assert not any(exists for _, exists in seen)


def test_without_resume_a_checkpoint_is_deleted(toy):
    seen = []
    broken = toy(settings=TOGETHER, **saving(seen, fail_at=0))
    with pytest.raises(KeyboardInterrupt):
        broken.run("quick", folder=toy.folder, progress=False)
    broken.run("quick", folder=toy.folder, progress=False)
    assert seen[1] == (seen[0][0], False)


def more_runs(**changes):
    """Settings whose runs can be added to: a beta and a number of seeds each."""
    runs = [[1.0, 3], [5.0, 2]]
    return {"quick": {"runs": runs, "at_once": 2, "steps": 20} | changes}


def trials_of_runs(settings):
    return [{"beta": b, "seed": k} for b, repeats in settings["runs"] for k in range(repeats)]


def test_a_complete_run_takes_on_trials_that_were_declared_since(toy, monkeypatch):
    monkeypatch.setattr(runner, "commit", lambda: "aaaaaaa")
    calls = []
    functions = grouped(calls) | {"trials": trials_of_runs}
    first = toy(settings=more_runs(), **functions).run("quick", folder=toy.folder, progress=False)
    monkeypatch.setattr(runner, "commit", lambda: "bbbbbbb")
    later = toy(
        settings=more_runs(runs=[[1.0, 3], [5.0, 2], [2.0, 3]]), code_digest="new", **functions
    )
    calls.clear()
    second = later.run("quick", folder=toy.folder, resume=True, progress=False)
    assert calls == [[(2.0, 0), (2.0, 1)], [(2.0, 2)]]
    assert second["trials"][:5] == first["trials"]  # seconds and all
    assert second["commits"]["trials"] == {"aaaaaaa": 5, "bbbbbbb": 3}
    assert second["commits"]["anchors"] == {"aaaaaaa": 2, "bbbbbbb": 1}
    assert len(second["trace"]) == 6
    assert second == load_results("toy", "quick")
    assert files(toy) == FILES


def test_a_complete_run_of_other_settings_seeds_or_losses_is_not_extended(toy, monkeypatch):
    functions = grouped([]) | {"trials": trials_of_runs}
    toy(settings=more_runs(), **functions).run("quick", folder=toy.folder, progress=False)
    before = [(toy.folder / name).read_bytes() for name in FILES]

    def refuses(match, settings=None, **others):
        other = toy(settings=settings or more_runs(), **functions | others)
        with pytest.raises(ValueError, match=match):
            other.run("quick", folder=toy.folder, resume=True, progress=False)

    refuses("have other settings", more_runs(steps=30))
    refuses("not those of this run, in their order", more_runs(runs=[[5.0, 2], [1.0, 3]]))
    refuses("part of a group", more_runs(runs=[[1.0, 4], [5.0, 2]]))
    added = more_runs(runs=[[1.0, 3], [5.0, 2], [2.0, 1]])

    def louder(group, settings, checkpoint=None):
        models, histories = functions["train"](group, settings, checkpoint)
        for history in histories:
            history.parts["kl"] *= 1.001
        return models, histories

    refuses(r"computed something else .*kl is", added, train=louder)
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "0"})
    refuses("another versions", added)
    assert before == [(toy.folder / name).read_bytes() for name in FILES]


def test_missing_anchors_are_made_by_running_their_groups_again(toy):
    calls = []
    experiment = toy(settings=TOGETHER, **grouped(calls))
    whole = experiment.run("quick", folder=toy.folder, progress=False)
    (toy.folder / FILES[0]).unlink()
    calls.clear()
    again = experiment.run("quick", folder=toy.folder, resume=True, progress=False)
    assert calls == [[(1.0, 0), (1.0, 1)], [(5.0, 0), (5.0, 1)]]
    assert without_times(again) == without_times(whole)
    assert again["trials"] == whole["trials"]
    assert again["anchors"] == whole["anchors"]
    assert files(toy) == FILES


def test_anchors_are_made_only_where_the_trials_give_the_same_to_the_last_digit(toy):
    experiment = toy(settings=TOGETHER, **grouped([]))
    experiment.run("quick", folder=toy.folder, progress=False)
    path = toy.folder / FILES[1]
    (toy.folder / FILES[0]).unlink()
    other = stored.read(path)
    other["trials"][1]["result"]["mean"] += 1e-9
    stored.write(other, path)
    before = path.read_bytes()
    with pytest.raises(
        RuntimeError, match=r"'seed': 1\}, run again, gave mean = .*without --resume"
    ):
        experiment.run("quick", folder=toy.folder, resume=True, progress=False)
    assert path.read_bytes() == before


def test_networks_that_are_too_large_leave_no_weights(toy):
    calls = []
    run = lambda group, *_: calls.append(group) or [run_trial(t, {}) for t in group]  # noqa: E731
    experiment = toy(settings=TOGETHER, **training(run, size=anchors.LARGEST))
    results = experiment.run("quick", folder=toy.folder, progress=False)
    assert results["anchors"] == {"sha256": None, "trials": []}
    assert files(toy) == FILES[1:]
    calls.clear()
    assert experiment.run("quick", folder=toy.folder, resume=True, progress=False) == results
    assert calls == []


def test_a_run_of_other_steps_than_declared_is_refused(toy):
    functions = grouped([])

    def shorter(group, settings, checkpoint=None):
        return functions["train"](group, settings | {"steps": settings["steps"] // 10}, checkpoint)

    experiment = toy(settings=TOGETHER, **functions | {"train": shorter})
    with pytest.raises(RuntimeError, match=r"after \[2\] steps, not 2 models after 20"):
        experiment.run("quick", progress=False)


def test_the_trace_has_two_seeds_of_every_setting(toy):
    results = toy(settings=TOGETHER, **grouped([])).run("quick", folder=toy.folder, progress=False)
    traced = [(entry["trial"]["beta"], entry["trial"]["seed"]) for entry in results["trace"]]
    assert traced == [(1.0, 0), (1.0, 1), (5.0, 0), (5.0, 1)]
    assert all(len(entry["loss"]) == runner.TRACE_STEPS for entry in results["trace"])
    assert [trial["beta"] for trial in results["anchors"]["trials"]] == [1.0, 5.0]


@pytest.mark.parametrize(
    ("part", "complaint"), [([None, 2.0], None), ([None, 2.1], "step 1"), ([1.0, 2.0], "step 0")]
)
def test_a_part_of_the_loss_may_be_missing_in_a_phase(part, complaint):
    trial = {"method": "toy", "seed": 0}

    def again(settings, trials):
        return [{"trial": trial, "loss": [3.0, 2.0], "kl_z": part}]

    stored_trace = [{"trial": trial, "loss": [3.0, 2.0], "kl_z": [None, 2.0]}]
    results = {"settings": {}, "trials": [{"trial": trial}], "trace": stored_trace}
    found = checks.trace(results, SimpleNamespace(trace=again))
    assert (complaint in found[0]) if complaint else not found


def test_trained_models_are_kept_and_read_back(toy, monkeypatch):
    experiment = toy(settings=TOGETHER, **grouped([]))
    monkeypatch.setattr(runner, "get", lambda name: experiment)
    assert load_models("toy", "quick") == []
    results = experiment.run("quick", folder=toy.folder, progress=False)
    found = load_models("toy", "quick")
    assert [entry for entry, _ in found] == [results["trials"][0], results["trials"][3]]
    for entry, model in found:
        assert float(f"{model.mean.item():.10g}") == entry["result"]["mean"]
    (toy.folder / FILES[0]).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"anchors\.npz is missing, or is not the file"):
        load_models("toy", "quick")


def test_every_group_can_be_replayed(toy, monkeypatch):
    experiment = toy(settings=TOGETHER, **grouped([]))
    results = experiment.run("quick", progress=False)
    found = [checks.replay(results, experiment, number) for number in range(4)]
    assert [(problems, exact) for problems, exact, _ in found] == [([], True)] * 4
    assert [trial for _, _, group in found for trial in group] == experiment.declared("quick")[1]
    assert checks.replay(results, experiment, 5)[2] == found[1][2]

    results["trials"][2]["result"]["mean"] += 1e-9
    (problem,), exact, _ = checks.replay(results, experiment, 1)
    assert exact and "'seed': 2" in problem and "mean is" in problem
    # Elsewhere the last digits may differ, but not the mean.
    monkeypatch.setattr(checks, "hardware", lambda: {"cpu": "another"})
    assert checks.replay(results, experiment, 1)[:2] == ([], False)
    for entry in results["trials"]:
        entry["result"]["mean"] += 10
    (problem,), exact, _ = checks.replay(results, experiment, 1)
    assert not exact and "the mean of mean is" in problem


TRAINED = {
    "quick": {
        "data": {"name": "sprites", "size": 8, "steps": [1, 3, 20, 16, 16]},  # 48 images
        "factors": ["shape", "x"],
        "encoder": [7],
        "decoder": [6],
        "discriminator": 4,
        "sizes": [2, 1],
        "exponents": [2.1, 2.2],
        "batch_size": 8,
        "lr": 1e-2,
        "steps": 12,
        "mig_samples": 20,
        "at_once": 2,
        "runs": [
            {"method": "isa-vae learned", "beta": [1.0], "seeds": 3},
            {"method": "factor-vae", "gamma": [2.0], "seeds": 2},
        ],
    }
}


@pytest.mark.parametrize("at", [29, 43, 59])  # 24 of the trace, 16 in each of three groups
def test_an_experiment_that_is_interrupted_inside_a_group_gives_the_same_numbers(toy, stop, at):
    functions = {"train": isa.train, "make_model": isa.make_model, "measure": isa.measure}
    settings = {"quick": TRAINED["quick"] | {"steps": 16}}
    experiment = toy(run_trial=None, settings=settings, trials=isa.trials, **functions)

    def numbers(results):
        return [entry["result"] for entry in results["trials"]]

    stop.at = at
    with pytest.raises(KeyboardInterrupt):
        experiment.run("quick", folder=toy.folder, progress=False)
    resumed = experiment.run("quick", folder=toy.folder, resume=True, progress=False)
    # The first group leaves no file of results behind, and so the trace is taken again.
    assert stop.steps == 24 + 3 * 16 + 24 * (at < 40)
    assert numbers(resumed) == numbers(experiment.run("quick", progress=False))
    assert files(toy) == FILES

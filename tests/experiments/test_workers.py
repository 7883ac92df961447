"""Whoever runs the groups, the file of results is the same; who dies, costs a retry."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sweeps
import torch

from vaelite import profile
from vaelite.experiments import Experiment, collect, runner, workers
from vaelite.experiments import results as stored
from vaelite.experiments.isa import common as isa
from vaelite.files import locked

TESTS = Path(__file__).parents[1]
TRAINED = {
    "data": {"name": "sprites", "size": 8, "steps": [1, 3, 20, 16, 16]},  # 48 images
    "factors": ["shape", "x"],
    "encoder": [7],
    "decoder": [6],
    "sizes": [2, 1],
    "exponents": [2.1, 2.2],
    "batch_size": 8,
    "lr": 1e-2,
    "steps": 20,
    "mig_samples": 20,
    "at_once": 2,
    "runs": [{"method": "isa-vae learned", "beta": [1.0], "seeds": 3}],
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One thread here too; and other processes find the modules of these tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    monkeypatch.delenv("VAELITE_SEED", raising=False)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def two():
    return workers.local(2)


@pytest.fixture
def cluster():
    """Two Dask workers of one thread each, in processes of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


@pytest.fixture
def who(request, tmp_path):
    """The three kinds of workers, by name."""
    if request.param == "two processes":
        return request.getfixturevalue("two")
    if request.param == "dask":
        return workers.dask(request.getfixturevalue("cluster").scheduler_address)
    pytest.importorskip("submitit")
    return workers.slurm(tmp_path / "shared", cluster="local", at_once=2)


ALL = pytest.mark.parametrize("who", ["two processes", "dask", "queue"], indirect=True)


def timeless(path):
    """The text of a file of results, its times and machines aside."""
    text = re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', path.read_text())
    return re.sub(r'"hardware": .*', '"hardware": []', text)


@ALL
def test_who_runs_the_groups_changes_nothing_in_the_file(who, tmp_path):
    functions = {"train": isa.train, "make_model": isa.make_model, "measure": isa.measure}
    experiment = Experiment("toy", {"quick": TRAINED}, isa.trials, "abc", **functions)
    for name, chosen in (("one", None), ("many", who)):
        experiment.run("quick", folder=tmp_path / name, progress=False, workers=chosen)
    one, many = (tmp_path / name / "toy.quick.json" for name in ("one", "many"))
    assert timeless(one) == timeless(many)
    results = stored.read(many)
    assert len(results["trials"]) == 3 and len(results["anchors"]["trials"]) == 1
    assert len(results["trace"]) == 2
    assert [machine["cores"] for machine in results["hardware"]] == [os.cpu_count()]
    files = ["toy.quick.anchors.npz", "toy.quick.json"]
    assert sorted(path.name for path in many.parent.iterdir()) == files
    assert (one.parent / files[0]).read_bytes() == (many.parent / files[0]).read_bytes()


@ALL
def test_a_worker_that_is_killed_costs_a_retry_and_nothing_else(who, tmp_path):
    one = sweeps.experiment(trials=5).run("quick", progress=False)
    many = sweeps.experiment(trials=5, folder=str(tmp_path), deaths={"2": 1}).run(
        "quick", folder=tmp_path / "results", progress=False, workers=who
    )
    assert collect(one, "all") == collect(many, "all")
    begun = sweeps.begun(tmp_path)
    # Who worked beside it may have been told to stop.
    assert begun.count(2) == 2 and 6 <= len(begun) <= 7


def test_a_retry_goes_on_from_the_checkpoint(tmp_path):
    functions = {"make_model": isa.make_model, "measure": isa.measure}
    whole = Experiment("toy", {"quick": TRAINED}, isa.trials, train=isa.train, **functions)
    dying = Experiment(
        "toy", {"quick": TRAINED}, isa.trials, train=sweeps.train_and_die, **functions
    )
    one = whole.run("quick", progress=False)
    many = dying.run("quick", folder=tmp_path, progress=False, workers=workers.local(1))
    assert [entry["result"] for entry in one["trials"]] == [
        entry["result"] for entry in many["trials"]
    ]
    assert (tmp_path / "begun").read_text().splitlines() == ["afresh", "goes on"] * 2
    (tmp_path / "begun").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "toy.quick.anchors.npz",
        "toy.quick.json",
    ]


def test_a_call_that_kills_its_workers_is_given_up(tmp_path):
    experiment = sweeps.experiment(trials=4, folder=str(tmp_path), deaths={"1": 9})
    one = workers.local(1)
    with pytest.raises(RuntimeError, match=r"\(quick\): trial {'seed': 1} is given up: 3 workers"):
        experiment.run("quick", folder=tmp_path / "results", progress=False, workers=one)
    assert sweeps.begun(tmp_path) == [0, 1, 1, 1]
    kept = stored.read(tmp_path / "results" / "toy.quick.partial.json")
    assert [entry["trial"]["seed"] for entry in kept["trials"]] == [0]


@pytest.mark.parametrize("who", ["two processes", "queue"], indirect=True)
def test_ctrl_c_stops_the_workers_and_leaves_a_file_to_go_on_from(who, tmp_path):
    one = sweeps.experiment(trials=5).run("quick", progress=False)
    seeds = {"trials": 5, "folder": str(tmp_path)}

    def interrupt():
        while 2 not in sweeps.begun(tmp_path):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    slow = sweeps.experiment(**seeds, slow=[2])
    with pytest.raises(KeyboardInterrupt):
        slow.run("quick", folder=tmp_path / "r", progress=False, workers=who)
    assert time.monotonic() - start < 50  # the slow trial takes 60 seconds
    kept = stored.read(tmp_path / "r" / "toy.quick.partial.json")
    done = [entry["trial"]["seed"] for entry in kept["trials"]]
    assert 2 not in done and {0, 1} & set(done)
    (tmp_path / "begun").unlink()
    # Settings name the slow one; as it is not run again, nothing else is changed here.
    kept["settings"].pop("slow")
    stored.write(kept, tmp_path / "r" / "toy.quick.partial.json")
    resumed = sweeps.experiment(**seeds).run(
        "quick", folder=tmp_path / "r", resume=True, progress=False, workers=who
    )
    assert collect(resumed, "all") == collect(one, "all")
    assert sorted(sweeps.begun(tmp_path)) == [seed for seed in range(5) if seed not in done]


@ALL
def test_a_trial_that_fails_at_a_worker_is_named(who, tmp_path):
    with pytest.raises(RuntimeError, match=r"toy: trial {'seed': 3} failed: KeyError: 'x'"):
        sweeps.experiment(fails=3).run("quick", folder=tmp_path, progress=False, workers=who)
    kept = stored.read(tmp_path / "toy.quick.partial.json")
    # Each worker has done another before; which of them is its executor's choice.
    assert {entry["trial"]["seed"] for entry in kept["trials"]} & {0, 1, 2}


def test_a_worker_has_the_seed_of_the_run(two, monkeypatch):
    monkeypatch.setenv("VAELITE_SEED", "7")
    assert profile.seed() == 7
    results = sweeps.experiment(trials=2).run("quick", progress=False, workers=two)
    assert collect(results, "base") == ["7", "7"]


def test_a_worker_with_other_versions_or_code_refuses():
    experiment = sweeps.experiment()
    settings, (first, *_) = experiment.declared("quick")
    order = runner._Order(experiment, settings, 0, {"torch": "0"}, here=False)
    with pytest.raises(ValueError, match=r"has another versions than .*install the same there"):
        order.group([first], [False], None)
    other = Experiment(
        **{**vars(experiment), "code_digest": "0", "module": "vaelite.experiments.isa.sprites"}
    )
    order = runner._Order(other, settings, 0, stored.versions(), here=False)
    with pytest.raises(ValueError, match="has another code"):
        order.group([first], [False], None)


def test_every_process_has_one_thread_and_a_gpu_of_its_own_where_there_are_several(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with workers.local(2).start() as executor:
        # As long as both are asleep, each has one of these.
        futures = [executor.submit(sweeps.surroundings, 4.0) for _ in range(2)]
        found = [future.result() for future in futures]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in found) == ["5", "7"]
    assert {one["OMP_NUM_THREADS"] for one in found} == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert workers._gpus() == []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert workers._gpus() == ["0", "1", "2"]


def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import sweeps, sys\nfrom vaelite.experiments import workers\n"
        "if __name__ == '__main__':\n"
        f"    sweeps.experiment(slow=[0, 1], folder={str(tmp_path)!r}).run(\n"
        "        'quick', progress=False, workers=workers.local(2))\n"
    )
    (tmp_path / "run.py").write_text(code)
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py"])
    while len(sweeps.begun(tmp_path)) < 2:
        assert parent.poll() is None
        time.sleep(0.1)
    mine = sweeps.processes(tmp_path)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{number}").exists() for number in mine) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{number}").exists() for number in mine)


@pytest.mark.parametrize(("module", "extra"), [("distributed", "dask"), ("submitit", "slurm")])
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        RuntimeError, match=rf'--{extra} needs {module}, .* pip install "vaelite\[{extra}\]"'
    ):
        getattr(workers, extra)("tcp://127.0.0.1:1")


def test_what_is_no_place_to_work_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="workers is 0; there must be at least one"):
        workers.local(0)
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no Slurm on this machine .*--workers N"):
        workers.slurm(tmp_path)


def test_two_runs_of_the_same_do_not_mix(tmp_path):
    experiment = sweeps.experiment()
    with locked(tmp_path / "toy.quick.json", "it"):
        with pytest.raises(OSError, match=r"toy\.quick\.json is in use by another run"):
            experiment.run("quick", folder=tmp_path, progress=False)
    experiment.run("quick", folder=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.quick.json"]


@pytest.mark.parametrize("what", ["results", "anchors"])
def test_a_disk_that_is_full_half_way_loses_nothing(tmp_path, what):
    resource = pytest.importorskip("resource")
    functions = {"make_model": isa.make_model, "measure": isa.measure}
    # Without a checkpoint, which would not fit either: its own test is that of training.
    functions["train"] = lambda group, settings, checkpoint: isa.train(group, settings)
    settings = {"quick": TRAINED | {"note": "x" * 9000}}  # more than the anchors take
    experiment = Experiment("toy", settings, isa.trials, "abc", **functions)
    first = experiment.run("quick", folder=tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    anchors, results = (len(before[f"toy.quick.{end}"]) for end in ("anchors.npz", "json"))
    assert anchors < results - 500
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = results - 500 if what == "results" else anchors - 500
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
    try:
        with pytest.raises(OSError, match=r"json could not be written: File too large; what"):
            experiment.run("quick", folder=tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert experiment.run("quick", folder=tmp_path, resume=True, progress=False) == first


def test_a_disk_that_fills_up_leaves_what_was_written_to_go_on_from(tmp_path):
    resource = pytest.importorskip("resource")
    whole = sweeps.experiment(trials=40).run("quick", progress=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="make room, and go on with --resume"):
            sweeps.experiment(trials=40).run("quick", folder=tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = stored.read(tmp_path / "toy.quick.partial.json")
    assert 1 <= len(kept["trials"]) < 40
    resumed = sweeps.experiment(trials=40).run(
        "quick", folder=tmp_path, resume=True, progress=False
    )
    assert collect(resumed, "all") == collect(whole, "all")


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path):
    resource = pytest.importorskip("resource")
    functions = {"train": isa.train, "make_model": isa.make_model, "measure": isa.measure}
    experiment = Experiment("toy", {"quick": TRAINED}, isa.trials, "abc", **functions)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(
            RuntimeError, match=r"checkpoint could not be written after step 20: File too large; "
        ):
            experiment.run("quick", folder=tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []

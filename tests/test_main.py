import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import sweeps

from vaelite import data, experiments
from vaelite.__main__ import main
from vaelite.data import DataError, cache, mnist
from vaelite.experiments import catalogue
from vaelite.experiments.results import commit


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VAELITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("VAELITE_PROFILE", raising=False)
    monkeypatch.delenv("VAELITE_SEED", raising=False)
    return tmp_path


@pytest.fixture
def tiny_mnist(folders, monkeypatch):
    """A real set whose download gives a few numbers."""
    arrays = {"x_train": np.arange(6, dtype=np.uint8)}
    real = dataclasses.replace(
        mnist.REAL,
        files={},
        convert=lambda files: arrays,
        digest=cache.arrays_digest(arrays),
    )
    monkeypatch.setattr(mnist, "REAL", real)
    return real


@pytest.fixture
def toy(folders, monkeypatch):
    """An experiment with three trials, called toy, in place of the package's own."""

    def run_trial(trial, settings):
        return {"square": trial["seed"] ** 2}

    trials = lambda settings: [{"seed": seed} for seed in range(settings["trials"])]  # noqa: E731
    settings = {"quick": {"trials": 3}, "standard": {"trials": 4}, "full": {"trials": 5}}
    experiment = experiments.Experiment("toy", settings, trials, run_trial=run_trial)
    holder = {"toy": experiment}

    def get(name):
        if name not in holder:
            raise ValueError(f"there is no experiment {name!r}; there are: toy.")
        return holder[name]

    monkeypatch.setattr(experiments, "get", get)
    monkeypatch.setattr(catalogue, "names", lambda: ["toy"])
    monkeypatch.setattr(experiments, "names", lambda: ["toy"])
    return holder


def fails(capsys, *arguments):
    """Run a command that must fail; return its one sentence."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if line and "trial/s]" not in line]  # the progress bar
    assert len(lines) == 1 and lines[0].startswith("vaelite: ")
    return lines[0]


def test_doctor_fits_on_one_screen(folders, capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    for word in ("PyTorch", "autograd", "threads", "GPU", "profile quick, seed 0", *data.names()):
        assert word in text
    assert "writable" in text and "All is well." in text
    assert "NO" not in text


def test_doctor_reports_what_does_not_work(folders, capsys, monkeypatch):
    monkeypatch.setenv("VAELITE_PROFILE", "huge")
    (folders / "file").write_text("")
    monkeypatch.setenv("VAELITE_DATA", str(folders / "file" / "below"))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "NO  settings  ValueError: VAELITE_PROFILE is 'huge'" in text
    assert "NO  cache     NotADirectoryError" in text
    assert "2 of 5 checks failed." in text


def test_data_list(tiny_mnist, capsys):
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == data.names()
    assert any("mnist" in line and "MB to fetch" in line for line in lines)
    assert any("digits" in line and "no download" in line for line in lines)


def test_fetch_verify_and_mend(tiny_mnist, capsys):
    assert "is not in the cache; get it with: python -m vaelite data fetch mnist" in fails(
        capsys, "data", "verify", "mnist"
    )
    assert main(["data", "fetch", "mnist"]) == 0
    assert main(["data", "verify", "mnist"]) == 0
    assert main(["data", "fetch", "mnist"]) == 0
    text = capsys.readouterr().out
    assert "mnist is now in" in text and "mnist is intact." in text and "already" in text
    tiny_mnist.path.write_bytes(b"tampered")
    assert "is damaged" in fails(capsys, "data", "verify", "mnist")
    assert main(["data", "fetch", "mnist"]) == 0
    assert main(["data", "verify", "mnist"]) == 0


def test_a_failed_fetch_is_one_sentence(tiny_mnist, capsys, monkeypatch):
    def convert(files):
        raise DataError("no\nconnection")

    monkeypatch.setattr(mnist, "REAL", dataclasses.replace(tiny_mnist, convert=convert))
    assert fails(capsys, "data", "fetch", "mnist") == "vaelite: no connection"


def test_what_needs_no_download(folders, capsys):
    assert main(["data", "fetch", "digits"]) == 0
    assert main(["data", "verify", "digits"]) == 0
    assert capsys.readouterr().out.count("digits needs no download") == 2


@pytest.mark.parametrize("action", ["fetch", "verify"])
def test_an_unknown_data_set(folders, capsys, action):
    assert "no data set 'minst'; there are: bars" in fails(capsys, "data", action, "minst")


def test_reproduce(toy, capsys, monkeypatch):
    assert main(["reproduce", "toy"]) == 0
    assert "toy (quick): 3 trials" in capsys.readouterr().out
    results = experiments.load_results("toy", "quick")
    assert experiments.collect(results, "square") == [0, 1, 4]
    monkeypatch.setenv("VAELITE_PROFILE", "full")
    assert main(["reproduce", "toy"]) == 0
    assert main(["reproduce", "toy", "--profile", "standard"]) == 0
    counts = [len(experiments.load_results("toy", p)["trials"]) for p in ("full", "standard")]
    assert counts == [5, 4]


def test_ctrl_c_says_how_to_go_on_and_resume_goes_on(toy, capsys):
    whole, seen = toy["toy"], []

    def run_trial(trial, settings):
        seen.append(trial["seed"])
        if seen == [0, 1, 2]:
            raise KeyboardInterrupt
        return whole.run_trial(trial, settings)

    toy["toy"] = dataclasses.replace(whole, run_trial=run_trial)
    assert main(["reproduce", "toy", "--profile", "standard"]) == 130
    command = "python -m vaelite reproduce toy --profile standard --resume"
    assert command in capsys.readouterr().err
    assert experiments.load_results("toy", "standard") is None
    assert main(command.split()[3:]) == 0
    assert seen == [0, 1, 2, 2, 3]
    squares = experiments.collect(experiments.load_results("toy", "standard"), "square")
    assert squares == [0, 1, 4, 9]


def test_reproduce_list(toy, capsys):
    main(["reproduce", "toy"])
    main(["reproduce", "toy", "--profile", "full"])
    capsys.readouterr()
    assert main(["reproduce", "--list"]) == 0
    quick, standard, full = capsys.readouterr().out.splitlines()
    assert "3 trials" in quick and f"stored, 0 s, by {commit()}" in quick
    assert "not run yet" in standard
    assert "5 trials" in full and "stored" in full


def test_reproduce_refuses(toy, capsys, monkeypatch):
    assert "needs the name of an experiment" in fails(capsys, "reproduce")
    assert "no experiment 'tory'; there are: toy" in fails(capsys, "reproduce", "tory")
    assert "no profile 'huge'" in fails(capsys, "reproduce", "toy", "--profile", "huge")
    toy["toy"] = dataclasses.replace(toy["toy"], run_trial=lambda trial, settings: 1 / 0)
    assert "trial {'seed': 0} failed: ZeroDivisionError" in fails(capsys, "reproduce", "toy")
    monkeypatch.setenv("VAELITE_SEED", "x")
    assert "VAELITE_SEED is 'x'" in fails(capsys, "reproduce", "toy")


def test_reproduce_by_workers(folders, capsys, monkeypatch):
    monkeypatch.setattr(experiments, "get", lambda name: sweeps.experiment(trials=3))
    monkeypatch.setattr(catalogue, "names", lambda: ["toy"])
    for options in ([], ["--workers", "2"]):
        assert main(["reproduce", "toy", *options]) == 0
        assert "toy (quick): 3 trials" in capsys.readouterr().out
        means = experiments.collect(experiments.load_results("toy", "quick"), "mean")
        expected = [sweeps.run_trial({"seed": seed}, {})["mean"] for seed in range(3)]
        assert means == pytest.approx(expected, rel=1e-9)


def test_workers_that_cannot_be_had(toy, capsys, monkeypatch):
    assert "workers is 0; there must be" in fails(capsys, "reproduce", "toy", "--workers", "0")
    assert "--verify runs one group here" in fails(
        capsys, "reproduce", "toy", "--verify", "--workers", "2"
    )
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    for option in (["--dask", "tcp://127.0.0.1:1"], ["--slurm"]):
        assert "which is not installed; install it with: python -m pip install" in fails(
            capsys, "reproduce", "toy", *option
        )
    with pytest.raises(SystemExit):
        main(["reproduce", "toy", "--slurm", "--workers", "2"])


@pytest.mark.parametrize("arguments", [[], ["cure"], ["data"], ["data", "fetch"]])
def test_a_malformed_command_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: python -m vaelite" in capsys.readouterr().err


def test_the_module_runs_as_a_program(folders):
    command = [sys.executable, "-m", "vaelite", "data", "verify", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("vaelite: there is no data set 'nothing'")
    assert "Traceback" not in done.stderr


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from vaelite.__main__ import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'scipy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("vaelite ")
    assert done.stdout.splitlines()[1] == "[]"

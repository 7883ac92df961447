"""The ways into the package: short imports, torch's data sets, ``model(x)``, the wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import DataLoader, TensorDataset, random_split

import vaelite
from vaelite import data, experiments
from vaelite.cpvae import CPVAE
from vaelite.disentangle import FactorVAE
from vaelite.experiments import results
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE
from vaelite.factvae import MMVAE, MVAE, FactVAE, JMVAEPlus
from vaelite.isa import ISAPrior
from vaelite.metrics import mutual_information_gap
from vaelite.optimal_prior import CVAE, OptimalPriorVAE
from vaelite.training import fit
from vaelite.vae import VAE

ROOT = Path(__file__).parents[1]


def test_the_names_a_newcomer_looks_for():
    from vaelite import VAE as vae
    from vaelite import fit as train
    from vaelite import fit_seeds, load

    assert (vae, train, load) == (VAE, fit, data.load) and callable(fit_seeds)
    with pytest.raises(AttributeError, match="no attribute 'Vae'"):
        vaelite.Vae  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, vaelite, vaelite.toys.ica; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


def test_a_data_set_is_indexable_as_torch_wants_it():
    digits = data.load("digits")
    x, label = digits[3]
    assert torch.equal(x, digits.images()[3]) and label == digits.labels[3]
    assert torch.equal(digits[-1][0], digits[len(digits) - 1][0])
    for index in (len(digits), -len(digits) - 1):
        with pytest.raises(IndexError, match="there are 1797 data"):
            digits[index]
    x, labels = next(iter(DataLoader(digits, batch_size=5)))
    assert torch.equal(x, digits.images()[:5]) and torch.equal(labels, digits.labels[:5])
    assert data.load("heads", counts=(2, 1, 1, 1), size=6)[1][0].shape == (6, 6)
    assert isinstance(data.load("bars", count=4)[2], torch.Tensor)  # no labels: the datum alone


def trained(given, like=None):
    torch.manual_seed(0)
    model = VAE.mlp(64, 5, 2)
    fit(model, given, steps=3, batch_size=7, seed=1, progress=False)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fit_takes_what_torch_calls_data_sets():
    digits = data.load("digits")
    x = digits.flat()
    whole = trained(x)
    assert torch.equal(trained(TensorDataset(x)), whole)
    part, rest = random_split(digits, [100, 1697])
    assert torch.equal(trained(part), trained(digits.x[torch.tensor(part.indices)]))
    assert not torch.equal(trained(rest), trained(part))
    with pytest.raises(TypeError, match="a TensorDataset, a Subset, a data set with x"):
        trained([1, 2])


B, D = 6, 4
X = torch.rand(B, 9, generator=torch.Generator().manual_seed(0))
TASK = torch.tensor([0, 1, 1, 0, 1, 0])
GROUPS = (X[:, :3], X[:, 3:], torch.tensor([[1, 1]] * 4 + [[1, 0], [0, 1]]).bool())
MODELS = {
    "vae": (lambda: VAE.mlp(9, 5, D), X),
    "isa": (lambda: VAE.mlp(9, 5, D, prior=ISAPrior([2, 2])), X),
    "factor": (lambda: FactorVAE.mlp(9, 5, D), X),
    "mixture": (
        lambda: FactorialMixtureVAE.mlp(9, 5, D, prior=FactorialMixture([2, 3], 2), dataset_size=B),
        X,
    ),
    "cvae": (lambda: CVAE.mlp(2, 9, 5, D), (X, TASK)),
    "optimal prior": (lambda: OptimalPriorVAE.mlp(2, 9, 5, D), (X, TASK)),
    "cpvae": (lambda: CPVAE.mlp(2, 9, 5, 3, 1), (X, TASK)),
    **{
        kind.__name__: (lambda kind=kind: kind([3, 6], D, [5]), GROUPS)
        for kind in (FactVAE, MVAE, MMVAE, JMVAEPlus)
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_can_be_called(name):
    make, batch = MODELS[name]
    torch.manual_seed(2)
    model = make()
    found = model(batch)
    parts = found if isinstance(found, tuple) else (found,)
    assert torch.cat(parts, -1).shape == X.shape
    torch.cat(parts, -1).sum().backward()
    missing = {n for n, p in model.named_parameters() if p.grad is None}
    assert not {n for n in missing if n.startswith(("encoder", "decoder", "trunk", "features"))}
    # Another draw of the code, another picture.
    assert not torch.equal(model(batch)[0], model(batch)[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_state_of_a_model_is_tensors_alone(name):
    """So that safetensors takes it: no optimiser's memory among the weights."""
    state = MODELS[name][0]().state_dict()
    assert state and all(isinstance(value, torch.Tensor) for value in state.values())


def test_a_cross_population_call_uses_each_datums_own_decoder():
    torch.manual_seed(2)
    model = CPVAE.mlp(2, 9, 5, 3, 1)
    with torch.no_grad():
        for p in model.private_decoders[1].parameters():
            p.fill_(100.0)
    found = model((X, TASK))
    assert (found[TASK == 1] > 50).all() and (found[TASK == 0] < 50).all()


def test_factors_that_are_not_there_give_a_sentence():
    digits = data.load("digits")
    with pytest.raises(ValueError, match="factors are None: the data set has none"):
        mutual_information_gap(digits.flat(), digits.factors)


def test_results_come_from_the_wheel_where_there_is_no_checkout(tmp_path, monkeypatch):
    shipped = tmp_path / "share" / "vaelite" / "results"
    shipped.mkdir(parents=True)
    name = "cpvae_heads.standard.json"
    (shipped / name).write_bytes((ROOT / "book" / "results" / name).read_bytes())
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("VAELITE_RESULTS", str(tmp_path / "mine"))
    assert results.stored(name) == shipped / name
    assert experiments.load_results("cpvae_heads", "standard")["experiment"] == "cpvae_heads"
    # One's own come first.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("{}")
    assert results.stored(name) == tmp_path / "mine" / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as it is published."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves its own folders behind
    for part in ("vaelite", "book/results"):
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, source / part, ignore=hidden)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder)]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_carries_results_claims_and_types(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    stored = {path.name for path in (ROOT / "book" / "results").iterdir()}
    carried = {Path(name).name for name in names if "/share/vaelite/results/" in name}
    assert carried == stored
    claims = {path.name for path in (ROOT / "vaelite" / "claims").glob("*.toml")}
    assert claims <= {Path(name).name for name in names if name.startswith("vaelite/claims/")}
    assert "vaelite/py.typed" in names


@pytest.fixture
def installed(wheel, tmp_path):
    """A Python that has the wheel, and of this one's packages what the wheel depends on."""
    # With the checkout in its path, pip would find the package and install nothing.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    kept |= {"VAELITE_DATA": str(tmp_path / "data"), "VAELITE_PROFILE": "quick"}
    home = tmp_path / "environment"
    venv.create(home, symlinks=os.name != "nt")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, env=kept)
    assert not done.returncode, done.stderr
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    where = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    others = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    Path(where.stdout.strip(), "others.pth").write_text(others)
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*command):
        done = subprocess.run(
            [python, *command], capture_output=True, text=True, cwd=empty, env=kept
        )
        assert not done.returncode, done.stderr
        return done.stdout

    run.empty = empty
    return run


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
notebook.cells.append(nbformat.v4.new_code_cell("import vaelite; print(vaelite.__file__)"))
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0].text)
"""


def test_without_a_checkout_the_doctor_a_chapter_and_an_experiment_run(installed):
    """As in Colab, where there is a notebook and the package, and nothing else."""
    assert "All is well." in installed("-m", "vaelite", "doctor")
    shutil.copy(ROOT / "chapters" / "05_lp_nested.ipynb", installed.empty)
    used = installed("-c", EXECUTE, "05_lp_nested.ipynb").strip()
    assert "environment" in used and str(ROOT) not in used
    said = installed("-m", "vaelite", "reproduce", "variational_biases", "--profile", "quick")
    assert "stored in book" in said
    assert (installed.empty / "book" / "results" / "variational_biases.quick.json").exists()


def test_conda_installs_the_package_and_the_locked_environment():
    """Of conda's file, what pip is given: the lock, and the package from the checkout."""
    file = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert file["name"] == "vaelite" and "pip" in file["dependencies"]
    assert file["channels"] == ["conda-forge"]  # "nodefaults" is a channel to conda since 26.7
    (python,) = (one for one in file["dependencies"] if str(one).startswith("python="))
    assert python == "python=3.11"  # what the lock was resolved for
    (given,) = (one["pip"] for one in file["dependencies"] if isinstance(one, dict))
    assert given == ["-r requirements.txt", "-e ."]
    locked = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lab"], *extras["dask"], *extras["slurm"]]
    assert {re.match(r"[\w-]+", one)[0] for one in wanted} <= locked


def test_conda_itself_solves_its_file(tmp_path):
    """Without the network: conda-forge is a folder with what the file asks of it, and no more."""
    if not (conda := shutil.which("conda")):
        pytest.skip("conda is not installed: its file was read, and not tried")
    found = {
        f"{name}-{version}-0.tar.bz2": {
            "name": name, "version": version, "build": "0", "build_number": 0,
            "depends": depends, "md5": "0" * 32, "size": 1, "subdir": "noarch",
        }
        for name, version, depends in (("python", "3.11.9", []), ("pip", "26.3", ["python"]))
    }  # fmt: skip
    for subdir in ("noarch", "linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64"):
        folder = tmp_path / "conda-forge" / subdir
        folder.mkdir(parents=True)
        packages = found if subdir == "noarch" else {}
        content = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}}
        (folder / "repodata.json").write_text(json.dumps(content))
    settings = {
        "custom_channels": {"conda-forge": tmp_path.as_uri()},
        "default_channels": ["conda-forge"],
        "pkgs_dirs": [str(tmp_path / "packages")],
        "remote_max_retries": 0,
    }
    (tmp_path / "condarc").write_text(yaml.safe_dump(settings))
    own = {"HOME": str(tmp_path), "CONDARC": str(tmp_path / "condarc")}
    said = subprocess.run(
        [conda, "env", "create", "--dry-run", "--name", "tried", "--file", "environment.yml"],
        cwd=ROOT, env=os.environ | own, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0 and "3.11.9" in said.stdout, said.stdout + said.stderr

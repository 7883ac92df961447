"""The first cell of a student's notebook: renamed, opened elsewhere, on Colab, without otter."""

import re
import shutil
import subprocess
import sys

import assignments
import nbformat
import pytest


def run_as_cells(folder, cells, **environment):
    """Run cells in an IPython without a kernel, in a folder; return what they print."""
    script = folder / "run.py"
    script.write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.history_manager.enabled = False\n"
        f"for cell in {cells!r}:\n    shell.run_cell(cell)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "IPYTHONDIR": str(folder / "ipython"), **environment}
    command = [sys.executable, script.name]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def sources(tiny, name="tiny"):
    cells = nbformat.read(tiny / "student" / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize("place", ["renamed", "opened from another folder", "on Colab"])
def test_the_checks_are_found(tiny, tmp_path, place):
    first, environment = sources(tiny)[0], {}
    if place == "on Colab":
        first = sources(tiny, "tiny_colab")[0]
        (line,) = re.findall(r"^%pip install -q (.*)$", first, re.MULTILINE)
        assert line in (assignments.ROOT / "requirements.txt").read_text()
        first = first.replace("%pip", "# %pip")
    else:
        home = tmp_path if place == "renamed" else tmp_path / "elsewhere"
        home.mkdir(exist_ok=True)
        (tmp_path / "another.ipynb").write_text("{}")
        shutil.copy(tiny / "student" / "tiny.ipynb", home / "Jane's (1).ipynb")
        if home != tmp_path:
            environment["JPY_SESSION_NAME"] = str(home / "Jane's (1).ipynb")
    cells = [first, "factor = 2\ndef scaled(x):\n    return 2 * x", "result = grader.check('q1')"]
    said = run_as_cells(tmp_path, [*cells, "print('passed:', result.passed_all)"], **environment)
    assert "passed: True" in said


def test_what_is_missing_is_said(tiny, tmp_path):
    first = sources(tiny)[0]
    assert "No notebook of tiny lies in" in run_as_cells(tmp_path, [first])
    absent = "import sys\nsys.modules['otter'] = None"
    said = run_as_cells(tmp_path, [absent, first])
    assert "Run  %pip install -r requirements.txt  in a cell" in said
    pins = (tiny / "student" / "requirements.txt").read_text().splitlines()
    assert all("==" in pin for pin in pins)
    assert {"otter-grader", "jupyterlab", "numpy"} <= {pin.partition("==")[0] for pin in pins}

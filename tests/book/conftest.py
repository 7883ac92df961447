"""The built book, made once per run of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from notebooks import ROOT

BUILD = ["build", str(ROOT), "--path-output", str(ROOT / "book"), "--all"]
STRICT = ["-W", "-n", "--keep-going", "--quiet"]


@pytest.fixture(scope="session")
def build_report(tmp_path_factory):
    """What the build printed and its exit status; one process builds, the others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    report = folder / "book_build.txt"
    with FileLock(folder / "book_build.lock"):
        if not report.exists():
            command = [str(Path(sys.executable).with_name("jupyter-book")), *BUILD, *STRICT]
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, timeout=540, check=False
            )
            report.write_text(f"{done.returncode}\n{done.stdout}{done.stderr}", encoding="utf-8")
    status, _, text = report.read_text(encoding="utf-8").partition("\n")
    return int(status), text


@pytest.fixture(scope="session")
def html(build_report):
    """The folder of the built pages."""
    return ROOT / "book" / "_build" / "html"

"""What people and build servers start: threads, and what runs every week."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def workflow(name):
    text = (ROOT / ".github/workflows" / f"{name}.yml").read_text(encoding="utf-8")
    return re.findall(r"^\s*- run: (.+)$", text, re.MULTILINE)


def test_one_thread_a_process_wherever_chapters_run():
    for variable in PINNED:
        (targets,) = re.findall(rf"^(.+): export {variable} := 1$", MAKEFILE, re.MULTILINE)
        assert {"lab", "execute", "test", "test-seeds", "verify", "mistakes"} <= {*targets.split()}
        for chapter in (ROOT / "chapters").glob("[0-9]*.md"):  # the cell that Colab runs
            assert f'{variable}="1"' in chapter.read_text(encoding="utf-8"), chapter.name
    clean = {name: value for name, value in os.environ.items() if name not in PINNED}
    started = subprocess.run(
        ["bash", str(ROOT / "binder/start"), "printenv", *PINNED],
        env=clean, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert started.stdout.split() == ["1", "1", "1"]


def test_the_weekly_run_does_in_full_what_other_runs_sample():
    steps = workflow("weekly")
    assert {".ci/run", "make test-seeds", "make verify", "make mistakes"} <= set(steps)
    assert "VAELITE_MISTAKES=all" in MAKEFILE and "--verify" in MAKEFILE


def test_workflows_call_what_there_is():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for step in workflow(path.stem):
            command, *arguments = step.split()
            assert (ROOT / command).exists() or (command == "make" and {*arguments} <= TARGETS)

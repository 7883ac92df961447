"""Grade one notebook, as a process of its own: ``grade_one.py ARCHIVE NOTEBOOK RESULT SECONDS``.

``grade.py`` starts this under a memory limit and kills it when its time is up.  The result is a
JSON file: the cases of each question, the cells that raised, the written answers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import zipfile
from pathlib import Path

# Runs in the student's kernel before anything else: one slow cell, one talkative cell, or an
# exit() must not take the other answers with it.
GUARD = """
def _guard(seconds, characters):
    import signal
    import sys

    shell = get_ipython()

    def stop(*_):
        raise TimeoutError(f"this cell ran for more than {seconds:g} seconds and was stopped.")

    def start(*_):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def finish(*_):
        signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, stop)
    shell.events.register("pre_run_cell", start)
    shell.events.register("post_run_cell", finish)

    def leave(*_):
        raise RuntimeError("exit() would end the kernel, and the cells below with it.")

    shell.user_ns["exit"] = shell.user_ns["quit"] = leave

    class Capped:
        def __init__(self, stream):
            self.stream, self.left = stream, characters

        def write(self, text):
            if self.left > 0:
                self.stream.write(text[: self.left])
                self.left -= len(text)
                if self.left <= 0:
                    self.stream.write("\\n[The rest of the output was cut.]\\n")
            return len(text)

        def __getattr__(self, name):
            return getattr(self.stream, name)

    sys.stdout, sys.stderr = Capped(sys.stdout), Capped(sys.stderr)


_guard({seconds}, {characters})
del _guard
"""
OUTPUT_CHARACTERS = 100_000
PROMPT = "_Type your answer here, replacing this text._"


def main(archive: str, submission: str, result: str, seconds: str) -> None:
    """Grade ``submission`` with the tests of ``archive`` and write ``result``."""
    import nbformat

    answer = {"questions": {}, "errors": [], "written": [], "problem": None}
    try:
        notebook = nbformat.read(submission, as_version=4)
        nbformat.validate(notebook)
        assert any(cell.cell_type == "code" for cell in notebook.cells)
    except Exception:
        answer["problem"] = "the file is not a notebook that can be read"
        Path(result).write_text(json.dumps(answer), encoding="utf-8")
        return
    answer["written"] = written_answers(notebook)
    prepare(notebook, float(seconds))
    # Its first cell looks for the notebook under the name that it was handed out with.
    renamed = Path(submission).parent / "graded" / f"{assignment_name(archive)}.ipynb"
    renamed.parent.mkdir()
    nbformat.write(notebook, renamed)
    try:
        grade(archive, str(renamed), answer)
    except MemoryError:
        answer["problem"] = "the notebook needed more memory than allowed"
    except Exception as error:
        answer["problem"] = explain(error)
    Path(result).write_text(json.dumps(answer), encoding="utf-8")


def assignment_name(archive: str) -> str:
    """Return the assignment's name from the autograder's configuration."""
    with zipfile.ZipFile(archive) as file:
        return json.loads(file.read("otter_config.json"))["assignment_name"]


def written_answers(notebook) -> list[str]:
    """Return the texts of the answer cells that are not code."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        and "otter_answer_cell" in cell.metadata.get("tags", [])
        and cell.source.strip() != PROMPT
    ]


def prepare(notebook, seconds: float) -> None:
    """Put the guard first, and forget what the student's own run left behind."""
    import nbformat

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    source = GUARD.replace("{seconds}", repr(seconds)).replace(
        "{characters}", str(OUTPUT_CHARACTERS)
    )
    notebook.cells.insert(0, nbformat.v4.new_code_cell(source))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}


def grade(archive: str, submission: str, answer: dict) -> None:
    """Let otter run the notebook and its tests; collect the results."""
    import otter.run

    logging.getLogger("otter").setLevel(logging.ERROR)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        results = otter.run.main(submission, autograder=archive, output_dir=None, no_logo=True)
    if results.has_catastrophic_failure():
        answer["problem"] = "the kernel ended before the tests could report"
        return
    for name, test in results.results.items():
        answer["questions"][name] = {
            "score": round(float(test.score), 6),
            "possible": round(float(test.possible), 6),
            "cases": [
                {
                    "hidden": case.test_case.hidden,
                    "passed": case.passed,
                    "message": last_error(case.message),
                }
                for case in test.test_case_results
            ],
        }
    answer["errors"] = errors(results.notebook)


def last_error(message: str) -> str:
    """Return what a test said, without the source line that otter quotes above it."""
    parts = re.split(r"^(?:AssertionError: )", message, maxsplit=1, flags=re.MULTILINE)
    if len(parts) == 2:
        return parts[1].strip()
    return message.strip().splitlines()[-1]


def errors(notebook) -> list[str]:
    """Return one line for each of the student's cells that raised."""
    lines = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                first = next(iter(cell.source.strip().splitlines()), "")
                value = (output.evalue.splitlines() or [""])[0]
                lines.append(
                    f"the cell that starts with `{first[:60]}` raised {output.ename}: {value[:200]}"
                )
    return lines


def explain(error: Exception) -> str:
    """Turn what otter or the kernel raised into half a sentence."""
    if type(error).__name__ == "DeadKernelError":
        return "the kernel died: the notebook ended it, or needed more memory than allowed"
    text = (str(error).strip().splitlines() or [""])[-1]
    return f"grading stopped with {type(error).__name__}: {text[:200]}"


if __name__ == "__main__":
    main(*sys.argv[1:])

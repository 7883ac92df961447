"""Grade notebooks, one a line: a job is a line of JSON on standard input.

``grade.py`` starts this, ``gradescope.py`` calls ``main``.  The tests, hidden ones included, run in
this process; a notebook runs in another, sealed, which answers calls and nothing else
(``remote.py``).  The result is a JSON file: the cases of each question, the cells that raised, the
written answers.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import torch  # noqa: F401 (before wire, which takes it only where somebody did)

# isort: split
import remote
import wire
from handed_in import is_own, read_cells

# Beside an assignment's requirements: what the notebook's own first cell and figures need.
ALWAYS = ["otter", "IPython", "mpl_toolkits"]


def serve() -> None:
    """Grade what is asked for, each in a fork, so that none leaves anything to the next."""
    import nbformat  # noqa: F401 (imported once)
    import otter.test_files  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                main(**job)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        print("done", flush=True)


def main(
    archive, notebook, result, limits: dict, seal: str | None, mark=None, user=None, home=None
) -> None:
    """Grade ``notebook`` with the tests of ``archive`` and write ``result``.

    ``user`` and ``home`` are those of a submission that is not sealed.
    """
    answer = {"questions": {}, "errors": [], "written": [], "problem": None}
    tests, about = read_archive(archive)
    try:
        cells = read_cells(Path(notebook).read_bytes())
    except ValueError as error:
        answer["problem"] = str(error)
        Path(result).write_text(json.dumps(answer), encoding="utf-8")
        return
    answer["written"] = [
        source for kind, source in cells if kind == "markdown" and is_own(source, about["given"])
    ]
    environment = {}
    if "matplotlib" in about["modules"]:
        environment["VAELITE_FONTS"] = remote.fonts(seal)
    submission = remote.Submission(
        [source for kind, source in cells if kind == "code"],
        remote.Limits(**limits),
        seal=seal,
        modules=[*about["modules"], *ALWAYS],
        environment=environment,
        mark=mark,
        home=home or str(Path(result).parent),
        user=user,
    )
    try:
        grade(submission, tests, answer)
    except wire.Silence as silence:
        answer["problem"] = str(silence)
    finally:
        submission.close()
    answer["errors"] = [explain(*error) for error in submission.errors]
    Path(result).write_text(json.dumps(answer), encoding="utf-8")


def read_archive(archive: str) -> tuple[list, dict]:
    """Return an autograder's test files, and what its ``about.json`` says."""
    from otter.test_files import ExceptionTestFile

    # Gradescope unpacks it.
    root = Path(archive) if Path(archive).is_dir() else zipfile.Path(archive)
    files = sorted((root / "tests").iterdir(), key=lambda file: file.name)
    tests = [ExceptionTestFile.from_string(f.read_text("utf-8"), path=f.name) for f in files]
    return tests, json.loads((root / "about.json").read_text("utf-8"))


def grade(submission, tests: list, answer: dict) -> None:
    """Run the tests, hidden ones last: what they show to a submission it can then tell nobody."""
    from otter.test_files.abstract_test import TestCaseResult

    submission.start()
    results: dict[int, dict[int, TestCaseResult]] = {}
    for hidden in (False, True):
        for number, test in enumerate(tests):
            cases = [case for case in test.test_cases if case.hidden is hidden]
            if cases:
                try:
                    submission.begin_question(test.name)
                except wire.Silence as silence:
                    answer["problem"] = f"not every test could run: {silence}"
            for case in cases:
                passed, message = run(case, submission)
                result = TestCaseResult(test_case=case, message=message, passed=passed)
                results.setdefault(number, {})[test.test_cases.index(case)] = result
    for number, test in enumerate(tests):
        test.test_case_results = [result for _, result in sorted(results[number].items())]
        possible = float(test.possible)
        answer["questions"][test.name] = {
            # Parts of a third add up to a rounding error less than their whole.
            "score": round(min(max(float(test.score), 0.0), possible), 6),
            "possible": round(possible, 6),
            "cases": [
                {"hidden": r.test_case.hidden, "passed": r.passed, "message": r.message}
                for r in test.test_case_results
            ],
        }


def run(case, submission) -> tuple[bool, str]:
    """Run one test with fresh copies of the submission's variables."""
    try:
        names = case.body._get_func_params()
        case.body.call_func(submission.variables(names))
    except AssertionError as error:
        return False, str(error).strip()
    except Exception as error:
        return False, f"{type(error).__name__}: {error}".strip()
    return True, ""


def explain(source: str, kind: str, text: str, line: str) -> str:
    """Return one line for a cell that raised."""
    first = next(iter(source.strip().splitlines()), "")
    where = f" in its line `{line}`" if line and line != first else ""
    return f"the cell that starts with `{first[:60]}` raised {kind}{where}: {text[:200]}"


if __name__ == "__main__":
    serve()

"""Grade one notebook: ``grade_one.py ARCHIVE NOTEBOOK RESULT OPTIONS``.

``grade.py`` starts this.  The tests, hidden ones included, run in this process; the notebook runs
in another, sealed, which answers calls and nothing else (``remote.py``).  The result is a JSON
file: the cases of each question, the cells that raised, the written answers.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from pathlib import Path

import remote
import wire

MARK = "VAELITE_GRADING"
PROMPT = "_Type your answer here, replacing this text._"
# Beside an assignment's requirements: what the notebook's own first cell and figures need.
ALWAYS = ["otter", "IPython", "mpl_toolkits"]


def main(archive: str, notebook: str, result: str, options: str) -> None:
    """Grade ``notebook`` with the tests of ``archive`` and write ``result``."""
    import nbformat

    answer = {"questions": {}, "errors": [], "written": [], "problem": None}
    try:
        content = nbformat.read(notebook, as_version=4)
        nbformat.validate(content)
        assert any(cell.cell_type == "code" for cell in content.cells)
    except Exception:
        answer["problem"] = "the file is not a notebook that can be read"
        Path(result).write_text(json.dumps(answer), encoding="utf-8")
        return
    answer["written"] = written_answers(content)
    given = json.loads(options)
    tests, modules = read_archive(archive)
    environment = {MARK: os.environ.get(MARK, "")}
    if "matplotlib" in modules:
        environment["VAELITE_FONTS"] = remote.fonts()
    submission = remote.Submission(
        [cell.source for cell in content.cells if cell.cell_type == "code"],
        remote.Limits(**given["limits"]),
        sealed=given["sealed"],
        modules=[*modules, *ALWAYS],
        environment=environment,
        home=str(Path(result).parent),
    )
    try:
        grade(submission, tests, answer)
    except wire.Silence as silence:
        answer["problem"] = str(silence)
    finally:
        submission.close()
    answer["errors"] = [explain(*error) for error in submission.errors]
    Path(result).write_text(json.dumps(answer), encoding="utf-8")


def read_archive(archive: str) -> tuple[list, list[str]]:
    """Return an autograder's test files, and the modules that its assignment names."""
    from otter.test_files import ExceptionTestFile

    with zipfile.ZipFile(archive) as file:
        names = [name for name in sorted(file.namelist()) if name.startswith("tests/")]
        tests = [ExceptionTestFile.from_string(file.read(n).decode(), path=n) for n in names]
        required = file.read("environment.yml").decode().rpartition("- pip:")[2]
    modules = re.findall(r"^\s*- ([A-Za-z_]\w*)", required, re.MULTILINE)
    return tests, modules


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
                    submission.begin_question()
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


def written_answers(notebook) -> list[str]:
    """Return the texts of the answer cells that are not code."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        and "otter_answer_cell" in cell.metadata.get("tags", [])
        and cell.source.strip() != PROMPT
    ]


def explain(source: str, kind: str, text: str) -> str:
    """Return one line for a cell that raised."""
    first = next(iter(source.strip().splitlines()), "")
    return f"the cell that starts with `{first[:60]}` raised {kind}: {text[:200]}"


if __name__ == "__main__":
    main(*sys.argv[1:])

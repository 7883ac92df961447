"""Each assignment's tests are tested: by the key, the stub, the mutants and the equivalents.

``make test`` tries one mutant of three, ``make mistakes`` and the weekly run all.
"""

import ast
import json
import re
import socket
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import assignments
import nbformat
import pytest
import remote
from assignments import AssignmentError
from sampling import some

NAMES = assignments.names()
# What answers are made of, and no public test.
ANSWERS = {"lgamma", "logsumexp", "slogdet", "linalg", "solve", "gather", "randperm", "Gamma"}
MUTANTS = [
    pytest.param(name, mutant, id=f"{name}-{mutant.question}-{mutant.mistake}")
    for name in NAMES
    for mutant in some(assignments.mutants(name), 5)
]
EQUIVALENTS = [
    pytest.param(name, right, id=f"{name}-{right.question}-{right.style}")
    for name in NAMES
    for right in assignments.equivalents(name)
]


@cache
def built(name):
    return assignments.build(name)


@cache
def variables(name, version):
    return assignments.environment(built(name) / version / f"{name}.ipynb")


def code(name, version):
    return notebook_code(built(name) / version / f"{name}.ipynb")


def notebook_code(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_there_are_assignments():
    assert {
        "01_foundations",
        "02_subspaces",
        "03_cross_population",
        "04_optimal_prior",
        "05_multi_aspect",
        "06_factorial_mixture",
        "07_open_experiment",
        "08_sixth_row",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_key_passes_everything(name):
    results = assignments.run_tests(built(name) / "autograder.zip", variables(name, "solution"))
    assert len(results) >= 4
    for result in results.values():
        assert result.passed_all, result.summary()


@pytest.mark.parametrize("name", NAMES)
def test_stub_scores_nothing_and_is_told_so_kindly(name):
    results = assignments.run_tests(built(name) / "autograder.zip", variables(name, "student"))
    for result in results.values():
        assert result.score == 0
        for case in result.test_case_results:
            assert "AssertionError: Not answered yet: " in case.message


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_mutant_is_told_its_mistake(name, mutant):
    archive = built(name) / "autograder.zip"
    assert assignments.survives(mutant, archive, variables(name, "solution")) is None


@pytest.mark.parametrize(("name", "right"), EQUIVALENTS)
def test_equivalent_is_accepted(name, right):
    archive = built(name) / "autograder.zip"
    assert assignments.refused(right, archive, variables(name, "solution")) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_question_has_three_mutants_three_equivalents_and_hidden_tests(name):
    results = assignments.run_tests(built(name) / "autograder.zip", {})
    for question, result in results.items():
        mutants = [m for m in assignments.mutants(name) if m.question == question]
        assert len(mutants) >= 3, question
        rights = [right for right in assignments.equivalents(name) if right.question == question]
        assert len(rights) >= 3, question
        assert any(case.hidden for case in result.test_cases), question
        assert any(not case.hidden for case in result.test_cases), question
    assert {m.question for m in assignments.mutants(name)} <= set(results)
    assert {right.question for right in assignments.equivalents(name)} <= set(results)


@pytest.mark.parametrize("name", NAMES)
def test_student_gets_no_solution_and_no_hidden_test(name):
    archive = zipfile.ZipFile(built(name) / "autograder.zip")
    tests = "".join(archive.read(m).decode() for m in archive.namelist() if "tests/" in m)
    hidden = re.findall(r"hidden=True\)\s*def (\w+)", tests)
    assert len(hidden) >= 5
    text = (built(name) / "student" / f"{name}.ipynb").read_text(encoding="utf-8")
    for secret in (*hidden, "BEGIN SOLUTION", "SOLUTION", "model answer", "Rubric"):
        assert secret not in text, secret
        assert secret in tests + code(name, "solution") or secret in ("model answer", "Rubric")


@pytest.mark.parametrize("name", NAMES)
def test_public_tests_hold_values_and_no_reference(name):
    student = nbformat.read(built(name) / "student" / f"{name}.ipynb", as_version=4)
    text = (assignments.MASTERS / f"{name}.md").read_text(encoding="utf-8")
    cells = re.findall(r"^# VALUES\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(cells) == len(student.metadata.otter.tests)
    lines = {line.strip() for cell in cells for line in cell.splitlines() if len(line.strip()) > 24}
    for question, source in student.metadata.otter.tests.items():
        assert "VALUES = decode(" in source, question
        tests = source.partition("\n@test_case")[2]
        assert not [line for line in lines if line in tests], question
        tree = ast.parse("@test_case" + tests)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & ANSWERS, question


@pytest.mark.parametrize("name", NAMES)
def test_points_add_up_to_what_the_text_says(name):
    student = nbformat.read(built(name) / "student" / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in student.cells if cell.cell_type == "markdown")
    shown = [int(points) for points in re.findall(r"^_Points:_ (\d+)$", text, re.MULTILINE)]
    (announced,) = re.findall(r"(\d+) points in all", text)
    assert sum(shown) == int(announced)


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_stand_under_the_title(name):
    student = nbformat.read(built(name) / "student" / f"{name}.ipynb", as_version=4)
    title, rules = (cell.source for cell in student.cells[1:3])
    about = json.loads(zipfile.ZipFile(built(name) / "autograder.zip").read("about.json"))
    limits = remote.Limits()
    assert title.startswith("# Assignment ") and rules.startswith("**Rules.**")
    assert f"run for {limits.question_seconds:g} seconds" in rules
    assert f"{limits.memory_gib:g} GiB of memory and no network" in rules
    assert about["modules"] and all(f"`{module}`" in rules for module in about["modules"])
    assert "your answer in\nwords ends with who and what helped you, a program that" in rules


@pytest.mark.parametrize("name", NAMES)
def test_gradescope_builds_what_is_pinned(name):
    """Its specification asks for setup.sh and run_autograder at the root of the archive."""
    archive = zipfile.ZipFile(built(name) / "autograder.zip")
    assert {"setup.sh", "run_autograder", "gradescope.py"} <= set(archive.namelist())
    assert archive.read("run_autograder").startswith(b"#!/bin/bash\n")
    asked = re.findall(r"^ {6}- (\S.*)$", archive.read("environment.yml").decode(), re.MULTILINE)
    lock = (assignments.ROOT / "requirements.txt").read_text().splitlines()
    assert set(asked) <= set(lock)
    packages = {line.partition("==")[0] for line in asked}
    assert {"otter-grader", "numpy"} <= packages


@pytest.mark.parametrize("name", NAMES)
def test_the_teaching_page_says_what_an_assignment_asks(name):
    page = (assignments.ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    questions = json.loads(zipfile.ZipFile(built(name) / "autograder.zip").read("about.json"))
    questions = questions["questions"].values()
    points = [sum(q["points"] for q in questions if q["manual"] == kind) for kind in (False, True)]
    counts = [sum(q["manual"] == kind for q in questions) for kind in (False, True)]
    (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
    assert row.endswith(
        f"| {counts[0]} coded, {counts[1]} in words | {points[0]:g} + {points[1]:g} |"
    )
    hours, rubric = re.findall(rf"^`{name}`:\n\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = re.findall(r"^\| (\d) \|.*\| ([\d.]+) \|$", hours, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, sum(counts) + 1))
    (total,) = re.findall(r"^\| all \| \| (.*) \|$", hours, re.MULTILINE)
    about = [float(number) for number in re.findall(r"[\d.]+", total)]
    assert about[0] - 0.5 <= sum(float(hour) for _, hour in rows) <= about[-1] + 0.5
    assert len(rubric.splitlines()) - 2 == points[1]


# --- The tool itself, on an assignment that takes a second ---------------------------------------


def test_tiny_is_sound(tiny, masters):
    assert assignments.check("tiny", tiny, masters) == []


def test_checks_can_fail(tiny, masters):
    key = assignments.environment(tiny / "solution" / "tiny.ipynb")
    (mutant,) = assignments.mutants("tiny", masters)
    archive = tiny / "autograder.zip"
    harmless = replace(mutant, code="def scaled(x):\n    return x * factor")
    assert assignments.survives(harmless, archive, key) == "every test passes"
    # The phrase stands in a line of the test, but no test says it for this mistake.
    unnamed = replace(mutant, code="def scaled(x):\n    return 0")
    assert "no public test says" in assignments.survives(unnamed, archive, key)
    hidden_only = replace(
        mutant, message="secret", code="def scaled(x):\n    return factor * abs(x)"
    )
    assert "no public test says" in assignments.survives(hidden_only, archive, key)
    (right,) = assignments.equivalents("tiny", masters)
    wrong = replace(right, code="def scaled(x):\n    return factor + x")
    assert "added the factor" in assignments.refused(wrong, archive, key)
    late = replace(right, code="def scaled(x):\n    return abs(factor * x)")
    assert assignments.refused(late, archive, key) == "The secret test failed."


def test_builds_are_equal_byte_for_byte_and_need_no_network(tiny, masters, tmp_path, monkeypatch):
    connect = socket.socket.connect

    def local_only(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    again = assignments.build("tiny", masters=masters, out=tmp_path)
    files = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "autograder.zip",
        "solution/tiny.ipynb",
        "stamp.json",
        "student/requirements.txt",
        "student/tiny.ipynb",
        "student/tiny_colab.ipynb",
    ]
    for path in files:
        assert (again / path).read_bytes() == (tiny / path).read_bytes(), path


def test_a_fresh_build_is_left_alone(tiny, masters, monkeypatch):
    monkeypatch.setattr(assignments, "_assign", None)
    assert assignments.build("tiny", masters=masters, out=tiny.parent) == tiny


def test_a_key_that_fails_its_tests_is_refused_and_leaves_nothing(masters, tmp_path):
    text = (masters / "tiny.md").read_text(encoding="utf-8")
    (tmp_path / "wrong.md").write_text(text.replace("return factor * x", "return factor + x"))
    with pytest.raises(AssignmentError, match="the key of wrong does not pass its own tests"):
        assignments.build("wrong", masters=tmp_path, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def overlay(folder, **files):
    (folder / "tiny").mkdir(parents=True)
    for name, text in files.items():
        (folder / "tiny" / name.replace("__", ".")).write_text(text)
    return folder


def test_overlay_replaces_numbers_and_hidden_tests(masters, tmp_path):
    test = "def test_mine(scaled, factor):\n    assert scaled(0.5) == 0.5 * factor, 'mine'\n"
    private = overlay(tmp_path, numbers__toml="factor = 7\n", q1__py=test)
    folder = assignments.build("tiny", masters=masters, overlay=private)
    assert folder == private / "_build" / "tiny"
    for version in ("student", "solution"):
        source = notebook_code(folder / version / "tiny.ipynb")
        assert "factor = 7  # what to multiply by" in source
    text = (folder / "student" / "tiny.ipynb").read_text()
    assert "test_mine" not in text and "test_scaled" in text
    tests = zipfile.ZipFile(folder / "autograder.zip").read("tests/q1.py").decode()
    assert re.findall(r"def (test_\w+)", tests) == ["test_scaled", "test_mine"]
    assert re.findall(r"hidden=(\w+)", tests) == ["False", "True"]


def test_each_student_has_numbers_of_their_own(masters, tmp_path):
    """The hidden tests of a student are built with the student's numbers."""
    numbers = "[each]\nfactor = [2, 3, 5, 7, 11, 13]\n"
    private = overlay(tmp_path, numbers__toml=numbers, gradescope__toml="scores = 'hidden'\n")
    found = {}
    for student in ("ann", "bob", "cem"):
        folder = assignments.build("tiny", masters=masters, overlay=private, student=student)
        assert not (folder / "solution").exists()
        (factor,) = re.findall(r"factor = (\d+)", notebook_code(folder / "student" / "tiny.ipynb"))
        found[student] = int(factor)
        archive = folder / "autograder.zip"
        assert json.loads(zipfile.ZipFile(archive).read("about.json"))["scores"] == "hidden"
        for other in (int(factor), int(factor) + 1):
            answers = {"factor": other, "scaled": lambda x, by=other: by * x}
            result = assignments.run_tests(archive, answers, ["q1"])["q1"]
            # The public test holds the student's own value, the hidden one looks at the factor.
            assert result.passed_all == (other == int(factor))
    assert len(set(found.values())) > 1
    with pytest.raises(AssignmentError, match=r"has no table \[each\]"):
        plain = overlay(tmp_path / "plain", numbers__toml="factor = 2\n")
        assignments.build("tiny", masters=masters, overlay=plain, student="ann")
    with pytest.raises(AssignmentError, match="it may be one of: visible, after_due_date"):
        odd = overlay(tmp_path / "odd", gradescope__toml="scores = 'now'\n")
        assignments.build("tiny", masters=masters, overlay=odd)


def test_the_overlay_on_the_teaching_page_works(tmp_path):
    page = (assignments.ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    (numbers,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (test,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    private = tmp_path / "01_foundations"
    private.mkdir()
    (private / "numbers.toml").write_text(numbers)
    (private / "q1.py").write_text(test)
    folder = assignments.build("01_foundations", overlay=tmp_path)
    key = assignments.environment(folder / "solution" / "01_foundations.ipynb")
    assert (key["rho"], key["count"], len(key["X"])) == (1.1, 250, 250)
    results = assignments.run_tests(folder / "autograder.zip", key)
    assert all(result.passed_all for result in results.values())
    (hidden,) = [case for case in results["q1"].test_cases if case.hidden]
    assert hidden.body.test_func.__name__ == "test_own_numbers"
    assert results["q1"].possible == 4


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"numbers__toml": "speed = 3\n"}, "sets speed, which the master does not have"),
        ({"numbers__toml": "factor = \n"}, "is not valid TOML"),
        ({"q9__py": "def test_it(): pass\n"}, "named after no question"),
        ({"q1__py": "x = 1\n"}, "has no test function"),
        ({"q1__py": "def test_it(:\n"}, "is not valid Python"),
    ],
)
def test_overlays_that_do_not_fit_are_refused(masters, tmp_path, files, message):
    with pytest.raises(AssignmentError, match=message):
        assignments.build("tiny", masters=masters, overlay=overlay(tmp_path, **files))


def test_unknown_names_are_refused(masters, tmp_path, capsys):
    with pytest.raises(AssignmentError, match="no assignment 'none'; there are: tiny"):
        assignments.build("none", masters=masters)
    with pytest.raises(AssignmentError, match="has no folder 'tiny'"):
        assignments.build("tiny", masters=masters, overlay=tmp_path)
    assert assignments.main(["build", "none"]) == 1
    assert "there is no assignment 'none'" in capsys.readouterr().err


def test_solutions_lists_one_key_a_master():
    assert [Path(path).stem for path in assignments.solutions()] == NAMES

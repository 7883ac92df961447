"""A notebook that loops, dies, eats memory or floods its output costs its own points only."""

import csv
import io
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import grade
import nbformat
import psutil
import pytest
import remote
from assignments import AssignmentError
from grade import Limits

LIMITS = Limits(seconds=400, cell_seconds=100, memory_gib=8)
SEALED = remote.can_seal()  # without: the same, but for what test_seal.py tests
SCALED = "def scaled(x):\n    return factor * x"
SQUARE = "square = lambda x: x**2"


def answered(folder, scaled=SCALED, square=SQUARE, written=None):
    """The student's notebook with these answers, as bytes."""
    notebook = nbformat.read(folder / "student" / "tiny.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("def scaled"):
            cell.source = scaled
        elif cell.source.startswith("square ="):
            cell.source = square
        elif cell.source.startswith("_Type your answer") and written:
            cell.source = written
    return nbformat.writes(notebook).encode()


def run(folder, limits=LIMITS, **answers):
    content, archive = answered(folder, **answers), folder / "autograder.zip"
    return grade.grade_submission(content, archive, limits, SEALED)


def scores(record):
    return {question: result["score"] for question, result in record["questions"].items()}


def marked_processes(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(grade.MARK) == mark and process.status() != "zombie":
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_bad_cells_cost_their_own_points_only(tiny):
    bad = {
        "while True:\n    pass": "TimeoutError: it ran for more than 5 seconds",
        "exit()": "RuntimeError: exit() would end the notebook",
        "import sys\nsys.exit()": "SystemExit",
        "hog = bytearray(7 * 2**30)": "MemoryError",
        "def broken(x:": "SyntaxError",
        "raise ValueError('no')": "ValueError: no",
        "while True:\n    print('a flood')": "TimeoutError",
    }
    notebook = nbformat.reads(answered(tiny, square="1 / 0"), as_version=4)
    first = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("def scaled"))
    notebook.cells[first:first] = [nbformat.v4.new_code_cell(source) for source in bad]
    content = nbformat.writes(notebook).encode()
    limits = Limits(LIMITS.seconds, 5, LIMITS.memory_gib)
    record = grade.grade_submission(content, tiny / "autograder.zip", limits, SEALED)
    assert record["problem"] is None
    assert scores(record) == {"q1": 2, "q2": 0}
    expected = [*bad.values(), "ZeroDivisionError"]
    assert len(record["errors"]) == len(expected)
    for line, error in zip(record["errors"], expected, strict=True):
        assert error in line


def test_a_loop_inside_an_answer_stops_in_the_tests_too(tiny):
    looping = "def scaled(x):\n    while True:\n        pass"
    record = run(tiny, Limits(LIMITS.seconds, 2, LIMITS.memory_gib), scaled=looping)
    assert scores(record) == {"q1": 0, "q2": 1}
    message = record["questions"]["q1"]["cases"][0]["message"]
    assert "scaled raised TimeoutError in its line `" in message
    assert "it ran for more than" in message


def test_a_loop_that_catches_everything_costs_its_question_only(tiny):
    looping = """def scaled(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass"""
    record = run(tiny, Limits(LIMITS.seconds, 2, LIMITS.memory_gib), scaled=looping)
    assert scores(record) == {"q1": 0, "q2": 1}
    assert "was stopped" in record["questions"]["q1"]["cases"][0]["message"]


def test_a_cell_that_will_not_stop_is_left_out_and_killed(tiny, monkeypatch):
    stubborn = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
    monkeypatch.setattr(grade.uuid, "uuid4", lambda: SimpleNamespace(hex="stubborn"))
    record = run(tiny, Limits(LIMITS.seconds, 1, LIMITS.memory_gib), square=stubborn)
    assert record["problem"] is None
    assert scores(record) == {"q1": 2, "q2": 0}
    (line,) = record["errors"]
    assert line == "the cell that starts with `while True:` raised Stopped: no answer in time"
    assert marked_processes("stubborn") == []


def test_a_notebook_whose_time_is_over_is_reported(tiny):
    record = run(tiny, Limits(0.1, 1, LIMITS.memory_gib))
    assert record["problem"] == "stopped after 0.1 seconds"
    assert scores(record) == {}


def test_processes_in_sessions_of_their_own_are_killed_too():
    mark = f"family-{os.getpid()}"
    parent = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    environment = {**os.environ, grade.MARK: mark}
    subprocess.run([sys.executable, "-c", parent], env=environment, check=True)
    (orphan,) = marked_processes(mark)
    grade._kill(mark)
    assert marked_processes(mark) == []
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"


def test_a_cell_that_ends_the_process_is_left_out(tiny):
    record = run(tiny, square="import os\nos._exit(1)")
    assert scores(record) == {"q1": 2, "q2": 0}
    (line,) = record["errors"]
    assert line == "the cell that starts with `import os` raised Stopped: the process ended"


def test_a_forged_result_and_a_forged_test_class_gain_nothing(tiny):
    forged = """
import glob, json, os, sys, types
import otter
perfect = {"questions": {"q1": {"score": 1024, "possible": 2, "cases": []}}, "errors": []}
for folder in [os.getcwd(), os.environ["HOME"], *glob.glob("/tmp/*")]:
    try:
        open(folder + "/result.json", "w").write(json.dumps(perfect))
    except OSError:
        pass
otter.test_files = types.SimpleNamespace(test_case=None, ExceptionTestFile=None)
sys.modules["otter.test_files"] = otter.test_files
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return 10.0
square = scaled = lambda x: Everything()
"""
    record = run(tiny, scaled=forged, square="0")
    assert scores(record) == {"q1": 0, "q2": 0}


def test_hidden_tests_do_not_come_back(tiny):
    spy = """
seen = []
def scaled(x):
    seen.append(x)
    return factor * x if x > 0 else 1 / 0
def square(x):
    raise ValueError(f"arguments so far: {seen}")
"""
    record = run(tiny, scaled=spy, square="0")
    assert "-3" not in record["questions"]["q2"]["cases"][0]["message"]
    assert scores(record) == {"q1": 1, "q2": 0}


def test_a_folder_is_graded_row_by_row_and_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    (inbox / "carol").mkdir(parents=True)
    adds = "def scaled(x):\n    return factor + x"
    flood = f"for number in range(1_000_000):\n    print(number)\n{SQUARE}"
    wrong = answered(tiny, scaled=adds, square=flood, written="Because.")
    (inbox / "alice.ipynb").write_bytes(wrong)
    (inbox / "bob.ipynb").write_bytes(b'{"cells": [')
    (inbox / "carol" / "anything.ipynb").write_bytes((tiny / "student" / "tiny.ipynb").read_bytes())
    (inbox / "dora.zip").write_bytes(b"no archive")
    (inbox / "notes.txt").write_text("not a submission")
    lines = []
    archive = tiny / "autograder.zip"
    rows = grade.grade_folder(inbox, archive, out, LIMITS, lines.append, SEALED)

    assert [row["name"] for row in rows] == ["alice", "bob", "carol", "dora"]
    table = list(csv.DictReader((out / "grades.csv").open()))
    assert list(table[0]) == ["name", "q1", "q2", "total", "possible", "note"]
    # A million lines of output cost alice nothing.
    assert [row["total"] for row in table] == ["1", "0", "0", "0"]
    assert table[0]["note"] == ""
    assert [row["possible"] for row in table] == ["3"] * 4
    assert table[1]["note"] == "the file is not a notebook that can be read"
    assert table[2]["note"] == ""
    assert table[3]["note"] == "the file is not a zip archive that can be read"
    assert len(lines) == 4

    page = (out / "feedback" / "alice.md").read_text()
    assert "# alice: 1 of 3 points" in page
    assert "- You added the factor." in page
    assert "- Hidden tests with other numbers: 1 failed." in page
    assert "secret" not in page
    page = (out / "feedback" / "carol.md").read_text()
    assert page.count("Not answered yet: scaled returns nothing.") == 1
    written = (out / "written.md").read_text()
    assert "## alice\n\nBecause." in written
    assert "## carol\n\n(none)" in written
    assert not list(out.rglob("*.part"))

    # Nothing has changed: nothing is graded again.  A changed submission is.
    def refuse(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "grade_submission", refuse)
    assert grade.grade_folder(inbox, archive, out, LIMITS, lines.append, SEALED) == rows
    (inbox / "alice.ipynb").write_bytes(answered(tiny))
    with pytest.raises(KeyboardInterrupt):
        grade.grade_folder(inbox, archive, out, LIMITS, lines.append, SEALED)


# --- Without a kernel ----------------------------------------------------------------------------


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return buffer.getvalue()


def test_archives_with_one_notebook_are_read(tmp_path):
    path = tmp_path / "one.zip"
    path.write_bytes(zipped(a__ipynb="notebook", b__txt="text"))
    assert grade.read_submission(path) == b"notebook"
    path.write_bytes(zipped(a__ipynb="1", b__ipynb="2"))
    with pytest.raises(AssignmentError, match="holds 2 notebooks"):
        grade.read_submission(path)


def test_huge_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "MAX_NOTEBOOK_BYTES", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ipynb", "0" * 100_000)
    assert path.stat().st_size < 1000
    with pytest.raises(AssignmentError, match="larger than 1,000 bytes"):
        grade.read_submission(path)


def test_folders_that_cannot_be_graded_are_refused(tmp_path, capsys):
    with pytest.raises(AssignmentError, match="is not a folder"):
        grade.find_submissions(tmp_path / "none")
    with pytest.raises(AssignmentError, match="holds no notebook"):
        grade.find_submissions(tmp_path)
    (tmp_path / "alice.ipynb").touch()
    (tmp_path / "alice.zip").touch()
    with pytest.raises(AssignmentError, match="have the same name"):
        grade.find_submissions(tmp_path)
    (tmp_path / "alice.zip").unlink()
    (tmp_path / "bob").mkdir()
    for name in ("a.ipynb", "b.ipynb"):
        (tmp_path / "bob" / name).touch()
    with pytest.raises(AssignmentError, match="bob holds 2 notebooks"):
        grade.find_submissions(tmp_path)
    assert grade.main([str(tmp_path / "none"), "--assignment", "01_foundations"]) == 1
    assert capsys.readouterr().err.startswith("grade: ")

"""A notebook that loops, dies, eats memory or floods its output costs nobody else anything."""

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
from assignments import AssignmentError
from grade import Limits

LIMITS = Limits(seconds=400, cell_seconds=100, memory_gib=2)
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
    return grade.grade_submission(answered(folder, **answers), folder / "autograder.zip", limits)


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
        "while True:\n    pass": "TimeoutError: this cell ran for more than 5 seconds",
        "exit()": "RuntimeError: exit() would end the kernel",
        "import sys\nsys.exit()": "SystemExit",
        "hog = bytearray(3 * 2**30)": "MemoryError",
        "def broken(x:": "SyntaxError",
        "raise ValueError('no')": "ValueError: no",
        "while True:\n    print('a flood')": "TimeoutError",
    }
    notebook = nbformat.reads(answered(tiny, square="1 / 0"), as_version=4)
    first = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("def scaled"))
    notebook.cells[first:first] = [nbformat.v4.new_code_cell(source) for source in bad]
    content = nbformat.writes(notebook).encode()
    limits = Limits(LIMITS.seconds, 5, LIMITS.memory_gib)
    record = grade.grade_submission(content, tiny / "autograder.zip", limits)
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
    assert "ran for more than 2 seconds" in record["questions"]["q1"]["cases"][0]["message"]


def test_a_notebook_that_will_not_stop_is_killed(tiny, monkeypatch):
    stubborn = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
    monkeypatch.setattr(grade.uuid, "uuid4", lambda: SimpleNamespace(hex="stubborn"))
    record = run(tiny, Limits(25, 1, LIMITS.memory_gib), square=stubborn)
    assert record["problem"] == "stopped after 25 seconds"
    assert scores(record) == {}
    assert marked_processes("stubborn") == []


def test_processes_in_sessions_of_their_own_are_killed_too():
    mark = f"family-{os.getpid()}"
    parent = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    environment = {**os.environ, grade.MARK: mark}
    subprocess.run([sys.executable, "-c", parent], env=environment, check=True)
    (orphan,) = marked_processes(mark)
    grade._kill(mark)
    assert marked_processes(mark) == []
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"


def test_a_kernel_that_dies_is_reported(tiny):
    record = run(tiny, square="import os\nos._exit(1)")
    assert "kernel died" in record["problem"]
    assert scores(record) == {}


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
    rows = grade.grade_folder(inbox, archive, out, LIMITS, progress=lines.append)

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
    def refuse(content, archive, limits):
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "grade_submission", refuse)
    assert grade.grade_folder(inbox, archive, out, LIMITS, progress=lines.append) == rows
    (inbox / "alice.ipynb").write_bytes(answered(tiny))
    with pytest.raises(KeyboardInterrupt):
        grade.grade_folder(inbox, archive, out, LIMITS, progress=lines.append)


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

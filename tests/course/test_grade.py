"""A notebook that loops, dies, eats memory or floods its output costs its own points only."""

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

LIMITS = Limits(question_seconds=100, seconds=500, memory_gib=8)
SEAL = remote.find_seal()  # without: the same, but for what test_seal.py tests
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


@pytest.fixture(scope="module")
def worker():
    """A process that grades one notebook after another, as in a class."""
    worker = grade.Worker()
    yield worker
    worker.close()


@pytest.fixture
def run(tiny, worker):
    """A function that grades the tiny assignment with these answers."""

    def run(limits=LIMITS, **answers):
        content = answered(tiny, **answers)
        return worker.grade(content, tiny / "autograder.zip", limits, SEAL)

    return run


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


def test_bad_cells_cost_their_own_points_only(tiny, worker):
    bad = {
        "while True:\n    pass": "TimeoutError",
        "exit()": "RuntimeError: exit() would end the notebook",
        "import sys\nsys.exit()": "SystemExit",
        "hog = bytearray(9 * 2**30)": "MemoryError",
        "def broken(x:": "SyntaxError",
        "raise ValueError('no')": "ValueError: no",
        "while True:\n    print('a flood')": "TimeoutError",
    }
    notebook = nbformat.reads(answered(tiny, square="1 / 0"), as_version=4)
    first = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("def scaled"))
    notebook.cells[first:first] = [nbformat.v4.new_code_cell(source) for source in bad]
    content = nbformat.writes(notebook).encode()
    limits = Limits(5, LIMITS.seconds, LIMITS.memory_gib)
    record = worker.grade(content, tiny / "autograder.zip", limits, SEAL)
    assert record["problem"] is None
    assert scores(record) == {"q1": 2, "q2": 0}
    expected = [*bad.values(), "ZeroDivisionError"]
    assert len(record["errors"]) == len(expected)
    for line, error in zip(record["errors"], expected, strict=True):
        assert error in line


def test_a_loop_inside_an_answer_stops_in_the_tests_too(run):
    looping = "def scaled(x):\n    while True:\n        pass"
    record = run(Limits(2, LIMITS.seconds, LIMITS.memory_gib), scaled=looping)
    assert scores(record) == {"q1": 0, "q2": 1}
    message = record["questions"]["q1"]["cases"][0]["message"]
    assert "scaled raised TimeoutError in its line `" in message
    assert "it ran for more than" in message


def test_a_loop_that_catches_everything_costs_its_question_only(run):
    looping = """def scaled(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass"""
    record = run(Limits(2, LIMITS.seconds, LIMITS.memory_gib), scaled=looping)
    assert scores(record) == {"q1": 0, "q2": 1}
    assert "was stopped" in record["questions"]["q1"]["cases"][0]["message"]


def test_a_cell_that_will_not_stop_is_left_out_and_killed(run, monkeypatch):
    stubborn = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
    monkeypatch.setattr(grade.uuid, "uuid4", lambda: SimpleNamespace(hex="stubborn"))
    record = run(Limits(1, LIMITS.seconds, LIMITS.memory_gib), square=stubborn)
    assert record["problem"] is None
    assert scores(record) == {"q1": 2, "q2": 0}
    (line,) = record["errors"]
    assert line == "the cell that starts with `while True:` raised Stopped: no answer in time"
    assert marked_processes("stubborn") == []


def test_a_notebook_whose_time_is_over_is_reported(run):
    record = run(Limits(1, 0.1, LIMITS.memory_gib))
    assert record["problem"] is None
    assert scores(record) == {"q1": 0, "q2": 0}
    assert all("the notebook's time was used up" in error for error in record["errors"])


def test_a_question_has_one_budget_for_all_its_tests(run):
    slow = "import time\ndef scaled(x):\n    time.sleep(1.2)\n    return factor * x"
    record = run(Limits(2, LIMITS.seconds, LIMITS.memory_gib), scaled=slow)
    assert scores(record) == {"q1": 1, "q2": 1}  # the public test within it, the hidden one not
    assert run(scaled=slow)["questions"]["q1"]["score"] == 2


def test_an_exception_shows_the_students_own_line(run):
    record = run(square="numbers = [1]\nsquare = numbers[1]")
    (line,) = record["errors"]
    assert line == (
        "the cell that starts with `numbers = [1]` raised IndexError in its line "
        "`square = numbers[1]`: list index out of range"
    )


def test_processes_in_sessions_of_their_own_are_killed_too():
    mark = f"family-{os.getpid()}"
    parent = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    environment = {**os.environ, grade.MARK: mark}
    subprocess.run([sys.executable, "-c", parent], env=environment, check=True)
    (orphan,) = marked_processes(mark)
    grade.kill_marked(mark)
    assert marked_processes(mark) == []
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"


def test_a_cell_that_ends_the_process_is_left_out(run):
    record = run(square="import os\nos._exit(1)")
    assert scores(record) == {"q1": 2, "q2": 0}
    (line,) = record["errors"]
    assert line == "the cell that starts with `import os` raised Stopped: the process ended"


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


def test_an_archive_may_shout_and_carry_a_macs_shadow(tmp_path):
    path = tmp_path / "one.ZIP"
    path.write_bytes(zipped(a__IPYNB="notebook"))
    assert grade.read_submission(path) == b"notebook"
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    with pytest.raises(AssignmentError, match="link to another"):
        grade.read_submission(link)


def test_folders_that_cannot_be_graded_are_refused(tmp_path, capsys):
    with pytest.raises(AssignmentError, match="is not a folder"):
        grade.find_submissions(tmp_path / "none", {})
    with pytest.raises(AssignmentError, match="is empty, and there is no roster"):
        grade.find_submissions(tmp_path, {})
    assert grade.main(["", "--assignment", "01_foundations"]) == 1
    assert capsys.readouterr().err == (
        "grade: no folder was named; say make grade SUBMISSIONS=folder ASSIGNMENT=name.\n"
    )


def test_one_odd_folder_stops_nobody(tmp_path):
    for name in ("alice.ipynb", "alice.zip", "dora.ipynb", ".hidden.ipynb"):
        (tmp_path / name).touch()
    for name in ("bob/a.ipynb", "bob/.ipynb_checkpoints/a.ipynb", "carol/lab/b.IPYNB", "eve/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = grade.find_submissions(tmp_path, {"frank": {}})
    assert sorted(found) == ["alice", "bob", "carol", "dora", "empty", "eve", "frank"]
    assert grade.the_notebook(found["alice"]).name == "alice.ipynb"
    assert grade.the_notebook(found["bob"]).name == "a.ipynb"
    assert grade.the_notebook(found["carol"]).name == "b.IPYNB"
    for name, message in {
        "empty": "no notebook was handed in, but an empty folder",
        "eve": "no notebook was handed in, but c.py",
        "frank": "no submission",
    }.items():
        with pytest.raises(AssignmentError, match=message):
            grade.the_notebook(found[name])

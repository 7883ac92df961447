"""A class of 25, graded by one command: attacks, accidents, and right answers in every style."""

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import assignments
import grade
import gradescope
import nbformat
import psutil
import pytest
import remote

SCALED = "def scaled(x):\n    return factor * x"
SQUARE = "square = lambda x: x**2"
EVERYTHING = """
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return 10.0
square = scaled = lambda x: Everything()
"""
# What a submission tries to get points or classmates by; its answer to q2 is honest.
ATTACKS = {
    "test-class": """
import sys, types
class Passes:
    passed_all, score, possible, test_cases = True, 26, 26, []
for name in [n for n in sys.modules if n.startswith("otter")] + ["otter.test_files"]:
    sys.modules[name] = types.SimpleNamespace(ExceptionTestFile=Passes, test_case=None)
class Assertion(Exception): pass
import builtins
builtins.AssertionError = Assertion
"""
    + EVERYTHING.replace("square = ", ""),
    "result-file": """
import glob, json, os
perfect = {"questions": {"q1": {"score": 1024, "possible": 2, "cases": []}}, "errors": []}
places = [os.getcwd(), os.environ["HOME"], "/tmp", *glob.glob("/tmp/*"), *glob.glob("/proc/*/cwd")]
for folder in places:
    for name in ("result.json", "grades.csv"):
        try:
            open(folder + "/" + name, "w").write(json.dumps(perfect))
        except OSError:
            pass
""",
    "pipe": """
import json, os
def scaled(x):
    answer = {"result": 10, "arguments": {"list": []}, "graph": 0, "score": 26, "passed": True}
    for number in range(3, 30):
        try:
            os.write(number, json.dumps(answer).encode() + b"\\n")
        except OSError:
            pass
    return 0
""",
    "classmate": """
import glob
for name in glob.glob(INBOX + "/**", recursive=True) + [INBOX + "/key.ipynb"]:
    try:
        open(name, "w").write("spoilt")
    except OSError:
        pass
    exec(open(name).read())
""",
    "processes": """
import subprocess
subprocess.Popen(["sleep", "7654"], start_new_session=True)
import socket
import subprocess
import sys
socket.create_connection(("127.0.0.1", PORT), 2).sendall(b"here I am")
""",
    "spy": """
import gc, inspect
seen = []
def scaled(x):
    seen.append((x, [f.code_context for f in inspect.stack()], len(gc.get_objects())))
    return factor * x if x > 0 else 1 / 0
def square(x):
    raise ValueError(f"so far: {seen}")
""",
    "package": "from vaelite.gaussian import kl_standard_normal as scaled",
    "numpy": """
import numpy
numpy.allclose = numpy.array_equal = lambda *a, **k: True
def scaled(x): return numpy.nan
""",
}
ACCIDENTS = {
    "loops": {"scaled": "def scaled(x):\n    while True:\n        pass", "square": SQUARE},
    "loops-twice": {
        "scaled": "def scaled(x):\n    while True:\n        pass",
        "square": "def square(x):\n    while True:\n        pass",
    },
    "exits": {"scaled": "import sys\ndef scaled(x):\n    sys.exit(0)"},
    "dies": {"square": "import os\nos._exit(1)", "scaled": SCALED},
    "hog": {"scaled": "hog = bytearray(9 * 2**30)\n" + SCALED},
    "stub": {"scaled": None, "square": None},
}
STYLES = {
    "key": {},
    "loop": {
        "scaled": "def scaled(x):\n    total = 0\n    for _ in range(abs(x)):\n"
        "        total += factor\n    return total if x > 0 else -total"
    },
    "numpy-inside": {
        "scaled": "import numpy as np\ndef scaled(x):\n    return np.multiply(factor, np.array(x))",
        "square": "import numpy as np\nsquare = np.square",
    },
    "partial": {
        "scaled": "import functools, operator\nscaled = functools.partial(operator.mul, factor)"
    },
    "slow": {"scaled": "import time\n" + SCALED.replace("return", "time.sleep(1); return")},
    "noisy": {"square": f"for number in range(20_000):\n    print(number)\n{SQUARE}"},
}
# name: points of q1, q2, and the note.
EXPECTED = {
    **{name: (0, 1, "") for name in ATTACKS},
    "pipe": (0, 0, ""),  # its own noise drowns its next answer
    "spy": (1, 0, ""),
    "classmate": (0, 1, "cells that raised: 1"),
    "processes": (0, 1, "cells that raised: 1"),
    "package": (0, 1, "cells that raised: 1"),
    "loops": (0, 1, ""),
    "loops-twice": (0, 0, ""),
    "exits": (0, 1, ""),
    "dies": (2, 0, "cells that raised: 1"),
    "hog": (0, 1, "cells that raised: 1"),
    "stub": (0, 0, ""),
    **{name: (2, 1, "") for name in STYLES},
    "no-metadata": (2, 1, ""),
    "check-first": (2, 1, "cells that raised: 1"),
    "shouting": (2, 1, ""),
    "torn": (0, 0, "the file is not a zip archive that can be read"),
    "two": (0, 0, "2 notebooks were handed in (a.ipynb, b.ipynb); leave one"),
    "broken": (0, 0, "the file is not a notebook that can be read"),
    "paper": (0, 0, "no notebook was handed in, but paper.pdf"),
    "absent": (0, 0, "no submission"),
    "=1+1": (2, 1, "not on the roster"),
}
UNGRADED = {"torn", "two", "broken", "paper", "absent"}


def notebook(tiny, scaled=SCALED, square=SQUARE, written="Because."):
    """The student's notebook with these answers; None leaves one as it was handed out."""
    content = nbformat.read(tiny / "student" / "tiny.ipynb", as_version=4)
    for cell in content.cells:
        if cell.source.startswith("def scaled") and scaled is not None:
            cell.source = scaled
        elif cell.source.startswith("square =") and square is not None:
            cell.source = square
        elif cell.source.startswith("_Type your answer"):
            cell.source = written
    return content


def torn():
    """An archive with its table of contents in order, and a byte of its content changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ipynb", "something " * 9)
    content = bytearray(buffer.getvalue())
    content[40:46] = b"\xff" * 6
    return bytes(content)


@pytest.fixture(scope="module")
def course(tiny, tmp_path_factory):
    """A folder with a class in it: submissions, roster and marks."""
    folder = tmp_path_factory.mktemp("course")
    inbox = folder / "inbox"
    inbox.mkdir()
    for name, answers in {**ACCIDENTS, **STYLES, "shouting": {}, "=1+1": {}}.items():
        nbformat.write(notebook(tiny, **answers), inbox / f"{name}.ipynb")
    (inbox / "shouting.ipynb").rename(inbox / "shouting.IPYNB")
    bare = notebook(tiny)
    cells = [{"cell_type": cell.cell_type, "source": cell.source} for cell in bare.cells]
    (inbox / "no-metadata.ipynb").write_text(json.dumps({"cells": cells}))
    early = notebook(tiny)
    check = next(i for i, cell in enumerate(early.cells) if "grader.check(" in cell.source)
    early.cells.insert(2, early.cells.pop(check))
    early.cells.insert(2, nbformat.v4.new_code_cell("scaled(1)"))
    nbformat.write(early, inbox / "check-first.ipynb")
    (inbox / "two").mkdir()
    for name in ("a", "b"):
        nbformat.write(notebook(tiny), inbox / "two" / f"{name}.ipynb")
    (inbox / "broken.ipynb").write_text('{"cells": [')
    (inbox / "paper.pdf").write_bytes(b"%PDF-1.4")
    (inbox / "torn.zip").write_bytes(torn())
    # Archives and folders: as Moodle and Canvas hand them over.
    with zipfile.ZipFile(inbox / "partial.zip", "w") as archive:
        archive.write(inbox / "partial.ipynb", "my folder/anything.ipynb")
        archive.writestr("__MACOSX/my folder/._anything.ipynb", "")
    (inbox / "partial.ipynb").unlink()
    for name in ("loop",):
        (inbox / name).mkdir()
        (inbox / f"{name}.ipynb").rename(inbox / name / "handed in.ipynb")
    names = [name for name in EXPECTED if name != "=1+1"]
    (folder / "roster.csv").write_text("student,name\n" + "".join(f"{n},{n}\n" for n in names))
    (folder / "marks.csv").write_text(
        "assignment,student,question,points,words\n"
        'tiny,key,q3,1,"Well said, and short."\n'
        'tiny,paper,q1,1.5,"Marked on paper."\n'
        "tiny,absent,q3,,\n"
        "another,key,q3,7,For another day\n"
    )
    return folder


def test_a_class_of_25_is_graded_by_one_command(tiny, course, seal, monkeypatch, capsys):
    assert len(EXPECTED) >= 25
    inbox, out = course / "inbox", course / f"grades-{seal}"
    monkeypatch.setattr(remote, "find_seal", lambda: seal)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        facts = f"INBOX, PORT = {str(inbox)!r}, {server.getsockname()[1]}"
        for name, code in ATTACKS.items():
            # What follows the attack does its work still.
            content = notebook(tiny, scaled=code)
            content.cells.insert(1, nbformat.v4.new_code_cell(facts))
            if name == "spy":
                content = notebook(tiny, scaled=code, square="0")
            nbformat.write(content, inbox / f"{name}.ipynb")
        before = {path: path.read_bytes() for path in sorted(course.rglob("*")) if path.is_file()}
        monkeypatch.setattr(assignments, "build", lambda name, **options: tiny)
        command = [str(inbox), "--assignment", "tiny", "--question-seconds", "5", "--jobs", "2"]
        command += ["--out", str(out)]
        assert grade.main(command) == 0
        with pytest.raises(BlockingIOError):
            server.accept()
    assert {path: path.read_bytes() for path in before} == before
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "7654"]
    ]

    table = list(csv.DictReader((out / "grades.csv").open()))
    assert list(table[0]) == ["student", "q1", "q2", "q3", "total", "possible", "note"]
    rows = {row["student"]: row for row in table}
    assert [row["student"] for row in table] == [*(n for n in EXPECTED if n != "=1+1"), "'=1+1"]
    rows["=1+1"] = rows.pop("'=1+1")
    for name, (q1, q2, note) in EXPECTED.items():
        row, notes = rows[name], [note] * bool(note)
        q3 = {"key": "1"}.get(name, "0" if name in UNGRADED else "")
        if q3 == "":
            notes.append("q3 is not marked yet")
        if name == "paper":
            q1, notes = 1.5, [*notes, "q1 by hand; the tests gave 0"]
        if name in ("check-first", "=1+1", "classmate", "processes", "package", "dies", "hog"):
            notes = sorted(notes)  # in whatever order
        found = row["note"].split("; ") if row["note"] else []
        assert sorted("; ".join(found).split("; ")) == sorted("; ".join(notes).split("; ")), name
        assert (float(row["q1"]), float(row["q2"]), row["q3"]) == (q1, q2, q3), name
        assert float(row["total"]) == q1 + q2 + float(q3 or 0), name
        assert row["possible"] == "4"

    page = (out / "feedback" / "key.md").read_text()
    assert "# key: 4 of 4 points" in page and "> Well said, and short." in page
    page = (out / "feedback" / "spy.md").read_text()
    assert "-3" not in page and "Hidden tests with other numbers: 1 failed." in page
    page = (out / "feedback" / "exits.md").read_text()
    assert "scaled raised exit() in its line `sys.exit(0)`" in page
    assert "## key\n\nBecause." in (out / "written.md").read_text()
    assert "students have answers without a mark" in capsys.readouterr().out

    # A second run changes nothing, and runs nothing.
    first = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    monkeypatch.setattr(grade.Worker, "grade", None)
    assert grade.main(command) == 0
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == first
    assert {path: path.read_bytes() for path in before} == before
    # What was filled in by hand, in a copy of to_mark.csv, is taken as marks.
    filled = [line + "1,Fine." if line.count(",") == 4 else line for line in to_mark(out)]
    filled = [line.replace(",,1,Fine.", ",1,Fine.") for line in filled]
    (course / "filled.csv").write_text("\n".join(filled))
    assert grade.main([*command, "--marks", str(course / "filled.csv")]) == 0
    table = {row["student"]: row for row in csv.DictReader((out / "grades.csv").open())}
    assert table["loop"]["total"] == table["'=1+1"]["total"] == "4"


def to_mark(out: Path) -> list[str]:
    return (out / "to_mark.csv").read_text().splitlines()


def test_each_student_is_graded_by_their_own_numbers(tiny, masters, tmp_path, monkeypatch):
    overlay, inbox = tmp_path / "overlay", tmp_path / "inbox"
    (overlay / "tiny").mkdir(parents=True)
    (overlay / "tiny" / "numbers.toml").write_text("[each]\nfactor = [2, 3, 5, 7, 11]\n")
    inbox.mkdir()
    build = assignments.build

    def of_the_tests(name, **options):
        return tiny if options.get("student") is None else build(name, masters=masters, **options)

    monkeypatch.setattr(assignments, "build", of_the_tests)
    own = build("tiny", masters=masters, overlay=overlay, student="ann")
    for name in ("ann", "bob"):  # bob hands in what is right for ann
        nbformat.write(notebook(own), inbox / f"{name}.ipynb")
    command = [str(inbox), "--assignment", "tiny", "--trust", "--overlay", str(overlay)]
    assert grade.main([*command, "--per-student"]) == 0
    table = list(csv.DictReader((tmp_path / "inbox-grades" / "grades.csv").open()))
    assert [row["q1"] for row in table] == ["2", "1"]


def test_stopped_and_gone_on(tiny, course, tmp_path, monkeypatch):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in ("a_101_1_tiny", "b_LATE_102_2_tiny-1"):  # as Canvas names them
        shutil.copy(course / "inbox" / "key.ipynb", inbox / f"{name}.ipynb")
    roster = "Student,ID,SIS Login ID,Section,tiny (7)\nA,101,a,1,\nB,102,b,1,\nC,103,c,1,\n"
    (tmp_path / "roster.csv").write_text(roster)
    monkeypatch.setattr(assignments, "build", lambda name, **options: tiny)
    worker_grade, asked = grade.Worker.grade, []

    def once(self, *arguments):
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return worker_grade(self, *arguments)

    monkeypatch.setattr(grade.Worker, "grade", once)
    command = [str(inbox), "--assignment", "tiny", "--trust", "--jobs", "1"]
    assert grade.main(command) == 130
    # What was graded is in the table already.
    table = list(csv.DictReader((tmp_path / "inbox-grades" / "grades.csv").open()))
    assert [row["student"] for row in table] == ["a", "c"]
    assert grade.main(command) == 0
    assert len(asked) == 3
    table = list(csv.DictReader((tmp_path / "inbox-grades" / "grades.csv").open()))
    assert [row["total"] for row in table] == ["3", "3", "0"]
    assert [row["note"].split("; ")[0] for row in table[1:]] == ["late", "no submission"]
    imported = list(csv.DictReader((tmp_path / "inbox-grades" / "canvas.csv").open()))
    assert [(row["ID"], row["tiny (7)"]) for row in imported] == [
        ("", "4"),
        ("101", "3"),
        ("102", "3"),
        ("103", "0"),
    ]


def test_half_a_character_stops_nobody(tiny, tmp_path, monkeypatch):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    half = "\ud800"  # which JSON and file names may have, and no file
    evil = notebook(
        tiny,
        scaled=f"def scaled(x):\n    raise ValueError('{half}')",
        square=f"word = '{half}'\nraise ValueError(chr(0xD800))",
        written=f"Because {half}.",
    )
    (inbox / "evil.ipynb").write_text(json.dumps(evil))
    nbformat.write(notebook(tiny), inbox / "honest.ipynb")
    shutil.copy(inbox / "honest.ipynb", os.fsencode(inbox) + b"/\xff.ipynb")
    (inbox / "paper").mkdir()
    Path(os.fsdecode(os.fsencode(inbox) + b"/paper/\xff.pdf")).touch()
    monkeypatch.setattr(assignments, "build", lambda name, **options: tiny)
    monkeypatch.setattr(remote, "find_seal", lambda: None)
    assert grade.main([str(inbox), "--assignment", "tiny", "--trust"]) == 0
    table = list(csv.DictReader((tmp_path / "inbox-grades" / "grades.csv").open()))
    points = {row["student"]: (row["q1"], row["q2"]) for row in table}
    expected = {"evil": ("0", "0"), "honest": ("2", "1"), "?": ("2", "1"), "paper": ("0", "0")}
    assert points == expected
    assert "Because ?." in (tmp_path / "inbox-grades" / "written.md").read_text()


# --- Gradescope ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["bubblewrap", "a user without rights"])
def test_gradescope_grades_as_at_home(tiny, course, tmp_path, monkeypatch, by):
    sealed = by == "bubblewrap"
    if not remote.find_seal(("bwrap",)) or not (sealed or os.getuid() == 0):
        pytest.skip(f"{by} cannot be had here")
    source, handed_in = tmp_path / "source", tmp_path / "submission"
    with zipfile.ZipFile(tiny / "autograder.zip") as archive:
        archive.extractall(source)
    handed_in.mkdir()
    (tmp_path / "results").mkdir()
    metadata = tmp_path / "submission_metadata.json"  # with what earlier submissions scored
    metadata.write_text("{}")
    spy = f"import glob, os\nme = os.getuid()\nseen = glob.glob({str(source)!r} + '/*')\n"
    spy += f"seen += [{str(metadata)!r}] * os.access({str(metadata)!r}, os.R_OK)\n"
    spy += "assert not seen and me, seen\n" + SCALED
    nbformat.write(notebook(tiny, scaled=spy, square="square = lambda x: 7"), handed_in / "n.ipynb")
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o711)  # as / is there: only the autograder's own folders are closed
    command = [] if sealed else ["bwrap", "--dev-bind", "/", "/", "--cap-add", "ALL"]
    if not sealed and sys.base_prefix.startswith("/root"):  # opened there by run_autograder
        command += ["--tmpfs", "/root"]
        for parent in reversed(Path(sys.base_prefix).parents[:-2]):
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    code = "import sys; sys.path.insert(0, sys.argv[1]); import gradescope, pathlib, remote\n"
    code += f"remote.find_seal = lambda: {'bwrap' if sealed else None!r}\n"
    code += "gradescope.main(pathlib.Path(sys.argv[2]))"
    command += [sys.executable, "-c", code, source, tmp_path]
    subprocess.run([str(part) for part in command], check=True, cwd="/")
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["output"] == ""
    scores = {test["name"]: test for test in results["tests"]}
    assert {name: test["score"] for name, test in scores.items() if "score" in test} == {
        "q1": 2,
        "q2": 0,
    }
    assert scores["q1"]["visibility"] == "visible" and scores["q2"]["max_score"] == 1
    assert scores["q2: messages"]["output"] == "Expected 9, got 7."
    assert scores["your answer in words"]["output"] == "Because."


def test_gradescope_says_what_it_cannot_grade(tiny, tmp_path):
    (tmp_path / "submission").mkdir()
    record = gradescope.grade(tmp_path, tmp_path / "submission")
    about = grade.about(tiny / "autograder.zip") | {"scores": "after_published"}
    results = gradescope.report(record, about)
    assert "0 notebooks were handed in; hand in one" in results["output"]
    assert [test["visibility"] for test in results["tests"]] == ["after_published"] * 2
    case = {"hidden": True, "passed": False, "message": "A hidden one."}
    record["questions"] = {"q1": {"score": 2 / 3, "cases": [case]}}
    results = gradescope.report(record, about)
    assert results["tests"][1]["score"] == 0.67 and "A hidden one." not in json.dumps(results)

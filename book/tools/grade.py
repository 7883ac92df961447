"""Grade a folder of submitted notebooks, one by one.

``python book/tools/grade.py SUBMISSIONS --assignment NAME`` writes, beside the folder, into
``SUBMISSIONS-grades/``:

- ``grades.csv``: a row for each submission, a column for each question, total and note;
- ``feedback/``: a Markdown page for each student, with the messages of the public tests;
- ``written.md``: the answers in words, collected for marking.

Each notebook runs in a process of its own, sealed by bubblewrap, with limits on time, memory and
file size; the tests run outside of it (``grade_one.py``).  What is graded already is not graded
again, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from dataclasses import asdict
from pathlib import Path

import assignments
import psutil
import remote
from assignments import AssignmentError
from grade_one import MARK
from remote import Limits

from vaelite.files import replacing

WORKER = Path(__file__).with_name("grade_one.py")
PARTS = ["grade_one.py", "remote.py", "sealed.py", "wire.py"]
MAX_NOTEBOOK_BYTES = 50_000_000


def find_submissions(folder: Path) -> dict[str, Path]:
    """Return the submitted files by student: notebooks, zip archives, or one folder a student.

    Raises:
        AssignmentError: if the folder is missing, holds no submission, or two for one name.
    """
    if not folder.is_dir():
        raise AssignmentError(f"{folder} is not a folder.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            inside = sorted(path.glob("*.ipynb")) or sorted(path.glob("*.zip"))
            if len(inside) > 1:
                raise AssignmentError(f"{path} holds {len(inside)} notebooks; leave one.")
            name, submission = path.name, inside[0] if inside else None
        else:
            name, submission = path.stem, path if path.suffix in (".ipynb", ".zip") else None
        if submission is None:
            continue
        if name in found:
            raise AssignmentError(f"{found[name]} and {submission} have the same name.")
        found[name] = submission
    if not found:
        raise AssignmentError(f"{folder} holds no notebook (.ipynb) and no archive (.zip).")
    return found


def read_submission(path: Path) -> bytes:
    """Return the bytes of the notebook, out of its zip archive if it is in one.

    Raises:
        AssignmentError: if the file is too large, or an archive without exactly one notebook.
    """
    too_large = AssignmentError(f"the file is larger than {MAX_NOTEBOOK_BYTES:,} bytes")
    if path.stat().st_size > MAX_NOTEBOOK_BYTES:
        raise too_large
    if path.suffix != ".zip":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".ipynb")]
            if len(members) != 1:
                raise AssignmentError(f"the archive holds {len(members)} notebooks, not one")
            if members[0].file_size > MAX_NOTEBOOK_BYTES:
                raise too_large
            return archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise AssignmentError("the file is not a zip archive that can be read") from None


def grade_submission(content: bytes, archive: Path, limits: Limits, sealed: bool = True) -> dict:
    """Grade one notebook in a process of its own.

    Args:
        content: the notebook.
        archive: the assignment's autograder.
        limits: what it may use.
        sealed: whether to seal it.

    Returns:
        What ``grade_one.py`` reports; ``problem`` says why a notebook could not be graded.
    """
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        submission, result = home / "submission.ipynb", home / "result.json"
        submission.write_bytes(content)
        options = json.dumps({"limits": asdict(limits), "sealed": sealed})
        command = [sys.executable, WORKER, archive.resolve(), submission, result, options]
        try:
            process = subprocess.Popen(
                [*map(str, command)],
                cwd=home,
                env=_environment(home, mark),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            process.wait(limits.seconds + 120)  # the submission's own limit ends it before
        except subprocess.TimeoutExpired:
            return _failed(f"stopped after {limits.seconds:g} seconds")
        finally:
            _kill(mark)
        if not result.is_file():
            return _failed("the grading process died")
        return json.loads(result.read_text(encoding="utf-8"))


def _failed(problem: str) -> dict:
    return {"questions": {}, "errors": [], "written": [], "problem": problem}


def _environment(home: Path, mark: str) -> dict[str, str]:
    """A home of its own, no GPU, one thread, and a mark by which all its processes are found."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return keep | {
        MARK: mark,
        "HOME": str(home),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _kill(mark: str) -> None:
    """Kill every process of a submission: Jupyter puts its kernels into sessions of their own."""
    for _ in range(50):
        alive = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == mark and process.status() != "zombie":
                    process.kill()
                    alive.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        if not alive:
            return
        psutil.wait_procs(alive, timeout=0.2)


def grade_folder(
    submissions: Path,
    archive: Path,
    out: Path,
    limits: Limits,
    progress=print,
    sealed: bool = True,
) -> list[dict]:
    """Grade all submissions of a folder and write grades, feedback and written answers.

    Args:
        submissions: the folder.
        archive: the assignment's autograder.
        out: where the results go; what lies there and is still valid is kept.
        limits: what each submission may use.
        progress: called with one line for each submission.
        sealed: whether to seal the submissions.

    Returns:
        The rows of ``grades.csv``.
    """
    possible = points(archive)
    records = {}
    for name, path in find_submissions(submissions).items():
        start = time.monotonic()
        record = _graded(name, path, archive, out / "records", limits, sealed)
        records[name] = record
        row = _row(name, record, possible)
        _write_feedback(out / "feedback" / f"{name}.md", row, record, possible)
        seconds = time.monotonic() - start
        note = f"  ({row['note']})" if row["note"] else ""
        progress(f"{name}: {row['total']:g} of {row['possible']:g}, {seconds:.0f} s{note}")
    rows = [_row(name, record, possible) for name, record in records.items()]
    _write_csv(out / "grades.csv", rows)
    _write_written(out / "written.md", records)
    return rows


def points(archive: Path) -> dict[str, float]:
    """Return the points of each question of an autograder."""
    from otter.test_files import ExceptionTestFile

    result = {}
    with zipfile.ZipFile(archive) as file:
        for member in sorted(file.namelist()):
            if member.startswith("tests/"):
                test = ExceptionTestFile.from_string(file.read(member).decode(), path=member)
                # Parts of a third add up to a rounding error less than their whole.
                result[test.name] = round(float(test.possible), 6)
    return result


def _graded(
    name: str, path: Path, archive: Path, records: Path, limits: Limits, sealed: bool
) -> dict:
    """Return the record of a submission, from the last run if nothing has changed since."""
    try:
        content = read_submission(path)
    except AssignmentError as error:
        return _failed(str(error))
    state = hashlib.sha256(content + archive.read_bytes() + repr((limits, sealed)).encode())
    for part in PARTS:
        state.update(WORKER.with_name(part).read_bytes())
    stored = records / f"{name}.json"
    if stored.is_file():
        record = json.loads(stored.read_text(encoding="utf-8"))
        if record["digest"] == state.hexdigest():
            return record
    record = {"digest": state.hexdigest(), **grade_submission(content, archive, limits, sealed)}
    _write(stored, json.dumps(record, indent=1))
    return record


def _row(name: str, record: dict, possible: dict[str, float]) -> dict:
    scores = {
        question: record["questions"].get(question, {"score": 0.0})["score"]
        for question in possible
    }
    notes = [record["problem"]] if record["problem"] else []
    notes += [f"cells that raised: {len(record['errors'])}"] if record["errors"] else []
    total = sum(scores.values())
    return {
        "name": name,
        **scores,
        "total": total,
        "possible": sum(possible.values()),
        "note": "; ".join(notes),
    }


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def _write_csv(path: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:g}" if isinstance(v, float) else v for k, v in row.items()})
    _write(path, text.getvalue())


def _write_feedback(path: Path, row: dict, record: dict, possible: dict[str, float]) -> None:
    """Write what the student may see: public messages in full, of hidden tests only the number."""
    lines = [f"# {row['name']}: {row['total']:g} of {row['possible']:g} points", ""]
    lines += [f"The notebook could not be graded: {record['problem']}.", ""] * bool(
        record["problem"]
    )
    for error in record["errors"]:
        lines += [f"- In your notebook {error}"]
    lines += [""] * bool(record["errors"])
    for question, worth in possible.items():
        lines += [f"## {question}: {row[question]:g} of {worth:g}", ""]
        cases = record["questions"].get(question, {"cases": []})["cases"]
        failed = [case for case in cases if not case["passed"]]
        hidden = sum(case["hidden"] for case in failed)
        messages = dict.fromkeys(case["message"] for case in failed if not case["hidden"])
        lines += [f"- {message}" for message in messages]
        lines += [f"- Hidden tests with other numbers: {hidden} failed."] * bool(hidden)
        lines += ["- Every test passed."] * bool(cases and not failed)
        lines += [""]
    _write(path, "\n".join(lines))


def _write_written(path: Path, records: dict[str, dict]) -> None:
    lines = ["# Answers in words", ""]
    for name, record in records.items():
        lines += [f"## {name}", ""]
        lines += [text + "\n" for text in record["written"] if text.strip()] or ["(none)\n"]
        lines += ["Mark:", ""]
    _write(path, "\n".join(lines))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Grade a folder of submitted notebooks.")
    parser.add_argument("submissions", type=Path, help="notebooks, archives, or one folder each")
    parser.add_argument("--assignment", required=True, help="for example 01_foundations")
    parser.add_argument("--overlay", type=Path, help="your private folder of numbers and tests")
    parser.add_argument("--out", type=Path, help="default: SUBMISSIONS-grades")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="for a notebook")
    parser.add_argument("--cell-seconds", type=float, default=Limits.cell_seconds)
    parser.add_argument("--memory-gib", type=float, default=Limits.memory_gib)
    parser.add_argument("--trust", action="store_true", help="grade without a seal")
    options = parser.parse_args(arguments)
    folder = options.submissions.resolve()
    out = options.out or folder.with_name(folder.name + "-grades")
    limits = Limits(options.seconds, options.cell_seconds, options.memory_gib)
    try:
        find_submissions(folder)
        sealed = remote.can_seal()
        if not (sealed or options.trust):
            raise AssignmentError(remote.NO_SEAL)
        if not sealed:
            print("grade: without a seal; every author is trusted.", file=sys.stderr)
        built = assignments.build(options.assignment, overlay=options.overlay)
        grade_folder(folder, built / "autograder.zip", out, limits, sealed=sealed)
    except AssignmentError as error:
        print(f"grade: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("grade: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    print(f"Grades, feedback and written answers: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

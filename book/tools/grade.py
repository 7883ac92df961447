"""Grade a folder of submitted notebooks.

``python book/tools/grade.py SUBMISSIONS --assignment NAME`` writes, beside the folder, into
``SUBMISSIONS-grades/``:

- ``grades.csv``: a row for each student, a column for each question, total, possible and note;
- ``canvas.csv`` or ``moodle.csv``, where the roster came from there: what to import;
- ``feedback/``: a Markdown page for each student, with the messages of the public tests;
- ``written.md`` and ``to_mark.csv``: the answers in words, and a line for each that has no mark;
- ``similar.csv``: pairs of students whose code has much in common.

``roster.csv`` and ``marks.csv``, beside the folder of submissions, are read and never written.
Each notebook runs in a process of its own, sealed (``remote.py``), with limits on time, memory and
file size; the tests run outside of it (``grade_one.py``).  What is graded already is not graded
again, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import uuid
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import assignments
import gradebook
import psutil
import remote
from assignments import AssignmentError
from gradebook import Book
from handed_in import read_cells, writable
from remote import MARK, Limits
from tqdm import tqdm

WORKER = Path(__file__).with_name("grade_one.py")
PARTS = ["grade_one.py", "handed_in.py", "remote.py", "sealed.py", "wire.py"]
KEPT = ["PATH", "LANG", "LC_ALL", "HOME", "XDG_RUNTIME_DIR"]
KEPT += ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST"]
MAX_NOTEBOOK_BYTES = 50_000_000
IGNORED = {"__MACOSX", ".ipynb_checkpoints", "roster.csv", "marks.csv"}


# --- What was handed in ------------------------------------------------------------------------


def find_submissions(folder: Path, roster: dict) -> dict[str, list[Path]]:
    """Return what each student handed in: every student of the roster, and who else did.

    Raises:
        AssignmentError: if the folder is missing, or there is nobody to grade.
    """
    if not folder.is_dir():
        raise AssignmentError(f"{folder} is not a folder; unpack an archive first.")
    found: dict[str, list[Path]] = {name: [] for name in roster}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name not in IGNORED:
            stem = writable(path.stem if path.is_file() else path.name)
            name = gradebook.student_of(stem, roster)
            found.setdefault(name, []).append(path)
    if not found:
        raise AssignmentError(f"{folder} is empty, and there is no roster.")
    return found


def the_notebook(handed_in: list[Path]) -> Path:
    """Return the one notebook or archive among what a student handed in.

    Raises:
        AssignmentError: if there is none, or more than one.
    """
    if not handed_in:
        raise AssignmentError("no submission")
    files = []
    for path in handed_in:
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        files += [p for p in sorted(inside) if p.is_file() and not p.name.startswith(".")]
    files = [path for path in files if not IGNORED & set(path.parts)]
    for suffix in (".ipynb", ".zip"):
        fitting = [path for path in files if path.suffix.lower() == suffix]
        if len(fitting) > 1:
            names = ", ".join(path.name for path in fitting)
            raise AssignmentError(f"{len(fitting)} notebooks were handed in ({names}); leave one")
        if fitting:
            return fitting[0]
    names = ", ".join(path.name for path in files) or "an empty folder"
    raise AssignmentError(f"no notebook was handed in, but {names}")


def read_submission(path: Path) -> bytes:
    """Return the bytes of the notebook, out of its zip archive if it is in one.

    Raises:
        AssignmentError: if the file is a link, too large, or an archive without one notebook.
    """
    too_large = AssignmentError(f"the file is larger than {MAX_NOTEBOOK_BYTES:,} bytes")
    if path.is_symlink():
        raise AssignmentError("the file is a link to another one")
    if path.stat().st_size > MAX_NOTEBOOK_BYTES:
        raise too_large
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.infolist()
                if member.filename.lower().endswith(".ipynb")
                and not IGNORED & set(member.filename.split("/"))
            ]
            if len(members) != 1:
                raise AssignmentError(f"the archive holds {len(members)} notebooks, not one")
            if members[0].file_size > MAX_NOTEBOOK_BYTES:
                raise too_large
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise AssignmentError("the file is not a zip archive that can be read") from None


# --- Grading -----------------------------------------------------------------------------------


class Worker:
    """A process that grades one notebook after another; each in a fork of its own."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        self.home = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)

    def grade(self, content: bytes, archive: Path, limits: Limits, seal: str | None) -> dict:
        """Grade a notebook; return what ``grade_one.py`` reports.

        ``problem`` says why it could not be graded.
        """
        mark = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(dir=self.home.name, ignore_cleanup_errors=True) as folder:
            submission, result = Path(folder) / "submission.ipynb", Path(folder) / "result.json"
            submission.write_bytes(content)
            files = {"archive": archive.resolve(), "notebook": submission, "result": result}
            job = {name: str(path) for name, path in files.items()}
            job |= {"limits": asdict(limits), "seal": seal, "mark": mark}
            try:
                # The submission's own limit ends it before.
                if not self._ask(job, limits.seconds + 180):
                    return failed(f"stopped after {limits.seconds:g} seconds")
            finally:
                kill_marked(mark)
                if seal in remote.ENGINES:
                    remote.remove_containers(seal, mark)
            if not result.is_file():
                return failed("the grading process died")
            return json.loads(result.read_text(encoding="utf-8")) | {"content": True}

    def _ask(self, job: dict, seconds: float) -> bool:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                cwd=self.home.name,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:  # it died: seen below
            pass
        answered = bool(select.select([self.process.stdout], [], [], seconds)[0])
        if not answered or not self.process.stdout.readline():
            self.close()
        return answered

    def stop(self) -> None:
        """Kill the process, and what it forked."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """End the process; the next notebook gets a new one."""
        if self.process is not None:
            self.stop()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def failed(problem: str) -> dict:
    """Return the record of a submission that could not be graded."""
    return {"questions": {}, "errors": [], "written": [], "problem": problem}


def _environment() -> dict[str, str]:
    """No secrets, no GPU, one thread; HOME and what else docker and podman find their engine by."""
    keep = {name: os.environ[name] for name in KEPT if name in os.environ}
    return keep | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def kill_marked(mark: str) -> None:
    """Kill every process of a submission, whatever session it put itself into."""
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


@dataclass
class Grader:
    """Grades a folder.

    Attributes:
        book: where grades are kept.
        archives: each student's autograder.
        out: where the results go; what lies there and is still valid is kept.
        limits: what each submission may use.
        seal: what seals the submissions, None for nothing.
        jobs: how many are graded at the same time.
    """

    book: Book
    archives: dict[str, Path]
    out: Path
    limits: Limits
    seal: str | None
    jobs: int

    def grade(self, handed_in: dict[str, list[Path]], progress=None) -> None:
        """Grade what was handed in; tables and feedback are written as the grades come.

        Args:
            handed_in: the files of each student.
            progress: called with each student's row.
        """
        self.code: dict[str, list[str]] = {}
        waiting = {}
        for name, files in handed_in.items():
            record, job = self._look_up(name, files)
            if record is None:
                waiting[name] = job
            else:
                self.book.records[name] = record
        pairs = gradebook.similar(self.code)
        gradebook.write_table(
            self.out / "similar.csv", pairs, ["first", "second", "lines", "share"]
        )
        self._write(list(self.book.records), progress)
        self.workers: queue.Queue = queue.Queue()
        self.stopped = False
        workers = [Worker() for _ in range(self.jobs)]
        for worker in workers:
            self.workers.put(worker)
        pool = ThreadPoolExecutor(self.jobs)
        try:
            tasks = {pool.submit(self._grade, name, job): name for name, job in waiting.items()}
            for task in as_completed(tasks):
                name = tasks[task]
                self.book.records[name] = task.result()
                self._write([name], progress)
        except BaseException:
            self.stopped = True
            for worker in workers:
                worker.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            for worker in workers:
                worker.close()

    def _write(self, names: list[str], progress) -> None:
        self.book.write(self.out)
        self.book.write_written(self.out / "written.md")
        for name in names:
            self.book.write_feedback(self.out / "feedback" / f"{name}.md", name)
            if progress:
                progress(self.book.row(name))

    def _look_up(self, name: str, files: list[Path]) -> tuple[dict | None, tuple | None]:
        """Return the record of a student, or what is to grade: notebook and digest.

        The record is that of the last run if nothing has changed since, or says why there is
        nothing to grade.
        """
        try:
            content = read_submission(the_notebook(files))
            cells = read_cells(content)
        except Exception as error:  # whatever is odd about one submission, it stops no other
            return failed(writable(str(error)).rstrip(".") or type(error).__name__), None
        self.code[name] = [source for kind, source in cells if kind == "code"]
        state = hashlib.sha256(content + self.archives[name].read_bytes())
        state.update(repr((self.limits, self.seal)).encode())
        for part in PARTS:
            state.update(WORKER.with_name(part).read_bytes())
        stored = self.out / "records" / f"{name}.json"
        if stored.is_file():
            record = json.loads(stored.read_text(encoding="utf-8"))
            if record["digest"] == state.hexdigest():
                return record, None
        return None, (content, state.hexdigest())

    def _grade(self, name: str, job: tuple[bytes, str]) -> dict:
        """Grade a notebook and store the record."""
        content, digest = job
        worker = self.workers.get()
        try:
            if self.stopped:
                return failed("not graded yet")
            record = worker.grade(content, self.archives[name], self.limits, self.seal)
        except Exception as error:
            return failed(f"grading failed, {type(error).__name__}: {error}")
        finally:
            self.workers.put(worker)
        if "content" in record:  # or else the machine was at fault: try again next time
            record = {"digest": digest, **record}
            stored = self.out / "records" / f"{name}.json"
            gradebook.write(stored, json.dumps(record, indent=1))
        return record


def about(archive: Path) -> dict:
    """Return what an archive says of its assignment."""
    with zipfile.ZipFile(archive) as file:
        return json.loads(file.read("about.json"))


# --- The command -------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> Path:
    """Grade as the command line says; return where the results lie."""
    if not options.submissions:
        raise AssignmentError(
            "no folder was named; say make grade SUBMISSIONS=folder ASSIGNMENT=name."
        )
    folder = _path(options.submissions).resolve()
    roster, marks = options.roster or folder.with_name("roster.csv"), options.marks
    students = gradebook.read_roster(roster) if options.roster or roster.is_file() else {}
    handed_in = find_submissions(folder, students)
    for name in ("roster.csv", "marks.csv"):
        if (folder / name).is_file():
            print(f"grade: {name} belongs beside {folder}; inside of it, it is not read.")
    seal = remote.find_seal()
    if not (seal or options.trust):
        raise AssignmentError(remote.NO_SEAL)
    if not seal:
        print("grade: without a seal; every author is trusted.", file=sys.stderr)
    name, overlay = options.assignment, options.overlay
    archive = assignments.build(name, overlay=overlay) / "autograder.zip"
    book = Book(name, about(archive)["questions"], students)
    for student, files in handed_in.items():
        late = any("_LATE_" in path.name for path in files)  # as Canvas names them
        unknown = bool(students) and student not in students
        book.notes[student] = ["late"] * late + ["not on the roster"] * unknown
    if marks or folder.with_name("marks.csv").is_file():
        book.read_marks(marks or folder.with_name("marks.csv"), set(handed_in))

    archives = dict.fromkeys(handed_in, archive)
    if options.per_student:
        for student in tqdm(handed_in, desc="their own numbers", unit="archive", disable=None):
            built = assignments.build(name, overlay=overlay, student=student)
            archives[student] = built / "autograder.zip"
    out = options.out or folder.with_name(folder.name + "-grades")
    limits = Limits(options.question_seconds, options.seconds, options.memory_gib)
    jobs = min(options.jobs, len(handed_in))
    with tqdm(total=len(handed_in), desc=name, unit="notebook", disable=None) as bar:

        def progress(row: dict) -> None:
            note = f"  ({row['note']})" if row["note"] else ""
            bar.write(f"{row['student']}: {row['total']:g} of {row['possible']:g}{note}")
            bar.update()

        Grader(book, archives, out, limits, seal, jobs).grade(handed_in, progress)
    missing = [n for n in book.records if any(book.score(n, q) is None for q in book.questions)]
    if missing:
        print(f"{len(missing)} students have answers without a mark: see to_mark.csv.")
    return out


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs, 1 or more")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Grade a folder of submitted notebooks.")
    add = parser.add_argument
    add("submissions", help="notebooks, archives, or one folder each")
    add("--assignment", required=True, help="for example 01_foundations")
    add("--roster", type=_path, help="every student has a row; default: roster.csv beside it")
    add("--marks", type=_path, help="your marks; default: marks.csv beside SUBMISSIONS")
    add("--overlay", type=_path, help="your private folder of numbers and tests")
    add("--per-student", action="store_true", help="with the numbers of each student's own")
    add("--out", type=_path, help="default: SUBMISSIONS-grades")
    add("--jobs", type=_jobs, default=os.cpu_count() or 1, help="at the same time; default: cores")
    add("--question-seconds", type=float, default=Limits.question_seconds)
    add("--seconds", type=float, default=Limits.seconds, help="for a notebook, whatever it does")
    add("--memory-gib", type=float, default=Limits.memory_gib)
    add("--trust", action="store_true", help="grade where there is no seal")
    options = parser.parse_args(arguments)
    try:
        out = run(options)
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

"""Run a submission in a process of its own, sealed, and call its functions from here.

The seal is bubblewrap's, or a container's where there is no bubblewrap: no network, a read-only
system without this repository and without other submissions, a user, a process table and a home of
its own that vanish at the end.  The tests stay on this side (see ``wire.py``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wire

WORKER = Path(__file__).with_name("sealed.py")
STARTUP = 120.0  # seconds until the process answers
MAX_FILES = "1000000000"  # bytes in each of its folders
MAX_PROCESSES = 256  # and threads
MARK = "VAELITE_GRADING"  # by which a submission's processes and containers are found
ENGINES = ("docker", "podman")
IMAGE = "vaelite-grading"
BUILD_IMAGE = f"docker build -t {IMAGE} -f book/tools/Containerfile ."
NO_SEAL = (
    "There is no seal on this machine (bubblewrap is missing, or may not make namespaces, and "
    f"neither docker nor podman has the image {IMAGE} as it is to be now), so a submission would "
    "run with your rights: it could read your files, reach the network and leave processes behind. "
    f"Install bubblewrap, or build the image here: {BUILD_IMAGE} (or the same with podman). "
    "Or say TRUST=yes (--trust) if you trust every author."
)


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        question_seconds: for the cells of a question together, and again for its tests together,
            hidden ones included.
        seconds: for the whole notebook, whatever it does; no honest one comes near it.
        memory_gib: address space of a process, and in a container the memory of all of them
            together. Importing PyTorch alone takes 3.5 GiB of address space.
    """

    question_seconds: float = 60
    seconds: float = 1200
    memory_gib: float = 8


@cache
def fonts(seal: str | None) -> str:
    """Return a folder with matplotlib's list of fonts, made once and not once a submission."""
    if seal in ENGINES:
        return "/grading/fonts"
    folder = Path(tempfile.gettempdir()) / f"vaelite-grading-fonts-{os.getuid()}"
    if not list(folder.glob("fontlist*.json")):
        run = [sys.executable, "-c", "import matplotlib.font_manager"]
        environment = {**os.environ, "MPLCONFIGDIR": str(folder)}
        subprocess.run(run, env=environment, capture_output=True, check=False)
    return str(folder)


@cache
def find_seal(programs: tuple[str, ...] = ("bwrap", *ENGINES)) -> str | None:
    """Return the first of these programs that can seal a submission here."""
    parts = [WORKER, WORKER.with_name("wire.py")]
    here = b"".join(part.read_bytes() for part in parts)  # an older image has others
    for program in filter(shutil.which, programs):
        command = [*_seal(program, {}, Limits(), "none"), "/bin/cat"]
        command += [f"/grading/{part.name}" for part in parts]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60}
        try:
            if subprocess.run(command, check=False, **options).stdout == here:
                return program
        except (OSError, subprocess.TimeoutExpired):
            continue
    return None


def remove_containers(engine: str, mark: str) -> None:
    """End the containers of a submission: they outlive the client that started them."""
    search = [engine, "ps", "--all", "--quiet", "--filter", f"label={MARK}={mark}"]
    found = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split()
    if found:
        subprocess.run([engine, "rm", "--force", *found], capture_output=True, check=False)


def _seal(seal: str, environment: dict[str, str], limits: Limits, mark: str) -> list[str]:
    """Return the command line up to the program to run."""
    if seal == "bwrap":
        return _bubblewrap(environment)
    return _container(seal, environment, limits, mark)


def _container(engine: str, environment: dict[str, str], limits: Limits, mark: str) -> list[str]:
    memory = f"{limits.memory_gib * 2**30:.0f}b"
    command = [engine, "run", "--interactive", "--rm", "--pull", "never", "--log-driver", "none"]
    command += ["--label", f"{MARK}={mark}", "--stop-signal", "KILL", "--hostname", "grading"]
    command += ["--network", "none", "--ipc", "private", "--read-only", "--user", "65534:65534"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(MAX_PROCESSES)]
    command += ["--tmpfs", f"/tmp:rw,mode=1777,size={MAX_FILES}", "--workdir", "/tmp"]
    if engine == "podman":
        command += ["--read-only-tmpfs=false"]  # or /run and /var/tmp could be written as well
    command += [IMAGE, "env", "--ignore-environment"]  # of the image, and proxies of the user
    command += [f"{name}={value}" for name, value in environment.items()]
    # Should everything be killed that could remove it.
    return [*command, "/usr/bin/timeout", "--signal", "KILL", f"{limits.seconds + STARTUP:g}"]


def _bubblewrap(environment: dict[str, str]) -> list[str]:
    seen = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/fonts"]
    seen += ["/etc/alternatives", sys.base_prefix, sys.prefix, environment.get("VAELITE_FONTS", "")]
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "grading", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/dev/shm"):
        command += ["--size", MAX_FILES, "--tmpfs", folder]
    for path in dict.fromkeys(seen):
        if path and Path(path).is_symlink() and path.count("/") == 1:
            command += ["--symlink", os.readlink(path), path]
        elif path and path != "/" and Path(path).exists():
            command += ["--ro-bind", path, path]
    for name in ("sealed.py", "wire.py"):
        command += ["--ro-bind", str(WORKER.with_name(name)), f"/grading/{name}"]
    return command


def questions_of(cells: list[str]) -> list[int]:
    """Number the question that each cell belongs to; a question ends with its check."""
    checks = ["grader.check(" in source for source in cells]
    return [sum(checks[:index]) for index in range(len(cells))]


class Submission(wire.Peer):
    """A submission's process.

    Args:
        cells: the sources of its code cells.
        limits: what it may use.
        seal: what seals it, as ``find_seal`` says; None for nothing.
        modules: what its cells may import, besides the standard library; all by default.
        environment: further variables.
        mark: by which its processes and containers are found.
        home: a folder for it where it is not sealed.
        user: the number of the user that it runs as where it is not sealed; by default the caller.
    """

    def __init__(
        self,
        cells,
        limits,
        *,
        seal,
        modules=None,
        environment=None,
        mark=None,
        home="/tmp",
        user=None,
    ):
        self.cells, self.limits, self.seal = cells, limits, seal
        self.modules, self.home, self.environment = modules, Path(home), environment or {}
        self.mark, self.user = mark or uuid.uuid4().hex, user
        self.end = time.monotonic() + limits.seconds
        self.question = None
        self.used: Counter = Counter()  # seconds that the tests of a question waited for answers
        self.deadly: dict[int, str] = {}  # cells that killed the process, and how
        self.process = None
        self.errors: list[tuple[str, str, str, str]] = []

    def start(self) -> None:
        """Start the process and run the cells; a cell that kills it is left out from then on.

        Raises:
            Silence: if the time is over, or the process dies without a cell.
        """
        while not self._run_cells():
            pass

    def _run_cells(self) -> bool:
        """Run all cells in a new process; return whether it still lives then."""
        self._launch()
        # Imports alone take seconds, and much longer on a busy machine.
        super().request({"ask": "get", "names": []}, STARTUP)
        questions, budget = questions_of(self.cells), self.limits.question_seconds
        left = Counter(dict.fromkeys(questions, budget))
        end = (time.monotonic() + self.end) / 2  # the other half is for the tests
        self.errors = []
        for index, (source, question) in enumerate(zip(self.cells, questions, strict=True)):
            if index in self.deadly:
                self.errors.append((source, "Stopped", self.deadly[index], ""))
                left[question] = 0.0
                continue
            started = time.monotonic()
            if started >= end:
                self.errors.append((source, "Stopped", "the notebook's time was used up", ""))
                continue
            message = {"ask": "run", "source": source, "modules": self.modules}
            try:
                # Where a loop took it all, the cells after it may still define things.
                answer = super().request(message, min(max(left[question], 1.0), end - started))
            except wire.Silence as silence:
                self.close()
                self.deadly[index] = str(silence)
                return False
            left[question] -= time.monotonic() - started
            if answer.get("raised"):
                said = (str(answer.get(key, ""))[:200] for key in ("raised", "text", "line"))
                self.errors.append((source, *said))
        return True

    def _launch(self) -> None:
        self.close()
        home = "/tmp/home" if self.seal else str(self.home)
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": home,
            "TMPDIR": "/tmp" if self.seal else home,
            "MPLCONFIGDIR": home + "/matplotlib",
            "IPYTHONDIR": home + "/ipython",
            "MPLBACKEND": "agg",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: self.mark,
            **self.environment,
        }
        folder = "/grading" if self.seal else str(WORKER.parent)
        python = "/usr/local/bin/python" if self.seal in ENGINES else sys.executable
        # -I: nothing of this folder or of the user's, but the worker's own folder for wire.py.
        run = f"import sys; sys.path.insert(0, {folder!r}); import sealed; "
        with_torch = self.modules is None or "torch" in self.modules
        # A container counts for itself; without a seal, all that the user runs would count.
        processes = MAX_PROCESSES if self.seal == "bwrap" else -1
        run += f"sealed.main({int(self.limits.memory_gib * 2**30)}, {processes}, {with_torch})"
        command = _seal(self.seal, environment, self.limits, self.mark) if self.seal else []
        self.process = subprocess.Popen(
            [*command, python, "-I", "-c", run],
            # Bubblewrap's own process is in sight of the submission, its variables as well.
            env=None if self.seal in ENGINES else environment,
            cwd="/" if self.seal else self.home,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )
        super().__init__(self.process.stdout.fileno(), self.process.stdin.fileno())

    def begin_question(self, question: str) -> None:
        """Go on with a question's tests; start again where the last one broke the process."""
        self.question = question
        if self.process is None and self._budget() > 0:
            self.start()

    def _budget(self) -> float:
        """Return the seconds that the tests of this question may still wait for answers."""
        left = self.limits.question_seconds - self.used[self.question]
        return min(left, self.end - time.monotonic())

    def variables(self, names: list[str]) -> dict:
        """Return the submission's variables, copies of values and ways to call functions."""
        answer = self.request({"ask": "get", "names": names})
        if "values" not in answer:
            return {}
        return {name: self.unpack(answer["values"].get(name), []) for name in names}

    def request(self, message: dict, seconds: float | None = None) -> dict:
        """Ask within the question's budget; close the process where it does not answer."""
        if self.process is None or self._budget() <= 0:
            raise TimeoutError(
                f"the {self.limits.question_seconds:g} seconds of this question are used up, "
                "or its process ended."
            )
        started, outermost = time.monotonic(), self.deadline is None
        try:
            return super().request(message, self._budget())
        except wire.Silence as silence:
            self.close()
            raise TimeoutError(f"the submission was stopped: {silence}.") from None
        finally:
            if outermost:
                self.used[self.question] += time.monotonic() - started

    def close(self) -> None:
        """End the process and all that it started."""
        if self.process is None:
            return
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        if self.seal in ENGINES:
            remove_containers(self.seal, self.mark)
        self.process = None

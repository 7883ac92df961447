"""Run a submission in a process of its own, sealed, and call its functions from here.

The seal is bubblewrap's: no network, a read-only system without this repository and without other
submissions, a user, a process table and a home of its own that vanish at the end.  The tests stay
on this side (see ``wire.py``).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wire

WORKER = Path(__file__).with_name("sealed.py")
STARTUP = 120.0  # seconds until the process answers
MAX_FILE_BYTES = 500_000_000
MAX_FILES = "1000000000"  # bytes in each of its two folders
NO_SEAL = (
    "There is no seal on this machine (bubblewrap is missing, or may not make namespaces), so a "
    "submission would run with your rights: it could read your files, reach the network and leave "
    "processes behind. Install bubblewrap, or say TRUST=yes (--trust) if you trust every author."
)


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: for the whole notebook, tests included; then it is stopped.
        cell_seconds: for one cell, and for all tests of one question.
        memory_gib: address space of the process. Importing PyTorch alone takes 3.5 GiB of it.
    """

    seconds: float = 300
    cell_seconds: float = 30
    memory_gib: float = 8


@cache
def fonts() -> str:
    """Return a folder with matplotlib's list of fonts, made once and not once a submission."""
    folder = Path(tempfile.gettempdir()) / f"vaelite-grading-fonts-{os.getuid()}"
    if not list(folder.glob("fontlist*.json")):
        run = [sys.executable, "-c", "import matplotlib.font_manager"]
        environment = {**os.environ, "MPLCONFIGDIR": str(folder)}
        subprocess.run(run, env=environment, capture_output=True, check=False)
    return str(folder)


@cache
def can_seal() -> bool:
    """Whether bubblewrap works here."""
    if not shutil.which("bwrap"):
        return False
    command = [*_seal({}), "/bin/true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _seal(environment: dict[str, str]) -> list[str]:
    """Return the command line of bubblewrap up to the program to run."""
    seen = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/fonts"]
    seen += ["/etc/alternatives", sys.base_prefix, sys.prefix, environment.get("VAELITE_FONTS", "")]
    command = ["bwrap", "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--hostname", "grading", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
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
    command += ["--dir", "/tmp/home", "--chdir", "/tmp/home", "--clearenv"]
    for name, value in environment.items():
        command += ["--setenv", name, value]
    return command


class Submission(wire.Peer):
    """A submission's process.

    Args:
        cells: the sources of its code cells.
        limits: what it may use.
        sealed: whether to seal it.
        modules: what its cells may import, besides the standard library; all by default.
        environment: further variables, such as a mark by which its process is found.
        home: a folder for it where it is not sealed.
    """

    def __init__(self, cells, limits, *, sealed, modules=None, environment=None, home="/tmp"):
        self.cells, self.limits, self.sealed = cells, limits, sealed
        self.modules, self.home, self.environment = modules, Path(home), environment or {}
        self.end = time.monotonic() + limits.seconds
        self.question_end = self.end
        self.process = None
        self.errors: list[tuple[str, str, str]] = []

    def start(self) -> None:
        """Start the process and run the cells; a cell that kills it is left out from then on.

        Raises:
            Silence: if the time is over, or the process dies without a cell.
        """
        deadly: dict[int, str] = {}
        while True:
            self._launch()
            # Imports alone take seconds, and much longer on a busy machine.
            super().request({"ask": "get", "names": []}, STARTUP)
            self.errors = [(self.cells[i], "Stopped", why) for i, why in sorted(deadly.items())]
            for index, source in enumerate(self.cells):
                if index in deadly:
                    continue
                left = self.end - time.monotonic()
                if left <= 0:
                    self.close()
                    raise wire.Silence(f"stopped after {self.limits.seconds:g} seconds")
                message = {"ask": "run", "source": source, "modules": self.modules}
                try:
                    answer = super().request(message, min(self.limits.cell_seconds, left))
                except wire.Silence as silence:
                    self.close()
                    deadly[index] = str(silence)
                    break
                if answer.get("raised"):
                    why = str(answer.get("text", ""))
                    self.errors.append((source, str(answer["raised"]), why))
            else:
                return

    def _launch(self) -> None:
        self.close()
        there, back = os.pipe(), os.pipe()
        home = "/tmp/home" if self.sealed else str(self.home)
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": home,
            "TMPDIR": "/tmp" if self.sealed else home,
            "MPLCONFIGDIR": home + "/matplotlib",
            "IPYTHONDIR": home + "/ipython",
            "MPLBACKEND": "agg",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }
        worker = "/grading/sealed.py" if self.sealed else str(WORKER)
        # -I: nothing of this folder or of the user's, but the worker's own folder for wire.py.
        run = f"import sys; sys.path.insert(0, {str(Path(worker).parent)!r}); import sealed; "
        run += f"sealed.main({there[0]}, {back[1]})"
        command = _seal(environment) if self.sealed else []
        self.process = subprocess.Popen(
            [*command, sys.executable, "-I", "-c", run],
            env=None if self.sealed else environment,
            cwd="/" if self.sealed else self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(there[0], back[1]),
            start_new_session=True,
            preexec_fn=self._set_limits,
        )
        os.close(there[0])
        os.close(back[1])
        super().__init__(back[0], there[1])

    def _set_limits(self) -> None:
        memory = int(self.limits.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def begin_question(self) -> None:
        """Give the next question its budget; start again where the last one broke the process."""
        if self.process is None:
            self.start()
        self.question_end = min(self.end, time.monotonic() + self.limits.cell_seconds)

    def variables(self, names: list[str]) -> dict:
        """Return the submission's variables, copies of values and ways to call functions."""
        answer = self.request({"ask": "get", "names": names})
        if "values" not in answer:
            return {}
        return {name: self.unpack(answer["values"].get(name), []) for name in names}

    def request(self, message: dict, seconds: float | None = None) -> dict:
        """Ask within the question's budget; close the process where it does not answer."""
        if self.process is None:
            raise TimeoutError("the time of this question is used up, or its process ended.")
        left = self.question_end - time.monotonic()
        try:
            return super().request(message, max(0.1, left))
        except wire.Silence as silence:
            self.close()
            raise TimeoutError(f"the submission was stopped: {silence}.") from None

    def close(self) -> None:
        """End the process and all that it started."""
        if self.process is None:
            return
        for descriptor in (self.reader, self.writer):
            os.close(descriptor)
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None

"""The process that a submission runs in, started by ``remote.py``.

It receives the code cells on its standard input, runs them, and answers calls of the functions
that they define on its standard output.  No test and no other submission is within its reach; what
it sends is checked by the other side.
"""

from __future__ import annotations

import builtins
import os
import resource
import shutil
import signal
import sys
import types
from pathlib import Path

OUTPUT = open(os.devnull, "w")
MAX_FILE_BYTES = 500_000_000


class Pretender:
    """Stands in for otter, whose checks run elsewhere: any attribute, any call, nothing done."""

    def __getattr__(self, name):
        """Return a stand-in again."""
        return Pretender()

    def __call__(self, *arguments, **options):
        """Do nothing."""
        return None


def main(memory: int, processes: int, with_torch: bool) -> None:
    """Answer until the other side is gone.

    A process gets no more than ``memory`` bytes of addresses, this user no more than ``processes``
    processes and threads; -1 is no limit.
    """
    most = {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: MAX_FILE_BYTES}
    most |= {resource.RLIMIT_NPROC: processes} if processes >= 0 else {}
    for limited, value in {**most, resource.RLIMIT_CORE: 0}.items():
        resource.setrlimit(limited, (value, value))
    os.makedirs(os.environ["HOME"], exist_ok=True)
    os.chdir(os.environ["HOME"])
    reader, writer = os.dup(0), os.dup(1)
    fonts = os.environ.get("VAELITE_FONTS")
    if fonts and Path(fonts).is_dir():
        shutil.copytree(fonts, os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    for number in (0, 1, 2):  # whatever is printed goes nowhere
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if with_torch:
        import torch

        torch.set_num_threads(1)
    import wire

    peer = wire.Peer(reader, writer)
    notebook = Notebook(peer)
    peer.requests = {"run": notebook.run, "get": notebook.get}
    try:
        while True:
            message = peer.receive()
            notebook.seconds = message.get("seconds", 0.0)
            signal.setitimer(signal.ITIMER_REAL, notebook.seconds, 1.0)
            try:
                answer = peer.answer(message)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except TimeoutError as error:  # between two lines of ours
                answer = {"error": "TimeoutError", "text": str(error)}
            peer.send(answer)
    except wire.Silence:
        os._exit(0)


class Notebook:
    """The submission's cells and variables."""

    def __init__(self, peer):
        import wire
        from IPython.core.interactiveshell import InteractiveShell

        self.peer, self.line_of = peer, wire.line_of
        self.shell = InteractiveShell.instance()
        self.shell.history_manager.enabled = False
        signal.signal(signal.SIGALRM, self._stop)
        otter = types.ModuleType("otter")
        otter.Notebook = lambda *arguments, **options: Pretender()
        sys.modules["otter"] = otter

        def leave(*_):
            raise RuntimeError("exit() would end the notebook, and the cells below with it.")

        self.shell.user_ns["exit"] = self.shell.user_ns["quit"] = leave
        self.seconds = 0.0

    def _stop(self, *_):
        raise TimeoutError(f"it ran for more than {self.seconds:.3g} seconds and was stopped.")

    def run(self, message: dict) -> dict:
        """Run a cell; say what it raised."""
        allowed = message.get("modules")
        if allowed is not None:
            guard_imports(set(allowed))
        try:
            sys.stdout = sys.stderr = OUTPUT
            result = self.shell.run_cell(message["source"], store_history=False)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:
            error = raised
        if error is None:
            return {"raised": None}
        lines = str(error).splitlines() or [""]
        answer = {"raised": type(error).__name__, "text": lines[0][:200]}
        return answer | {"line": self.line_of(error)[:200]}

    def get(self, message: dict) -> dict:
        """Return variables by name; a name that is missing comes back as null."""
        namespace = self.shell.user_ns
        packed = {}
        for name in message["names"]:
            try:
                packed[name] = self.peer.pack(namespace.get(name), [])
            except Exception as error:
                packed[name] = {"other": type(error).__name__}
        return {"values": packed}


def guard_imports(allowed: set[str]) -> None:
    """Refuse the import of other modules by a notebook's own cells."""
    original = getattr(builtins.__import__, "original", builtins.__import__)

    def guarded(name, globals=None, locals=None, fromlist=(), level=0):
        first = name.partition(".")[0]
        own = (globals or {}).get("__name__") == "__main__"
        if own and level == 0 and first not in allowed and first not in sys.stdlib_module_names:
            listed = ", ".join(sorted(allowed))
            raise ImportError(f"{first} may not be used in this assignment; {listed} may.")
        return original(name, globals, locals, fromlist, level)

    guarded.original = original
    builtins.__import__ = guarded

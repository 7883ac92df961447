"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def check_writable(path: str | os.PathLike, what: str) -> None:
    """Raise now if :func:`replacing` could not write ``path`` later, when the work is done.

    Missing parent folders are made.

    Args:
        path: the file to be written.
        what: its name in the message, such as ``checkpoint``.

    Raises:
        OSError: if something other than a file is there, or its folder cannot be written to.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is there, and no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        if isinstance(error, FileExistsError):
            reason = f"{path.parent} is no folder"
        raise OSError(f"{what} {path} cannot be written: {reason}.") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` when the block ends, all at once.

    If the block raises, or is interrupted, ``path`` is what it was before, and nothing is left
    behind.  Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Keep other processes that ask for the same lock away from ``path`` inside the block.

    The lock is a file beside it, ``.NAME.lock``, which is gone afterwards; one that a killed
    process left behind is no hindrance.  Without POSIX locks (on Windows) nothing is locked.

    Args:
        path: the file to be kept; its folder is there.
        what: its name in the message, such as ``checkpoint``.

    Raises:
        OSError: if somebody else holds the lock.
    """
    if fcntl is None:
        yield
        return
    path = Path(path)
    lock = path.with_name(f".{path.name}.lock")
    with open(lock, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(
                f"{what} {path} is in use by another run; wait for it, or name another file."
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

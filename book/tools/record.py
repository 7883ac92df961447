"""Run by a chapter's kernel before its first cell: write down which files the chapter reads.

``execute.py`` stamps a notebook with their digests.  An audit hook sees every file, whoever opens
it: modules, stored results, scripts, tables.
"""

import os
import sys


def _listen() -> None:
    log = open(os.environ["VAELITE_OPENED"], "a", encoding="utf-8")  # open as long as the kernel

    def note(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str) and "w" not in (arguments[1] or "r"):
            log.write(os.path.abspath(arguments[0]) + "\n")
            log.flush()

    sys.addaudithook(note)


_listen()
del _listen

"""Which of many like tests a run takes: all in the weekly run, a sample in others."""

import os


def some(names, every):
    """Return all in the weekly run, where ``VAELITE_MISTAKES=all``; in others one of ``every``."""
    names = list(names)
    return names if os.environ.get("VAELITE_MISTAKES") == "all" else names[::every]

"""What the tests of the coursework share: the tools on the path, and assignments built once."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "tools"))

import assignments  # noqa: E402

MASTERS = Path(__file__).parent / "masters"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a built assignment that needs no package."""
    return assignments.build("tiny", masters=MASTERS, out=tmp_path_factory.mktemp("build"))

"""What the tests of the coursework share: an assignment that needs no package, built once."""

from pathlib import Path

import assignments
import pytest

MASTERS = Path(__file__).parent / "masters"


@pytest.fixture(scope="session")
def masters():
    """The folder of the masters that only the tests use."""
    return MASTERS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of the built assignment ``tiny``."""
    return assignments.build("tiny", masters=MASTERS, out=tmp_path_factory.mktemp("build"))

"""What the tests of the coursework share: an assignment that needs no package, and the seals."""

import os
from pathlib import Path

import assignments
import pytest
import remote

MASTERS = Path(__file__).parent / "masters"


@pytest.fixture(scope="session")
def masters():
    """The folder of the masters that only the tests use."""
    return MASTERS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of the built assignment ``tiny``."""
    return assignments.build("tiny", masters=MASTERS, out=tmp_path_factory.mktemp("build"))


@pytest.fixture(params=["bubblewrap", "container"])
def seal(request):
    """The program that seals: every test that asks for it runs with bubblewrap and a container."""
    if request.param == "container":
        return remote.find_seal(remote.ENGINES) or pytest.skip(
            f"NO CONTAINER HERE: neither docker nor podman has the image ({remote.BUILD_IMAGE}); "
            "that seal was not tested"
        )
    if not remote.find_seal(("bwrap",)) and not os.environ.get("CI"):
        pytest.skip("NO SEAL HERE: bubblewrap is missing or may not make namespaces; not tested")
    assert remote.find_seal(("bwrap",)), remote.NO_SEAL
    return "bwrap"

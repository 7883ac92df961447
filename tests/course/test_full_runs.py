"""One full run of each archive, in a file of its own: it runs beside the other tests."""

import assignments
import grade
import pytest
import remote


@pytest.fixture(scope="module")
def worker():
    """A process that grades one notebook after another, as in a class."""
    worker = grade.Worker()
    yield worker
    worker.close()


@pytest.mark.parametrize("name", assignments.names())
@pytest.mark.parametrize(("version", "share"), [("solution", 1.0), ("student", 0.0)])
def test_a_full_run_of_key_and_stub(worker, name, version, share):
    folder = assignments.build(name)
    content = (folder / version / f"{name}.ipynb").read_bytes()
    archive = folder / "autograder.zip"
    limits = grade.Limits(question_seconds=150)  # a busy machine is no student's mistake
    record = worker.grade(content, archive, limits, remote.find_seal())
    assert record["problem"] is None
    assert record["errors"] == []
    questions = grade.about(archive)["questions"]
    possible = {name: q["points"] for name, q in questions.items() if not q["manual"]}
    scores = {question: result["score"] for question, result in record["questions"].items()}
    assert scores == {question: share * points for question, points in possible.items()}
    assert sum(possible.values()) > 0

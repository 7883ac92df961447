"""Chapters agree with their notebooks, their claims and the house rules."""

from base64 import b64decode
from io import BytesIO

import check
import ledger
import nbformat
import notebooks
import numpy as np
import pytest
from notebooks import ROOT
from PIL import Image

CHAPTERS = notebooks.chapters()


def test_there_are_chapters():
    assert CHAPTERS


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_chapter_is_fresh_and_in_order(source):
    assert check.problems(source) == []


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_no_title_and_no_label_is_cut_by_the_edge_of_its_picture(source):
    cells = nbformat.read(notebooks.twin(source), as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    for picture in (each for each in data if "image/png" in each):
        shades = np.asarray(Image.open(BytesIO(b64decode(picture["image/png"]))).convert("L"))
        edge = np.concatenate([shades[0], shades[-1], shades[:, 0], shades[:, -1]])
        assert edge.min() > 200, picture["text/plain"]


def test_every_claim_is_registered_and_checked():
    assert ledger.unchecked() == []


def test_table_of_contents_lists_what_exists_and_nothing_else():
    assert check.content_problems() == []


def test_no_notebook_without_source():
    assert [p.stem for p in CHAPTERS] == sorted(p.stem for p in (ROOT / "chapters").glob("*.ipynb"))


def test_no_notebook_is_missing_from_the_run(request):
    """`make test` runs every chapter and the key of every assignment through nbval."""
    if not request.config.getoption("nbval_lax", default=False):
        pytest.skip("notebooks are not part of this run.")
    cells = [item for item in request.session.items if type(item).__name__ == "IPyNbCell"]
    run = {item.path.name for item in cells}
    wanted = {notebooks.twin(source).name for source in notebooks.sources()}
    wanted |= {
        path.with_suffix(".ipynb").name for path in (ROOT / "chapters/assignments").glob("*.md")
    }
    assert wanted <= run, f"not run: {', '.join(sorted(wanted - run))}"
    for source in CHAPTERS:
        code = [c for c in notebooks.read_executed(source).cells if c.cell_type == "code"]
        found = sum(item.path == notebooks.twin(source) for item in cells)
        assert found == len(code), f"{source.stem}: {found} of {len(code)} cells are run"


def test_a_picture_is_not_compared_with_its_output():
    data, about = {"image/png": "...", "text/plain": "Figure."}, {"image/png": {"alt": "A line."}}
    shown = nbformat.v4.new_output("display_data", data, metadata=about)
    cell = nbformat.v4.new_code_cell("show()", outputs=[shown])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert check._output_problems(notebook) == []
    cell.metadata["tags"] = ["nbval-check-output"]
    (problem,) = check._output_problems(notebook)
    assert problem.startswith("code cell 1 is compared with its output, but its picture's number")

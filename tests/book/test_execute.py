"""From source to notebook: what is executed, kept, cleaned and refused."""

import execute
import nbformat
import notebooks
import pytest
from execute import ExecutionError, clean, refresh, refresh_setup, write

HEADER = """\
---
jupytext:
  formats: ipynb,md:myst
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

Some prose.

"""
CELL = "```{{code-cell}} ipython3\n{}\n```\n"


@pytest.fixture
def chapter(tmp_path):
    def make(*codes):
        path = tmp_path / "00_chapter.md"
        path.write_text(HEADER + "\n".join(CELL.format(code) for code in codes), encoding="utf-8")
        return path

    return make


def texts(source):
    cells = [c for c in notebooks.read_executed(source).cells if c.cell_type == "code"]
    return ["".join(out.get("text", "") for out in cell.outputs) for cell in cells]


def edit(source, old, new):
    text = source.read_text(encoding="utf-8")
    assert old in text
    source.write_text(text.replace(old, new), encoding="utf-8")


def test_executes_once_and_then_only_what_changed(chapter):
    source = chapter("print(6 * 7)")
    assert notebooks.stale(source) == ["it was never executed"]
    assert "executed" in refresh(source)
    assert texts(source) == ["", "42\n"]
    assert notebooks.stale(source) == []
    stored = notebooks.twin(source).read_bytes()
    assert refresh(source) == "fresh"
    assert notebooks.twin(source).read_bytes() == stored

    edit(source, "Some prose.", "Other prose.")
    assert notebooks.stale(source) == []
    assert "outputs kept" in refresh(source)
    assert texts(source) == ["", "42\n"]
    assert "Other prose." in notebooks.twin(source).read_text(encoding="utf-8")

    edit(source, "6 * 7", "6 * 8")
    assert notebooks.stale(source) == ["its code cells have changed"]
    refresh(source)
    assert texts(source) == ["", "48\n"]


def test_two_executions_write_the_same_bytes(chapter):
    source = chapter("import random\nprint(hash('x'), random.Random(0).random())", "1 + 1")
    refresh(source)
    first = notebooks.twin(source).read_bytes()
    refresh(source, force=True)
    assert notebooks.twin(source).read_bytes() == first


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.1, 15), (14.9, 15), (15.0, 30), (61, 90), (90, 120), (121, 180)]
)
def test_times_are_rounded_up(seconds, shown):
    assert execute.rounded(seconds) == shown


def test_another_package_or_other_results_make_it_stale(chapter, monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "RESULTS", tmp_path)
    source = chapter("results = None  # load_results('toy', 'standard')")
    refresh(source)
    (tmp_path / "other.standard.json").write_text("{}", encoding="utf-8")
    assert notebooks.stale(source) == []
    (tmp_path / "toy.standard.json").write_text("{}", encoding="utf-8")
    assert notebooks.stale(source) == ["the stored results that it reads have changed"]
    (tmp_path / "toy.standard.json").unlink()
    monkeypatch.setattr(notebooks, "package_digest", lambda: "another")
    assert notebooks.stale(source) == ["the package has changed"]


def test_a_failing_cell_is_named_and_nothing_is_stored(chapter):
    source = chapter("x = 1", "1 / 0")
    with pytest.raises(
        ExecutionError, match=r"code cell 3 \(`1 / 0` ...\) raised ZeroDivisionError"
    ):
        refresh(source)
    assert not notebooks.twin(source).exists()


def test_claims_fail_the_execution(chapter):
    source = chapter("from vaelite import claims\nclaims.check('xx.1', False)")
    with pytest.raises(ExecutionError, match=r"claim xx\.1"):
        refresh(source)


def test_progress_bars_are_dropped_and_warnings_refused(chapter):
    bar = "import sys\nfor i in range(3): print(i, end='\\r', file=sys.stderr)"
    source = chapter(bar)
    refresh(source)
    assert texts(source) == ["", ""]
    edit(source, "end='\\r'", "end='\\n'")
    with pytest.raises(ExecutionError, match="standard error"):
        refresh(source)


def test_downloads_are_impossible(chapter):
    code = (
        "import urllib.request\n"
        "try:\n    urllib.request.urlopen('http://example.org', timeout=5)\n"
        "except OSError:\n    print('no network')"
    )
    source = chapter(code)
    refresh(source)
    assert texts(source) == ["", "no network\n"]


def test_base_seed_reaches_the_chapter(chapter):
    source = chapter("from vaelite import profile\nprint(profile.current(), profile.seed())")
    notebook, _ = execute.run(notebooks.read_source(source), source, seed=2)
    assert notebook.cells[-1].outputs[0].text == "quick 2\n"


def test_setup_cell_is_inserted_once_and_refreshed(chapter):
    source = chapter("x = 1")
    refresh_setup(source)
    text = source.read_text(encoding="utf-8")
    assert text.index(execute.SETUP_MARK) < text.index("x = 1")
    assert text.index("Some prose.") < text.index(execute.SETUP_MARK)
    refresh_setup(source)
    assert source.read_text(encoding="utf-8") == text
    edit(source, "--quiet --depth 1", "--depth 7")
    refresh_setup(source)
    assert source.read_text(encoding="utf-8") == text
    assert "github.com/vaelite/textbook" in text


def test_cleaning_strips_widgets_and_hands_the_alternative_text_on():
    view = {notebooks.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "Widget"}
    figure = {"text/html": "<figure>", "text/plain": "Figure", **view}
    picture = nbformat.v4.new_output(
        "display_data", {"image/png": "AAAA"}, metadata={"image/png": {"alt": "A line."}}
    )
    outputs = [nbformat.v4.new_output("display_data", data) for data in (view, figure)]
    cell = nbformat.v4.new_code_cell("x", outputs=[*outputs, picture])
    cell.metadata["execution"] = {"iopub.execute_input": "now"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    clean(notebook)
    assert "widgets" not in notebook.metadata
    assert "execution" not in cell.metadata
    assert [sorted(out.data) for out in cell.outputs] == [
        ["text/html", "text/plain"],
        ["image/png"],
    ]
    assert cell.metadata["mystnb"]["image"]["alt"] == "A line."


def test_equal_cells_get_different_names_that_do_not_change():
    def ids(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
        clean(notebook)
        return [cell.id for cell in notebook.cells]

    first = ids("a", "b", "a")
    assert len(set(first)) == 3
    assert ids("new", "a", "b", "a")[1:] == first


def test_large_notebooks_are_refused(tmp_path):
    cell = nbformat.v4.new_markdown_cell("x" * 2_100_000)
    with pytest.raises(ExecutionError, match=r"2\.1 MB; at most 2 MB"):
        write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "large.ipynb")
    assert not list(tmp_path.iterdir())

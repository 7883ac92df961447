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


def test_what_a_chapter_used_makes_it_stale_and_nothing_else(chapter, monkeypatch, tmp_path):
    package = tmp_path / "vaelite"
    for path in (notebooks.ROOT / "vaelite").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = package / path.relative_to(notebooks.ROOT / "vaelite")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(notebooks, "RESULTS", results)
    monkeypatch.setattr(notebooks, "PACKAGE", package)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (results / "toy.standard.json").write_text("{}", encoding="utf-8")
    source = chapter(
        f"print(open({str(results / 'toy.standard.json')!r}).read())",
        "from vaelite import gaussian\nfrom vaelite.book.chapter import table",
        "from vaelite import claims\nclaims.registry();",
    )
    refresh(source)
    stamp = notebooks.read_executed(source).metadata[notebooks.STAMP]
    assert {"vaelite/gaussian.py", "vaelite/book/chapter.py"} <= set(stamp["modules"])
    assert list(stamp["files"]) == ["results/toy.standard.json"]
    assert stamp["claims"] == {}

    # A new paper, chapter, data set and claim, a docstring, a better error, other results.
    source.with_name("99_new.md").write_text(HEADER, encoding="utf-8")
    edit(package / "gaussian.py", "mean and precision must share a shape", "shapes must be equal:")
    (package / "new_paper.py").write_text("x = 1", encoding="utf-8")
    (package / "data" / "new_set.py").write_text("x = 1", encoding="utf-8")
    edit(
        package / "data" / "__init__.py", '"cars3d": cars3d', '"new_set": cars3d, "cars3d": cars3d'
    )
    (package / "claims" / "new.toml").write_text("", encoding="utf-8")
    docstring = gaussian_docstring(package / "gaussian.py")
    edit(package / "gaussian.py", docstring, "Another docstring.")
    (results / "other.standard.json").write_text("{}", encoding="utf-8")
    assert notebooks.stale(source) == []

    (results / "toy.full.json").write_text("{}", encoding="utf-8")  # it may take the other's place
    assert notebooks.stale(source) == ["results/toy.standard.json has changed"]
    (results / "toy.full.json").unlink()
    (results / "toy.standard.json").write_text("{ }", encoding="utf-8")
    assert notebooks.stale(source) == ["results/toy.standard.json has changed"]
    (results / "toy.standard.json").write_text("{}", encoding="utf-8")
    with (package / "gaussian.py").open("a", encoding="utf-8") as file:
        file.write("more = 1\n")
    assert notebooks.stale(source) == ["vaelite/gaussian.py has changed"]


def gaussian_docstring(path):
    return path.read_text(encoding="utf-8").split('"""')[1].strip()


def test_a_claim_counts_where_it_is_checked(chapter, monkeypatch):
    id = next(iter(notebooks.claims.registry()))
    source = chapter(
        "from IPython.display import display\n"
        f"about = {{'vaelite_claim': {{'id': {id!r}}}}}\n"
        "display({'text/plain': 'box'}, raw=True, metadata=about)"
    )
    refresh(source)
    assert notebooks.stale(source) == []
    monkeypatch.setattr(notebooks.claims, "registry", dict)
    assert notebooks.stale(source) == [f"claim {id} has changed"]


def test_captions_and_references_are_numbered_in_the_stored_outputs(tmp_path):
    source = tmp_path / "05_chapter.md"
    equation = (
        "\\begin{equation}\nx = 1\n\\label{eq:05-x}\n\\end{equation}\n\nBy $\\eqref{eq:05-x}$.\n\n"
    )
    figure = (
        "from vaelite.book import figures\n"
        "for name in ('A line.', r'A line $y$, see $\\eqref{eq:05-x}$.'):\n"
        "    figures.show(figures.subplots()[0], alt='A line.', caption=name)"
    )
    source.write_text(HEADER + equation + CELL.format(figure), encoding="utf-8")
    refresh(source)
    text = source.read_text(encoding="utf-8")
    assert "# 5. A chapter\n" in text
    assert "\\tag{5.1}\\label{eq:05-x}" in text and "By [(5.1)](#eq:05-x)." in text
    cells = notebooks.read_executed(source).cells
    captions = [out for out in cells[-1].outputs if "vaelite_caption" in out.metadata]
    assert [out.data["text/markdown"] for out in captions] == [
        "**Figure 5.1.** A line.",
        "**Figure 5.2.** A line $y$, see [(5.1)](#eq:05-x).",
    ]
    stored = notebooks.twin(source).read_bytes()
    assert refresh(source) == "fresh"
    assert source.read_text(encoding="utf-8") == text
    assert notebooks.twin(source).read_bytes() == stored
    edit(source, "Some prose.", "\\begin{equation}\ny = 1\n\\label{eq:05-y}\n\\end{equation}")
    assert "outputs kept" in refresh(source)
    captions = [out for out in cells[-1].outputs if "vaelite_caption" in out.metadata]
    cells = notebooks.read_executed(source).cells
    assert "see [(5.2)](#eq:05-x)" in cells[-1].outputs[-1].data["text/markdown"]


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
    notebook, _, _ = execute.run(notebooks.read_source(source), source, seed=2)
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
        "display_data",
        {"image/png": "AAAA"},
        metadata={"image/png": {"alt": "A line.", "width": 572, "kind": "plot"}},
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
    assert cell.metadata["mystnb"]["image"] == {"alt": "A line.", "classes": "plot"}


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

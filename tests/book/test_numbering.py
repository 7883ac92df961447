"""Numbers of equations: the same everywhere, and refused where no reader sees them."""

import numbering
import pytest
from numbering import NumberingError

EQUATION = "\\begin{equation}\nx = 1\n\\label{eq:05-x}\n\\end{equation}\n"
ALIGN = """\\begin{align}
a &= \\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix} \\label{eq:05-a} \\\\
b &= 2 \\notag \\\\
c &= 3 \\label{eq:05-c}
\\end{align}
"""


@pytest.fixture
def write(tmp_path):
    def one(text, name="05_chapter.md"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return one


def test_numbers_follow_the_text(write):
    path = write(
        "# A title\n\n" + ALIGN + EQUATION + "By $\\eqref{eq:05-x}$ and $\\eqref{eq:05-a}$.\n"
    )
    numbering.number_source(path, [path])
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# 5. A title\n")
    assert "\\tag{5.1}\\label{eq:05-a}" in text and "\\tag{5.2}\\label{eq:05-c}" in text
    assert "By [(5.3)](#eq:05-x) and [(5.1)](#eq:05-a)." in text
    # A second time nothing changes; without the first equation all numbers move.
    numbering.number_source(path, [path])
    assert path.read_text(encoding="utf-8") == text
    path.write_text(
        text.replace(" and [(5.1)](#eq:05-a)", "").replace(
            text[text.index("\\begin{al") : text.index("\\begin{eq")], ""
        )
    )
    numbering.number_source(path, [path])
    assert "\\tag{5.1}\\label{eq:05-x}" in path.read_text(encoding="utf-8")
    assert "By [(5.1)](#eq:05-x)." in path.read_text(encoding="utf-8")


def test_code_is_left_alone(write):
    code = "```{code-cell} ipython3\n# 1. \\label{eq:05-x} $\\eqref{eq:05-none}$\n```\n"
    path = write("# 5. A title\n\n" + code)
    numbering.number_source(path, [path])
    assert path.read_text(encoding="utf-8") == "# 5. A title\n\n" + code


def test_other_chapters_can_be_referred_to(write):
    first = write("# T\n\n" + EQUATION.replace("05", "01"), "01_first.md")
    path = write("# T\n\nBy $\\eqref{eq:01-x}$.\n")
    numbering.number_source(path, [first, path])
    assert "By [(1.1)](01_first.ipynb#eq:01-x)." in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EQUATION + EQUATION, "eq:05-x is there twice"),
        (EQUATION.replace("05", "04"), "eq:04-x must begin with eq:05-"),
        ("$$\nx \\label{eq:05-x}\n$$\n", "eq:05-x stands outside of"),
        ("\\begin{equation}\nx\n\\end{equation}\n", "an equation has a line without a label"),
        (ALIGN.replace("\\notag", ""), r"an align has a line without a label \(b &= 2"),
        ("By $\\eqref{eq:05-none}$.\n", "no equation has the label eq:05-none"),
        ("By [(5.1)](#eq:05-none).\n", "no equation has the label eq:05-none"),
    ],
)
def test_what_no_reader_could_find_is_refused(write, text, message):
    path = write("# T\n\n" + text)
    with pytest.raises(NumberingError, match=message):
        numbering.number_source(path, [path])
    assert path.read_text(encoding="utf-8") == "# T\n\n" + text


def test_a_chapter_has_a_number(write):
    with pytest.raises(NumberingError, match=r"intro\.md does not begin with a chapter's number"):
        numbering.number_source(write("# T\n", "intro.md"), [])


def test_every_chapter_can_be_numbered():
    import notebooks

    for path in notebooks.chapters():
        numbering.labels(path)

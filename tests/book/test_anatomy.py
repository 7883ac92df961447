"""Every chapter has its parts, and is readable on every screen."""

import re

import anatomy
import notebooks
import numbering
import pytest

CHAPTERS = notebooks.chapters()


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_anatomy(source):
    assert anatomy.problems(source) == []


GOOD = """\
# 5. A chapter

> **In this chapter.** A question.

## 1. A section

{explorables}

> **Predict.** What follows
> from the paper's eq. 8?

<details><summary>Answer</summary>

This.

</details>

\\begin{{equation}}
x = 1
\\tag{{5.1}}\\label{{eq:05-x}}
\\end{{equation}}

By [(5.1)](#eq:05-x), and so on.

{filler}

## Summary

## Self-check

{questions}

## Exercises
"""
EXPLORE = "```{code-cell} ipython3\nexplore(\n    f, alt='A.',\n    caption='C.')\n```\n"
IMPORTS = "```{code-cell} ipython3\nimport a\nimport b\n```\n"
SHOW = "```{code-cell} ipython3\nfor f in fs: figures.show(f, alt='A.')\n```\n"
LONG = f"```{{code-cell}} ipython3\nx = 1  # {'x' * 70}\n```\n"


@pytest.fixture
def chapter(tmp_path):
    def make(old="", new=""):
        text = GOOD.format(
            explorables=EXPLORE * 4, questions="<details>" * 6, filler="Some prose.\n" * 99
        )
        assert old in text
        path = tmp_path / "05_chapter.md"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return make


def test_a_good_chapter_passes(chapter):
    path = chapter()
    assert anatomy.problems(path) == []
    numbering.number_source(path, [path])
    assert anatomy.problems(path) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("> **In this chapter.**", "> **Here.**", "no box"),
        ("## Summary\n", "", "no section Summary"),
        ("## Summary\n\n## Self-check\n", "## Self-check\n\n## Summary\n", "in this order"),
        ("<details>" * 6, "<details>" * 5, "5 answers"),
        ("<details><summary>Answer", "<b><summary>Answer", "a prediction is followed by no"),
        (EXPLORE * 4, EXPLORE * 3, "3 explorable figures"),
        ("Some prose.\n" * 99, "", "behind its first third"),
        ("the paper's eq. 8", "eq. 8", "line 30: 'eq. 8' may be"),
        ("[(5.1)](#eq:05-x)", "equation (1)", r"'equation \(1' may be"),
        ("[(5.1)](#eq:05-x)", "Equations 1 and 2", "'Equations 1' may be"),
        ("\\tag{5.1}", "\\tag{5.2}", "not numbered as they stand"),
        ("[(5.1)](#eq:05-x)", "$\\eqref{eq:05-x}$", "not written out"),
        ("Some prose.\n" * 99, LONG + "Some prose.\n" * 99, "has 79 columns"),
        ("Some prose.\n" * 99, "As $a\n+ b$ says.\n" + "Some prose.\n" * 99, "a formula is cut"),
        ("Some prose.\n" * 99, IMPORTS + "Some prose.\n" * 99, "imports in the open"),
        ("Some prose.\n" * 99, SHOW + "Some prose.\n" * 99, r"figures.show\(...\) has no caption"),
    ],
)
def test_what_is_missing_is_said(chapter, old, new, message):
    if message == "behind its first third":
        path = chapter(EXPLORE * 4, "Some prose.\n" * 99 + EXPLORE * 4)
    else:
        path = chapter(old, new)
    (found,) = anatomy.problems(path)
    assert re.search(message, found)

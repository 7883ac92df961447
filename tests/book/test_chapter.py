"""What chapters display."""

import pytest

from vaelite.book import chapter


def documented(a: int) -> int:
    """Add one.

    Not shown.
    """
    text = "not a docstring"
    return a + len(text) // len(text)


class Documented:
    """Not shown."""

    def method(self) -> str:
        """Not shown."""
        return "shown"


def test_source_without_docstrings():
    text = chapter.source(documented)
    assert text.startswith("def documented(a: int) -> int:\n    text = ")
    assert "Add one" not in text and "not a docstring" in text
    assert "Not shown" not in chapter.source(Documented)
    assert 'return "shown"' in chapter.source(Documented)


def test_source_of_a_method_is_dedented():
    assert chapter.source(Documented.method).startswith("def method(self)")


def test_source_with_docstrings():
    assert "Add one" in chapter.source(documented, docstrings=True)


def test_table_rows_must_fit_the_header():
    with pytest.raises(ValueError, match="a row has 1 cells, the header 2"):
        chapter.table([["only"]], ["a", "b"])

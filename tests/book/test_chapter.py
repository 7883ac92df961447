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


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-0.0004, "+.3f", "0.000"),
        (0.0004, "+.3f", "0.000"),
        (-0.0004, ".0%", "0%"),
        (-0.0006, "+.3f", "−0.001"),
        (10.0, "+.1f", "+10.0"),
        (-20, "d", "−20"),
    ],
)
def test_a_zero_has_no_sign_and_a_minus_is_one(value, form, text):
    assert chapter.number(value, form) == text

import pytest

from vaelite import digest

SOURCE = '''
"""Module."""
def double(x):
    """Twice x."""
    return 2 * x  # a comment
'''


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace("Twice x.", "Two times x."),
        SOURCE.replace('"""Module."""\n', ""),
        SOURCE.replace('    """Twice x."""\n', ""),
        SOURCE.replace("# a comment", ""),
        SOURCE.replace("2 * x", "(2\n        * x)"),
    ],
)
def test_what_carries_no_meaning_leaves_the_digest_alone(same):
    assert same != SOURCE
    assert digest.source_digest(same) == digest.source_digest(SOURCE)


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("2 * x", "3 * x"),
        SOURCE.replace("2 * x", "2.0 * x"),
        SOURCE.replace("double", "twice"),
        SOURCE.replace("2 * x", "'2 * x'"),
        SOURCE + "double(1)\n",
        SOURCE.replace("def", "async def"),
    ],
)
def test_what_may_change_the_meaning_changes_the_digest(other):
    assert other != SOURCE
    assert digest.source_digest(other) != digest.source_digest(SOURCE)


def test_a_constant_none_is_not_nothing():
    assert digest.source_digest("return_ = f(None)") != digest.source_digest("return_ = f()")
    assert digest.source_digest("x = [None]") != digest.source_digest("x = ['None']")
    assert digest.source_digest("x = [None, 1]") != digest.source_digest("x = [1, None]")


def test_a_string_that_is_no_docstring_counts():
    assert digest.source_digest("x = 'a'") != digest.source_digest("x = 'b'")


def test_the_wording_of_an_error_does_not_count():
    source = "if x < 1:\n    raise ValueError(f'x is {x}; it must be 1' ' at least.')"
    better = "if x < 1:\n    raise ValueError('x must be at least 1, it is not.')"
    assert digest.source_digest(source) == digest.source_digest(better)
    for other in ("if x < 2" + better[8:], better.replace("Value", "Type"), "y = 'a'\n" + better):
        assert digest.source_digest(other) != digest.source_digest(better)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package called vaelite: top imports toys.a, which imports b inside a function."""
    root = tmp_path / "vaelite"
    (root / "toys").mkdir(parents=True)
    files = {
        "__init__.py": "__version__ = '1'",
        "top.py": "from vaelite.toys import a",
        "b.py": "B = 1",
        "alone.py": "ALONE = 1",
        "toys/__init__.py": "",
        "toys/a.py": "def f():\n    from .. import b\n    return b.B",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.setattr(digest, "_PACKAGE", root)
    digest._modules.cache_clear()
    yield root
    digest._modules.cache_clear()


@pytest.mark.parametrize("changed", ["top.py", "b.py", "toys/__init__.py", "toys/a.py"])
def test_modules_digest_follows_imports(package, changed):
    before = digest.modules_digest("vaelite.top")
    (package / changed).write_text((package / changed).read_text() + "\nNEW = 1\n")
    assert digest.modules_digest("vaelite.top") != before


@pytest.mark.parametrize("changed", ["alone.py", "__init__.py"])
def test_modules_digest_ignores_the_rest(package, changed):
    before = digest.modules_digest("vaelite.top")
    (package / changed).write_text("NEW = 1\n")
    assert digest.modules_digest("vaelite.top") == before


def test_modules_digest_without(package):
    before = digest.modules_digest("vaelite.top", without=["vaelite.toys.a"])
    (package / "b.py").write_text("B = 2")
    assert digest.modules_digest("vaelite.top", without=["vaelite.toys.a"]) == before


def test_unknown_module():
    with pytest.raises(ValueError, match=r"vaelite\.nothing is not a module"):
        digest.modules_digest("vaelite.nothing")

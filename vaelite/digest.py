"""Fingerprints of code that change when its meaning may change, and only then.

A stored number and an executed chapter carry the digest of the code that made them.  The digest
is taken of the syntax tree: comments, formatting, docstrings and the wording of errors (strings
inside a ``raise``) do not count, everything else does.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

_PACKAGE = Path(__file__).parent
# Fields that carry no meaning, or that not every Python version writes.
_IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


@cache  # by the text: of two experiments, most modules are the same
def source_digest(source: str) -> str:
    """Return the SHA-256 digest of the meaning of Python source (see the module's docstring).

    Raises:
        SyntaxError: if ``source`` is not valid Python.
    """
    return hashlib.sha256(_canonical(ast.parse(source)).encode()).hexdigest()


def modules_digest(*names: str, without: Iterable[str] = ()) -> str:
    """Return one digest of some modules and of every ``vaelite`` module that they import.

    Imports inside functions count.  A module brings the packages that contain it along, except
    the root package, which holds nothing but the version.

    Args:
        *names: full names of modules, such as ``vaelite.toys.ica``.
        without: modules that neither count themselves nor bring their imports along.

    Raises:
        ValueError: if a name is not a module of ``vaelite``.
    """
    known, skipped = _modules(), {"vaelite", *without}
    for name in names:
        if name not in known:
            raise ValueError(f"{name} is not a module of vaelite.")
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name in skipped or name not in known:
            continue
        found.add(name)
        waiting += _imports(name)
    return _combine(found)


@cache
def _modules() -> dict[str, Path]:
    """Map the full name of every module of the package to its file."""
    modules = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _combine(names: Iterable[str]) -> str:
    lines = (f"{name} {source_digest(_read(name))}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read(name: str) -> str:
    return _modules()[name].read_text(encoding="utf-8")


def _imports(name: str) -> set[str]:
    """Return the dotted names that a module may import, and the packages that contain them."""
    package = name if _modules()[name].name == "__init__.py" else name.rpartition(".")[0]
    return _imported(_read(name), package) - {name}


@cache
def _imported(source: str, package: str) -> frozenset[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    for dotted in [*found, package]:
        parts = dotted.split(".")
        found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return frozenset(found)


def _canonical(node: ast.AST) -> str:
    """Write a syntax tree without positions and docstrings, the same in every Python version."""
    return "".join(_tokens(node))


def _tokens(value: object, in_raise: bool = False) -> Iterator[str]:
    in_raise = in_raise or isinstance(value, ast.Raise)
    if in_raise and _is_text(value):
        yield "(wording)"
    elif isinstance(value, ast.AST):
        yield f"({type(value).__name__}"
        for field, child in ast.iter_fields(value):
            if field in _IGNORED_FIELDS or child is None or child == []:
                continue
            if field == "body" and _has_docstring(value):
                child = child[1:]
            yield f" {field}="
            yield from _tokens(child, in_raise)
        # A constant None is the one field whose absence would hide a difference.
        yield " value=None)" if isinstance(value, ast.Constant) and value.value is None else ")"
    elif isinstance(value, list):
        yield "["
        for child in value:
            yield from _tokens(child, in_raise)
            yield ","
        yield "]"
    else:
        yield repr(value)


def _is_text(value: object) -> bool:
    """Tell whether a node is a string, formatted or not."""
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def _has_docstring(node: ast.AST) -> bool:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, holders) or not node.body:
        return False
    first = node.body[0]
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )

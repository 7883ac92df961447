"""Build the assignments from their masters, and test their tests.

``python book/tools/assignments.py build`` makes, for each master ``chapters/assignments/NAME.md``,

- ``NAME/student/NAME.ipynb``: the notebook to hand out, answers replaced by ``...``;
- ``NAME/autograder.zip``: the archive that Gradescope and ``grade.py`` run;
- ``NAME/solution/NAME.ipynb``: the key, executed.

``python book/tools/assignments.py check`` runs the tests of each assignment against the key, the
untouched stub, the mutants (wrong answers whose mistake the tests must name) and the equivalents
(right answers in other styles, which they must accept).

An instructor's own numbers and hidden tests come from a private folder, ``--overlay DIR``; see
``book/teaching.md``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASTERS = ROOT / "chapters" / "assignments"
HELPER = MASTERS / "checking.py"
BUILD = ROOT / "book" / "_build" / "assignments"

# The last cell of the key: nbval fails where one of the public tests fails.
ALL_PASSED = """\
results = grader.check_all()  # None while otter grades
assert results is None or results.passed_all_public, results.summary()
print("Every public test passed.")"""


class AssignmentError(Exception):
    """Something the author or instructor has to mend; the message says what, in one sentence."""


# --- Building --------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all assignments."""
    return sorted(path.stem for path in MASTERS.glob("*.md"))


def solutions() -> list[Path]:
    """Return where the executed keys lie, one for each master."""
    return [BUILD / name / "solution" / f"{name}.ipynb" for name in names()]


def build_all(**options) -> list[Path]:
    """Build every assignment that is stale; return their folders."""
    return [build(name, **options) for name in names()]


def build(
    name: str, *, masters: Path = MASTERS, overlay: Path | None = None, out: Path | None = None
) -> Path:
    """Build one assignment, unless the one that lies there is fresh.

    Args:
        name: the master's file name without ``.md``.
        masters: the folder of the masters.
        overlay: a private folder with numbers and hidden tests of one's own.
        out: where to build; by default ``book/_build/assignments``, with an overlay its ``_build``.

    Returns:
        The folder with the student's notebook, the archive and the key.

    Raises:
        AssignmentError: if there is no such master, the overlay does not fit it, or a cell of the
            key raises or fails a test.
    """
    master = masters / f"{name}.md"
    if not master.is_file():
        known = ", ".join(sorted(path.stem for path in masters.glob("*.md"))) or "none"
        raise AssignmentError(f"there is no assignment {name!r}; there are: {known}.")
    if overlay is not None and not (overlay / name).is_dir():
        raise AssignmentError(f"the overlay {overlay} has no folder {name!r}.")
    out = out or (overlay / "_build" if overlay else BUILD)
    digest = _digest(master, overlay and overlay / name)
    target, stamp = out / name, out / name / "stamp.json"
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out), tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        if stamp.is_file() and json.loads(stamp.read_text())["digest"] == digest:
            return target
        draft = Path(folder) / name
        notebook = _read_master(master, overlay and overlay / name)
        values, key = _take_values(notebook, name)
        _assign(notebook, values, name, draft)
        # The values are the key's own; hidden tests know another truth.
        for question, result in run_tests(draft / "autograder.zip", key).items():
            failed = [said(case) for case in result.test_case_results if not case.passed]
            if failed:
                reason = f"{question}: {failed[0]}"
                raise AssignmentError(f"the key of {name} does not pass its own tests: {reason}")
        (draft / "stamp.json").write_text(json.dumps({"digest": digest}) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(draft, target)
    return target


@contextlib.contextmanager
def _alone(folder: Path):
    """Let one process at a time build in a folder."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(master: Path, overlay: Path | None) -> str:
    """Return a digest of all that a build depends on."""
    import otter

    files = [Path(__file__), HELPER, master]
    files += sorted(path for path in overlay.iterdir() if path.is_file()) if overlay else []
    state = hashlib.sha256(otter.__version__.encode())
    for path in files:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _read_master(master: Path, overlay: Path | None):
    import jupytext

    notebook = jupytext.read(master)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    if overlay:
        _replace_numbers(notebook, overlay / "numbers.toml")
        for path in sorted(overlay.glob("*.py")):
            _replace_hidden_tests(notebook, path)
    return notebook


def _take_values(notebook, name: str) -> tuple[dict[str, dict], dict]:
    """Take the ``# VALUES`` cells out of a master; return what they say and the key's variables.

    Such a cell holds functions without arguments, which see the key's variables.  The tests of its
    question find what a function returned under its name in ``VALUES``, as numbers alone: how they
    were computed stays with the master.
    """
    key: dict = {"__name__": "__main__"}
    values: dict[str, dict] = {}
    kept, question, testing = [], None, False
    for cell in notebook.cells:
        boundary = cell.source.strip().upper() if cell.cell_type == "raw" else ""
        if boundary.startswith("# BEGIN QUESTION"):
            question = re.search(r"^name:\s*(\S+)", cell.source, re.MULTILINE).group(1)
        testing = boundary == "# BEGIN TESTS" or (testing and boundary != "# END TESTS")
        if cell.cell_type == "code" and cell.source.startswith("# VALUES"):
            values[question] = _compute(cell.source, key, f"the values of {name}, {question}")
            continue
        if cell.cell_type == "code" and not testing:
            _compute(cell.source, key, f"the key of {name}")
        kept.append(cell)
    notebook.cells = kept
    return values, key


def _compute(source: str, variables: dict, what: str) -> dict:
    """Run a cell among variables; return what its functions give, ready for JSON."""
    import matplotlib

    matplotlib.use("agg")
    values = source.startswith("# VALUES")
    scope = dict(variables) if values else variables
    try:
        with contextlib.redirect_stdout(None):
            exec(compile(source, what, "exec"), scope)
            if not values:
                return {}
            functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
            names = [function.name for function in functions if not function.args.args]
            return {name: _plain(scope[name]()) for name in names}
    except Exception as error:
        raise AssignmentError(f"{what} raised {type(error).__name__}: {error}.") from None


def _plain(value):
    """Write a value of a test in JSON's types; nine digits are more than any test compares."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "detach"):
        return {"tensor": _plain(value.detach().double().numpy().tolist())}
    if isinstance(value, np.ndarray):
        kind = "integers" if value.dtype.kind in "iu" else "array"
        return {kind: _plain(value.tolist())}
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _with_helper(test: str, values: dict) -> str:
    """Put the helper and a question's values in front of its tests."""
    tree = ast.parse(HELPER.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body[1:] if not ast.unparse(node).startswith("VALUES =")]
    stored = json.dumps(values, separators=(",", ":"))
    head, mark, tests = test.partition("\n@test_case")
    return f"{head}\n{ast.unparse(tree)}\nVALUES = decode(json.loads({stored!r}))\n{mark}{tests}"


def _add_helper(notebook, values: dict[str, dict]) -> None:
    tests = notebook.metadata.get("otter", {}).get("tests", {})
    for question in tests:
        tests[question] = _with_helper(tests[question], values.get(question, {}))


def _assign(notebook, values: dict[str, dict], name: str, target: Path) -> None:
    """Let otter split the master, then make what it wrote reproducible byte for byte."""
    import nbformat
    import otter.assign

    work = target.parent / "otter"
    work.mkdir()
    nbformat.write(notebook, work / f"{name}.ipynb")
    logging.getLogger("otter").setLevel(logging.WARNING)
    options = {"no_pdfs": True, "no_run_tests": True}
    otter.assign.main(str(work / f"{name}.ipynb"), str(work / "dist"), **options)

    student, solution = target / "student", target / "solution"
    student.mkdir(parents=True)
    solution.mkdir()
    handed_out = nbformat.read(work / "dist" / "student" / f"{name}.ipynb", as_version=4)
    _add_helper(handed_out, values)
    nbformat.write(_stable(handed_out), student / f"{name}.ipynb")
    (archive,) = (work / "dist" / "autograder").glob("*.zip")
    _rewrite_archive(archive, target / "autograder.zip", values)
    key = nbformat.read(work / "dist" / "autograder" / f"{name}.ipynb", as_version=4)
    _add_helper(key, values)
    key.cells[-1] = nbformat.v4.new_code_cell(ALL_PASSED, metadata={"tags": ["nbval-check-output"]})
    _execute(_stable(key), solution / f"{name}.ipynb")


def _stable(notebook):
    """Number the cells: otter gives them random names."""
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"
    return notebook


def _rewrite_archive(source: Path, target: Path, values: dict[str, dict]) -> None:
    """Copy otter's archive, tests with their helper, in order and without the time of day."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o755 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            content = old.read(name)
            if name.startswith("tests/") and name.endswith(".py"):
                content = _with_helper(content.decode(), values.get(Path(name).stem, {})).encode()
            new.writestr(member, content)


def _execute(notebook, path: Path) -> None:
    """Run the key and store it with its outputs."""
    import nbclient
    import nbformat

    # otter reads the public tests from the notebook on disk.
    nbformat.write(notebook, path)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=40"],
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        reason = str(error).strip().splitlines()[-1]
        raise AssignmentError(
            f"the key of {path.stem} does not pass its own tests: {reason}"
        ) from None
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # otter's HTML carries a random emoji.
            if cell.source.startswith("grader."):
                output.get("data", {}).pop("text/html", None)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)
    (path.parent / ".OTTER_LOG").unlink(missing_ok=True)


# --- An instructor's overlay -----------------------------------------------------------------


def _replace_numbers(notebook, path: Path) -> None:
    """Replace the right-hand sides in the cell tagged ``numbers``."""
    if not path.is_file():
        return
    try:
        numbers = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AssignmentError(f"{path} is not valid TOML: {error}.") from None
    for cell in notebook.cells:
        if "numbers" not in cell.metadata.get("tags", []):
            continue
        lines = cell.source.splitlines()
        for statement in ast.parse(cell.source).body:
            name = statement.targets[0].id
            if name in numbers:
                comment = lines[statement.lineno - 1][statement.end_col_offset :]
                lines[statement.lineno - 1] = f"{name} = {numbers.pop(name)!r}{comment}"
        cell.source = "\n".join(lines)
    if numbers:
        raise AssignmentError(f"{path} sets {', '.join(numbers)}, which the master does not have.")


def _replace_hidden_tests(notebook, path: Path) -> None:
    """Replace the hidden tests of the question that the file is named after."""
    import nbformat

    source = path.read_text(encoding="utf-8")
    try:
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError as error:
        raise AssignmentError(f"{path} is not valid Python: {error}.") from None
    if not functions:
        raise AssignmentError(f"{path} has no test function.")
    tests = [
        nbformat.v4.new_code_cell("# HIDDEN\n" + ast.get_source_segment(source, node))
        for node in functions
    ]
    cells, question, done = [], None, False
    for cell in notebook.cells:
        boundary = cell.source.strip().upper() if cell.cell_type == "raw" else ""
        if boundary.startswith("# BEGIN QUESTION"):
            question = re.search(r"^name:\s*(\S+)", cell.source, re.MULTILINE).group(1)
        if question == path.stem and cell.source.startswith("# HIDDEN"):
            continue
        if question == path.stem and boundary == "# END TESTS":
            cells += tests
            done = True
        cells.append(cell)
    if not done:
        raise AssignmentError(f"{path} is named after no question with tests.")
    notebook.cells = cells


# --- Testing the tests -----------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """A plausible wrong answer, and what a public test has to say about it."""

    question: str
    mistake: str
    message: str
    code: str


@dataclass(frozen=True)
class Equivalent:
    """A right answer in another style, which every test has to accept."""

    question: str
    style: str
    code: str


def mutants(name: str, masters: Path = MASTERS) -> list[Mutant]:
    """Read an assignment's mutants from ``NAME_mutants.toml`` beside its master."""
    return _answers(Mutant, masters / f"{name}_mutants.toml")


def equivalents(name: str, masters: Path = MASTERS) -> list[Equivalent]:
    """Read an assignment's equivalents from ``NAME_equivalents.toml`` beside its master."""
    return _answers(Equivalent, masters / f"{name}_equivalents.toml")


def _answers(kind, path: Path) -> list:
    if not path.is_file():
        raise AssignmentError(
            f"{path} is missing: every assignment lists its mutants and its equivalents."
        )
    questions = tomllib.loads(path.read_text(encoding="utf-8"))
    return [kind(key, **entry) for key, entries in questions.items() for entry in entries]


def environment(notebook: Path) -> dict:
    """Run a notebook's cells in this process and return its variables; otter's are left out."""
    import matplotlib
    import nbformat

    matplotlib.use("agg")
    variables: dict = {"__name__": "__main__"}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and "otter" not in cell.source and "grader" not in cell.source:
            with contextlib.redirect_stdout(None):
                exec(compile(cell.source, str(notebook), "exec"), variables)
    return variables


def run_tests(archive: Path, variables: dict, questions: list[str] | None = None) -> dict:
    """Run an archive's tests against variables, in this process.

    Returns:
        For each question otter's ``TestFile`` with its results.
    """
    from otter.test_files import ExceptionTestFile

    results = {}
    with zipfile.ZipFile(archive) as file:
        for member in sorted(file.namelist()):
            question = Path(member).stem
            if member.startswith("tests/") and (questions is None or question in questions):
                test = ExceptionTestFile.from_string(file.read(member).decode(), path=member)
                test.run(variables)
                results[question] = test
    return results


def answer(code: str, archive: Path, variables: dict, question: str):
    """Run a question's tests against variables among which an answer was put last."""
    variables = dict(variables)
    # A module's globals, so that a function finds what the answer defines beside it.
    with contextlib.redirect_stdout(None):
        exec(compile(code, f"an answer to {question}", "exec"), variables)
        return run_tests(archive, variables, [question])[question]


def said(case) -> str:
    """Return a failed test's message, without the source line that otter quotes above it."""
    return case.message.rsplit("AssertionError: ", 1)[-1]


def survives(mutant: Mutant, archive: Path, variables: dict) -> str | None:
    """Say why the tests do not catch a mutant, or return None where they do.

    A mutant is caught if a public test fails with the message that names its mistake.
    """
    result = answer(mutant.code, archive, variables, mutant.question)
    failed = [case for case in result.test_case_results if not case.passed]
    if not failed:
        return "every test passes"
    public = [said(case) for case in failed if not case.test_case.hidden]
    if not any(re.search(mutant.message, message) for message in public):
        return f"no public test says {mutant.message!r}, but: {' | '.join(public)}"
    return None


def refused(equivalent: Equivalent, archive: Path, variables: dict) -> str | None:
    """Say why the tests refuse an equivalent, or return None where all of them accept it."""
    result = answer(equivalent.code, archive, variables, equivalent.question)
    failed = [said(case) for case in result.test_case_results if not case.passed]
    return " | ".join(failed) or None


def check(name: str, folder: Path, masters: Path = MASTERS) -> list[str]:
    """Run key, stub, mutants and equivalents here; return a line for each thing that is wrong."""
    archive, problems = folder / "autograder.zip", []
    key = environment(folder / "solution" / f"{name}.ipynb")
    for question, result in run_tests(archive, key).items():
        if not result.passed_all:
            problems.append(f"{question}: the key fails: {result.summary()}")
    stub = environment(folder / "student" / f"{name}.ipynb")
    for question, result in run_tests(archive, stub).items():
        for case in result.test_case_results:
            if case.passed:
                problems.append(f"{question}: the stub passes {case.test_case.name}")
            elif "Not answered yet" not in case.message:
                problems.append(f"{question}: the stub is told {case.message}")
    for mutant in mutants(name, masters):
        reason = survives(mutant, archive, key)
        if reason:
            problems.append(f"{mutant.question}: mutant '{mutant.mistake}': {reason}")
    for equivalent in equivalents(name, masters):
        reason = refused(equivalent, archive, key)
        if reason:
            problems.append(f"{equivalent.question}: equivalent '{equivalent.style}': {reason}")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build and check the assignments.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (("build", "make what is handed out"), ("check", "test the tests")):
        sub = commands.add_parser(command, help=text)
        sub.add_argument("names", nargs="*", metavar="NAME", help="default: all assignments")
        sub.add_argument("--overlay", type=Path, help="a private folder with numbers and tests")
    options = parser.parse_args(arguments)
    try:
        for name in options.names or names():
            folder = build(name, overlay=options.overlay)
            print(f"{name}: {os.path.relpath(folder)}")
            if options.command == "check":
                problems = check(name, folder)
                for problem in problems:
                    print(f"  {problem}")
                if problems:
                    raise AssignmentError(f"{name} has {len(problems)} problems.")
                wrong, right = len(mutants(name)), len(equivalents(name))
                print(f"  key 100 %, stub 0, {wrong} mutants caught, {right} equivalents accepted")
    except AssignmentError as error:
        print(f"assignments: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

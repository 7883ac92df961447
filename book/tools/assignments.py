"""Build the assignments from their masters, and test their tests.

``python book/tools/assignments.py build`` makes, for each master ``chapters/assignments/NAME.md``,

- ``NAME/student/``: what to hand out, ``NAME.ipynb`` with answers replaced by ``...``, the same for
  Google Colab, and the pinned requirements;
- ``NAME/autograder.zip``: the archive that Gradescope and ``grade.py`` run;
- ``NAME/solution/NAME.ipynb``: the key, executed.

``python book/tools/assignments.py check`` runs the tests of each assignment against the key, the
untouched stub, the mutants (wrong answers whose mistake the tests must name) and the equivalents
(right answers in other styles, which they must accept).

An instructor's own numbers and hidden tests come from a private folder, ``--overlay DIR``, also
numbers of each student's own, ``--per-student ROSTER``; see ``book/teaching.md``.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import remote
from handed_in import fingerprint

ROOT = Path(__file__).resolve().parents[2]
MASTERS = ROOT / "chapters" / "assignments"
HELPER = MASTERS / "checking.py"
LOCK = ROOT / "requirements.txt"
BUILD = ROOT / "book" / "_build" / "assignments"

# The first cell of the student's notebook; otter finds the public tests in the notebook's file.
FIRST_CELL = '''\
# Run this cell first.
import json
import os
from pathlib import Path

try:
    import otter
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "The checks need the package otter-grader. Run  %pip install -r requirements.txt  in a "
        "cell (the file came with this notebook), restart the kernel, and run this cell again."
    ) from None


def own_file(name):
    """The file of this notebook, which may have been renamed: the checks lie in it."""
    opened = [globals().get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")]
    newest = sorted(Path().glob("*.ipynb"), key=os.path.getmtime, reverse=True)
    for path in filter(None, [*opened, f"{name}.ipynb", *newest]):
        try:
            about = json.loads(Path(path).read_text(encoding="utf-8"))["metadata"]["otter"]
            if about["assignment_name"] == name:
                return str(path)
        except (OSError, ValueError, KeyError):
            continue
    print(f"No notebook of {name} lies in {Path().resolve()}: save this one there, run this again.")


grader = otter.Notebook(own_file("ASSIGNMENT"))'''
# The same on Colab, where a notebook cannot read its own file.
FIRST_CELL_COLAB = """\
# Run this cell first: it installs what the checks need, and unpacks them.
%pip install -q REQUIRED
import base64
import io
import zipfile

import otter

checks = "CHECKS"
zipfile.ZipFile(io.BytesIO(base64.b64decode(checks))).extractall("tests")
grader = otter.Notebook(tests_dir="tests")"""
# What Gradescope runs, beside the tests: the same programs that grade here.  In its container,
# otter's own setup has put Python into the home of root.
GRADERS = ["gradescope.py", "grade_one.py", "handed_in.py", "remote.py", "sealed.py", "wire.py"]
RUN_ON_GRADESCOPE = """\
#!/bin/bash
export PATH=~root/miniforge3/bin:$PATH
eval "$(mamba shell hook --shell bash)"
mamba activate otter-env
chmod o+x ~root  # Python lies there, and submissions run as another user
python /autograder/source/gradescope.py
"""
VISIBILITIES = ["visible", "after_due_date", "after_published", "hidden"]

# What holds for every assignment stands under its title.
RULES = """\
**Rules.** The cells of a question may run for {seconds:g} seconds together, and so may its checks,
your instructor's included. Grading uses one core, {memory:g} GiB of memory and no network. You may
import {modules} and what comes with Python.

Talk with anyone, read anything. What you hand in you write and can explain, and your answer in
words ends with who and what helped you, a program that writes code included. The rules of your
course come first."""

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
    name: str,
    *,
    masters: Path = MASTERS,
    overlay: Path | None = None,
    out: Path | None = None,
    student: str | None = None,
) -> Path:
    """Build one assignment, unless the one that lies there is fresh.

    Args:
        name: the master's file name without ``.md``.
        masters: the folder of the masters.
        overlay: a private folder with numbers and hidden tests of one's own.
        out: where to build; by default ``book/_build/assignments``, with an overlay its ``_build``.
        student: a student, for numbers of their own, drawn from the overlay's; the key is left out.

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
    if student:
        out = out / f"{name}-students" / student
    target, stamp = out / name, out / name / "stamp.json"
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out), tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        if stamp.is_file() and json.loads(stamp.read_text())["digest"] == digest:
            return target
        draft = Path(folder) / name
        notebook = _read_master(master, overlay and overlay / name, student)
        values, key = _take_values(notebook, name)
        about = _about(notebook, name, overlay and overlay / name)
        _assign(notebook, values, about, draft, with_key=student is None)
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


def build_for_students(name: str, roster: Path, overlay: Path | None) -> None:
    """Build each student's own notebook and archive."""
    from gradebook import read_roster
    from tqdm import tqdm

    if overlay is None:
        raise AssignmentError("--per-student draws from an overlay's numbers; name one, --overlay.")
    students = list(read_roster(roster))
    for student in tqdm(students, desc=name, unit="notebook"):
        build(name, overlay=overlay, student=student)
    print(f"  {len(students)} students: {os.path.relpath(overlay / '_build' / f'{name}-students')}")


@contextlib.contextmanager
def _alone(folder: Path):
    """Let one process at a time build in a folder."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(master: Path, overlay: Path | None) -> str:
    """Return a digest of all that a build depends on."""
    import otter

    files = [Path(__file__), HELPER, master, LOCK]
    files += [Path(__file__).with_name(part) for part in GRADERS]
    files += sorted(path for path in overlay.iterdir() if path.is_file()) if overlay else []
    state = hashlib.sha256(otter.__version__.encode())
    for path in files:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _read_master(master: Path, overlay: Path | None, student: str | None = None):
    import jupytext

    notebook = jupytext.read(master)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    if overlay:
        _replace_numbers(notebook, overlay / "numbers.toml", student)
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


def _about(notebook, name: str, overlay: Path | None) -> dict:
    """Return what grading has to know of an assignment beside its tests."""
    import yaml

    raw = [cell.source for cell in notebook.cells if cell.cell_type == "raw"]
    (config,) = [yaml.safe_load(source) for source in raw if "ASSIGNMENT CONFIG" in source]
    questions = {}
    for source in raw:
        if source.strip().upper().startswith("# BEGIN QUESTION"):
            about = yaml.safe_load(source)
            manual = bool(about.get("manual"))
            questions[about["name"]] = {"points": float(about["points"]), "manual": manual}
    shown = "visible"
    path = overlay / "gradescope.toml" if overlay else None
    if path and path.is_file():
        shown = _read_toml(path).get("scores")
        if shown not in VISIBILITIES:
            allowed = ", ".join(VISIBILITIES)
            raise AssignmentError(f"{path} sets scores to {shown!r}; it may be one of: {allowed}.")
    modules = config.get("requirements", [])
    return {"name": name, "modules": modules, "questions": questions, "scores": shown}


def pinned(packages: list[str]) -> list[str]:
    """Return the lines of the lock for these packages."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [line for name in packages for line in lines if re.match(rf"{re.escape(name)}==", line)]


def _first_cells(handed_out, name: str, requirements: list[str]) -> tuple[str, str]:
    """Return the first cell, here and on Colab."""
    tests = io.BytesIO()
    with zipfile.ZipFile(tests, "w") as file:
        for question, source in handed_out.metadata.get("otter", {}).get("tests", {}).items():
            _add(file, f"{question}.py", source.encode())
    checks = base64.b64encode(tests.getvalue()).decode()
    # Colab brings its own versions of everything else.
    required = next(line for line in requirements if line.startswith("otter-grader"))
    colab = FIRST_CELL_COLAB.replace("REQUIRED", required).replace("CHECKS", checks)
    return FIRST_CELL.replace("ASSIGNMENT", name), colab


def _rules(modules: list[str]) -> str:
    limits = remote.Limits()
    listed = ", ".join(f"`{module}`" for module in modules)
    return RULES.format(seconds=limits.question_seconds, memory=limits.memory_gib, modules=listed)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Write a member of an archive without the time of day."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o755 << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content)


def _assign(
    notebook, values: dict[str, dict], about: dict, target: Path, with_key: bool = True
) -> None:
    """Let otter split the master, then make what it wrote reproducible byte for byte."""
    import nbformat
    import otter.assign

    name = about["name"]
    work = target.parent / "otter"
    work.mkdir()
    nbformat.write(notebook, work / f"{name}.ipynb")
    logging.getLogger("otter").setLevel(logging.WARNING)
    options = {"no_pdfs": True, "no_run_tests": True}
    otter.assign.main(str(work / f"{name}.ipynb"), str(work / "dist"), **options)

    student, solution = target / "student", target / "solution"
    student.mkdir(parents=True)
    handed_out = nbformat.read(work / "dist" / "student" / f"{name}.ipynb", as_version=4)
    _add_helper(handed_out, values)
    requirements = pinned(["otter-grader", "ipykernel", "jupyterlab", *about["modules"]])
    (student / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    first, colab = _first_cells(handed_out, name, requirements)
    handed_out.cells[0].source = first
    handed_out.cells.insert(2, nbformat.v4.new_markdown_cell(_rules(about["modules"])))
    nbformat.write(_stable(handed_out), student / f"{name}.ipynb")
    about["given"] = [
        fingerprint(cell.source) for cell in handed_out.cells if cell.cell_type == "markdown"
    ]
    (archive,) = (work / "dist" / "autograder").glob("*.zip")
    _rewrite_archive(archive, target / "autograder.zip", values, about)
    handed_out.cells[0].source = colab
    handed_out.metadata = {"kernelspec": handed_out.metadata["kernelspec"]}
    nbformat.write(handed_out, student / f"{name}_colab.ipynb")
    if not with_key:
        return
    solution.mkdir()
    key = nbformat.read(work / "dist" / "autograder" / f"{name}.ipynb", as_version=4)
    _add_helper(key, values)
    key.cells[0].source = first
    key.cells[-1] = nbformat.v4.new_code_cell(ALL_PASSED, metadata={"tags": ["nbval-check-output"]})
    _execute(_stable(key), solution / f"{name}.ipynb")


def _stable(notebook):
    """Number the cells: otter gives them random names."""
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"
    return notebook


def _rewrite_archive(source: Path, target: Path, values: dict[str, dict], about: dict) -> None:
    """Copy otter's archive, tests with their helper, in order and without the time of day.

    What runs there are our own programs, which keep the tests out of the submission's reach.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        parts = {name: old.read(name) for name in old.namelist()}
        for name in ("run_otter.py", "otter_config.json"):
            parts.pop(name)
        # Nothing there prints a notebook.
        setup = parts["setup.sh"].decode().partition("\nmamba run")[0]
        parts["setup.sh"] = setup.replace("otter_config.json", "about.json").encode() + b"\n"
        parts["run_autograder"] = RUN_ON_GRADESCOPE.encode()
        parts["about.json"] = json.dumps(about, indent=1).encode()
        head = parts["environment.yml"].decode().partition("  - pip:")[0] + "  - pip:\n"
        pins = pinned(["otter-grader", "ipython", *about["modules"]])
        parts["environment.yml"] = (head + "".join(f"      - {pin}\n" for pin in pins)).encode()
        for part in GRADERS:
            parts[part] = Path(__file__).with_name(part).read_bytes()
        for name, content in sorted(parts.items()):
            if name.startswith("tests/") and name.endswith(".py"):
                content = _with_helper(content.decode(), values.get(Path(name).stem, {})).encode()
            _add(new, name, content)


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


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AssignmentError(f"{path} is not valid TOML: {error}.") from None


def _replace_numbers(notebook, path: Path, student: str | None) -> None:
    """Replace the right-hand sides in the cells tagged ``numbers``.

    The table ``each`` lists values of which every student gets one, the key the first.
    """
    numbers = _read_toml(path) if path.is_file() else {}
    choices = numbers.pop("each", {})
    if student and not choices:
        raise AssignmentError(f"{path} has no table [each] with values to choose from.")
    for name, values in choices.items():
        if not isinstance(values, list) or not values:
            raise AssignmentError(f"{path}: {name} in [each] is not a list of values.")
        draw = random.Random(f"{path.parent.name} {name} {student}")
        numbers[name] = draw.choice(values) if student else values[0]
    for cell in notebook.cells:
        if "numbers" not in cell.metadata.get("tags", []):
            continue
        lines = cell.source.splitlines()
        for statement in ast.parse(cell.source).body:
            name = getattr(statement.targets[0], "id", None)
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
        if command == "build":
            text = "also build a notebook for each student of this table, with numbers of their own"
            sub.add_argument("--per-student", type=Path, metavar="ROSTER", help=text)
    options = parser.parse_args(arguments)
    try:
        for name in options.names or names():
            folder = build(name, overlay=options.overlay)
            print(f"{name}: {os.path.relpath(folder)}")
            if options.command == "build" and options.per_student:
                build_for_students(name, options.per_student, options.overlay)
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

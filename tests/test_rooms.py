"""The rooms of the house: who may know whom.

Rooms stand on floors.  A module imports its own floor and those below; what two papers share has a
room of its own.  Imports inside functions count.  Those for type checkers alone do not: nothing
runs them.
"""

import ast
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

import vaelite
from vaelite.experiments import catalogue

PACKAGE = Path(vaelite.__file__).parent

# From the ground up; a room is a module or a folder of modules, and stands on exactly one floor.
FLOORS = [
    {"", "_validation", "digest", "files", "packed", "profile", "gaussian"},
    {"nets", "distributions", "data", "toys"},
    {"vae", "density_ratio"},
    {"contrastive", "convnets", "disentangle", "isa", "vamp"},
]
PAPERS = {"isa", "factorial_mixture", "optimal_prior", "cpvae", "factvae"}
SYNTHESIS = {"one_family"}  # knows all papers, and none of them knows it
# These know no model of any paper: they ask of a model what the contract says, and no more.
TRAINING = {
    "training",
    "progress",
    "stack",
    "compiled",
    "phases",
    "checkpoint",
    "history",
    "batches",
    "streams",
}
MEASURING = {"metrics"}
PAGES = {"book", "claims"}
TOP = {"experiments", "__main__"}
BELOW_TRAINING = {"_validation", "files", "packed", "nets"}
EXPERIMENTS = {"vaelite.experiments"}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(tree, name, is_package, modules):
    """The modules of the package that a syntax tree imports, however deep inside a function."""
    package = name if is_package else name.rpartition(".")[0]
    found, hidden = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            hidden |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in modules}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found |= {inner} if inner in modules else {base} & set(modules)
    return found - {name}


@cache
def imports():
    return {
        name: imported(
            ast.parse(path.read_text(encoding="utf-8")), name, path.stem == "__init__", MODULES
        )
        for name, path in MODULES.items()
    }


def room(name):
    return name.partition(".")[2].partition(".")[0]


def arrows():
    """Pairs of different rooms, the first of which imports the second."""
    return {
        (room(name), room(other))
        for name, others in imports().items()
        for other in others
        if room(name) != room(other)
    }


def circle(graph):
    """Return one circle of a graph as a list, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(graph[name]):
            if (found := visit(other)) is not None:
                return found
        done.add(path.pop())
        return None

    return next((found for name in sorted(graph) if (found := visit(name))), None)


def folders_of_papers():
    return {path.name for path in (PACKAGE / "experiments").iterdir() if path.is_dir()}


def wrong_arrows(found):
    """Say which of the arrows between rooms go where none may go."""
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    level |= dict.fromkeys(PAPERS, level["isa"])
    complaints = []
    for one, other in sorted(found):
        if one in level:
            allowed = level.get(other, len(FLOORS)) <= level[one]
            allowed &= not (one in PAPERS and other in PAPERS)
        elif one in TRAINING:
            allowed = other in TRAINING | BELOW_TRAINING
        elif one in MEASURING:
            allowed = other in BELOW_TRAINING | {"gaussian"}
        elif one in SYNTHESIS:
            allowed = other not in PAGES | TOP
        elif one in PAGES:
            allowed = other not in TOP
        else:
            allowed = one in TOP and other != "__main__"
        if not allowed:
            complaints.append(f"{one} imports {other}")
    return complaints


def test_every_room_has_a_place():
    rooms = {room(name) for name in MODULES}
    placed = set().union(*FLOORS, PAPERS, SYNTHESIS, TRAINING, MEASURING, PAGES, TOP)
    assert rooms <= placed, f"no floor for: {', '.join(sorted(rooms - placed))}"


def test_imports_form_no_circle():
    assert circle(imports()) is None


def test_no_arrow_goes_up_and_papers_do_not_know_each_other():
    assert wrong_arrows(arrows()) == []


def test_what_is_general_in_the_experiments_knows_no_paper():
    specific = {catalogue.module_name(name) for name in catalogue.names()}
    papers = PAPERS | {"disentangle", "toys"}
    general = {
        name
        for name in MODULES
        if room(name) == "experiments" and name.count(".") == 2 and name not in specific
    } - {f"vaelite.experiments.{name}" for name in folders_of_papers()}
    assert {f"vaelite.experiments.{name}" for name in ("comparison", "runner", "checks")} <= general
    for name in general:
        wrong = {other for other in imports()[name] if room(other) in papers}
        wrong |= {o for o in imports()[name] if room(o) == "experiments"} - general - EXPERIMENTS
        assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


def test_inside_the_package_the_command_line_alone_imports_the_experiments():
    assert {one for one, other in arrows() if other == "experiments"} == {"__main__"}


@pytest.mark.parametrize(
    "arrow",
    [
        ("nets", "vae"),
        ("vae", "isa"),
        ("gaussian", "nets"),
        ("isa", "cpvae"),
        ("cpvae", "isa"),
        ("training", "vae"),
        ("metrics", "isa"),
        ("book", "experiments"),
        ("isa", "experiments"),
        ("experiments", "__main__"),
        ("disentangle", "training"),
        ("cpvae", "one_family"),
        ("one_family", "experiments"),
    ],
)
def test_a_wrong_arrow_is_noticed(arrow):
    assert wrong_arrows({*arrows(), arrow}) == [f"{arrow[0]} imports {arrow[1]}"]


def test_a_circle_is_noticed():
    graph = {name: set(others) for name, others in imports().items()}
    graph["vaelite.gaussian"].add("vaelite.isa")
    assert circle(graph)[0] == circle(graph)[-1]

"""Which experiments there are.

An experiment is a module of this folder, or of a paper's folder in it, where ``common`` holds what
the paper's experiments share.  Its name is its path: ``isa/sprites.py`` is ``isa_sprites``.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_NO_EXPERIMENTS = {
    "__init__",
    "anchors",
    "catalogue",
    "checks",
    "common",
    "comparison",
    "networks",
    "probes",
    "results",
    "runner",
    "statistics",
    "workers",
}


def names() -> list[str]:
    """Return the names of all experiments."""
    return sorted(_modules())


def module_name(name: str) -> str:
    """Return the full name of an experiment's module.

    Raises:
        ValueError: if there is no such experiment.
    """
    check(name)
    return _modules()[name]


def check(name: str) -> None:
    """Refuse what is not the name of an experiment.

    Raises:
        ValueError: if there is no such experiment.
    """
    if name not in (known := names()):
        raise ValueError(f"there is no experiment {name!r}; there are: {', '.join(known)}.")


def _modules() -> dict[str, str]:
    """Map the names of experiments to those of their modules.

    No module is opened: what a chapter opens, it depends on.
    """
    found = {}
    for path in [*_FOLDER.glob("*.py"), *_FOLDER.glob("*/*.py")]:
        parts = path.relative_to(_FOLDER).with_suffix("").parts
        if parts[-1] not in _NO_EXPERIMENTS:
            found["_".join(parts)] = ".".join([__package__, *parts])
    return found

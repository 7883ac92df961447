"""Stored results: where they lie, how they are written and read, and what made them."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from vaelite import profile as profiles
from vaelite.experiments import catalogue
from vaelite.files import replacing

# What reading a stored file relies on.
_STORED = {
    "base_seed": int,
    "settings": dict,
    "versions": dict,
    "hardware": list,
    "commits": dict,
    "seconds": int | float,
    "trace": list,
    "anchors": dict,
    "trials": list,
}
_ONE_A_LINE = ("trace", "trials")
_DIGITS = 10  # significant digits of a stored number


def results_folder() -> Path:
    """Return the folder of stored results.

    It is ``VAELITE_RESULTS``, else ``book/results`` of the repository that the package is run from,
    else (the package was installed without its repository) of the current folder.
    """
    if folder := os.environ.get("VAELITE_RESULTS"):
        return Path(folder).expanduser()
    root = Path(__file__).parents[2]
    return (root if (root / "pyproject.toml").exists() else Path()) / "book" / "results"


def stored(file: str) -> Path:
    """Return where a file of results is read from: the folder of results, else the wheel's own.

    A wheel installs the book's results in ``share/vaelite/results`` of its environment.
    """
    path = results_folder() / file
    shipped = Path(sys.prefix) / "share" / "vaelite" / "results" / file
    return shipped if not path.exists() and shipped.exists() else path


def load_results(name: str, profile: str) -> dict | None:
    """Return the stored results of a complete run, or None where there is none.

    Raises:
        ValueError: if the experiment or the profile does not exist, or the file is damaged.
    """
    catalogue.check(name)
    if profile not in profiles.PROFILES:
        known = ", ".join(profiles.PROFILES)
        raise ValueError(f"there is no profile {profile!r}; there are: {known}.")
    path = stored(f"{name}.{profile}.json")
    return read(path) if path.exists() else None


def collect(results: Mapping[str, Any], key: str, **where: Any) -> list:
    """Return ``result[key]`` of every trial whose entries equal ``where``, in the order of the run.

    Raises:
        ValueError: if no trial matches, or a matching trial did not measure ``key``.
    """
    chosen = [
        entry["result"]
        for entry in results["trials"]
        if all(entry["trial"].get(name) == value for name, value in where.items())
    ]
    if not chosen:
        raise ValueError(f"no trial of {results['experiment']} has {where}.")
    if any(key not in result for result in chosen):
        known = ", ".join(chosen[0])
        raise ValueError(f"{results['experiment']} did not measure {key!r}; it measured {known}.")
    return [result[key] for result in chosen]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    packages = ("numpy", "scipy", "autograd", "scikit-learn", "torch", "vaelite")
    return {"python": platform.python_version()} | {
        package: metadata.version(package) for package in packages
    }


def commit() -> str:
    """Return the commit that the package is run from, as ``git describe`` names it.

    It ends in "-dirty" where the package's files were changed since, and is "unknown" where it is
    not run from a checkout of its repository.
    """
    root = Path(__file__).parents[2]
    if not ((root / "pyproject.toml").exists() and (root / ".git").exists()):
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "vaelite")
        return git("describe", "--always") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def hardware() -> dict[str, Any]:
    """Return the processor's model, its cores, and the GPU where torch is loaded and sees one."""
    found: dict[str, Any] = {"cpu": _processor(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write(results: Mapping[str, Any], path: Path) -> None:
    """Write one entry a line, of trials and trace one item a line: a diff shows what changed."""

    def compact(value: Any) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    entries = []
    for key, value in results.items():
        if key in _ONE_A_LINE and value:
            lines = ",\n".join(f"  {compact(item)}" for item in value)
            entries.append(f" {compact(key)}: [\n{lines}\n ]")
        else:
            entries.append(f" {compact(key)}: {compact(value)}")
    with replacing(path) as file:
        file.write(("{\n" + ",\n".join(entries) + "\n}\n").encode())


def read(path: Path) -> dict:
    """Return what a results file holds.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(results[key], kind) for key, kind in _STORED.items()):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path.name} is damaged; delete it and run the experiment again."
        ) from None
    return results


def plain(value: Any, where: str) -> Any:
    """Return ``value`` as JSON holds it: arrays as lists, floats rounded, or None if not finite."""
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, torch tensors
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys must be strings.")
        return {key: plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which a results file cannot hold.")

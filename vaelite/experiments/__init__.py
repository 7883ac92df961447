r'''Experiments: what takes longer than a chapter may, run cell by cell, resumable.

An experiment is one module in this folder, and its name is the module's.  The module defines three
names::

    """What is measured, and which claim it decides."""

    from vaelite.profile import seed

    SETTINGS = {
        "quick": {"repeats": 3, "betas": [1.0], "points": 200},
        "standard": {"repeats": 40, "betas": [1.0, 5.0], "points": 1000},
        "full": {"repeats": 200, "betas": [1.0, 2.0, 5.0], "points": 10_000},
    }

    def cells(settings):
        """One dictionary for each independent piece of work; "seed" is required."""
        return [
            {"beta": beta, "seed": seed(repeat)}
            for beta in settings["betas"]
            for repeat in range(settings["repeats"])
        ]

    def run_cell(cell, settings):
        """Return what was measured: numbers, strings, lists and dictionaries of those."""
        rng = np.random.default_rng(cell["seed"])
        ...
        return {"angle": 90.0, "pruned": True, "history": [3.0, 2.0]}

The rules that make a stored number worth something:

- ``run_cell`` depends on its two arguments alone.  All randomness comes from ``cell["seed"]`` by a
  generator of its own, never from a global one; so the cells may run in any order, and a resumed
  run equals an unbroken one.
- A cell should take seconds to a few minutes: it is what an interruption can cost.
- ``settings`` and cells hold what JSON can hold.  NumPy arrays and scalars and torch tensors in the
  result are converted, and floats rounded to ten significant digits; NaN and infinities are stored
  as null, which reads back as None.
- Data sets are loaded inside ``run_cell`` (``vaelite.data`` caches them).

Where many seeds train faster together (:func:`vaelite.training.fit_seeds`), a module defines
``run_cells(cells, settings)`` in place of ``run_cell``.  It is called with consecutive cells that
differ in nothing but the seed, at most ``settings["at_once"]`` of them, and returns a list of what
was measured.  A cell's seconds are then its share of the group's, and an interruption costs a
group.

A long group need not be lost: where ``run_cells`` takes a third argument, ``checkpoint``, it is
given the path of a file to save to, and to go on from where it exists (for ``fit_seeds``,
``checkpoint=checkpoint, resume=checkpoint is not None``), or None where nothing may be written.
The file's name holds a digest of the group's cells, settings, code and versions, so another group's
or another code's is never opened.  Without ``--resume`` none exists at the start, and a group's is
deleted when its results are stored.  The seconds of a resumed group are those of its last run.

``python -m vaelite reproduce NAME --profile P`` runs the cells and writes
``book/results/NAME.P.json``; ``--resume`` continues a run that was stopped.  A chapter reads it::

    results = load_results("variational_biases", "standard")    # None where nobody ran it yet
    angles = collect(results, "angle", beta=5.0)                # one value for each matching cell
    low, high = bootstrap_interval(angles)                      # vaelite.experiments.statistics

or runs the quick profile on the spot: ``results = get("variational_biases").run("quick")``.
'''

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vaelite import profile as profiles
from vaelite.digest import modules_digest
from vaelite.files import check_writable, replacing

_NO_EXPERIMENTS = {"comparison", "isa", "statistics"}
# What reading a stored file relies on.
_STORED = {
    "base_seed": int,
    "settings": dict,
    "code_digest": str,
    "versions": dict,
    "hardware": list,
    "seconds": int | float,
    "cells": list,
}
# What a run must share with an interrupted one that it continues.
_SAME = ("base_seed", "settings", "code_digest", "versions")
_DIGITS = 10  # significant digits of a stored number


@dataclass(frozen=True)
class Experiment:
    """An experiment, ready to run.

    Attributes:
        name: the module's name.
        settings: settings by profile: ``quick``, ``standard`` and ``full``.
        cells: makes the list of cells from settings.
        run_cell: runs one cell: ``run_cell(cell, settings)`` returns what was measured.
        code_digest: digest of the code that the numbers depend on.
        run_cells: runs cells that differ in the seed alone, in place of ``run_cell``, and returns
            a list; may take a checkpoint's path.
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]]
    cells: Callable[[dict], list[dict]]
    run_cell: Callable[[dict, dict], dict] | None
    code_digest: str
    run_cells: Callable[..., list[dict]] | None = None

    def run(
        self,
        profile: str,
        *,
        folder: str | os.PathLike | None = None,
        resume: bool = False,
        progress: bool = True,
    ) -> dict:
        """Run all cells of a profile.

        Args:
            profile: ``quick``, ``standard`` or ``full``.
            folder: where to write ``NAME.PROFILE.json``.  The cells done so far are kept beside it
                in ``NAME.PROFILE.partial.json``, so that an interrupted run never replaces a
                complete one, and the group at work in ``NAME.PROFILE.DIGEST.checkpoint``.  None,
                the default, writes nothing.
            resume: keep the cells of an interrupted run in ``folder``, and go on with the group.
            progress: show a progress bar with the rate and the time left.

        Returns:
            The results with their provenance.  ``results["cells"]`` holds one dictionary a cell:
            ``{"cell": ..., "result": ..., "seconds": ...}``.

        Raises:
            ValueError: if the profile does not exist, the cells are malformed, or the stored cells
                come from other settings, seeds, code or versions.
            RuntimeError: if a cell fails; what was done before it is kept.
            OSError: if the results cannot be written to ``folder``; said before the first cell.
        """
        if profile not in self.settings:
            known = ", ".join(self.settings)
            raise ValueError(f"{self.name} has no profile {profile!r}; it has {known}.")
        settings = _plain(dict(self.settings[profile]), "settings")
        cells = [_plain(cell, "cell") for cell in self.cells(settings)]
        _check_cells(self.name, cells)
        results = {
            "experiment": self.name,
            "profile": profile,
            "base_seed": profiles.seed(),
            "settings": settings,
            "code_digest": self.code_digest,
            "versions": versions(),
            "hardware": [],
            "seconds": 0.0,
            "cells": [],
        }
        partial = folder and Path(folder) / f"{self.name}.{profile}.partial.json"
        if partial:
            complete = Path(folder) / f"{self.name}.{profile}.json"
            for path in (partial, complete):
                check_writable(path, "the results file")
            if not resume:
                _delete_checkpoints(partial)
            elif partial.exists() or not self._checkpoint(results, cells, partial).exists():
                _take_over(results, cells, partial)
        try:
            self._run_remaining(results, cells, partial, progress)
        finally:
            if partial and results["cells"]:
                _write(results, partial)
        if partial:
            # Not renamed: another run of the same may have finished, and taken it away.
            _write(results, complete)
            partial.unlink(missing_ok=True)
            _delete_checkpoints(partial)
        return results

    def _run_remaining(
        self, results: dict, cells: list[dict], partial: Path | None, progress: bool
    ) -> None:
        done, next_write = len(results["cells"]), 0.0
        bar = tqdm(
            total=len(cells),
            initial=done,
            desc=f"{self.name} ({results['profile']})",
            unit="cell",
            disable=not progress,
        )
        with bar:
            for group in self._groups(cells[done:], results["settings"]):
                start = time.perf_counter()
                try:
                    path = partial and self._checkpoint(results, group, partial)
                    measured = self._run_group(group, results["settings"], path)
                except Exception as error:
                    more = f" (and {len(group) - 1} more seeds)" if len(group) > 1 else ""
                    raise RuntimeError(
                        f"{self.name}: cell {group[0]}{more} failed: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                seconds = round((time.perf_counter() - start) / len(group), 3)
                for cell, result in zip(group, measured, strict=True):
                    results["cells"].append({"cell": cell, "result": result, "seconds": seconds})
                results["seconds"] = round(results["seconds"] + seconds * len(group), 3)
                # Asked after the cell, when the experiment has loaded torch if it ever does.
                if (here := hardware()) not in results["hardware"]:
                    results["hardware"].append(here)
                if partial and (now := time.monotonic()) >= next_write:
                    _write(results, partial)
                    _delete_checkpoints(partial)
                    # Of a long list of short cells, writing takes a few per cent of the time.
                    next_write = now + max(1.0, 30 * (time.monotonic() - now))
                bar.update(len(group))

    def _groups(self, cells: list[dict], settings: dict) -> list[list[dict]]:
        """Split cells into what is run together: single cells, or seeds of the same setting."""
        if self.run_cells is None:
            return [[cell] for cell in cells]
        limit, groups = settings["at_once"], []
        for _, same in groupby(cells, key=lambda cell: cell | {"seed": None}):
            same = list(same)
            groups += [same[start : start + limit] for start in range(0, len(same), limit)]
        return groups

    def _checkpoint(self, results: dict, cells: list[dict], partial: Path) -> Path:
        """Return where the first group of ``cells`` is saved while it runs."""
        depends_on = {key: results[key] for key in _SAME}
        depends_on["cells"] = self._groups(cells, results["settings"])[0]
        digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        return partial.with_name(f"{self.name}.{results['profile']}.{digest[:16]}.checkpoint")

    def _run_group(self, group: list[dict], settings: dict, checkpoint: Path | None) -> list[dict]:
        """Return what was measured, as JSON holds it; nobody can change what was asked for."""
        group, settings = [dict(cell) for cell in group], dict(settings)
        if self.run_cells is None:
            return [_plain(self.run_cell(group[0], settings), "result")]
        arguments = [group, settings]
        if "checkpoint" in inspect.signature(self.run_cells).parameters:
            arguments.append(checkpoint)
        measured = [_plain(result, "result") for result in self.run_cells(*arguments)]
        if len(measured) != len(group):
            raise ValueError(f"run_cells returned {len(measured)} results for {len(group)} cells.")
        return measured


def names() -> list[str]:
    """Return the names of all experiments."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(found - _NO_EXPERIMENTS)


def get(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ValueError: if there is no such experiment.
    """
    _check_name(name)
    module = importlib.import_module(f"{__name__}.{name}")
    return Experiment(
        name=name,
        settings=module.SETTINGS,
        cells=module.cells,
        run_cell=getattr(module, "run_cell", None),
        code_digest=modules_digest(module.__name__, without=[__name__]),
        run_cells=getattr(module, "run_cells", None),
    )


def results_folder() -> Path:
    """Return the folder of stored results.

    It is ``VAELITE_RESULTS``, else ``book/results`` of the repository that the package is run from,
    else (the package was installed without its repository) of the current folder.
    """
    if folder := os.environ.get("VAELITE_RESULTS"):
        return Path(folder).expanduser()
    root = Path(__file__).parents[2]
    return (root if (root / "pyproject.toml").exists() else Path()) / "book" / "results"


def load_results(name: str, profile: str) -> dict | None:
    """Return the stored results of a complete run, or None where there is none.

    Raises:
        ValueError: if the experiment or the profile does not exist, or the file is damaged.
    """
    _check_name(name)
    if profile not in profiles.PROFILES:
        known = ", ".join(profiles.PROFILES)
        raise ValueError(f"there is no profile {profile!r}; there are: {known}.")
    path = results_folder() / f"{name}.{profile}.json"
    return _read(path) if path.exists() else None


def collect(results: Mapping[str, Any], key: str, **where: Any) -> list:
    """Return ``result[key]`` of every cell whose entries equal ``where``, in the order of the run.

    Raises:
        ValueError: if no cell matches, or a matching cell did not measure ``key``.
    """
    chosen = [
        entry["result"]
        for entry in results["cells"]
        if all(entry["cell"].get(name) == value for name, value in where.items())
    ]
    if not chosen:
        raise ValueError(f"no cell of {results['experiment']} has {where}.")
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


def _check_name(name: str) -> None:
    if name not in names():
        raise ValueError(f"there is no experiment {name!r}; there are: {', '.join(names())}.")


def _check_cells(name: str, cells: list[dict]) -> None:
    if not cells:
        raise ValueError(f"{name} has no cells.")
    for cell in cells:
        if not isinstance(cell, dict) or not isinstance(cell.get("seed"), int):
            raise ValueError(f'{name}: a cell is a dictionary with an integer "seed"; got {cell}.')
    if len({json.dumps(cell, sort_keys=True) for cell in cells}) < len(cells):
        raise ValueError(f"{name}: two cells are equal; they would measure the same thing twice.")


def _take_over(results: dict, cells: list[dict], partial: Path) -> None:
    """Move the cells of an interrupted run into ``results``, if they belong there."""
    complete = partial.with_name(partial.name.replace(".partial.json", ".json"))
    stored_in = next((path for path in (partial, complete) if path.exists()), None)
    if stored_in is None:
        return
    stored = _read(stored_in)
    for key in _SAME:
        if stored[key] != results[key]:
            what = key.replace("_", " ")
            raise ValueError(
                f"cannot resume {results['experiment']} ({results['profile']}): its stored cells "
                f"have another {what}; run it again without --resume."
            )
    if [entry["cell"] for entry in stored["cells"]] != cells[: len(stored["cells"])]:
        raise ValueError(
            f"cannot resume {results['experiment']} ({results['profile']}): its stored cells are "
            "not the first ones of this run; run it again without --resume."
        )
    results.update({key: stored[key] for key in ("hardware", "seconds", "cells")})


def _delete_checkpoints(partial: Path) -> None:
    """Delete the checkpoints beside the file of unfinished results, whichever group's they are."""
    for path in partial.parent.glob(partial.name.replace(".partial.json", ".*.checkpoint")):
        path.unlink(missing_ok=True)


def _write(results: dict, path: Path) -> None:
    """Write one entry a line, and of the cells one cell a line: a diff shows what changed."""

    def compact(value: Any) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    entries = [f" {compact(key)}: {compact(results[key])}" for key in results if key != "cells"]
    cells = ",\n".join(f"  {compact(entry)}" for entry in results["cells"])
    text = "{\n" + ",\n".join([*entries, f' "cells": [\n{cells}\n ]']) + "\n}\n"
    with replacing(path) as file:
        file.write(text.encode())


def _read(path: Path) -> dict:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(results[key], kind) for key, kind in _STORED.items()):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path.name} is damaged; delete it and run the experiment again."
        ) from None
    return results


def _plain(value: Any, where: str) -> Any:
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
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which a results file cannot hold.")

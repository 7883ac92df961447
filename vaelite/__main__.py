"""The command line: ``python -m vaelite doctor``, ``data`` and ``reproduce``.

What goes wrong ends in one sentence on standard error and the exit code 2; ctrl-C in 130.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from vaelite import __version__, profile

if TYPE_CHECKING:
    from vaelite.experiments import Experiment
    from vaelite.experiments.workers import Workers

# Whatever needs seconds to import is imported where it is used, so that --help answers at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"vaelite: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nvaelite: stopped.{getattr(arguments, 'after_interrupt', '')}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vaelite",
        description="Structured variational autoencoders: checks, data sets, experiments.",
    )
    parser.add_argument("--version", action="version", version=f"vaelite {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="say what works on this machine")
    doctor.set_defaults(run=_doctor)

    data = commands.add_parser("data", help="list, fetch and verify data sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="list the data sets").set_defaults(run=_list_data)
    fetch = actions.add_parser("fetch", help="download a real data set into the cache")
    fetch.set_defaults(run=_fetch)
    verify = actions.add_parser("verify", help="check that a cached data set is intact")
    verify.set_defaults(run=_verify)
    for action in (fetch, verify):
        action.add_argument("name", metavar="NAME")

    reproduce = commands.add_parser("reproduce", help="run an experiment and store its numbers")
    reproduce.add_argument("name", metavar="NAME", nargs="?")
    reproduce.add_argument("--profile", metavar="P", help="quick, standard or full")
    how = reproduce.add_mutually_exclusive_group()
    how.add_argument(
        "--resume",
        action="store_true",
        help="continue a run that was stopped, or add what a complete one lacks",
    )
    how.add_argument(
        "--verify", action="store_true", help="run one stored group of trials again, and compare"
    )
    where = reproduce.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", metavar="N", type=int, help="processes of this machine, a thread (or GPU) each"
    )
    where.add_argument("--dask", metavar="ADDRESS", help="a Dask cluster, by its scheduler")
    where.add_argument("--slurm", action="store_true", help="the queue of a Slurm cluster")
    reproduce.add_argument("--list", action="store_true", help="list the experiments")
    reproduce.set_defaults(run=_reproduce)
    return parser


def _doctor(arguments: argparse.Namespace) -> int:
    """Print one line a check; the exit code is 1 if one of them failed."""
    checks: dict[str, Callable[[], str]] = {
        "PyTorch": _check_torch,
        "autograd": _check_autograd,
        "device": _check_device,
        "cache": _check_cache,
        "settings": lambda: f"profile {profile.current()}, seed {profile.seed()}",
    }
    print(f"vaelite {__version__}, Python {platform.python_version()} on {platform.system()}\n")
    failures = 0
    for name, check in checks.items():
        try:
            mark, text = "ok", check()
        except Exception as error:  # a doctor reports whatever it finds
            mark, text = "NO", " ".join(f"{type(error).__name__}: {error}".split())
            failures += 1
        print(f"  {mark}  {name:<9} {text}")
    print("\ndata sets (python -m vaelite data list says what they are)")
    for state, names in _data_by_state().items():
        print(f"  {state:<13} {', '.join(names)}")
    print("\nAll is well." if not failures else f"\n{failures} of {len(checks)} checks failed.")
    return 1 if failures else 0


def _check_torch() -> str:
    import torch

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward()
    if x.grad.tolist() != [3.0, 12.0]:
        raise RuntimeError(f"the gradient of x^3 at 1 and 2 came out as {x.grad.tolist()}")
    return f"{torch.__version__}, gradients are right"


def _check_autograd() -> str:
    from importlib import metadata

    import autograd

    if autograd.grad(lambda x: x**3)(2.0) != 12.0:
        raise RuntimeError("the gradient of x^3 at 2 is not 12")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy"))
    return f"{metadata.version('autograd')}, gradients are right; {versions}"


def _check_device() -> str:
    import torch

    from vaelite.experiments import hardware

    found = hardware()
    gpu = found.get("gpu", "none that PyTorch sees")
    threads = torch.get_num_threads()
    return f"{found['cpu']}, {found['cores']} cores, {threads} threads; GPU: {gpu}"


def _check_cache() -> str:
    from vaelite.data import cache

    folder = cache.folder()
    if folder.is_dir() and not os.access(folder, os.W_OK):
        return f"{folder} (read only: what it holds can be used, nothing can be added)"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return f"{folder}, writable"


def _data_by_state() -> dict[str, list[str]]:
    """Return the names of the data sets that are here, could be fetched, or need neither."""
    from vaelite import data

    states: dict[str, list[str]] = {"in the cache": [], "to be fetched": [], "no download": []}
    for name in data.names():
        real = data.real_set(name)
        kept = "in the cache" if real and real.path.exists() else "to be fetched"
        states[kept if real else "no download"].append(name)
    return {state: names for state, names in states.items() if names}


def _list_data(arguments: argparse.Namespace) -> None:
    from vaelite import data

    for name in data.names():
        real = data.real_set(name)
        if real is None:
            state = "no download"
        elif real.path.exists():
            state = "in the cache"
        else:
            state = f"{real.megabytes:.0f} MB to fetch"
        print(f"  {name:<14} {state:<15} {data.summary(name)}")


def _fetch(arguments: argparse.Namespace) -> None:
    from vaelite import data

    real = data.real_set(arguments.name)
    if real is None:
        print(f"{arguments.name} needs no download.")
        return
    arguments.after_interrupt = " Nothing was kept of the unfinished download."
    if real.path.exists():
        try:
            real.arrays()
            print(f"{arguments.name} is in the cache already, and intact.")
            return
        except data.DataError:
            print(f"{real.path} is damaged; downloading it afresh.")
    real.fetch()
    print(f"{arguments.name} is now in {real.path.parent}.")


def _verify(arguments: argparse.Namespace) -> None:
    from vaelite import data

    real = data.real_set(arguments.name)
    if real is None:
        data.load(arguments.name)
        print(f"{arguments.name} needs no download, and can be made here.")
        return
    if not real.path.exists():
        raise data.DataError(
            f"{arguments.name} is not in the cache; get it with: "
            f"python -m vaelite data fetch {arguments.name}"
        )
    real.arrays()
    print(f"{arguments.name} is intact.")


def _reproduce(arguments: argparse.Namespace) -> None:
    from vaelite import experiments

    if arguments.list:
        _list_experiments()
        return
    if arguments.name is None:
        raise ValueError("reproduce needs the name of an experiment; --list shows them.")
    experiment = experiments.get(arguments.name)
    chosen = arguments.profile or profile.current()
    workers = _workers(arguments)
    if arguments.verify:
        if workers:
            raise ValueError("--verify runs one group here; it takes no workers.")
        print(_verdict(experiment, chosen))
        return
    arguments.after_interrupt = (
        " The trials done so far are kept; continue with: "
        f"python -m vaelite reproduce {arguments.name} --profile {chosen} --resume"
    )
    results = experiment.run(
        chosen, folder=experiments.results_folder(), resume=arguments.resume, workers=workers
    )
    print(
        f"{arguments.name} ({chosen}): {len(results['trials'])} trials, "
        f"{results['seconds']:.1f} seconds of work, stored in {experiments.results_folder()}."
    )


def _workers(arguments: argparse.Namespace) -> Workers | None:
    from vaelite.experiments import results_folder, workers

    if arguments.workers is not None:
        return workers.local(arguments.workers)
    if arguments.dask:
        return workers.dask(arguments.dask)
    return workers.slurm(results_folder()) if arguments.slurm else None


def _verdict(experiment: Experiment, chosen: str) -> str:
    """Run another stored group each week, so that all have their turn."""
    from vaelite import experiments
    from vaelite.experiments import checks

    results = experiments.load_results(experiment.name, chosen)
    if results is None:
        raise ValueError(f"{experiment.name} ({chosen}) has no stored results to verify.")
    year, week, _ = date.today().isocalendar()
    problems, exact, group = checks.replay(results, experiment, 53 * year + week)
    title = f"{experiment.name} ({chosen}): {len(group)} of {len(results['trials'])} trials"
    if problems:
        raise RuntimeError(f"{title}, from {group[0]} on, gave other numbers: {problems[0]}.")
    how = (
        "are equal to the stored ones to the last digit"
        if exact
        else "lie within the intervals of the stored ones; processor or versions are others"
    )
    return f"{title}, run again from {group[0]} on, {how}."


def _list_experiments() -> None:
    from vaelite import experiments

    for name in experiments.names():
        experiment = experiments.get(name)
        for chosen, settings in experiment.settings.items():
            stored = experiments.load_results(name, chosen)
            if stored is None:
                state = "not run yet"
            else:
                commits = ", ".join(stored["commits"]["trials"])
                state = f"stored, {stored['seconds']:.0f} s, by {commits}"
            trials = len(experiment.trials(dict(settings)))
            print(f"  {name:<20} {chosen:<9} {trials:>5} trials  {state}")


if __name__ == "__main__":
    sys.exit(main())

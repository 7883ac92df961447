"""Execute the chapters whose outputs are stale, and stamp what they were made from.

``.md`` to ``.ipynb``, in one direction.  Usage::

    python book/tools/execute.py                 # what is stale
    python book/tools/execute.py chapters/03_variational_biases.md   # only these, if stale
    python book/tools/execute.py --force         # everything
    python book/tools/execute.py --seeds 1 2     # all chapters under other seeds; keeps nothing
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import contents
import nbformat
import notebooks
import numbering
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from notebooks import ROOT, STAMP, WIDGET_VIEW
from numbering import NumberingError

SETUP_MARK = "# Generated: "
SETUP = """\
# Generated: in Colab this cell installs the book's package; anywhere else it does nothing.
import importlib.util
import os
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("vaelite") is None:
    !git clone --quiet --depth 1 --branch {branch} {url} /content/textbook
    %pip install --quiet --editable /content/textbook
    sys.path.insert(0, "/content/textbook")
    # Small networks run faster on one thread than on several that wait for each other.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
"""
RECORD = Path(__file__).with_name("record.py")
CODE_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n.*?^```\n", re.MULTILINE | re.DOTALL)

# One thread and fixed seeds, so that a run repeats itself; a proxy that nobody answers, so that a
# chapter which says that it needs no download really needs none.
NOBODY = "http://127.0.0.1:9"
ENVIRONMENT = {
    "VAELITE_PROFILE": "quick",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HTTP_PROXY": NOBODY,
    "HTTPS_PROXY": NOBODY,
    "http_proxy": NOBODY,
    "https_proxy": NOBODY,
    "NO_PROXY": "localhost,127.0.0.1",
}


class ExecutionError(Exception):
    """A chapter cannot be executed or stored; the message is one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Execute and stamp what is stale.")
    parser.add_argument("sources", nargs="*", type=Path, help="only these .md files")
    parser.add_argument("--force", action="store_true", help="execute what is fresh, too")
    parser.add_argument("--seeds", nargs="+", type=int, help="run under these seeds; keep nothing")
    options = parser.parse_args(arguments)
    failed = 0
    everything = notebooks.chapters() if options.seeds else notebooks.sources()
    for source in [path.resolve() for path in options.sources] or everything:
        name = source.relative_to(ROOT)
        try:
            if options.seeds:
                for seed in options.seeds:
                    _, seconds, _ = run(notebooks.read_source(source), source, seed)
                    print(f"{name}: every verdict stands under seed {seed} ({seconds:.0f} s)")
            else:
                print(f"{name}: {refresh(source, force=options.force)}")
        except (ExecutionError, NumberingError) as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def refresh(source: Path, force: bool = False) -> str:
    """Bring the executed twin of one source up to date, and say what was done."""
    refresh_setup(source)
    numbered = source != notebooks.TEMPLATE
    if numbered:
        contents.name_assignments(source)
        numbering.number_source(source, notebooks.chapters())
    notebook = notebooks.read_source(source)
    old = notebooks.read_executed(source)
    reasons = notebooks.stale(source)
    if force or reasons:
        notebook, seconds, opened = run(notebook, source)
        clean(notebook)
        notebook.metadata[STAMP] = {
            **notebooks.stamp_of(notebook, opened),
            "seconds": rounded(seconds),
            "profile": ENVIRONMENT["VAELITE_PROFILE"],
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "torch", "matplotlib")},
            },
        }
        done = f"executed in {seconds:.0f} s ({'; '.join(reasons) or 'forced'})"
    else:
        # The code is the same, so the outputs are still true; prose and tags may have changed.
        for cell, before in zip(_code(notebook), _code(old), strict=True):
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
        notebook.metadata[STAMP] = old.metadata[STAMP]
        clean(notebook)
        done = "text refreshed, outputs kept"
    if numbered:
        numbering.number_outputs(notebook, source, notebooks.chapters())
    if not (force or reasons) and written(notebook) == notebooks.twin(source).read_text("utf-8"):
        return "fresh"
    write(notebook, notebooks.twin(source))
    return done


def run(
    notebook: NotebookNode, source: Path, seed: int = 0
) -> tuple[NotebookNode, float, set[Path]]:
    """Execute a notebook in the running Python's own kernel.

    Returns:
        The notebook, the seconds taken, and the files that the kernel opened to read.

    Raises:
        ExecutionError: naming the cell and the last line of its traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        opened = Path(folder) / "opened.txt"
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "VAELITE_SEED": str(seed),
            "VAELITE_RESULTS": str(notebooks.RESULTS),
            "VAELITE_OPENED": str(opened),
        }
        seconds = _run(notebook, source, environment)
        return notebook, seconds, set(map(Path, opened.read_text("utf-8").splitlines()))


def _run(notebook: NotebookNode, source: Path, environment: dict[str, str]) -> float:
    # The virtual environment's kernel, never one of the same name in the user's folders.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR", f"--IPKernelApp.exec_files={RECORD}"],
        resources={"metadata": {"path": str(source.parent)}},
    )
    start = time.perf_counter()
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        index, cell = next(
            (i, c) for i, c in enumerate(_code(notebook), 1) if _error_of(c) is not None
        )
        raise ExecutionError(
            f"code cell {index} (`{cell.source.strip().splitlines()[0]}` ...) raised "
            f"{error.ename}: {error.evalue}"
        ) from None
    return time.perf_counter() - start


def rounded(seconds: float) -> int:
    """Round a time up so coarsely that running the chapter again does not change the file."""
    return next((step for step in (15, 30, 60, 90) if seconds < step), 60 * math.ceil(seconds / 60))


def refresh_setup(source: Path) -> None:
    """Write the setup cell of a chapter from its one template."""
    text = source.read_text(encoding="utf-8")
    cell = f"```{{code-cell}} ipython3\n:tags: [remove-cell]\n\n{setup_code()}```\n"
    first = CODE_CELL.search(text)
    if first is None:
        raise ExecutionError("it has no code cell.")
    if SETUP_MARK in first[0]:
        fresh = text[: first.start()] + cell + text[first.end() :]
    else:
        fresh = text[: first.start()] + cell + "\n" + text[first.start() :]
    if fresh != text:
        source.write_text(fresh, encoding="utf-8")


def setup_code() -> str:
    """Return the code of the setup cell, with the repository's address from ``_config.yml``."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return SETUP.format(url=repository["url"], branch=repository["branch"])


def clean(notebook: NotebookNode) -> None:
    """Remove whatever changes from run to run, and hand alternative texts on to the page.

    Raises:
        ExecutionError: if a cell writes warnings to standard error.
    """
    stamp = notebook.metadata.get(STAMP)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": kernel, "language_info": {"name": "python"}}
    )
    if stamp:
        notebook.metadata[STAMP] = stamp
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        text = f"{cell.cell_type}\0{cell.source}"
        seen[text] += 1
        cell["id"] = hashlib.sha256(f"{text}\0{seen[text]}".encode()).hexdigest()[:12]
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            _clean_code(cell)
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def _clean_code(cell: NotebookNode) -> None:
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            if "\r" in output.text or not output.text.strip():
                continue  # a progress bar
            line = output.text.strip().splitlines()[-1]
            raise ExecutionError(f"a cell writes to standard error: {line!r}.")
        data = output.get("data", {})
        if WIDGET_VIEW in data:
            del data[WIDGET_VIEW]
            if set(data) <= {"text/plain"}:
                continue  # a live slider means nothing on a page
        kept.append(output)
        picture = output.get("metadata", {}).get("image/png", {})
        if "alt" in picture:
            image = {"alt": picture["alt"]}
            if "kind" in picture:
                image["classes"] = picture["kind"]
            cell.metadata["mystnb"] = {"image": image}
    cell.outputs = kept


def write(notebook: NotebookNode, path: Path) -> None:
    """Store an executed notebook.

    Raises:
        ExecutionError: if it is larger than two megabytes.
    """
    nbformat.validate(notebook)
    text = written(notebook)
    if len(text.encode()) > notebooks.MAX_BYTES:
        raise ExecutionError(
            f"the notebook would have {len(text.encode()) / 1e6:.1f} MB; at most "
            f"{notebooks.MAX_BYTES / 1e6:.0f} MB are allowed, so make its figures smaller."
        )
    path.write_text(text, encoding="utf-8")


def written(notebook: NotebookNode) -> str:
    """Return the text of a notebook's file."""
    return nbformat.writes(notebook) + "\n"


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _error_of(cell: NotebookNode) -> NotebookNode | None:
    return next((out for out in cell.outputs if out.output_type == "error"), None)


if __name__ == "__main__":
    sys.exit(main())

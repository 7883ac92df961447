"""Grade one submission on Gradescope, with the programs that grade a folder elsewhere.

``run_autograder`` starts this.  The submission runs sealed where the container allows it, and as a
user without rights where it does not; tests and results are out of that user's reach.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

NOBODY = 65534


def main(root: Path = Path("/autograder")) -> None:
    """Grade the notebook in ``root/submission`` and write ``root/results/results.json``."""
    source, out = root / "source", root / "results" / "results.json"
    out.parent.mkdir(exist_ok=True)
    about = json.loads((source / "about.json").read_text(encoding="utf-8"))
    out.write_text(json.dumps(report(grade(source, root / "submission"), about), indent=1))


def grade(source: Path, submission: Path) -> dict:
    """Return the record of the one notebook that was handed in."""
    files = [p for p in submission.rglob("*") if p.suffix.lower() == ".ipynb" and p.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    if len(files) != 1:
        problem = f"{len(files)} notebooks were handed in; hand in one"
        return {"questions": {}, "errors": [], "written": [], "problem": problem}
    import grade_one
    import remote

    seal, user = remote.find_seal(), None
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        if not seal and os.getuid() == 0:
            user = NOBODY
            # What earlier submissions scored stands in the metadata.
            closed = ["results", "submission_metadata.json"]
            for path in (source, submission, *(source.parent / name for name in closed)):
                if path.exists():
                    path.chmod(0o700)
            # What runs the cells has to be read by that user.
            for part in ("sealed.py", "wire.py"):
                shutil.copy(source / part, folder)
            remote.WORKER = Path(folder) / "sealed.py"
            Path(folder).chmod(0o755)
            shutil.chown(home, NOBODY, NOBODY)
        result = Path(folder) / "result.json"
        limits = asdict(remote.Limits())
        grade_one.main(source, files[0], str(result), limits, seal, user=user, home=str(home))
        return json.loads(result.read_text(encoding="utf-8"))


def report(record: dict, about: dict) -> dict:
    """Return what Gradescope reads: messages that a student sees, scores as the instructor says."""
    text = [f"Not graded, or not all of it: {record['problem']}."] * bool(record["problem"])
    text += [f"In your notebook {error}" for error in record["errors"]]
    tests = []
    for question, told in about["questions"].items():
        if told["manual"]:
            continue
        result = record["questions"].get(question, {"score": 0.0, "cases": []})
        failed = [c["message"] for c in result["cases"] if not c["passed"] and not c["hidden"]]
        said = list(dict.fromkeys(failed)) or ["Every public test passed."] * bool(result["cases"])
        if said:
            tests.append({"name": f"{question}: messages", "output": "\n".join(said)})
        score = {"score": round(result["score"], 2), "max_score": told["points"]}
        tests.append({"name": question, **score, "visibility": about["scores"]})
    for written in record["written"]:
        tests.append({"name": "your answer in words", "output": written, "output_format": "md"})
    return {"output": "\n".join(text), "tests": tests}  # Gradescope adds the scores itself


if __name__ == "__main__":
    main()

"""Write the API pages, one a room of the package."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import vaelite

API = Path(__file__).resolve().parents[1] / "api"

# Title, file name, modules; a module that is missing here makes a test fail.
ROOMS = (
    ("Gaussians", "gaussian", ["vaelite.gaussian"]),
    ("Distributions", "distributions", ["vaelite.distributions"]),
    ("Networks", "nets", ["vaelite.nets"]),
    ("Data", "data", ["vaelite.data", "vaelite.packed"]),
    ("The VAE", "vae", ["vaelite.vae"]),
    (
        "Training",
        "training",
        [
            "vaelite.training",
            "vaelite.phases",
            "vaelite.batches",
            "vaelite.history",
            "vaelite.checkpoint",
            "vaelite.progress",
            "vaelite.stack",
            "vaelite.compiled",
            "vaelite.streams",
        ],
    ),
    ("Metrics", "metrics", ["vaelite.metrics"]),
    ("Toys", "toys", ["vaelite.toys"]),
    ("Density ratios", "density_ratio", ["vaelite.density_ratio"]),
    ("Disentanglement", "disentangle", ["vaelite.disentangle"]),
    ("Independent subspaces", "isa", ["vaelite.isa"]),
    (
        "The factorial mixture prior",
        "factorial_mixture",
        ["vaelite.factorial_mixture", "vaelite.convnets"],
    ),
    ("The VampPrior", "vamp", ["vaelite.vamp"]),
    ("The optimal prior", "optimal_prior", ["vaelite.optimal_prior"]),
    ("Cross-population autoencoders", "cpvae", ["vaelite.cpvae", "vaelite.contrastive"]),
    ("Many aspects", "factvae", ["vaelite.factvae"]),
    ("One family", "one_family", ["vaelite.one_family"]),
    ("Experiments", "experiments", ["vaelite.experiments"]),
    (
        "Chapters and figures",
        "chapters",
        [
            "vaelite.claims",
            "vaelite.profile",
            "vaelite.book",
        ],
    ),
    ("Files and digests", "files", ["vaelite.digest", "vaelite.files", "vaelite.cli"]),
)

INDEX = """\
# API

One page a room of the package, from the docstrings, in the order in which the rooms stand on each
other.

{links}
"""
PAGE = """\
# {title}

{modules}
"""
MODULE = """\
```{{eval-rst}}
.. automodule:: {name}
   :members:
{exclude}```
"""


def modules() -> set[str]:
    """Return the public modules that exist."""
    found = {module.name for module in pkgutil.walk_packages(vaelite.__path__, prefix="vaelite.")}
    return {name for name in found if not any(part.startswith("_") for part in name.split("."))}


def pages() -> dict[str, str]:
    """Return the text of each page by its name, for the modules that exist."""
    found = sorted(modules())
    texts, links = {}, []
    for title, name, roots in ROOMS:
        held = [
            module
            for root in roots
            for module in found
            if module == root or module.startswith(f"{root}.")
        ]
        if held:
            blocks = "\n".join(f"## `{module}`\n\n{_block(module)}" for module in held)
            texts[name] = PAGE.format(title=title, modules=blocks).rstrip() + "\n"
            links.append(f"- [{title}]({name}.md): " + ", ".join(f"`{m}`" for m in held))
    return {"index": INDEX.format(links="\n".join(links)), **texts}


def _block(module: str) -> str:
    """Show a module, less what its package offers under a shorter name."""
    shorter: set[str] = set()
    for package in modules():
        if module.startswith(f"{package}."):
            offered, own = importlib.import_module(package), vars(importlib.import_module(module))
            names = getattr(offered, "__all__", [])
            shorter |= {name for name in names if own.get(name, own) is getattr(offered, name)}
    exclude = f"   :exclude-members: {', '.join(sorted(shorter))}\n" if shorter else ""
    return MODULE.format(name=module, exclude=exclude)


def uncovered() -> set[str]:
    """Return the modules that no page shows."""
    roots = [root for _, _, names in ROOMS for root in names]
    return {m for m in modules() if not any(m == r or m.startswith(f"{r}.") for r in roots)}


if __name__ == "__main__":
    for stale in set(API.glob("*.md")) - {API / f"{name}.md" for name in pages()}:
        stale.unlink()
    for name, text in pages().items():
        (API / f"{name}.md").write_text(text, encoding="utf-8")

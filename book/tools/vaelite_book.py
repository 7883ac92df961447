"""The book's own Sphinx extension: what Jupyter Book does not do by itself."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import bibliography
import comparisons
import contents
import findings
import front
import ledger
import notebooks
import numbering
import pages
import records
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms import SphinxTransform

from vaelite import claims

# One file draws every formula without a font file, also from file:// and with the network cut;
# the extensions beside it are fetched from the same folder where a page uses them.
MATHJAX = ("tex-svg.js", "input/tex/extensions")

# A page that contains such a comment shows the table there.
GENERATED = {
    "<!-- claims-ledger -->": ledger.claims_ledger,
    "<!-- contents -->": contents.table,
    "<!-- findings -->": findings.findings,
    "<!-- live-model -->": lambda: f"```{{raw}} html\n{front.live_model()}\n```",
    "<!-- paper-versus-ours -->": comparisons.paper_versus_ours,
    "<!-- record variational_biases -->": lambda: records.record("variational_biases"),
    "<!-- record isa -->": lambda: records.record("isa"),
    "<!-- record cpa -->": lambda: records.record("cpa"),
    "<!-- record fm -->": lambda: records.record("fm"),
    "<!-- record op -->": lambda: records.record("op"),
    "<!-- record fv -->": lambda: records.record("fv"),
    "<!-- record one -->": lambda: records.record("one"),
    "<!-- record latent_variables -->": lambda: records.record("latent_variables"),
}


def fill_generated(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the computed tables where a page asks for them."""
    for mark, make in GENERATED.items():
        if docname.startswith("book/") and mark in source[0]:
            source[0] = source[0].replace(mark, make())
    if docname.startswith("book/"):
        source[0] = pages.settle(source[0])


class AnchorEquations(SphinxTransform):
    """Let links such as ``[(5.8)](#eq:05-elbo)`` lead to their equation, from any page."""

    default_priority = 870  # before MyST resolves the links of a page

    def apply(self, **arguments: object) -> None:
        """Give every labelled equation its label as an anchor."""
        here = getattr(self.document, "myst_slugs", {})
        elsewhere = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        for block in self.document.findall(nodes.math_block):
            for match in numbering.LABEL.finditer(block.astext()):
                label = match["label"]
                block["ids"].append(label)
                here[label] = elsewhere[label] = (block.line or 0, label, label)
            # The page needs the number alone: a label may be typeset once, a number any time.
            text = re.sub(r"\\label\{[^{}]+\}", "", block.astext())
            block.children = [nodes.Text(text)]
        self.document.myst_slugs = here


def show_cost(app: Sphinx, doctree: nodes.document) -> None:
    """Write what a chapter cost to run under its title."""
    source = notebooks.ROOT / f"{app.env.docname}.md"
    if source not in notebooks.chapters():
        return
    text = ledger.measured(notebooks.read_executed(source))
    titles = list(doctree.findall(nodes.title))
    if text and titles:
        line = nodes.paragraph(text, text, classes=["measured"])
        titles[0].parent.insert(titles[0].parent.index(titles[0]) + 1, line)


def know_citations(app: Sphinx, doctree: nodes.document) -> None:
    """Let ``bibliography.md#burda2016`` and ``claims.md#isa-5`` resolve; others are a warning."""
    known = {
        "book/bibliography": bibliography.keys(),
        "book/claims": {id.replace(".", "-") for id in claims.registry()},
    }
    if app.env.docname in known:
        slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
        slugs.update({key: (0, key, key) for key in known[app.env.docname]})


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Keep the script of a live-code service that the book does not use off its pages."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in str(getattr(script, "filename", "") or "").lower()
        and "THEBE_JS_URL" not in str(getattr(script, "attributes", {}).get("body", ""))
    ]


def drop_download(app: Sphinx, config: Config) -> None:
    """Leave out the theme's button to download a page's source, which the book does not copy."""
    config.html_theme_options["use_download_button"] = False


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax from the installed package into the built book."""
    if error is not None or app.builder.name != "html":
        return
    package = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations[0]
    source, target = Path(package) / "static" / "mathjax", Path(app.outdir) / "_static" / "mathjax"
    for name in MATHJAX:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, target / name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.add_transform(AnchorEquations)
    app.connect("config-inited", drop_download)
    app.connect("source-read", fill_generated)
    app.connect("doctree-read", show_cost)
    app.connect("doctree-read", know_citations)
    app.connect("doctree-resolved", ledger.link_boxes)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

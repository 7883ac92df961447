"""Fixtures that several rooms share: a headless browser without a network, interruptions."""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vaelite import experiments
from vaelite.stack import Single, Stack

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(autouse=True)
def _validated():
    """Torch's compiler turns the validation of distributions off, for the whole process."""
    torch.distributions.Distribution.set_default_validate_args(True)


@pytest.fixture(scope="module")
def chromium():
    """A running browser; module-wide, since its event loop must not outlive the browser tests."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = [path for path in map(shutil.which, BROWSERS) if path]
        bundled = driver.chromium.executable_path
        if not found and not Path(bundled).exists():
            pytest.skip("no Chromium on this machine; tests in a browser are left out.")
        executable = found[0] if found else bundled
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    """A function that opens a file (Path) or the HTML of a page (str); returns Playwright's page.

    When the test ends, it fails if a page logged an error, threw one, or asked the network for
    anything.
    """
    problems, contexts = [], []

    def problem_of(message):
        if message.type == "error":
            problems.append(message.text)

    def refuse(route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            problems.append(f"asked the network for {route.request.url}")
            route.abort()

    def open_one(source, width=1280, height=900):
        if not isinstance(source, Path):
            path = tmp_path / f"page{len(contexts)}.html"
            path.write_text(source, encoding="utf-8")
            source = path
        viewport = {"width": width, "height": height}
        context = chromium.new_context(viewport=viewport, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", problem_of)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.route("**/*", refuse)
        page.goto(source.resolve().as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not problems, problems


@pytest.fixture
def violations():
    """A function from a page to axe-core's serious and critical violations, one string each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def serious(page):
        # A page opened from a file may not load its style sheets again; 0 reads as false.
        options = {"resultTypes": ["violations"], "preload": 0}
        found = axe.run(page, options=options).response["violations"]
        return [
            f"{violation['id']}: {violation['help']} ({node['target']})"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    return serious


@pytest.fixture
def stop(monkeypatch):
    """Something happens after a given step, by default ctrl-C; ``stop.steps`` counts all steps."""
    happens = SimpleNamespace(at=None, event=lambda: signal.raise_signal(signal.SIGINT), steps=0)

    def counted(after_step):
        def call(self, batch, carry):
            after_step(self, batch, carry)
            happens.steps += 1
            if happens.steps == happens.at:
                happens.event()

        return call

    for kind in (Single, Stack):
        monkeypatch.setattr(kind, "after_step", counted(kind.after_step))
    return happens


@pytest.fixture
def stopped_trial(stop, tmp_path):
    """Run a trial as a whole, and again with ctrl-C after a step; return what both measured."""

    def run(name, settings, trial, at, steps):
        experiment, file = experiments.get(name), tmp_path / "checkpoint"
        whole, _ = experiment.run_group([trial], settings)
        assert stop.steps == steps
        stop.at, stop.steps = at, 0
        with pytest.raises(KeyboardInterrupt):
            experiment.run_group([trial], settings, file)
        resumed, _ = experiment.run_group([trial], settings, file)
        assert stop.steps == steps
        return whole, resumed

    return run

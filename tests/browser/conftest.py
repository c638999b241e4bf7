"""A finished run of the built-in world, its page, and headless Chromium."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
HOSTILE = "<script>alert(1)</script>"
LONG = ("a red circle and a blue square " * 400)[:10_000]


@pytest.fixture(scope="session")
def finished_run(run_config_in, tmp_path_factory):
    """Folder with run.yaml and the run: 2 epochs, 22 prompts x 2 images, each epoch evaluated."""
    from reward_finetuning.steps.next_epochs import next_epochs
    from reward_finetuning.steps.run_epochs import run_epochs

    folder = tmp_path_factory.mktemp("finished")
    prompts = [f"{number} {colour} circles" for number in ("two", "three") for colour in _COLOURS] + [HOSTILE, LONG]
    (folder / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
    config = run_config_in(
        folder,
        reward={"weights": {"colourfulness": 1.0}},
        sampling={"micro_batch_size": 22},
        training={"learning_rate": 3e-2},
        evaluation={"prompt_sets": {"train": str(folder / "prompts.txt")}, "images_per_prompt": 2},
        loop={"epochs": 2, "evaluate_every": 1},
        tracking={"enabled": False},
    )
    (folder / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    text, policy, page = config.model_dump_json(), str(folder / "policy"), str(folder / "page.html")
    run_epochs(text, next_epochs(text, policy).plan, policy, page)
    return folder


_COLOURS = ("red", "blue", "green", "yellow", "purple", "black", "orange", "pink", "grey", "white")


@pytest.fixture(scope="session")
def rft():
    def call(*arguments, cwd):
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=True).stdout

    return call


@pytest.fixture(scope="session")
def report(finished_run, rft):
    """The page that `rft report` writes."""
    output = rft("report", "run.yaml", cwd=finished_run)
    page = finished_run / "runs" / "tiny" / "report.html"
    assert page.as_uri() in output
    return page


@pytest.fixture(scope="session")
def chromium():
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "Chromium is missing: make chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page that was opened, and what it said and asked for."""

    def __init__(self, page):
        self.page, self.problems = page, []
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("dialog", lambda dialog: (self._note(True, f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._note(not request.url.startswith(("file:", "data:")), request.url))

    def _note(self, wrong, text):
        if wrong:
            self.problems.append(text)


@pytest.fixture
def visit(chromium):
    """Opens a file; at the end there must have been no console error, no dialog and no request to a network."""
    contexts, visits = [], []

    def open_page(path, *, scheme="light", width=1100, height=900):
        contexts.append(chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": height}))
        visits.append(Visit(contexts[-1].new_page()))
        visits[-1].page.goto(path.as_uri())
        return visits[-1].page

    yield open_page
    for context in contexts:
        context.close()
    assert [problem for one in visits for problem in one.problems] == []

"""What people see in MLflow: its own UI in a real browser, on a real server."""

import os
import shutil
from pathlib import Path

import pytest
from browser.mlflow_server import mlflow_server
from mlflow.tracking import MlflowClient

from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.evaluation.reports import evaluation_entry, prompt_datasets
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import Reference, write_reference
from reward_finetuning.tracking import Entry, MlflowTracker, system_metrics

SECONDS = 120_000  # of patience, in milliseconds: the UI is megabytes of script, and the machine may be busy


@pytest.fixture
def server(tmp_path):
    options = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    options += ["--artifacts-destination", str(tmp_path / "files")]
    with mlflow_server(options, tmp_path / "server.log") as uri:
        yield uri


@pytest.fixture
def reported(nudged_run, server, tmp_path):
    """A run with two epochs, evaluations, pictures and a champion at the server."""
    run = nudged_run(
        {1: 0.5, 2: 0.9},
        model={"trainable": "lora"},
        tracking={"uri": server, "timeout_seconds": 60},
        loop={"epochs": 2},
        evaluation={"images_per_prompt": 8},
        promotion={"keep_on": []},
    )
    tracker = MlflowTracker(run)
    tracker.log(Entry("begin", 0, {}, datasets=prompt_datasets(run)))
    tracker.log(evaluation_entry(run, Reference(epoch=0)))
    for epoch in (1, 2):
        tracker.log(Entry("train", epoch, {"reward/mean": epoch / 2, "train/loss": 1 / epoch} | system_metrics()))
        tracker.log(evaluation_entry(run, policy_of_epoch(run, epoch)))
    write_reference(str(tmp_path / "policy"), policy_of_epoch(run, 2))
    assert promote(run.config.model_dump_json(), str(tmp_path / "policy"))["promoted"]
    tracker.set_status("FINISHED")
    return run


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:  # tall: the UI draws what is in view, and the pictures come after the curves
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1500, "height": 2600})
        opened.set_default_timeout(SECONDS)
        yield opened
        browser.close()


def _seen(page, text, *, exact=True):
    page.get_by_text(text, exact=exact).first.wait_for(state="visible")


def _keep(page, name):
    """For those who want to look: a picture of the page where MLFLOW_UI_PICTURES says."""
    if folder := os.environ.get("MLFLOW_UI_PICTURES"):
        page.wait_for_timeout(5000)
        page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.slow
def test_people_see_curves_pictures_the_page_the_table_and_the_champion(page, reported):
    tracker = MlflowTracker(reported)
    client = MlflowClient(tracker.uri)
    run = client.get_run(tracker.run_id)
    experiment = f"{tracker.uri}/#/experiments/{run.info.experiment_id}"
    nested = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.run_id}'")[0]

    page.goto(f"{experiment}/runs/{tracker.run_id}")
    _seen(page, "reward/mean")
    _seen(page, "tiny-epoch-00002")
    _keep(page, "run")

    page.goto(f"{experiment}/runs/{tracker.run_id}/model-metrics")
    _seen(page, "samples")
    page.wait_for_function("[...document.images].some(i => i.src.includes('samples') && i.naturalWidth > 0)")
    _keep(page, "curves")

    page.goto(f"{experiment}/runs/{tracker.run_id}/system-metrics")
    _seen(page, "cpu_utilization_percentage")
    _keep(page, "system")

    page.goto(f"{experiment}/runs/{nested.info.run_id}/artifacts/samples/epoch_00002.json")
    _seen(page, "reward after")
    _keep(page, "table")

    page.goto(f"{tracker.uri}/#/models/tiny/versions/1")
    _seen(page, "epoch 2 is the first model", exact=False)  # the comparison with the pretrained model follows
    _keep(page, "champion")

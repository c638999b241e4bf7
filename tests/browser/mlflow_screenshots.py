"""Pictures of MLflow for docs/: `python tests/browser/mlflow_screenshots.py RUNS MODEL FOLDER`.

RUNS is a run root with its mlflow.db, MODEL the name of the run and of its registered model.
"""

import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.tracking import MlflowClient
from mlflow_server import mlflow_server
from playwright.sync_api import Page, sync_playwright

TRAINING_PAGES = [["mlflow.workflowType_v1", '"machine_learning"'], ["mlflow.assistant.panelOpen_v1", "false"]]
TRAINING_PAGES += [["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"]]
"""Settings of the browser: MLflow's pages for training, without its assistant."""

PATIENCE = 120_000  # milliseconds: the UI is megabytes of script


def main() -> None:
    """The run, its charts, and the version of the registered model that is the champion."""
    root, model, folder = Path(sys.argv[1]).absolute(), sys.argv[2], Path(sys.argv[3])
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with ExitStack() as stack:
        log = Path(stack.enter_context(TemporaryDirectory())) / "server.log"
        uri = stack.enter_context(mlflow_server(["--backend-store-uri", f"sqlite:///{root}/mlflow.db"], log))
        client = MlflowClient(uri)
        version = client.get_model_version_by_alias(model, "champion")
        experiment = client.get_run(version.run_id).info.experiment_id
        run = f"{uri}/#/experiments/{experiment}/runs/{version.run_id}"
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1280, "height": 1100})
        context.add_init_script(
            f"for (const [key, value] of {json.dumps(TRAINING_PAGES)}) localStorage.setItem(key, value)"
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(run)
        keep(page, "Registered models", folder / "mlflow-run.png")
        page.goto(f"{run}/model-metrics")
        keep(page, "eval/heldout/reward", folder / "mlflow-charts.png")
        page.goto(f"{uri}/#/models/{model}/versions/{version.version}")
        page.set_viewport_size({"width": 1280, "height": 860})
        keep(page, "fingerprint", folder / "mlflow-registry.png")
        browser.close()


def keep(page: Page, text: str, file: Path) -> None:
    """A picture of the page once it shows `text` and has drawn its charts."""
    page.get_by_text(text, exact=False).first.wait_for(state="visible")
    page.wait_for_timeout(15_000)
    page.screenshot(path=file)


if __name__ == "__main__":
    main()

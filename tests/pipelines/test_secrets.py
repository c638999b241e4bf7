"""Canary secrets through a whole run: no byte that is printed or stored shows them."""

import os
import subprocess
import sys

import pytest
import yaml

pytestmark = pytest.mark.slow

CANARY = "cAnArY-0451"


@pytest.fixture
def rft(tmp_path, monkeypatch):
    def run(config, *options, **environment):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path), *options]
        return subprocess.run(command, capture_output=True, check=False, env=os.environ | environment)

    return run


def files_with(folder, secret):
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_password_in_the_environment_is_in_no_file_and_in_no_line(rft, run_config, tmp_path):
    config = run_config(
        loop={"epochs": 1, "evaluate_every": 1},
        reward={"weights": {"colourfulness": 1.0}},
        tracking={"timeout_seconds": 1.0},
        prompts={"prompts_per_epoch": 1},
        sampling={"images_per_prompt": 2, "num_steps": 2},
    )
    secrets = {
        "MLFLOW_TRACKING_URI": f"http://alice:{CANARY}@127.0.0.1:9/",
        "MLFLOW_TRACKING_PASSWORD": CANARY,
        "HF_TOKEN": CANARY,
    }

    done = rft(config, **secrets)

    assert done.returncode == 0, done.stderr
    assert b"MLflow at http://***@127.0.0.1:9/ is not reached" in done.stdout
    assert CANARY.encode() not in done.stdout + done.stderr
    assert files_with(tmp_path, CANARY) == []
    assert files_with(tmp_path, "127.0.0.1:9")  # the search reads what the run wrote


@pytest.mark.parametrize(
    "setting",
    [
        f"tracking.uri=http://alice:{CANARY}@127.0.0.1:9/",
        f"reward={{weights: {{far: 1.0}}, scorers: {{far: {{url: 'http://alice:{CANARY}@127.0.0.1:9'}}}}}}",
    ],
)
def test_a_password_in_a_setting_is_refused_and_not_printed(rft, run_config, tmp_path, setting):
    done = rft(run_config(), "-o", setting)

    assert done.returncode == 2
    assert b"must hold no password" in done.stderr
    assert CANARY.encode() not in done.stdout + done.stderr
    assert files_with(tmp_path, CANARY) == []

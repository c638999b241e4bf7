"""Commands that read a run, where its directory is in a bucket."""

import pytest
import yaml
from typer.testing import CliRunner

from reward_finetuning.pipelines.cli.app import app

pytestmark = pytest.mark.slow


@pytest.fixture
def rft(monkeypatch, tmp_path):
    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)

    return call


@pytest.fixture
def run_file(bucket, nudged_run, tmp_path):
    """A run of one epoch in a bucket, whose inputs are there too."""
    (tmp_path / "set.txt").write_text("a red circle\na blue square\n", encoding="utf-8")
    bucket.put("inputs/set.txt", (tmp_path / "set.txt").read_bytes())
    run = nudged_run(
        {1: 0.1},
        run_root=f"{bucket.uri}/runs",
        tracking={"enabled": False},
        model={"trainable": "lora"},
        prompts={"train": f"{bucket.uri}/inputs/set.txt"},
    )
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run.config.model_dump(mode="json")), encoding="utf-8")
    return path


def test_status_and_export_read_a_run_in_a_bucket(bucket, rft, run_file, tmp_path):
    status = rft("status", run_file)
    exported = rft("export", run_file, "--to", tmp_path / "policy")

    assert status.exit_code == exported.exit_code == 0
    assert "epoch 1" in status.stdout
    assert f"{tmp_path}/policy: epoch 1 of tiny" in exported.stdout

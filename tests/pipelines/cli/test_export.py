import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.cli.app import app
from reward_finetuning.storage.folders import local_folder

pytestmark = pytest.mark.slow


def export(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def run_file(nudged_run, tmp_path):
    run = nudged_run({1: 0.1}, model={"trainable": "lora"})
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run.config.model_dump(mode="json")), encoding="utf-8")
    return path


def test_a_policy_goes_to_a_bucket_as_it_does_to_a_folder_and_replaces_nothing_there(bucket, run_file, tmp_path):
    export(run_file, "--to", tmp_path / "here")
    done = export(run_file, "--to", f"{bucket.uri}/policies/one")

    assert done.exit_code == 0
    assert f"{bucket.uri}/policies/one: epoch 1 of tiny" in done.stdout
    there = local_folder(f"{bucket.uri}/policies/one")
    (weights,) = {path.name for path in (tmp_path / "here").iterdir()} - {"README.md", "pictures"}
    assert {path.name for path in there.iterdir()} == {weights, "README.md", "pictures"}
    assert (there / "pictures" / "1-after.png").is_file()
    assert (there / "README.md").read_text() == (tmp_path / "here" / "README.md").read_text()
    ours, theirs = load_file(tmp_path / "here" / weights), load_file(there / weights)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    with pytest.raises(UserError, match=f"{bucket.uri}/policies/one is not empty"):
        export(run_file, "--to", f"{bucket.uri}/policies/one")

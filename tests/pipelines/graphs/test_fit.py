"""How many epochs a pipeline run on Kubeflow has."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.cli.app import app

ROOT = Path(__file__).parents[3]
RUN = ROOT / "pipelines" / "runs" / "shapes-prdp.yaml"
CLUSTER = ROOT / "infra" / "cluster.example.yaml"
SPLIT = ["loop.granularity=split", "sampling.micro_batch_size=8", "run_root=gs://bucket/runs"]


def compile_run(folder, *overrides):
    options = [word for each in (*SPLIT, *overrides) for word in ("-o", each)]
    files = ["--cluster", str(CLUSTER), "--output", str(folder / "package.yaml")]
    return CliRunner().invoke(app, ["compile", str(RUN), *files, *options])


def test_five_epochs_of_sixteen_shards_fit(tmp_path):
    done = compile_run(tmp_path, "loop.num_shards=16", "loop.epochs_per_run=5")

    assert done.exit_code == 0, done.output
    assert "one pipeline run: 5 epochs of 16 shards, a workflow of" in done.output


@pytest.mark.slow
def test_more_shards_mean_fewer_epochs_a_pipeline_run(tmp_path):
    epochs = []
    for shards in (16, 32):
        output = compile_run(tmp_path, f"loop.num_shards={shards}").output
        epochs.append(int(output.split("one pipeline run: ")[1].split()[0]))

    assert epochs[0] >= 5
    assert 1 <= epochs[1] < epochs[0]


@pytest.mark.slow
def test_more_epochs_than_argo_can_hold_are_refused_with_the_number_that_fits(tmp_path):
    refused = compile_run(tmp_path, "loop.num_shards=32", "loop.epochs_per_run=20")

    assert isinstance(refused.exception, UserError)
    assert "the workflow of 20 epochs of 32 shards would be" in str(refused.exception)
    assert "lower loop.epochs_per_run to" in str(refused.exception)


@pytest.mark.slow
def test_shards_of_which_not_one_epoch_fits_are_refused(package):
    overrides = ["sampling.micro_batch_size=1", "loop.num_shards=256", "prompts.prompts_per_epoch=32"]

    with pytest.raises(UserError, match=r"1 epochs of 256 shards would be .*: lower loop.num_shards"):
        package("kfp", "loop.granularity=split", *overrides)


def test_the_number_is_in_the_compiled_config_and_elsewhere_auto_stays(package):
    on_kubeflow, on_vertex = (package(target, *SPLIT, "loop.num_shards=16") for target in ("kfp", "vertex"))

    number, auto = (json.loads(each.constants["config"])["loop"]["epochs_per_run"] for each in (on_kubeflow, on_vertex))
    assert isinstance(number, int)
    assert auto == "auto"


def test_a_run_that_has_fewer_epochs_than_would_fit_has_no_more(package):
    compiled = package("kfp", *SPLIT, "loop.epochs=2")

    assert json.loads(compiled.constants["config"])["loop"]["epochs_per_run"] == 2

"""The launching tasks against a loopback Kubernetes that really runs the TrainJob's nodes."""

import json
import subprocess
import sys

import pytest

from reward_finetuning.components.launcher.programs import launch_run_epochs, launch_train_epoch
from reward_finetuning.config import UserError
from reward_finetuning.steps.draw import draw
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.storage import Reference, RunDirectory, read_reference

pytestmark = pytest.mark.slow

TWO_NODES = {
    "image": "trainer:1",
    "num_nodes": 2,
    "gpus": 0,
    "poll_seconds": 0.2,
    "timeout_seconds": 500,
    "keep": "always",
}


ONE_NODE = json.dumps(TWO_NODES | {"num_nodes": 1})
"""Each process of a node imports torch, so only one job has two."""


@pytest.fixture
def job():
    return json.dumps(TWO_NODES)


def test_an_epoch_on_two_nodes_is_one_trainjob_and_one_policy(server, run_config, tmp_path, job, monkeypatch):
    server.executes = True
    config = run_config(
        loop={"num_shards": 2, "granularity": "split"}, sampling={"num_steps": 2}, tracking={"enabled": False}
    )
    text, paths = config.model_dump_json(), {name: str(tmp_path / name) for name in ("policy", "next", "report")}
    begun = next_epochs(text, paths["policy"])
    scored = [str(tmp_path / f"rewards-{number}") for number in range(2)]
    for number, rewards in enumerate(scored):
        draw(begun.run, "1", str(number), rewards)

    trained = launch_train_epoch(begun.run, "1", paths["next"], job=job)

    run = RunDirectory(config)
    (made,) = server.jobs.values()
    assert run.latest() == read_reference(paths["next"])
    assert trained.address == f"{run.uri}/epochs/0001/policy"
    assert json.loads((run.store.fetch("epochs/0001/policy") / "state.json").read_text())["processes"] == 2
    assert len(made["spec"]["trainer"]["args"]) <= 128

    launch_train_epoch(begun.run, "1", paths["next"], job=job)
    assert server.made() == 1  # what is done is not launched again

    shown = {name: str(tmp_path / name) for name in ("report", "metrics", "summary")}
    launch_run_epochs(text, next_epochs(text, paths["policy"]).plan, paths["next"], **shown, job=ONE_NODE)
    assert "eval/train/reward/gain" in json.loads((tmp_path / "metrics").read_text())
    assert (tmp_path / "summary").read_text().startswith("#")
    assert run.latest().epoch == 2
    assert (tmp_path / "report").read_text().lstrip().lower().startswith("<!doctype html>")


def test_what_a_process_on_a_node_fails_of_is_what_the_launching_task_says(server, run_config, tmp_path):
    server.executes = True
    config = run_config(tracking={"enabled": False})
    begun = next_epochs(config.model_dump_json(), str(tmp_path / "policy"))
    draw(begun.run, "1", "0", str(tmp_path / "rewards"))
    (latents,) = (tmp_path / "runs").glob("tiny/epochs/0001/rollouts-*/trajectories-00001.safetensors")
    latents.write_bytes(b"altered")

    with pytest.raises(UserError, match=r"trajectories-00001.safetensors"):
        launch_train_epoch(begun.run, "1", str(tmp_path / "next"), job=ONE_NODE)

    assert RunDirectory(config).latest().epoch == 0


def test_a_surplus_epoch_launches_nothing(server, run_config, tmp_path, job):
    config = run_config(loop={"epochs": 2})

    launch_train_epoch(config.model_dump_json(), "3", str(tmp_path / "next"), job=job)

    assert read_reference(str(tmp_path / "next")) == Reference(epoch=0)
    assert server.requests == []


def test_a_run_directory_that_the_nodes_do_not_share_is_an_error(server, run_config, tmp_path, job):
    text = run_config().model_dump_json()
    plan = next_epochs(text, str(tmp_path / "policy")).plan

    with pytest.raises(UserError, match="run_root must be one place"):
        launch_run_epochs(text, plan, str(tmp_path / "p"), str(tmp_path / "r"), "", "", job)


def test_launching_needs_no_torch():
    program = (
        "import sys, reward_finetuning.components.launcher.programs; "
        "sys.exit(bool({'torch', 'kubernetes'} & sys.modules.keys()))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

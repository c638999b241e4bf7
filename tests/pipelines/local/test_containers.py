import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from reward_finetuning.inputs import absolute_paths
from reward_finetuning.pipelines.local.containers import (
    ContainerOptions,
    Gpus,
    container_arguments,
    needs_network,
    passed_environment,
)
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.rewards.catalogue import MODELS


class Engine:
    """What an engine says of itself."""

    def __init__(self, **info):
        self._info = info

    def info(self):
        return self._info


@pytest.fixture(autouse=True)
def _no_hub_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub"))


def mounts(arguments):
    return {mount["Source"]: mount["ReadOnly"] for mount in arguments["mounts"]}


def test_what_the_config_names_on_this_machine_is_mounted_where_it_is(run_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()  # a folder called like the built-in model is not meant
    (tmp_path / "own.txt").write_text("a red circle\n", encoding="utf-8")
    weights = tmp_path / "weights"
    weights.mkdir()
    config = absolute_paths(
        run_config(
            prompts={"train": "own.txt"},
            evaluation={"prompt_sets": {"held out": "shapes:heldout"}},
            reward={"weights": {"shapes": 1.0, "hpsv2": 0.5}, "scorers": {"hpsv2": {"source": "weights"}}},
        )
    )

    arguments = container_arguments(Engine(), config, ContainerOptions())

    assert config.prompts.train == str(tmp_path / "own.txt")
    assert config.model.source == "shapes"
    assert config.evaluation.prompt_sets == {"held out": "shapes:heldout"}
    assert mounts(arguments) == {
        str(tmp_path / "runs"): False,
        str(tmp_path / "own.txt"): True,
        str(weights): True,
    }
    assert arguments["read_only"]
    assert arguments["user"] == f"{os.getuid() or 10001}:{os.getgid() or 10001}"
    assert json.loads(json.dumps(arguments)) == arguments  # it crosses a process by JSON


def test_what_links_of_a_model_folder_lead_to_is_mounted_too(run_config, tmp_path):
    model, shared = tmp_path / "model", tmp_path / "shared"
    shutil.copytree(BUILT_IN, model)
    shutil.move(model / "unet", shared / "unet")
    (model / "unet").symlink_to(shared / "unet")
    (shared / "unet" / "back").symlink_to(model)

    found = mounts(container_arguments(Engine(), run_config(model={"source": str(model)}), ContainerOptions()))

    assert {str(model): True, str(shared / "unet"): True}.items() <= found.items()


@pytest.mark.parametrize("train", ["sets/{date}.txt", "sets/now.pointer", "pickapic:sets/train-*.parquet"])
def test_the_folder_of_a_pattern_a_date_or_a_pointer_is_mounted(run_config, tmp_path, monkeypatch, train):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "now.pointer").write_text("other.txt\n")
    config = absolute_paths(run_config(prompts={"train": train}))

    assert mounts(container_arguments(Engine(), config, ContainerOptions()))[str(tmp_path / "sets")] is True


def test_passwords_of_the_environment_stand_on_no_command_line(run_config, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:s3cr3t@127.0.0.1:5000")

    arguments = container_arguments(Engine(), run_config(), ContainerOptions())

    assert "s3cr3t" not in json.dumps(arguments)
    assert passed_environment()["MLFLOW_TRACKING_PASSWORD"] == "s3cr3t"


def test_what_selects_a_storage_service_is_passed_on_and_its_files_are_mounted(run_config, monkeypatch, tmp_path):
    (tmp_path / "aws").write_text("[default]\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))

    arguments = container_arguments(Engine(), run_config(run_root="s3://bucket/runs"), ContainerOptions())

    assert "s3cr3t" not in json.dumps(arguments)
    assert passed_environment()["AWS_SECRET_ACCESS_KEY"] == "s3cr3t"
    assert passed_environment()["AWS_ENDPOINT_URL_S3"] == "http://store:9000"
    assert mounts(arguments)[str(tmp_path / "aws")] is True


def test_a_model_folder_keeps_its_place(run_config):
    config = absolute_paths(run_config(model={"source": str(BUILT_IN)}))

    assert mounts(container_arguments(Engine(), config, ContainerOptions()))[str(BUILT_IN)] is True


LOCAL = {"tracking": {"enabled": False}}
NEEDS = {
    "nothing": (LOCAL, False),
    "a sqlite store": ({}, False),
    "a file store": ({"tracking": {"uri": "file:///tmp/mlruns"}}, False),
    "an MLflow server": ({"tracking": {"uri": "http://127.0.0.1:5000"}}, True),
    "a server that is not asked": ({"tracking": {"uri": "http://127.0.0.1:5000", "enabled": False}}, False),
    "a scoring service": (
        LOCAL | {"reward": {"weights": {"far": 1.0}, "scorers": {"far": {"url": "http://127.0.0.1:8080"}}}},
        True,
    ),
    "a scorer of the hub": (LOCAL | {"reward": {"weights": {next(iter(MODELS)): 1.0}}}, True),
    "a model of the hub": (LOCAL | {"model": {"source": "someone/sd", "revision": "main"}}, True),
    "prompts in a bucket": (LOCAL | {"prompts": {"train": "gs://bucket/prompts.txt"}}, True),
    "an adapter in a bucket": (LOCAL | {"model": {"adapter": "gs://bucket/lora.safetensors"}}, True),
    "a bucket": (LOCAL | {"run_root": "gs://bucket/runs"}, True),
}


@pytest.mark.parametrize("case", NEEDS, ids=lambda case: case.replace(" ", "-"))
def test_tasks_have_a_network_only_where_the_run_needs_one(run_config, case):
    changes, needed = NEEDS[case]
    config = run_config(**changes)

    arguments = container_arguments(Engine(), config, ContainerOptions())

    assert needs_network(config) is needed
    assert arguments["network_mode"] == ("host" if needed else "none")
    assert container_arguments(Engine(), config, ContainerOptions(network="own"))["network_mode"] == "own"


@pytest.mark.parametrize(
    ("runtimes", "gpus", "seen"),
    [
        ({"runc": {}}, Gpus.AUTO, False),
        ({"runc": {}, "nvidia": {}}, Gpus.AUTO, True),
        ({"runc": {}, "nvidia": {}}, Gpus.NONE, False),
        ({"runc": {}}, Gpus.ALL, True),
    ],
)
def test_gpus_are_seen_where_there_are_any_or_as_asked(run_config, runtimes, gpus, seen):
    arguments = container_arguments(Engine(Runtimes=runtimes), run_config(), ContainerOptions(gpus=gpus))

    assert [request["Count"] for request in arguments["device_requests"]] == ([-1] if seen else [])


def test_root_of_a_rootless_engine_is_its_user(run_config):
    engine = Engine(SecurityOptions=["name=seccomp,profile=default", "name=rootless"])

    assert container_arguments(engine, run_config(), ContainerOptions())["user"] == "0:0"


def refused(config, folder, *options):
    """The line with which `rft run` refuses."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", path, *options]
    environment = os.environ | {"DOCKER_HOST": f"unix://{folder}/no.sock"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert not (folder / "runs").exists()
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.slow
def test_without_an_engine_the_run_is_refused(run_config, tmp_path):
    line = refused(run_config(), tmp_path, "--runner", "docker")

    assert f"no Docker Engine answers at unix://{tmp_path}/no.sock" in line


@pytest.mark.slow
def test_settings_of_containers_are_refused_for_processes(run_config, tmp_path):
    assert "add --runner docker" in refused(run_config(), tmp_path, "--network", "none")

"""`rft run --runner docker` in a real engine."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from docker.models.containers import Container
from kfp import dsl
from kfp.compiler import Compiler
from kfp.local.docker_task_handler import run_docker_container

from reward_finetuning.config import RunConfig
from reward_finetuning.pipelines.local.containers import ContainerOptions, container_arguments, engine
from reward_finetuning.pipelines.local.runner import STARTED_BY, run_container

RUN = {
    "prompts": {"prompts_per_epoch": 3},
    "sampling": {"num_steps": 4, "guidance_scale": 3.0, "images_per_prompt": 4, "micro_batch_size": 4},
    "training": {"cells_per_batch": 16, "updates_per_epoch": 2, "learning_rate": 1e-4},
    "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
    "evaluation": {"prompt_sets": {"heldout": "shapes:heldout"}, "images_per_prompt": 1},
    "loop": {"epochs": 2, "epochs_per_run": 2, "evaluate_every": 2},
    "tracking": {"enabled": False},
}


@pytest.fixture
def run_file(tmp_path):
    def make(name, **changes):
        path = tmp_path / f"{name}.yaml"
        config = {"name": name, "run_root": str(tmp_path / "runs"), **RUN, **changes}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    return make


@pytest.fixture
def lock(tmp_path, images):
    """The trainer image scores too: our own scorers are in it, and the scorer image is not built here."""
    path = tmp_path / "images.lock"
    path.write_text(json.dumps(images | {"scorer": images["trainer"]}), encoding="utf-8")
    return str(path)


def policy(folder, name):
    latest = json.loads((folder / "runs" / name / "latest.json").read_text())
    assert latest["epoch"] == 2
    return latest["facts"]["weights_sha256"]


def test_split_in_containers_without_a_network_ends_in_the_bits_of_fused_in_processes(
    run_file, start_rft, lock, tmp_path, capsys
):
    split = run_file("containers", loop=RUN["loop"] | {"granularity": "split"})
    prompts = tmp_path / "prompts.txt"  # a file of the host's: mounted
    prompts.write_text("a red circle\na blue square\n", encoding="utf-8")
    sets = f"evaluation.prompt_sets={{own: {prompts}}}"
    started = time.monotonic()

    inside = start_rft("run", split, "--runner", "docker", "--network", "none", "-o", sets, RFT_IMAGES_LOCK=lock)
    _, errors = inside.communicate()
    taken = time.monotonic() - started
    assert inside.returncode == 0, errors
    outside = start_rft("run", run_file("processes"))
    _, errors = outside.communicate()

    assert outside.returncode == 0, errors
    with capsys.disabled():
        print(
            f"\n{policy(tmp_path, 'containers')}  containers, {taken:.0f} s\n{policy(tmp_path, 'processes')}  processes"
        )
    assert policy(tmp_path, "containers") == policy(tmp_path, "processes")
    owners = {path.stat().st_uid for path in (tmp_path / "runs" / "containers" / "epochs").rglob("*")}
    assert owners == {os.getuid() or 10001}


def test_a_failing_component_ends_the_run_with_its_message_and_exit_code(run_file, start_rft, lock, tmp_path):
    (tmp_path / "only_here.py").write_text("def length(images, prompts):\n    return [len(p) for p in prompts]\n")
    reward = {"weights": {"mine": 1.0}, "scorers": {"mine": {"use": "only_here:length"}}}

    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    failing = start_rft(
        "run", run_file("failing", reward=reward), "--runner", "docker", RFT_IMAGES_LOCK=lock, PYTHONPATH=path
    )
    _, errors = failing.communicate()

    assert failing.returncode == 2
    assert "plug-in scorer 'mine' (use: only_here:length) cannot be imported" in errors
    assert "a retry cannot help" in errors


def one_task(folder, image, command):
    @dsl.container_component
    def task():
        return dsl.ContainerSpec(image=image, command=["sh", "-c"], args=[command])

    @dsl.pipeline(name="one-task")
    def pipeline():
        task()

    path = folder / "package.yaml"
    Compiler().compile(pipeline, str(path))
    return path


def arguments_of_a_run(folder):
    (folder / "runs" / "pipeline").mkdir(parents=True)
    (folder / "runs" / "pipeline").chmod(0o777)
    config = RunConfig.model_validate({"name": "any", "run_root": str(folder / "runs"), **RUN})
    return container_arguments(engine(), config, ContainerOptions())


def test_a_container_that_fails_at_once_is_never_called_done(tmp_path, images, run_package):
    package = one_task(tmp_path, images["light"], "echo 'ValueError: on purpose'; exit 7")

    done = run_package(package, tmp_path / "runs" / "pipeline", arguments_of_a_run(tmp_path))

    assert done.returncode != 0
    assert "ValueError: on purpose" in done.stdout, done.stderr
    assert "Found image" not in done.stdout  # what kfp's own function says, see below


def test_a_code_that_is_asked_for_late_is_still_the_containers(images, monkeypatch):
    wait = Container.wait
    monkeypatch.setattr(Container, "wait", lambda self: (time.sleep(2), wait(self))[1])  # a busy machine
    task = (engine(), images["light"], ["sh", "-c", "exit 7"], {})

    assert run_container(*task, network_mode="none") == 7
    assert run_docker_container(*task, network_mode="none") == 0  # kfp's own: once it is right, ours can go


def test_tasks_are_nobody_in_particular_on_a_read_only_root_with_no_network(tmp_path, images, run_package):
    asks = "; ".join(
        [
            "id -u",
            "touch /new /opt/new",
            f"touch /tmp/new {tmp_path}/runs/pipeline/new && grep -c : /proc/net/dev",
            "grep CapEff /proc/self/status",
        ]
    )
    package = one_task(tmp_path, images["light"], asks)

    done = run_package(package, tmp_path / "runs" / "pipeline", arguments_of_a_run(tmp_path))

    answers = [line.strip() for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(os.getuid() or 10001) in answers
    assert sum("Read-only file system" in line for line in answers) == 2
    assert "1" in answers  # the loopback interface alone
    assert any(line.split() == ["CapEff:", "0" * 16] for line in answers)


def containers():
    """All containers of runs; an engine whose tests were killed has old ones."""
    return {each.id for each in engine().containers.list(all=True, filters={"label": STARTED_BY})}


def test_ctrl_c_ends_the_containers_too(run_file, start_rft, lock):
    before = containers()
    process = start_rft("run", run_file("interrupted"), "--runner", "docker", RFT_IMAGES_LOCK=lock)
    client = engine()
    deadline = time.monotonic() + 120
    while not client.containers.list(filters={"label": STARTED_BY}):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=60) == 130
    assert containers() <= before


CREATED = """
import os, sys, threading, time
from reward_finetuning.pipelines.local import runner
from reward_finetuning.pipelines.local.containers import engine

def create(name, after):
    time.sleep(after)
    labels = {runner.STARTED_BY: str(os.getpid())}
    engine().containers.create(sys.argv[1], ["true"], name=name, labels=labels)

late = f"late-{os.getpid()}"
create(f"created-{os.getpid()}", 0)
runner._starting.add(late)
threading.Thread(target=create, args=[late, 1], daemon=True).start()
runner._end_with_tasks(runner.Runner.DOCKER)
"""


def test_containers_that_have_not_started_yet_end_with_the_process_too(images):
    before = containers()

    done = subprocess.run([sys.executable, "-c", CREATED, images["light"]], capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert containers() <= before


def test_a_missing_image_is_refused_before_any_work(run_file, start_rft, tmp_path):
    absent = tmp_path / "absent.lock"
    absent.write_text('{"light": "reward-finetuning-light:of-another-day"}', encoding="utf-8")

    process = start_rft("run", run_file("absent"), "--runner", "docker", RFT_IMAGES_LOCK=str(absent))
    _, errors = process.communicate()

    assert process.returncode == 2
    assert "reward-finetuning-light:of-another-day is not on this engine" in errors
    assert "make images" in errors

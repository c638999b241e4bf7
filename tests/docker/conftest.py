"""The images that `make test-docker` built, and the engine that has them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def images():
    """Image -> reference, as images/build.py wrote it."""
    return json.loads(Path(os.environ["RFT_IMAGES_LOCK"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def docker_output():
    """What a docker command prints."""

    def call(*arguments):
        done = subprocess.run([os.environ["ENGINE"], *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="session")
def run_package():
    """Run a package in containers as `rft run --runner docker` does, and wait for its end."""

    def run(package, folder, arguments):
        runner = [sys.executable, "-m", "reward_finetuning.pipelines.local.runner"]
        command = [*runner, package, "docker", folder, json.dumps(arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def start_rft(heeds_ctrl_c):
    """Start `rft` as its user does."""

    def start(*arguments, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start

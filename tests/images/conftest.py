"""A fresh process in which only those packages can be imported that an image's lock names."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH = r"torch|triton|nvidia-.*|cuda-.*"
BLOCK = """
import importlib.abc, json, os, sys
absent = set(json.loads(sys.argv.pop(1)))

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path[:0] = ["images"]
os.environ["_KFP_RUNTIME"] = "true"
"""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def absent_modules(image):
    """Top-level modules of this environment that the image does not have."""
    lines = (ROOT / "images" / image / "requirements.lock").read_text().splitlines()
    locked = {normal(line.split("==")[0]) for line in lines if not line.startswith("#")} | {"reward-finetuning"}
    torch = TORCH if image == "trainer" else "$^"
    installed = packages_distributions().items()
    here = {module: {normal(name) for name in names} for module, names in installed}
    return sorted(m for m, names in here.items() if not any(n in locked or re.fullmatch(torch, n) for n in names))


@pytest.fixture
def run_in_image():
    """Run a program as in an image; returns what it printed."""

    def run(image, program, *arguments):
        command = [sys.executable, "-c", BLOCK + program, json.dumps(absent_modules(image)), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

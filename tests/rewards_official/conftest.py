"""Small random weights in the real file formats, made by the packages themselves, in the scorer environment."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SIZES = ((256, 256), (512, 512), (300, 200), (200, 301), (224, 224), (223, 640), (97, 64), (224, 500))


@pytest.fixture(scope="session")
def official_python():
    """Python of the scorer environment; `make test-rewards` builds it and says where."""
    return Path(os.environ["RFT_OFFICIAL_PYTHON"])


@pytest.fixture(scope="session")
def run_official(official_python, tmp_path_factory):
    """Run a script of this repository in the scorer environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("hf"))}

    def run(script, *arguments):
        command = [official_python, ROOT / script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def weights(run_official, tmp_path_factory):
    """A folder of each scorer."""
    folder = tmp_path_factory.mktemp("weights")
    run_official("benchmarks/rewards/random_weights.py", folder)
    return folder


@pytest.fixture(scope="session")
def pictures():
    """Grainy pictures of several sizes and aspect ratios; prompts that tokenizers stumble over among them."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    prompts = [
        "a photo of a cat",
        "A  Dog,\tand 3 cats!",
        "a frog " * 60,
        "“curly” quotes — and a café",
        "salt &amp; pepper <b>",
        "it's 12:30 o'clock #nofilter",
        "",
        "ein grüner Kreis, 猫",
    ]
    return images, prompts

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_pipeline.py"


def own_pipeline(folder, *options):
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE.parents[2]), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # tasks run `python3`
    command = [sys.executable, str(EXAMPLE), *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_pipeline_of_the_docs_compiles_with_our_components_and_its_own(tmp_path):
    own_pipeline(tmp_path)

    package = yaml.safe_load((tmp_path / "own_pipeline.yaml").read_text())
    assert set(package["root"]["dag"]["tasks"]) == {"next-epochs", "run-epochs", "size-of-policy"}


# Three processes that import torch: 13 seconds. It is the only run of the components in somebody else's pipeline.
@pytest.mark.slow
def test_the_pipeline_of_the_docs_trains_and_hands_over_the_policy(tmp_path):
    output = own_pipeline(tmp_path, "--run")

    latest = json.loads((tmp_path / "runs" / "own-pipeline" / "latest.json").read_text())
    assert latest["epoch"] == 1
    weights = tmp_path / "runs" / "own-pipeline" / latest["name"]
    assert f"bytes of the policy: {sum(path.stat().st_size for path in weights.iterdir())}" in output

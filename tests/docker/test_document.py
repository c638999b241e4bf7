"""The commands of docs/docker.md, as pasted."""

import os
import re
import subprocess
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "docker.md"


def test_the_commands_of_the_document_run_each_component_alone(tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = "set -euo pipefail\n" + "".join(blocks)
    clients = tmp_path / "bin"
    clients.mkdir()
    (clients / "docker").symlink_to(os.environ["ENGINE"])
    environment = os.environ | {"PATH": f"{clients}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for step in ("next_epochs", "sample", "reward", "train_epoch", "evaluate"):
        assert f"$STEP.{step} " in script
    assert "report-" in done.stdout  # committed
    assert (tmp_path / "by-hand" / "report.html").stat().st_size > 10_000

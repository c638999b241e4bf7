"""The picture and the page of docs/architecture, held against the code."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_picture_is_drawn_from_the_current_import_contracts():
    command = [sys.executable, "docs/architecture.py", "--check"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_file_that_the_page_names_exists():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w/.]+(?:/|\.py))`", page)

    missing = [name for name in names if not any((ROOT / base / name).exists() for base in ("", "reward_finetuning"))]

    assert names
    assert missing == []

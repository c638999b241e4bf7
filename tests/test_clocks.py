"""A clock that jumps changes no wait and no timeout: they are measured by the monotonic clock."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TIMESTAMPS = {
    "reward_finetuning/storage/cache.py": "compared with the times of files, which the same clock wrote",
    "reward_finetuning/tracking/journal.py": "the moment that MLflow shows",
    "reward_finetuning/tracking/tensorboard.py": "the moment that TensorBoard shows",
}
"""Who reads the wall clock by time.time(), and for what."""


def sources():
    return [
        path for package in ("reward_finetuning", "pipelines", "components") for path in (ROOT / package).rglob("*.py")
    ]


def reads_wall_clock(path):
    tree = ast.parse(path.read_text("utf-8"))
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"time", "time_ns"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
        for node in ast.walk(tree)
    )


def test_r15_the_wall_clock_is_read_for_timestamps_alone():
    assert {path.relative_to(ROOT).as_posix() for path in sources() if reads_wall_clock(path)} == set(TIMESTAMPS)


@pytest.mark.parametrize("call", ["time.time()", "time.time_ns()"])
def test_a_reading_of_the_wall_clock_is_found(tmp_path, call):
    (tmp_path / "module.py").write_text(f"import time\n\nstarted = {call}\n")

    assert reads_wall_clock(tmp_path / "module.py")

"""The page "your first real run": its commands are valid, and its figures are those of `rft estimate`."""

import re
import shlex
from pathlib import Path

import pytest

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.cli.group import imported
from reward_finetuning.pipelines.estimate.cost import estimate
from reward_finetuning.pipelines.estimate.networks import ACCELERATORS
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.services import TargetName

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-real-run.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^rft .*$", PAGE, flags=re.MULTILINE)
FILES = sorted((ROOT / "pipelines" / "runs").glob("sd15-lora-*.yaml"))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_is_accepted(line):
    _, name, *arguments = shlex.split(line)
    command = imported(name)

    parameters = command.make_context(name, arguments).params

    if name == "run":
        assert load_config(parameters["config"], parameters["override"] or []).model.trainable == "lora"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_run_fits_an_evening_and_its_gpu_as_the_page_states(path):
    config = load_config(path)
    cost, on_4090 = (estimate(config, ACCELERATORS[name], None) for name in ("l4", "rtx4090"))
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{path.stem}` |")]
    hours, hours_4090, memory = (float(re.match(r"[\d.]+", cell.strip())[0]) for cell in row.split("|")[5:8])

    on_gpu = max(cost.roles[role].memory for role in ("sample", "train", "evaluate"))
    assert cost.hours <= 12
    assert hours == pytest.approx(cost.hours, rel=0.05)
    assert hours_4090 == pytest.approx(on_4090.hours, rel=0.05)
    assert memory == pytest.approx(on_gpu, rel=0.1)
    assert on_gpu <= (8 if "12gb" in path.stem else 20)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_run_compiles(path, tmp_path):
    compile_package(load_config(path), TargetName.LOCAL, tmp_path / "package.yaml")

    assert (tmp_path / "package.yaml").stat().st_size > 0

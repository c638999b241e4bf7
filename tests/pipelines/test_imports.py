import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "mlflow",
    "accelerate",
    "peft",
    "scipy",
    "matplotlib",
    "google.cloud.storage",
    "boto3",
)


def test_a_laptop_compiles_without_importing_what_only_a_trainer_needs(tmp_path):
    program = f"""
import sys
import components, pipelines
from pathlib import Path
for path in sorted(Path(components.__file__).parent.glob("*.py")):
    __import__("components." + path.stem)
from reward_finetuning.pipelines.cli import app, tables
from reward_finetuning.pipelines.graphs import package
from reward_finetuning.pipelines.local import launch, preflight, runner
from reward_finetuning.pipelines.targets import services, target
from reward_finetuning.config import RunConfig
package.compile_package(RunConfig(name="a"), services.TargetName.KFP, Path(sys.argv[1]))
preflight.check_run(RunConfig(name="a", run_root=sys.argv[1] + "-runs"))
print([name for name in {HEAVY!r} if name in sys.modules])
"""

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "package.yaml")], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[]", done.stderr


OF_COMMANDS = (
    *HEAVY, "jsonschema", "kfp", "kfp_kubernetes", "kubernetes", "numpy", "pandas", "pyarrow", "pydantic",
    "yaml", "reward_finetuning.config",
)  # fmt: skip


def test_the_help_of_rft_imports_no_command():
    program = f"""
import sys
from reward_finetuning.pipelines.cli.app import app
try:
    app(["--help"])
finally:
    print([name for name in {OF_COMMANDS!r} if name in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_status_of_an_evaluated_run_imports_nothing_that_takes_seconds(nudged_run, tmp_path):
    run = nudged_run({1: 0.5}, loop={"epochs": 1, "evaluate_every": 1}, tracking={"enabled": False})
    path = tmp_path / "run.yaml"
    path.write_text(run.config.model_dump_json(), encoding="utf-8")
    heavy = tuple({*HEAVY, "pandas", "kfp", "kubernetes"} - {"scipy"})
    program = f"""
import sys
from reward_finetuning.pipelines.cli.app import app
try:
    app(["status", {str(path)!r}])
finally:
    print([name for name in {heavy!r} if name in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "pretrained against epoch 1" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"

import subprocess
import sys

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
from pipelines.cli import app, tables
from pipelines.graphs import package
from pipelines.local import launch, preflight, runner
from pipelines.targets import services, target
from reward_finetuning.config import RunConfig
package.compile_package(RunConfig(name="a"), services.TargetName.KFP, Path(sys.argv[1]))
preflight.check_run(RunConfig(name="a", run_root=sys.argv[1] + "-runs"))
print([name for name in {HEAVY!r} if name in sys.modules])
"""

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "package.yaml")], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[]", done.stderr

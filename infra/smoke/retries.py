"""Three pipelines that test how a Kubeflow installation retries a failed step.

    python infra/smoke/retries.py IMAGE FOLDER
    kfp --endpoint http://localhost:8080 run create --experiment-name smoke --package-file FOLDER/fails-twice.yaml

`fails-twice` succeeds if failed processes are retried, and fails otherwise. `fails-always` must fail after exactly two
attempts. With more attempts, nested graphs are retried too (infra/kubernetes/kubeflow/patches/workflow-defaults.yaml).
`refused` must fail after exactly one attempt, because its error is permanent. IMAGE is any image with Python and kfp,
such as reward-finetuning-light. docs/runbook.md describes the checks.
"""

import sys
from pathlib import Path

from kfp import compiler, dsl


def attempt(failures: int, record: str) -> int:
    """Exit with 1 on the first `failures` attempts; return the number of the successful attempt, from 0.

    `record` goes to the termination log, as the error of a task of this project does.
    """
    import os
    import sys
    from pathlib import Path

    number = int(os.environ["KFP_RETRY_INDEX"])  # set by Kubeflow Pipelines 2.17
    print(f"attempt {number}", flush=True)
    if number < failures:
        Path("/dev/termination-log").write_text(record, encoding="utf-8")
        sys.exit(1)
    return number


def compile_package(name: str, image: str, folder: Path, *, failures: int, retries: int, record: str = "") -> None:
    """Write a pipeline of one task with `retries` retries."""
    step = dsl.component(attempt, base_image=image, install_kfp_package=False)

    @dsl.pipeline(name=f"smoke-{name}")
    def smoke() -> int:
        task = step(failures=failures, record=record)
        task.set_caching_options(enable_caching=False)
        task.set_retry(retries, backoff_duration="5s", backoff_factor=1.0, backoff_max_duration="604800s")
        return task.output

    compiler.Compiler().compile(smoke, str(folder / f"{name}.yaml"))


if __name__ == "__main__":
    image, folder = sys.argv[1], Path(sys.argv[2])
    compile_package("fails-twice", image, folder, failures=2, retries=3)
    compile_package("fails-always", image, folder, failures=100, retries=1)
    compile_package(
        "refused", image, folder, failures=100, retries=3, record='{"error": "UserError", "message": "on purpose"}'
    )

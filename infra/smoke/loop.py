"""A pipeline that tests how a Kubeflow installation runs the loop over epochs.

    python infra/smoke/loop.py IMAGE FOLDER
    kfp --endpoint http://localhost:8080 run create --experiment-name smoke --package-file FOLDER/loop.yaml

Three iterations run one after the other, by times in their logs. The second one fails, so the pipeline run must end as
Failed, and the third one must run: the tasks of an epoch do nothing after an epoch that failed, and rely on both.
IMAGE is any image with Python and kfp, such as reward-finetuning-light.
"""

import sys
from pathlib import Path

from kfp import compiler, dsl


def numbers() -> list[str]:
    """Items that are known when the pipeline runs."""
    return ["1", "2", "3"]


def iteration(number: str) -> bool:
    """Print when it runs; fail in the second iteration."""
    import sys
    import time

    print(f"iteration {number} begins at {time.time():.0f}", flush=True)
    time.sleep(20)
    if number == "2":
        sys.exit(1)
    print(f"iteration {number} ends at {time.time():.0f}", flush=True)
    return number == "3"


def last(number: str) -> None:
    """Runs in the last iteration alone."""
    print(f"iteration {number} is the last one", flush=True)


def compile_package(image: str, path: Path) -> None:
    """Write the pipeline: the same nesting of loop, tasks and condition as in pipelines/graphs/online.py."""
    make, one, end = (
        dsl.component(function, base_image=image, install_kfp_package=False) for function in (numbers, iteration, last)
    )
    is_true = True  # kfp overloads `==`

    @dsl.pipeline(name="iterations")
    def iterations(items: list[str]) -> None:
        with dsl.ParallelFor(items, parallelism=1) as number:
            done = one(number=number)
            with dsl.If(done.output == is_true, "last"):
                end(number=number)

    @dsl.pipeline(name="smoke-loop")
    def smoke() -> None:
        iterations(items=make().output)

    compiler.Compiler().compile(smoke, str(path))


if __name__ == "__main__":
    compile_package(sys.argv[1], Path(sys.argv[2]) / "loop.yaml")

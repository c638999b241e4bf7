"""Write the locks of the light and the trainer image: versions of constraints.txt, with the hash that pip reports.

`make lock` calls it. Run it with CPython 3.11 on linux/amd64, for which the images are built.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parent
ROOT = IMAGES.parent
HEAD = (
    "# {}. Written by images/lock.py (make lock); installed as it stands: pip install --no-deps --require-hashes -r\n"
)

# A task only needs kfp.dsl.executor_main, which runs without the dependencies of kfp. Tasks do not submit pipelines.
COMPILER = {"kfp", "kfp-kubernetes"}
# What next_epochs, shards, evaluation_due and gate need besides the core: parquet, and the client of MLflow with its
# sqlite store. The server and the models of MLflow would add 500 MB.
LIGHT = ["mlflow-skinny", "alembic", "pillow", "psutil", "pyarrow", "sqlalchemy"]
# torch is pinned by version only. The pip index of the user selects its build (CPU or CUDA), and the metadata of the
# build pins the CUDA packages.
OF_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
BUILD = ("pip", "setuptools>=77")


def name_of(requirement: str) -> str:
    """The project that a requirement names."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return found.group().lower().replace("_", "-")


def requirements() -> dict[str, list[str]]:
    """Lock file -> what is resolved for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = [each for each in project["dependencies"] if name_of(each) not in COMPILER]
    train = project["optional-dependencies"]["train"]
    return {
        "light/requirements.lock": core + LIGHT,
        "trainer/requirements.lock": core + train,
        "build.lock": list(BUILD),
    }


def resolve(needed: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """What pip would install, dependencies included."""
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*command, *constraints, *options, *needed], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["install"]


def line(item: dict[str, Any]) -> str:
    """`name==version --hash=...` of one item of pip's report."""
    metadata = item["metadata"]
    sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{sha256}\n"


def main() -> None:
    """Write every lock."""
    (kfp,) = resolve(["kfp"], "--no-deps")
    for file, needed in requirements().items():
        items = [item for item in resolve(needed) if not OF_TORCH.fullmatch(item["metadata"]["name"].lower())]
        if file != "build.lock":
            items.append(kfp)
        lines = sorted(map(line, items), key=str.lower)
        (IMAGES / file).write_text(HEAD.format(file.removesuffix(".lock")) + "".join(lines), encoding="utf-8")
        print(f"images/{file}: {len(lines)} packages")


if __name__ == "__main__":
    main()

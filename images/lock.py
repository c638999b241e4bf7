"""Write the locks of the light and the trainer image and of torch: versions of constraints.txt, with hashes.

`make lock` calls it. Run it with CPython 3.11 on linux/amd64, for which the images are built.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

IMAGES = Path(__file__).parent
ROOT = IMAGES.parent
HEAD = (
    "# {}. Written by images/lock.py (make lock); installed as it stands: pip install --no-deps --require-hashes -r\n"
)

# What the light tasks need besides the core: parquet, prompt sets of the hub, and the client of MLflow with its sqlite
# store. The server and the models of MLflow would add 500 MB.
LIGHT = ["mlflow-skinny", "alembic", "pillow", "psutil", "pyarrow", "sqlalchemy"]
# torch and the packages of CUDA have locks of their own, because the build for CPU is another file. TORCH: lock ->
# environment of pip. The configuration of pip is ignored, so that a build of this machine's index is not locked: pip
# takes an empty variable for one that is not set, and its default index has the build with CUDA.
OF_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
TORCH = {
    "torch-cuda.lock": {"PIP_INDEX_URL": ""},
    "torch-cpu.lock": {"PIP_INDEX_URL": "https://download.pytorch.org/whl/cpu"},
}
ISOLATED = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
BUILD = ("pip", "setuptools>=77")


class Metadata(TypedDict):
    """A distribution's metadata."""

    name: str
    version: str


class ArchiveInfo(TypedDict):
    """The archive that pip would install."""

    hashes: dict[str, str]
    """Algorithm -> hexadecimal digest."""


class DownloadInfo(TypedDict):
    """Where a distribution comes from."""

    archive_info: ArchiveInfo


class Item(TypedDict):
    """A distribution in pip's installation report: the fields that are read here."""

    metadata: Metadata
    download_info: DownloadInfo


def requirements() -> dict[str, list[str]]:
    """Lock file -> what is resolved for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = project["dependencies"]  # kfp with its dependencies: `rft submit` works in every image
    optional = project["optional-dependencies"]
    return {
        "light/requirements.lock": core + optional["datasets"] + LIGHT,
        "trainer/requirements.lock": core + optional["datasets"] + optional["train"],
        "build.lock": list(BUILD),
    }


def resolve(specifiers: Iterable[str], environment: Mapping[str, str] | None = None) -> list[Item]:
    """What pip would install, dependencies included; `environment` is added to that of pip."""
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += [*constraints, *specifiers]
    variables = os.environ | (environment or {})
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout)
    items: list[Item] = report["install"]
    return items


def line(item: Item) -> str:
    """`name==version --hash=...` of one item of pip's report."""
    metadata = item["metadata"]
    sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{sha256}\n"


def write(file: str, items: Iterable[Item]) -> None:
    """Write one lock."""
    lines = sorted(map(line, items), key=str.lower)
    (IMAGES / file).write_text(HEAD.format(file.removesuffix(".lock")) + "".join(lines), encoding="utf-8")
    print(f"images/{file}: {len(lines)} packages")


def is_of_torch(item: Item) -> bool:
    """Whether it is torch, or a package of CUDA."""
    return OF_TORCH.fullmatch(item["metadata"]["name"].lower()) is not None


def main() -> None:
    """Write every lock."""
    for file, needed in requirements().items():
        write(file, (item for item in resolve(needed) if not is_of_torch(item)))
    for file, index in TORCH.items():
        write(file, filter(is_of_torch, resolve(["torch"], ISOLATED | index)))


if __name__ == "__main__":
    main()

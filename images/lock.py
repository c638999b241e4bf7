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
from typing import TypedDict

IMAGES = Path(__file__).parent
ROOT = IMAGES.parent
HEAD = (
    "# {}. Written by images/lock.py (make lock); installed as it stands: pip install --no-deps --require-hashes -r\n"
)

# What the light tasks need besides the core: parquet, and the client of MLflow with its sqlite store. The server and
# the models of MLflow would add 500 MB.
LIGHT = ["mlflow-skinny", "alembic", "pillow", "psutil", "pyarrow", "sqlalchemy"]
# torch is pinned by version only. The pip index of the user selects its build (CPU or CUDA), and the metadata of the
# build pins the CUDA packages.
OF_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
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
    train = project["optional-dependencies"]["train"]
    return {
        "light/requirements.lock": core + LIGHT,
        "trainer/requirements.lock": core + train,
        "build.lock": list(BUILD),
    }


def resolve(specifiers: Iterable[str], *options: str) -> list[Item]:
    """What pip would install, dependencies included."""
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += [*constraints, *options, *specifiers]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    items: list[Item] = report["install"]
    return items


def line(item: Item) -> str:
    """`name==version --hash=...` of one item of pip's report."""
    metadata = item["metadata"]
    sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{sha256}\n"


def main() -> None:
    """Write every lock."""
    for file, needed in requirements().items():
        items = [item for item in resolve(needed) if not OF_TORCH.fullmatch(item["metadata"]["name"].lower())]
        lines = sorted(map(line, items), key=str.lower)
        (IMAGES / file).write_text(HEAD.format(file.removesuffix(".lock")) + "".join(lines), encoding="utf-8")
        print(f"images/{file}: {len(lines)} packages")


if __name__ == "__main__":
    main()

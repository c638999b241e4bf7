"""What the checks of infra/ look at: the parsed Terraform files, and the objects that kustomize builds."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"

Object = dict[str, Any]
_OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False)


def _mapping(found: Any) -> Any:
    """A value without the parser's marks, and with the blocks that it wraps in lists of one."""
    if isinstance(found, dict):
        return {key: _mapping(value) for key, value in found.items() if not key.startswith("__")}
    return [_mapping(value) for value in found] if isinstance(found, list) else found


class Terraform:
    """All .tf files of infra/terraform as one module."""

    def __init__(self) -> None:
        self.files = {path: path.read_text("utf-8") for path in sorted((INFRA / "terraform").glob("*.tf"))}
        self._parsed = [_mapping(hcl2.loads(text, serialization_options=_OPTIONS)) for text in self.files.values()]

    def resources(self, kind: str | None = None) -> dict[str, Object]:
        """`type.name` -> body of every resource, or of those of one type."""
        return {
            f"{found}.{name}": body
            for file in self._parsed
            for resource in file.get("resource", [])
            for found, named in resource.items()
            for name, body in named.items()
            if kind in (None, found)
        }

    def named(self, block: str) -> dict[str, Object]:
        """Name -> body of every `variable` or `output` block."""
        return {name: body for file in self._parsed for each in file.get(block, []) for name, body in each.items()}

    def locals(self) -> dict[str, Any]:
        """Name -> expression of every local value."""
        return {name: value for file in self._parsed for each in file.get("locals", []) for name, value in each.items()}

    def code(self) -> str:
        """All files without comments."""
        return re.sub(r"(^|\s)#.*", "", "\n".join(self.files.values()))


@functools.cache
def build(folder: Path) -> tuple[Object, ...]:
    """The objects that kustomize makes of a folder."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl kustomize {folder.relative_to(ROOT)}: {done.stderr}"
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


FOLDERS = {
    "mlflow": INFRA / "kubernetes/mlflow/base",
    "mlflow-gke": INFRA / "kubernetes/mlflow/overlays/gke",
    "mlflow-plain": INFRA / "kubernetes/mlflow/overlays/plain",
    "kubeflow": ROOT / "tests/infra/kubeflow",  # the overlays on a reduced copy of their base, which is remote
    "kubeflow-plain": ROOT / "tests/infra/kubeflow-plain",
    "kueue": INFRA / "kubernetes/kueue",
    "trainer": INFRA / "kubernetes/trainer",
}


class Built:
    """Objects of one build, by kind and name."""

    def __init__(self, objects: tuple[Object, ...]) -> None:
        self.objects = objects

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """The object of that kind and name."""
        (found,) = [each for each in self.all(kind) if each["metadata"]["name"] == name]
        return found


@pytest.fixture(scope="session")
def terraform() -> Terraform:
    return Terraform()


@pytest.fixture(scope="session", params=FOLDERS)
def every_build(request: pytest.FixtureRequest) -> Built:
    return Built(build(FOLDERS[request.param]))


@pytest.fixture(scope="session")
def mlflow() -> Built:
    return Built(build(FOLDERS["mlflow-gke"]))


@pytest.fixture(scope="session")
def kubeflow() -> Built:
    return Built(build(FOLDERS["kubeflow"]))


@pytest.fixture(scope="session")
def kubeflow_plain() -> Built:
    return Built(build(FOLDERS["kubeflow-plain"]))


@pytest.fixture(scope="session")
def mlflow_plain() -> Built:
    return Built(build(FOLDERS["mlflow-plain"]))


@pytest.fixture(scope="session")
def kueue() -> Built:
    return Built(build(FOLDERS["kueue"]))


@pytest.fixture(scope="session")
def trainer() -> Built:
    return Built(build(FOLDERS["trainer"]))

"""Schemes of buckets are named in one table and by the storage services: no other code tells one from the other."""

import ast
from pathlib import Path

from reward_finetuning.config.locations import BUCKET_SCHEMES
from reward_finetuning.storage.buckets.schemes import SERVICES

ROOT = Path(__file__).parents[1]
STORAGE = ROOT / "reward_finetuning" / "storage"
OF_GOOGLE = {
    "pipelines/cli/cluster/connection.py",  # --pipeline-root, which Vertex AI needs
    "pipelines/remote/clients/vertex.py",
    "pipelines/targets/refusals.py",
    "pipelines/targets/services.py",
}
"""Vertex AI keeps its own artifacts in Google Cloud Storage, whatever holds the runs."""


def texts(path):
    """The string literals of a module, docstrings left out."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    literals = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose)
    return [node.value for node in literals if isinstance(node.value, str)]


def modules():
    folders = [ROOT / name for name in ("reward_finetuning", "components", "pipelines")]
    paths = [path for folder in folders for path in folder.rglob("*.py") if not path.is_relative_to(STORAGE)]
    return {path.relative_to(ROOT).as_posix(): path for path in paths}


def test_no_module_outside_storage_names_a_scheme():
    named = {
        name: text
        for name, path in modules().items()
        for text in texts(path)
        if any(f"{scheme}:/" in text for scheme in BUCKET_SCHEMES)
    }

    assert named.keys() == OF_GOOGLE


def test_every_scheme_that_settings_accept_has_a_service():
    assert set(BUCKET_SCHEMES) == set(SERVICES)

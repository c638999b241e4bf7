"""Compiled packages, whole, as they were when somebody last looked: `make goldens` writes them anew.

The config and the digests of images are left out: they change with every new setting and build, and are read back
elsewhere.
"""

import difflib
import json
import os
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.cluster import Cluster, load_cluster
from reward_finetuning.pipelines.targets.images import image_of
from reward_finetuning.pipelines.targets.roles import ROLES
from reward_finetuning.pipelines.targets.services import TargetName

ROOT = Path(__file__).parents[3]
GOLDENS = Path(__file__).parent / "goldens"
CLUSTERS = {"kfp": "cluster.example.yaml", "vertex": "cluster.vertex.example.yaml"}
GRAPHS = {
    "fused": ["loop.granularity=fused"],
    "split": ["loop.granularity=split", "loop.epochs_per_run=1"],
    "staged": ["loop.granularity=staged", "loop.epochs=1"],
}


class Readable(yaml.SafeDumper):
    """Programs and JSON text are written line by line."""

    def text(self, text):
        if text.startswith("{") and not text.startswith("{{"):
            text = json.dumps(json.loads(text), indent=1)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, Readable.text)


def readable(path):
    """A package's YAML without its config, the digests of images, and kfp's comments."""
    documents = list(yaml.safe_load_all(path.read_text()))
    first = documents[0]["root"]["dag"]["tasks"]["next-epochs"]["inputs"]["parameters"]
    first["config"]["runtimeValue"]["constant"] = "(the config)"
    text = yaml.dump_all(documents, Dumper=Readable, width=100_000)
    for role in ROLES:
        text = text.replace(image_of(role), "(the image of images/)")
    return text


@pytest.mark.parametrize("target", ["local", "kfp", "vertex"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_package_is_as_it_was(tmp_path, graph, target):
    cluster = load_cluster(ROOT / "infra" / CLUSTERS[target]) if target in CLUSTERS else Cluster()

    check_golden(f"{graph}-{target}.yaml", graph, target, cluster, tmp_path)


def test_a_package_with_a_pool_of_its_own_for_the_scorers_is_as_it_was(tmp_path):
    cluster = Cluster.model_validate({"pools": {"reward": {"cpu": 3}}})

    check_golden("split-kfp-two-pools.yaml", "split", "kfp", cluster, tmp_path)


def check_golden(name, graph, target, cluster, folder):
    config = load_config(ROOT / "pipelines" / "runs" / "shapes-prdp.yaml", GRAPHS[graph])
    golden = GOLDENS / name

    package = readable(compile_package(config, TargetName(target), folder / "package.yaml", cluster))

    if os.environ.get("RFT_GOLDENS") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(package, encoding="utf-8")
    changes = difflib.unified_diff(
        golden.read_text(encoding="utf-8").splitlines(), package.splitlines(), golden.name, "now", lineterm="", n=5
    )
    assert not (told := "\n".join(changes)), f"{told}\nif that is meant: make goldens, and look at git diff"

import re
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.targets.cluster import Cluster, load_cluster
from reward_finetuning.pipelines.targets.refusals import refuse
from reward_finetuning.pipelines.targets.roles import ROLES
from reward_finetuning.pipelines.targets.services import TargetName

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def written(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("file", "target"), [("cluster.example.yaml", "kfp"), ("cluster.vertex.example.yaml", "vertex")]
)
def test_the_example_loads_and_its_target_takes_it(file, target):
    cluster = load_cluster(ROOT / "infra" / file)

    refuse(cluster, TargetName(target))
    assert cluster.pools.train.accelerator == "nvidia-tesla-a100"


def test_the_cluster_file_of_any_cluster_loads_and_needs_no_gpu():
    pools = load_cluster(ROOT / "infra" / "cluster.plain.yaml").pools

    assert {role: pools.of(role).gpus for role in ROLES} == dict.fromkeys(ROLES, 0)
    assert pools.train.secrets["rft-store"]["AWS_SECRET_ACCESS_KEY"] == "secretkey"


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL))
def test_what_the_docs_show_loads(tmp_path, block):
    assert load_cluster(written(tmp_path, block)) != Cluster()


def test_the_docs_have_a_row_for_every_setting():
    table = DOCS.split("## Settings of a pool")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))

    assert rows == Cluster().pools.train.model_dump().keys()


def test_no_file_is_a_cluster_of_defaults():
    assert load_cluster(None) == Cluster()
    assert [Cluster().pools.of(role).gpus for role in ("light", "export", "sample", "reward", "train")] == [
        0,
        0,
        1,
        1,
        1,
    ]


def test_what_a_file_does_not_say_keeps_the_default_of_its_role(tmp_path):
    train = load_cluster(written(tmp_path, "pools: {train: {gpus: 4}}")).pools.train

    assert (train.gpus, train.accelerator, train.cpu, train.shared_memory) == (4, "nvidia-l4", "8", "8Gi")


def test_every_pool_has_what_all_have_and_its_own_settings_win(tmp_path):
    text = """
pools:
  every: {retries: 3, env: {A: a, B: b}, secrets: {one: {X: x}}}
  train: {retries: 7, env: {B: own}, secrets: {one: {Y: y}, two: {Z: z}}}
"""

    pools = load_cluster(written(tmp_path, text)).pools

    assert (pools.light.retries, pools.light.env, pools.light.secrets) == (3, {"A": "a", "B": "b"}, {"one": {"X": "x"}})
    assert (pools.train.retries, pools.train.env) == (7, {"A": "a", "B": "own"})
    assert pools.train.secrets == {"one": {"X": "x", "Y": "y"}, "two": {"Z": "z"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poools: {}", r"cluster.yaml: unknown key 'poools'; did you mean 'pools'"),
        ("pools: {trian: {}}", r"unknown key 'pools.trian'; did you mean 'train'"),
        ("pools: {train: {gpu: 1}}", r"unknown key 'pools.train.gpu'; did you mean 'gpus'"),
        ("pools: {every: {gpu: 1}}", r"^[^;]*unknown key 'pools.every.gpu'; did you mean 'gpus'[^;]*$"),
        (
            "pools: {train: {tolerations: [{kye: a}]}}",
            r"unknown key 'pools.train.tolerations.0.kye'; did you mean 'key'",
        ),
        ("pools: {train: {memory: 16GB}}", r"pools.train.memory: is written like 16G or 16Gi, got '16GB'"),
        ("pools: {train: {cpu: many}}", r"pools.train.cpu: is written like 8, 0.5 or 500m, got 'many'"),
        ("pools: {train: {timeout: 1 day}}", r"pools.train.timeout: is written like 90m, 6h or 2d, got '1 day'"),
        ("pools: {train: {accelerator: NVIDIA_L4}}", r"train.accelerator: is written like nvidia-l4, as GKE names it"),
        ("pools: {train: {run_as_user: 0}}", r"pools.train.run_as_user: .*greater than 0, got 0"),
        ("pools: {train: {env: {A: 1}}}", r"pools.train.env.A: input should be a valid string, got 1"),
        ("pools: {light: {accelerator: nvidia-l4}}", r"pools.light: accelerator nvidia-l4 without gpus"),
        ("pools: {sample: {num_nodes: 2}}", r"num_nodes=2 for sample: only train spans nodes"),
        ("pools: {train: {env: {A: a}, secrets: {s: {A: k}}}}", r"pools.train: set twice: A; env and secrets together"),
        ("pools: {train: {tolerations: [{key: a}]}}", r"tolerations.0: operator Equal compares key and value"),
        ("pools: {train: {tolerations: [{operator: Exists, value: a}]}}", r"operator Exists looks at the key alone"),
        ("pools: 3", r"pools: .*got 3"),
        ("- a", r"must hold a mapping of sections, got list"),
        ("{", r"is no readable YAML"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_given_and_what_would_be_right(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load_cluster(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no cluster file .*nothing.yaml; see infra/cluster.example.yaml"):
        load_cluster(tmp_path / "nothing.yaml")


def test_the_example_names_only_settings_that_a_reader_can_look_up():
    tree = yaml.safe_load((ROOT / "infra" / "cluster.example.yaml").read_text(encoding="utf-8"))

    for pool in tree["pools"].values():
        for setting in pool:
            assert f"`{setting}`" in DOCS

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from reward_finetuning.config import load_config, parse_config
from reward_finetuning.pipelines.cli.app import app
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.cluster import load_cluster
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.prompts import read_prompts

ROOT = Path(__file__).parents[3]
RUN = ROOT / "pipelines" / "runs" / "shapes-prdp.yaml"
RUNS = [path for path in sorted((ROOT / "pipelines" / "runs").glob("*.yaml")) if "evaluation" not in path.stem]
LARGEST_KIB = 200
"""A workflow is about as large as its package, and etcd takes 1.5 MiB of it together with the state of its tasks, which
is many times that: a pipeline of 56 tasks reached 1.95 MiB and could not be retried (kubeflow/pipelines#13738)."""
LARGEST_ARGUMENT = 128 * 1024
"""KFP's driver is given a graph as one argument, and Linux takes no longer one (kubeflow/pipelines#12453)."""


def check_budget(path):
    document = next(yaml.safe_load_all(path.read_text()))
    assert path.stat().st_size < LARGEST_KIB * 1024
    for graph in (document["root"], *document["components"].values()):
        assert len(json.dumps(graph)) < LARGEST_ARGUMENT


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.stem)
@pytest.mark.parametrize("target", ["local", "kfp", "vertex"])
@pytest.mark.parametrize("granularity", ["split", "fused"])
def test_every_run_compiles_for_every_target_below_the_budget(package, run, target, granularity):
    if granularity == "split" and run.stem == "shapes-retrain":
        granularity = "staged"  # split ends in no promotion

    compiled = package(target, f"loop.granularity={granularity}", run=run)

    check_budget(compiled.path)
    assert len(compiled.documents) == (2 if target == "kfp" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["kfp", "vertex"])
@pytest.mark.parametrize("graph", [("granularity=split",), ("granularity=fused",), ("granularity=split", "offline")])
def test_the_size_does_not_depend_on_the_number_of_epochs(package, target, graph):
    granularity, *offline = graph
    overrides = [f"loop.{granularity}", *(["sampling.rollouts=offline"] if offline else [])]
    ten, thousand = (package(target, *overrides, f"loop.epochs={epochs}").path.stat().st_size for epochs in (10, 1000))

    assert abs(ten - thousand) < 10  # the number itself
    assert thousand < LARGEST_KIB * 1024


@pytest.mark.slow
@pytest.mark.parametrize("file", ["cluster.example.yaml", "cluster.vertex.example.yaml"])
@pytest.mark.parametrize("graph", [("split", "epochs_per_run=5"), ("staged", "epochs=8")])
def test_the_largest_packages_of_the_example_clusters_are_below_the_budget(tmp_path, file, graph):
    granularity, size = graph
    config = load_config(RUN, [f"loop.granularity={granularity}", f"loop.{size}"])
    target = TargetName.VERTEX if "vertex" in file else TargetName.KFP

    check_budget(compile_package(config, target, tmp_path / "package.yaml", load_cluster(ROOT / "infra" / file)))


def test_nothing_is_installed_when_a_task_starts(package):
    compiled = package("kfp", "loop.granularity=split", "loop.epochs_per_run=1")

    for _, container in compiled.containers():
        assert "pip install" not in " ".join(container["command"])


@pytest.mark.parametrize("target", ["local", "vertex"])
def test_where_no_order_of_iterations_is_promised_epochs_are_unrolled_and_wait_for_each_other(package, target):
    compiled = package(target, "loop.granularity=split", "loop.epochs_per_run=3")

    tasks = {name: task for name, task in compiled.root["dag"]["tasks"].items() if name.startswith("epoch")}
    assert {name: set(task["dependentTasks"]) - {"next-epochs"} for name, task in tasks.items()} == {
        "epoch": set(),
        "epoch-2": {"epoch"},
        "epoch-3": {"epoch-2"},
    }
    assert [task["taskInfo"]["name"] for task in tasks.values()][1] == "epoch 2 of this pipeline run"


def test_on_kubeflow_epochs_are_iterations_of_a_loop_one_after_the_other(package):
    one, five = (package("kfp", "loop.granularity=split", f"loop.epochs_per_run={n}") for n in (1, 5))

    loop = one.documents[0]["components"]["comp-epochs"]["dag"]["tasks"]["for-loop-1"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 1}
    assert loop["taskInfo"]["name"] == "epochs"
    texts = [json.dumps(each.documents).replace(json.dumps(each.constants["config"]), "") for each in (one, five)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "graph", [["loop.granularity=split"], ["loop.granularity=fused"], ["loop.granularity=staged", "loop.epochs=2"]]
)
def test_people_see_the_address_of_the_run_and_options_and_no_config(package, graph):
    compiled = package("kfp", "seed=11", "run_root=gs://bucket/runs", *graph)

    parameters = compiled.root["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in parameters.items()} == {
        "run": "gs://bucket/runs/shapes-prdp",
        "options": "",
    }
    assert json.loads(compiled.constants["config"])["seed"] == 11
    others = [task for name, task in compiled.tasks() if name != "next-epochs"]
    assert others
    assert all("runtimeValue" not in task["inputs"]["parameters"]["config"] for task in others)


def test_one_task_samples_and_scores_where_both_have_one_pool_and_image(package):
    split = ["loop.granularity=split"]
    apart = {"reward": {"cpu": "7"}}

    same, other_machine = package("kfp", *split), package("kfp", *split, pools=apart)
    other_image = package("kfp", *split, pools={"reward": {"image": "scorer:1"}})

    names = [{name for name, _ in each.tasks()} for each in (same, other_machine, other_image)]
    assert names == [
        {"next-epochs", "draw", "train-epoch", "evaluate"},
        {"next-epochs", "sample", "reward", "train-epoch", "evaluate"},
        {"next-epochs", "sample", "reward", "train-epoch", "evaluate"},
    ]


def recorded(compiled):
    return json.loads(compiled.constants["inputs"])


@pytest.mark.parametrize("overrides", [("split",), ("fused",), ("staged", "loop.epochs=2"), ("split", "offline")])
def test_the_package_knows_the_digests_of_what_it_was_compiled_for(package, overrides):
    granularity, *more = overrides
    more = ["sampling.rollouts=offline" if each == "offline" else each for each in more]
    compiled = package("kfp", f"loop.granularity={granularity}", *more)

    inputs = recorded(compiled)

    assert inputs["prompts.digest"] == read_prompts("shapes:train").digest
    assert inputs["evaluation.heldout.digest"] == read_prompts("shapes:heldout").digest
    assert inputs.keys() == {
        *("model.digest", "model.index", "prompts.digest"),
        *("evaluation.train.digest", "evaluation.heldout.digest"),
    }
    (task,) = [task for name, task in compiled.tasks() if name == "next-epochs"]
    assert task["taskInfo"]["name"] == "settings and epochs"


def test_a_changed_prompt_set_changes_the_package(package, tmp_path):
    prompts = tmp_path / "prompts.txt"
    digests = []
    for text in ("a red circle\n", "a blue circle\n"):
        prompts.write_text(text)
        digests.append(recorded(package("kfp", f"prompts.train={prompts}"))["prompts.digest"])

    assert digests[0] != digests[1]


def test_what_is_not_on_this_machine_is_left_to_the_cluster(package):
    inputs = recorded(package("kfp", "prompts.train=/mnt/prompts.txt", "model.source=/mnt/model"))

    assert inputs.keys() == {"evaluation.train.digest", "evaluation.heldout.digest"}


def test_compile_takes_a_cluster_file_and_refuses_what_its_target_cannot_do(tmp_path):
    cluster, file = str(ROOT / "infra" / "cluster.example.yaml"), tmp_path / "package.yaml"
    command = ["compile", str(RUN), "--cluster", cluster, "--output", str(file), "-o", "loop.granularity=fused"]

    done = CliRunner().invoke(app, [*command, "--target", "kfp"])
    refused = CliRunner().invoke(app, [*command, "--target", "vertex"])

    assert done.exit_code == 0, done.output
    assert "nvidia-tesla-a100" in file.read_text()
    assert "pools.train.tolerations: Vertex has no taints" in str(refused.exception)


@pytest.mark.parametrize("granularity", ["fused", "split"])
def test_text_that_kfp_would_substitute_is_in_the_package_as_text(tmp_path, granularity):
    texts = ["{{$.inputs.parameters['config']}}", "{{channel:task=;name=config;type=String;}}", "{{workflow.name}}"]
    (tmp_path / "prompts.txt").write_text("a red circle\n")
    config = load_config(RUN, [f"loop.granularity={granularity}"])
    sets = dict.fromkeys([*texts, *config.evaluation.prompt_sets], str(tmp_path / "prompts.txt"))
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"prompt_sets": sets})})

    path = compile_package(config, TargetName.KFP, tmp_path / "package.yaml")

    first = next(yaml.safe_load_all(path.read_text()))["root"]["dag"]["tasks"]["next-epochs"]["inputs"]["parameters"]
    constants = {name: first[name]["runtimeValue"]["constant"] for name in ("config", "inputs")}
    assert parse_config(constants["config"]).evaluation == config.evaluation
    assert {f"evaluation.{text}.digest" for text in texts} <= json.loads(constants["inputs"]).keys()
    assert not any("{{" in text for text in constants.values())

"""PPOD's graphs: stages with a gate, and passes over one set of images. tests/docker runs both."""

from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.services import TargetName

PPOD = {"name": "ppod", "kl_weight": 1.0, "clip_range": 10.0, "pairs_per_update": 4, "convergence": None}


def tasks_of(config, folder):
    path = compile_package(config, TargetName.KFP, folder / "package.yaml")
    document = next(iter(yaml.safe_load_all(path.read_text())))
    dags = [document["root"]["dag"], *(c["dag"] for c in document["components"].values() if "dag" in c)]
    return [name for dag in dags for name in dag["tasks"]], path.stat().st_size


def named(tasks, name):
    return sum(task == name or (task.startswith(f"{name}-") and task[len(name) + 1 :].isdigit()) for task in tasks)


@pytest.mark.parametrize("stages", [1, 4, 8])
def test_a_staged_package_nests_every_stage_then_gate_and_promotion(tmp_path, run_config, stages):
    config = run_config(
        objective=PPOD,
        loop={"granularity": "staged", "epochs": stages},
        evaluation={"prompt_sets": {"train": "shapes:train", "heldout": "shapes:heldout"}},
    )

    tasks, size = tasks_of(config, tmp_path)

    assert named(tasks, "stage") == stages
    assert [named(tasks, name) for name in ("gate", "promote", "next-epochs")] == [1, 1, 1]
    assert size < 200 * 1024


@pytest.mark.slow
def test_an_offline_package_draws_once_and_trains_in_every_pass(tmp_path, run_config):
    config = run_config(
        objective=PPOD, sampling={"rollouts": "offline"}, loop={"granularity": "split", "epochs_per_run": 5}
    )

    tasks, size = tasks_of(config, tmp_path)

    assert [named(tasks, name) for name in ("draw", "train-epoch", "evaluate")] == [1, 5, 5]
    assert size < 200 * 1024


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loop": {"granularity": "staged", "epochs": 9}}, "at most 8"),
        (
            {"loop": {"granularity": "staged"}, "promotion": {"keep_on": ["tset"]}},
            "promotion asks for prompt sets tset",
        ),
        (
            {"loop": {"granularity": "staged"}, "promotion": {"keep_on": [], "guard_margins": {"colour": 0.1}}},
            "guard_margins names colour, reward.weights shapes",
        ),
    ],
)
def test_a_staged_run_that_cannot_work_is_refused(run_config, changes, message):
    with pytest.raises(ValueError, match=message):
        run_config(**changes)


def test_the_papers_run_files_hold_its_settings():
    runs = Path(__file__).parents[3] / "pipelines" / "runs"
    online, offline = (load_config(runs / f"ppod-{name}.yaml") for name in ("online", "offline"))

    assert (online.loop.epochs, online.num_images) == (4, 5000)
    assert (offline.sampling.rollouts, offline.num_images) == ("offline", 20_000)
    assert {online.objective.name, offline.objective.name} == {"ppod"}

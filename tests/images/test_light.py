"""The light tasks of a retraining, run to their end with the packages of their image alone."""

import json

import pytest

from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import write_reference

pytestmark = pytest.mark.slow

TASKS = """
from reward_finetuning.steps.begin_retraining import begin_retraining
from reward_finetuning.steps.gate import gate
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.plan_evaluation import plan_evaluation

series, trained, policy, folder = sys.argv[1:]
begun = begin_retraining(series)
block = next_epochs(begun, folder + "/begun.json", folder + "/settings.md")
plan_evaluation(trained, folder + "/compared.json")
print(json.dumps([json.loads(begun)["warm_start"], block.epochs, gate(trained, policy)]))
"""


def test_a_retraining_begins_from_the_champion_of_mlflow_and_is_planned(
    nudged_run, mlflow_store, tmp_path, run_in_image
):
    competes = {"promotion": {"improve_on": ["train"], "keep_on": [], "registered_model": "series"}}
    trained = nudged_run({1: 0.5}, loop={"epochs": 1}, evaluation={"images_per_prompt": 8}, **competes)
    policy = tmp_path / "policy.json"
    write_reference(str(policy), policy_of_epoch(trained, 1))
    promote(trained.config.model_dump_json(), str(policy))
    series = trained.config.model_copy(
        update={"name": "series", "loop": trained.config.loop.model_copy(update={"epochs": 2})}
    )
    asked = series.model_dump(mode="json") | {"retraining": {}}

    printed = run_in_image("light", TASKS, json.dumps(asked), trained.config.model_dump_json(), policy, tmp_path)

    warm_start, epochs, passed = json.loads(printed.splitlines()[-1])
    assert (warm_start["run_directory"], warm_start["epoch"]) == (trained.uri, 1)
    assert (epochs, passed) == (["1", "2"], True)

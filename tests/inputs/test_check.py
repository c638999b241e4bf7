import pytest

from pipelines.local.preflight import check_run
from reward_finetuning.config import EvaluationRun, UserError
from reward_finetuning.evaluation.task import begin_evaluation
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.storage import RunDirectory

WRONG = {
    "a scorer": ({"reward": {"weights": {"nobody": 1.0}}}, "no scorer 'nobody'"),
    "a model": ({"model": {"source": "./nowhere"}}, "'./nowhere' is no folder"),
    "an evaluation prompt set": ({"evaluation": {"prompt_sets": {"x": "nowhere.txt"}}}, "nowhere.txt does not exist"),
}


def begin_own_evaluation(config):
    parts = {name: getattr(config, name) for name in ("model", "reward", "evaluation", "sampling")}
    begin_evaluation(EvaluationRun(name="e", run_root=config.run_root, policies=({},), **parts))


@pytest.mark.parametrize("start", [check_run, lambda config: begin(RunDirectory(config)), begin_own_evaluation])
@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "-"))
def test_preflight_the_first_task_and_an_evaluation_refuse_the_same_inputs(run_config, start, case):
    changes, message = WRONG[case]

    with pytest.raises(UserError, match=message):
        start(run_config(**changes))


@pytest.mark.parametrize("start", [check_run, lambda config: begin(RunDirectory(config))])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": {"train": "nowhere.txt"}}, "nowhere.txt does not exist"),
        ({"prompts": {"prompts_per_epoch": 5000}}, "prompts_per_epoch=5000 but shapes:train holds"),
        ({"warm_start": {"run_directory": "nowhere", "epoch": 1}}, "warm_start: nowhere contains no run"),
        ({"run_root": "gs://bucket/runs"}, "cannot hold MLflow's sqlite file"),
    ],
)
def test_what_only_training_reads_is_checked_before_both_ways_to_train(run_config, start, changes, message):
    with pytest.raises(UserError, match=message):
        start(run_config(**changes))

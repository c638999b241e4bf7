"""Policies of several runs: which are meant, whether they can be compared, and what the comparison shows."""

import json
from pathlib import Path

import pytest

from reward_finetuning.config import EvaluationRun, UserError
from reward_finetuning.evaluation.candidates import evaluation_directory, find_candidates
from reward_finetuning.steps.evaluate import evaluate
from reward_finetuning.steps.evaluate_shard import evaluate_shard
from reward_finetuning.steps.plan_evaluation import plan_evaluation
from reward_finetuning.storage import read_reference

QUIET = {"tracking": {"enabled": False}}


@pytest.fixture
def asked(tmp_path):
    """A factory of evaluations of runs on two prompts."""

    def make(*policies, **changes):
        (tmp_path / "two.txt").write_text("a red circle\na blue square\n")
        evaluation = {"prompt_sets": {"two": str(tmp_path / "two.txt")}, "images_per_prompt": 4, "images_per_part": 4}
        tree = {"name": "side-by-side", "run_root": str(tmp_path / "runs"), "policies": policies, **changes}
        return EvaluationRun.model_validate(tree | {"evaluation": evaluation | changes.get("evaluation", {})})

    return make


def test_latest_and_all_become_epochs_under_names_of_their_own(nudged_run, asked):
    run = nudged_run({1: 0.1, 2: 0.2}, **QUIET)

    found = find_candidates(asked({}, {"run": run.uri}, {"name": "tiny-all", "run": run.uri, "epoch": "all"}))

    assert [(c.name, c.policy.epoch) for c in found] == [
        ("pretrained", 0), ("tiny", 2), ("tiny-all-epoch-1", 1), ("tiny-all-epoch-2", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ([{"run": "{run}"}, {"run": "{run}", "epoch": 1}], "two policies have the name 'tiny': give one of them"),
        ([{"run": "{run}", "epoch": 7}], "has no policy of epoch 7; it has those of epochs 1"),
        ([{"run": "{run}-no"}], "is not a run directory: it has no run.json"),
    ],
)
def test_policies_that_cannot_be_meant_are_refused(nudged_run, asked, policies, said):
    run = nudged_run({1: 0.1}, **QUIET)
    named = [{key: v.replace("{run}", run.uri) if key == "run" else v for key, v in p.items()} for p in policies]

    with pytest.raises(UserError, match=said):
        find_candidates(asked(*named))


def test_runs_that_draw_differently_need_a_sampling_section(nudged_run, asked):
    one = nudged_run({1: 0.1}, **QUIET)
    other = nudged_run({1: 0.1}, name="other", sampling={"num_steps": 5}, **QUIET)
    policies = [{"run": one.uri}, {"run": other.uri}]

    with pytest.raises(UserError, match=r"num_steps is 3 and 5\): add a section `sampling` to the evaluation file"):
        evaluation_directory(asked(*policies))

    assert evaluation_directory(asked(*policies, sampling={"num_steps": 4})).config.sampling.num_steps == 4


def test_runs_of_different_base_models_are_refused(nudged_run, asked):
    one = nudged_run({1: 0.1}, **QUIET)
    path = Path(one.uri) / "run.json"
    described = json.loads(path.read_text())
    described["fingerprint"]["model.digest"] = "f" * 64
    path.write_text(json.dumps(described))

    with pytest.raises(UserError, match="policies of different base models cannot be compared"):
        evaluation_directory(asked({"run": one.uri}))


@pytest.mark.slow
def test_full_and_lora_policies_stand_side_by_side_drawn_in_shards(nudged_run, asked, tmp_path):
    full = nudged_run({1: 0.1}, **QUIET)
    lora = nudged_run({1: 0.1}, name="lora", model={"trainable": "lora"}, **QUIET)
    policies = [{}, {"run": full.uri}, {"run": lora.uri}]
    evaluation = asked(*policies, evaluation={"num_shards": 2})
    config, policy = evaluation.model_dump_json(), str(tmp_path / "policies")
    outputs = [str(tmp_path / name) for name in ("page.html", "metrics", "summary")]

    plan_evaluation(config, policy)
    for shard in (1, 0):
        evaluate_shard(config, policy, shard)
    shown = evaluate(config, policy, *outputs)

    metrics = json.loads(Path(outputs[1]).read_text())
    assert shown["01 reward mean (pretrained/two)"] == metrics["eval/pretrained/two/reward/mean"]
    assert shown["02 reward gain (tiny/two)"] == metrics["eval/tiny/two/reward/gain"]
    assert metrics["eval/tiny/two/reward/gain"] == pytest.approx(
        metrics["eval/tiny/two/reward/mean"] - metrics["eval/pretrained/two/reward/mean"]
    )
    assert metrics["eval/lora/two/kl/mean"] > 0 == metrics["eval/pretrained/two/kl/mean"]
    page, summary = (Path(path).read_text(encoding="utf-8") for path in (outputs[0], outputs[2]))
    assert page.count('<article class="strip">') == 8
    assert page.count('<img src="data:image/') == 24
    assert "These intervals apply to new images of the same 2 prompts." in page
    assert "| two | reward | lora |" in summary
    assert evaluate(config, policy, *outputs) == shown


def test_the_policies_of_a_plan_stay_when_a_run_goes_on(nudged_run, asked, tmp_path):
    run = nudged_run({1: 0.1}, **QUIET)
    plan_evaluation(asked({"run": run.uri}).model_dump_json(), str(tmp_path / "policies"))
    (before,) = read_reference(str(tmp_path / "policies")).facts["policies"]

    assert before["policy"]["epoch"] == 1
    assert before["policy"]["name"] == "epochs/0001/policy"


def test_the_newest_policy_of_a_run_is_planned_and_an_untrained_run_refused(nudged_run, tmp_path):
    run = nudged_run({1: 0.1}, **QUIET)
    plan_evaluation(run.config.model_dump_json(), str(tmp_path / "policy"))
    assert read_reference(str(tmp_path / "policy")) == run.latest()

    untrained = nudged_run({}, name="untrained", **QUIET)
    with pytest.raises(UserError, match="has trained no epoch yet"):
        plan_evaluation(untrained.config.model_dump_json(), str(tmp_path / "policy"))

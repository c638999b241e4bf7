import sys
import types

import pytest

from reward_finetuning.config import EvaluationRun, UserError
from reward_finetuning.evaluation.task import begin_evaluation
from reward_finetuning.pipelines.local.preflight import check_run
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


@pytest.mark.parametrize("start", [check_run, lambda config: begin(RunDirectory(config))])
@pytest.mark.parametrize("place", ["prompts", "evaluation"])
def test_prompts_that_a_scorer_cannot_judge_are_refused_before_a_picture_is_drawn(run_config, tmp_path, start, place):
    path = tmp_path / "prompts.txt"
    path.write_text("a red circle\na photo of a dog\na blue square\na cat\n", encoding="utf-8")
    changes = (
        {"prompts": {"train": str(path)}} if place == "prompts" else {"evaluation": {"prompt_sets": {"x": str(path)}}}
    )
    blind = {"reward": {"weights": {"colourfulness": 1.0}}}

    with pytest.raises(
        UserError, match=r"scorer shapes cannot judge 2 of 4 prompts of .*prompts\.txt.*a photo of a dog"
    ):
        start(run_config(**changes))
    start(run_config(**changes, **blind))


def test_a_plug_in_may_say_which_prompts_its_scorer_can_judge(run_config, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "particular.py").write_text(
        "def check(settings): ...\n"
        "def digest(settings): return ''\n"
        "def load(settings): return lambda images, prompts: [1.0] * len(prompts)\n"
        "def check_prompt(prompt):\n"
        "    if 'circle' in prompt: raise ValueError(f'{prompt!r}: circles are not for me')\n"
    )
    reward = {"weights": {"mine": 1.0}, "scorers": {"mine": {"use": "particular:"}}}

    with pytest.raises(UserError, match=r"scorer mine cannot judge .* circles are not for me"):
        check_run(run_config(reward=reward))


class OnlyCats:
    """A plug-in that judges prompts about cats."""

    def check(self, settings):
        pass

    def check_prompt(self, prompt):
        if "cat" not in prompt:
            raise ValueError("no cat")

    def digest(self, settings):
        return ""

    def load(self, settings):
        return lambda images, prompts: [0.0] * len(prompts)


@pytest.fixture
def only_cats(monkeypatch):
    """reward settings whose scorer is `OnlyCats`."""
    module = types.ModuleType("only_cats_of_this_test")
    module.scorer = OnlyCats()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return {"weights": {"cats": 1.0}, "scorers": {"cats": {"use": f"{module.__name__}:scorer"}}}


def test_an_evaluation_is_not_refused_for_training_prompts_that_it_does_not_read(run_config, tmp_path, only_cats):
    (tmp_path / "cats.txt").write_text("a cat\n")
    config = run_config(reward=only_cats, evaluation={"prompt_sets": {"cats": str(tmp_path / "cats.txt")}})

    begin_own_evaluation(config)

    with pytest.raises(UserError, match="no cat"):
        check_run(config)


def test_8_bit_adamw_is_refused_before_the_run_where_bitsandbytes_is_missing(run_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)

    with pytest.raises(UserError, match=r"adamw_8bit is the AdamW of bitsandbytes: pip install .*\[8bit\]"):
        check_run(run_config(training={"optimizer": "adamw_8bit"}))


def test_8_bit_weights_are_refused_before_the_run_where_bitsandbytes_is_missing(run_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)

    with pytest.raises(UserError, match=r"quantization=int8 needs bitsandbytes: pip install .*\[8bit\]"):
        check_run(run_config(model={"trainable": "lora", "quantization": "int8"}))


@pytest.mark.slow
def test_8_bit_adamw_is_refused_before_the_run_where_bitsandbytes_does_no_step(run_config, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "bitsandbytes"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "optim.py").write_text("raise RuntimeError('no native library for this device')", encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    with pytest.raises(UserError, match=r"no step on this machine \(RuntimeError: no native library for this device\)"):
        check_run(run_config(training={"optimizer": "adamw_8bit"}))

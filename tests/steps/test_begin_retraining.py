import json

import pytest

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.evaluation.contest import Champion
from reward_finetuning.steps import begin_retraining as module
from reward_finetuning.steps.begin_retraining import begin_retraining


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "current.txt"
    path.write_text("a red circle\na blue square\na green cross\n", encoding="utf-8")
    return path


@pytest.fixture
def asked(run_config, prompts, mlflow_store):
    def make(**changes):
        settings = {"prompts": {"train": str(prompts)}, "promotion": {"improve_on": ["train"], "keep_on": []}}
        return run_config(**(settings | {"retraining": {}} | changes)).model_dump_json()

    return make


@pytest.fixture
def champion(monkeypatch):
    """Seats somebody."""

    class Seat:
        def __init__(self, epoch):
            self.epoch = epoch

        def holder(self):
            return Champion("version 1 of tiny", "/runs/tiny-abc", self.epoch, "report", "w"), None

    return lambda epoch: monkeypatch.setattr(module, "seat_of", lambda run: Seat(epoch))


def run_of(text):
    return RunConfig.model_validate_json(text)


def test_the_first_retraining_starts_from_the_pretrained_model_and_competes_for_the_series_model(asked):
    run = run_of(begin_retraining(asked()))

    assert run.warm_start is None
    assert run.retraining is None
    assert run.name.startswith("tiny-")
    assert run.registered_model == "tiny"


def test_the_same_prompts_and_settings_are_the_same_run_and_others_another(asked, prompts, capsys):
    first, again = begin_retraining(asked()), begin_retraining(asked())
    prompts.write_text("a red circle\na purple square\na green cross\n", encoding="utf-8")
    other_prompts, other_settings = begin_retraining(asked()), begin_retraining(asked(seed=5))

    assert first == again
    assert len({run_of(text).name for text in (first, other_prompts, other_settings)}) == 3
    said = capsys.readouterr().out.splitlines()
    assert "these prompts and settings are known since" not in said[0]
    assert "these prompts and settings are known since" in said[1]


def test_the_run_keeps_its_own_copy_of_the_prompts(asked, prompts):
    from reward_finetuning.prompts import read_prompts

    run = run_of(begin_retraining(asked()))
    prompts.write_text("something else\n", encoding="utf-8")

    assert [prompt.text for prompt in read_prompts(run.prompts.train).prompts] == [
        "a red circle",
        "a blue square",
        "a green cross",
    ]


def test_it_starts_from_the_champion_and_remembers_whom_when_another_follows(asked, champion):
    champion(3)
    run = run_of(begin_retraining(asked(retraining={"reference": "warm_start"})))
    champion(9)
    again = run_of(begin_retraining(asked(retraining={"reference": "warm_start"})))

    assert (run.warm_start.run_directory, run.warm_start.epoch) == ("/runs/tiny-abc", 3)
    assert run.warm_start.reference == "warm_start"
    assert again == run


def test_it_starts_from_the_pretrained_model_where_that_is_asked_for(asked, champion):
    champion(3)

    assert run_of(begin_retraining(asked(retraining={"start_from": "pretrained"}))).warm_start is None


def test_too_few_prompts_are_refused_before_anything_is_written(asked, prompts, tmp_path):
    prompts.write_text("a red circle\n", encoding="utf-8")

    with pytest.raises(UserError, match="prompts_per_epoch"):
        begin_retraining(asked())

    assert not (tmp_path / "runs" / "tiny").exists()


def test_an_ordinary_run_is_refused(run_config):
    with pytest.raises(UserError, match="needs a config with a retraining section"):
        begin_retraining(run_config().model_dump_json())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loop": {"granularity": "split"}}, "loop.granularity is fused or staged"),
        ({"tracking": {"enabled": False}}, "it needs tracking.enabled"),
        ({"warm_start": {"run_directory": "r", "epoch": 1}}, "remove warm_start, or retraining"),
        ({"promotion": {"improve_on": ["heldout"]}}, "promotion asks for prompt sets heldout"),
    ],
)
def test_a_series_that_cannot_work_is_refused(asked, changes, said):
    with pytest.raises(ValueError, match=said):
        asked(**changes)


def test_the_resolved_config_is_plain_json_that_the_other_steps_read(asked):
    assert RunConfig.model_validate(json.loads(begin_retraining(asked()))).model_dump_json()

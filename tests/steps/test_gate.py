import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.evaluation.objections import find_objections
from reward_finetuning.steps.evaluate import evaluate
from reward_finetuning.steps.gate import gate

PROMOTION = {"improve_on": ["train"], "keep_on": ["heldout"], "guard_margins": {"colourfulness": 0.02}}


def metrics(train=(0.01, 0.2), heldout=(-0.1, 0.1), guard=0.0):
    return {
        "eval/train/reward/gain_low": train[0],
        "eval/train/reward/gain_high": train[1],
        "eval/heldout/reward/gain_low": heldout[0],
        "eval/heldout/reward/gain_high": heldout[1],
        "eval/train/colourfulness/gain": guard,
        "eval/heldout/colourfulness/gain": 0.0,
    }


@pytest.fixture
def config(run_config):
    return run_config(
        promotion=PROMOTION,
        reward={"weights": {"shapes": 1.0, "colourfulness": 0.0}},
        evaluation={"prompt_sets": {"train": "shapes:train", "heldout": "shapes:heldout"}},
        loop={"granularity": "staged"},
    )


@pytest.mark.parametrize(
    ("found", "objection"),
    [
        (metrics(), None),
        (metrics(heldout=(-0.2, 0.0)), None),
        (metrics(guard=-0.02), None),
        (metrics(train=(-0.01, 0.2)), "gain on train may be as low as -0.01"),
        (metrics(heldout=(-0.3, -0.1)), "reward on heldout falls, by at least 0.1"),
        (metrics(guard=-0.03), "colourfulness on train changes by -0.03, and may fall by 0.02"),
        ({}, "gain on train has no interval"),
    ],
)
def test_what_speaks_against_a_promotion(config, found, objection):
    objections = list(find_objections(config, found))

    assert [bool(objections), True] == [objection is not None, all(objection in each for each in objections)]


def test_the_gate_needs_a_report_and_says_where_it_looked(tasks):
    one = tasks()
    one.epoch(one.begin())

    with pytest.raises(ArtifactError, match=r"epochs/0001/report-\w+ is absent: evaluate the policy first"):
        gate(one.config, one.path("policy"))


def test_the_pretrained_model_does_not_pass(tasks, capsys):
    one = tasks()
    one.begin()
    evaluate(one.config, one.path("policy"), one.path("report.html"))

    assert gate(one.config, one.path("policy")) is False
    assert "it is the pretrained model" in capsys.readouterr().out

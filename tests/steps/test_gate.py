import pytest

from reward_finetuning.config import ArtifactError, UserError
from reward_finetuning.evaluation.objections import find_objections
from reward_finetuning.report.comparison import Comparison, Row, as_metrics
from reward_finetuning.report.statistics.intervals import Interval
from reward_finetuning.steps.evaluate import evaluate
from reward_finetuning.steps.gate import gate
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.storage import RunDirectory

PROMOTION = {"improve_on": ["train"], "keep_on": ["heldout"], "guard_margins": {"colourfulness": 0.02}}


def metrics(train=(0.01, 0.2), heldout=(-0.1, 0.1), guard=0.0):
    return {
        "eval/train/reward/gain_low": train[0],
        "eval/train/reward/gain_high": train[1],
        "eval/heldout/reward/gain_low": heldout[0],
        "eval/heldout/reward/gain_high": heldout[1],
        "eval/train/colourfulness/gain": guard + 0.01,
        "eval/train/colourfulness/gain_low": guard,
        "eval/heldout/colourfulness/gain": 0.0,
        "eval/heldout/colourfulness/gain_low": 0.0,
    }


def without(*keys):
    return {key: value for key, value in metrics().items() if key not in keys}


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
        (metrics(guard=-0.03), "colourfulness on train changes by -0.02 (perhaps -0.03), and may fall by 0.02"),
        (without("eval/train/reward/gain_low"), "gain on train was not measured"),
        (without("eval/heldout/reward/gain_high"), "gain on heldout was not measured"),
        (without("eval/heldout/colourfulness/gain_low"), "colourfulness on heldout has no interval"),
        (
            without("eval/heldout/colourfulness/gain", "eval/heldout/colourfulness/gain_low"),
            "colourfulness on heldout was not measured",
        ),
    ],
)
def test_what_speaks_against_a_promotion(config, found, objection):
    objections = list(find_objections(config, found))

    assert [bool(objections), True] == [objection is not None, all(objection in each for each in objections)]


def test_nothing_measured_is_an_objection_for_each_condition(config):
    assert len(list(find_objections(config, {}))) == 4


def test_a_prompt_set_whose_name_mlflow_does_not_take_is_judged_too(run_config):
    config = run_config(
        promotion={"improve_on": ["train"], "keep_on": ["held/out set"]},
        evaluation={"prompt_sets": {"train": "shapes:train", "held/out set": "shapes:heldout"}},
    )
    fallen = as_metrics(comparison({"train": 0.5, "held/out set": -0.8}))

    assert list(find_objections(config, fallen)) == ["its reward on held/out set falls, by at least 0.8"]


def test_a_guard_that_is_the_combined_reward_is_judged_by_it(run_config):
    config = run_config(
        promotion={"improve_on": ["train"], "keep_on": ["heldout"], "guard_margins": {"shapes": 0.1}},
        reward={"weights": {"shapes": 1.0, "colourfulness": 0.0}},
        evaluation={"prompt_sets": {"train": "shapes:train", "heldout": "shapes:heldout"}},
    )
    small, large = (as_metrics(comparison({"train": 0.5, "heldout": fall})) for fall in (-0.05, -0.8))

    assert not [each for each in find_objections(config, small) if "shapes" in each]
    assert "shapes on heldout changes by -0.8 (perhaps -0.8), and may fall by 0.1" in find_objections(config, large)


def comparison(gains):
    """Prompt set -> how much every image's reward changes."""
    rows = [
        Row(prompt_set, None, "reward", 0.0, gain, Interval(gain, gain, gain, 20, 20, "prompts"), 1.0)
        for prompt_set, gain in gains.items()
    ]
    return Comparison("before", "after", tuple(rows), "")


@pytest.mark.slow
def test_the_gate_needs_a_report_and_says_where_it_looked(tasks):
    one = tasks()
    one.epoch(one.begin())

    with pytest.raises(ArtifactError, match=r"epochs/0001/report-\w+ is absent: evaluate the policy first"):
        gate(one.config, one.path("policy"))


@pytest.mark.slow
def test_the_pretrained_model_does_not_pass(tasks, capsys):
    one = tasks()
    one.begin()
    evaluate(one.config, one.path("policy"), one.path("report.html"))

    assert gate(one.config, one.path("policy")) is False
    assert "it is the pretrained model" in capsys.readouterr().out


def test_a_set_of_few_prompts_needs_a_stated_least_gain(run_config):
    few = run_config(promotion={"improve_on": ["train"], "keep_on": [], "min_gain": None})
    stated = run_config(promotion={"improve_on": ["train"], "keep_on": [], "min_gain": 0.05})

    assert [each for each in find_objections(few, metrics()) if "has 2 prompts, fewer than 20" in each]
    assert list(find_objections(stated, metrics(train=(0.06, 0.2)))) == []
    assert list(find_objections(stated, metrics(train=(0.04, 0.2)))) == [
        "its gain on train may be as low as +0.04, promotion.min_gain is 0.05"
    ]


def test_a_run_that_promotes_with_few_prompts_and_no_least_gain_is_refused_before_any_work(run_config):
    promotion = {"improve_on": ["train"], "keep_on": [], "min_gain": None}

    with pytest.raises(UserError, match=r"set promotion\.min_gain"):
        begin(RunDirectory(run_config(loop={"granularity": "staged"}, promotion=promotion)))

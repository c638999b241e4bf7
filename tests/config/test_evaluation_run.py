from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import (
    EvaluationRun,
    UserError,
    load_config,
    load_run_or_evaluation,
    parse_run_or_evaluation,
)


@pytest.fixture
def evaluation_file(tmp_path):
    def make(**tree):
        path = tmp_path / "evaluation.yaml"
        path.write_text(yaml.safe_dump({"name": "both", "policies": [{}, {"run": "runs/one"}], **tree}))
        return path

    return make


def test_a_file_with_policies_is_an_evaluation_and_travels_as_json(evaluation_file):
    found = load_run_or_evaluation(evaluation_file(), ["evaluation.images_per_prompt=64", "seed=3"])

    assert isinstance(found, EvaluationRun)
    assert (found.evaluation.images_per_prompt, found.seed) == (64, 3)
    assert parse_run_or_evaluation(found.model_dump_json()) == found


def test_what_wants_a_run_says_how_an_evaluation_is_run(evaluation_file):
    path = evaluation_file()

    with pytest.raises(UserError, match="is an evaluation of policies, not a run: rft evaluate"):
        load_config(path)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"policies": []}, "policies: tuple should have at least 1 item"),
        ({"policies": [{}]}, "no policy has a run, so nothing says which model: give the section model"),
        ({"policies": [{"epoch": 3}]}, "the pretrained model has no epochs, got epoch 3: give run"),
        ({"policies": [{"run": "runs/one", "epch": 3}]}, "unknown key 'policies.0.epch'; did you mean 'epoch'"),
        ({"policies": [{"run": "runs/one", "name": "../x"}]}, "policies.0.name"),
        ({"loop": {"epochs": 3}}, "unknown key 'loop'; known: name, run_root"),
        ({"evaluation": {"num_shard": 3}}, "unknown key 'evaluation.num_shard'; did you mean 'num_shards'"),
    ],
)
def test_what_cannot_be_evaluated_is_named(evaluation_file, tree, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        load_run_or_evaluation(evaluation_file(**tree))


def test_no_scorer_takes_the_name_of_a_measure(run_config):
    for name in ("diversity", "clip_diversity", "kl"):
        with pytest.raises(ValueError, match=f"no scorer can be called {name}"):
            run_config(reward={"weights": {"shapes": 1.0, name: 0.0}})


EVALUATIONS = Path(__file__).parents[2] / "pipelines" / "runs" / "evaluations"


@pytest.mark.parametrize("path", sorted(EVALUATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_evaluation_is_valid_and_named_after_its_file(path):
    assert load_run_or_evaluation(path).name == path.stem

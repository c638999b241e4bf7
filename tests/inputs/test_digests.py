import json

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.inputs import compiled_digests
from reward_finetuning.prompts import read_prompts
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.storage import RunDirectory


@pytest.fixture
def compiled(run_config, tmp_path):
    """A config whose prompts are a file of the test, and what a package compiled now would carry."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    config = run_config(prompts={"train": str(prompts)})
    return config, prompts, json.dumps(compiled_digests(config))


def begin(config, inputs, tmp_path):
    return next_epochs(config.model_dump_json(), str(tmp_path / "policy"), inputs=inputs).plan


@pytest.mark.slow
def test_a_run_begins_where_everything_is_as_it_was_compiled(compiled, tmp_path):
    config, _, inputs = compiled

    assert json.loads(inputs).keys() == {"model.digest", "model.index", "prompts.digest", "evaluation.train.digest"}
    assert '"first":1' in begin(config, inputs, tmp_path)


def test_a_prompt_set_that_changed_since_is_refused_with_both_digests_before_anything_is_written(compiled, tmp_path):
    config, prompts, inputs = compiled
    prompts.write_text("a green circle\na blue square\n")
    before, now = json.loads(inputs)["prompts.digest"], read_prompts(str(prompts)).digest

    with pytest.raises(UserError, match=rf"prompts.digest was {before}, is {now}. Compile and submit again"):
        begin(config, inputs, tmp_path)

    assert RunDirectory(config).describe() is None


def test_evaluation_prompts_that_changed_since_are_refused_too(compiled, tmp_path):
    config, _, inputs = compiled
    (tmp_path / "evaluation.txt").write_text("a yellow cross\n")

    with pytest.raises(UserError, match=r"changed since the package was compiled: evaluation.train.digest was "):
        begin(config, inputs, tmp_path)


@pytest.mark.slow
def test_empty_inputs_take_what_is_there(compiled, tmp_path):
    config, prompts, _ = compiled
    prompts.write_text("a green circle\na blue square\n")

    assert '"first":1' in begin(config, "", tmp_path)


def test_an_input_that_is_no_longer_there_is_said(compiled, tmp_path):
    config, _, _ = compiled

    with pytest.raises(UserError, match=r"reward.pickscore.digest was abc, is not there"):
        begin(config, '{"reward.pickscore.digest": "abc"}', tmp_path)


@pytest.mark.parametrize("text", ["x", "[]", '{"model.digest": 1}'])
def test_what_is_no_text_of_digests_is_named(compiled, tmp_path, text):
    with pytest.raises(UserError, match=r"inputs must be JSON text of name -> digest, as rft compile writes it"):
        begin(compiled[0], text, tmp_path)


def test_nobody_is_asked_and_no_plug_in_is_imported_to_know_digests(run_config):
    scorers = {"served": ScorerConfig(url="http://127.0.0.1:9"), "ours": ScorerConfig(use="no_such_module:score")}
    config = run_config().model_copy(
        update={"reward": RewardConfig(weights={"served": 1.0, "ours": 1.0}, scorers=scorers)}
    )

    assert compiled_digests(config).keys() == {
        "model.digest",
        "model.index",
        "prompts.digest",
        "evaluation.train.digest",
    }


def test_a_scorer_on_the_hub_is_known_by_its_commit(run_config):
    config = run_config(reward={"weights": {"shapes": 1.0, "pickscore": 1.0}})

    assert len(compiled_digests(config)["reward.pickscore.digest"]) == 64

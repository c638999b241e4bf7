"""The models of this package."""

import json

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_FLOW, BUILT_IN_MODELS
from reward_finetuning.policy.pretrained.source import check_model, locate
from reward_finetuning.shapes.flow import T5_TOKENS

FLOW = {"source": "shapes-flow", "t5": False, "max_sequence_length": T5_TOKENS}


@pytest.mark.parametrize("source", BUILT_IN_MODELS)
def test_a_folder_called_like_a_built_in_model_is_not_meant(source, tmp_path, monkeypatch):
    (tmp_path / source).mkdir()
    monkeypatch.chdir(tmp_path)

    assert locate(ModelConfig(source=source)) == BUILT_IN_MODELS[source]


def test_the_flow_model_is_accepted_as_it_was_pretrained():
    check_model(ModelConfig(**FLOW), SamplingConfig())


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"t5": True}, "got t5=True"),
        ({"max_sequence_length": None}, "got max_sequence_length=None"),
        ({"t5": True, "max_sequence_length": 256}, "got t5=True, max_sequence_length=256"),
    ],
)
def test_the_flow_model_is_refused_with_tokens_that_its_pretraining_did_not_have(changes, got):
    with pytest.raises(UserError, match=rf"needs model.t5=false and model.max_sequence_length=1, {got}$"):
        check_model(ModelConfig(**FLOW | changes), SamplingConfig())


def test_the_flow_model_has_at_most_6_mb_and_a_record_of_its_pretraining():
    files = [path for path in BUILT_IN_FLOW.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= 6e6
    assert json.loads((BUILT_IN_FLOW / "pretrained.json").read_text())["settings"]["family"] == "flow"

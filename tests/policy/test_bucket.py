"""Models in buckets."""

import pytest
import torch

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.pretrained.source import check_model, model_digest

SAMPLING = SamplingConfig(num_steps=3)


def test_a_model_in_a_bucket_is_the_one_on_disk(bucket):
    bucket.put_folder(BUILT_IN, "models/shapes")
    there = ModelConfig(source=f"{bucket.uri}/models/shapes")

    check_model(there, SAMPLING)
    digest = model_digest(there)
    loaded, here = (load_policy(model, SAMPLING, seed=0) for model in (there, ModelConfig()))

    assert digest == model_digest(ModelConfig())
    weights = here.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.network.state_dict().items())
    assert len(bucket.downloads()) == len(set(bucket.downloads())), "a file came twice"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prefix", "said"),
    [("elsewhere", "bucket/models/shapes does not exist"), ("models/shapes/unet", "no pipeline")],
)
def test_a_folder_that_is_no_model_is_named(bucket, prefix, said):
    bucket.put_folder(BUILT_IN / "unet", prefix)

    with pytest.raises(UserError, match=said):
        check_model(ModelConfig(source=f"{bucket.uri}/models/shapes"), SAMPLING)

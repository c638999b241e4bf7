"""Models that compute NaN or infinities: each is refused where that happens first, with its network and a remedy."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_finetuning.config import TrainingError
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.prompts import read_prompts, samples_of
from reward_finetuning.records import Stream

VAE, UNET = "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def draw(run_config, tmp_path):
    """Draw a micro-batch with the built-in model, one of its weights multiplied, in a type."""

    def call(file, key, factor, dtype="float32"):
        model = shutil.copytree(BUILT_IN, tmp_path / "model")
        tensors = load_file(model / file)
        key = key or next(iter(tensors))
        save_file(tensors | {key: tensors[key] * factor}, model / file)
        path = model / "vae" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"force_upcast": False}))
        config = run_config(model={"source": str(model), "dtype": dtype, "trainable": "lora"})
        policy = load_policy(config.model, config.sampling, seed=0)
        samples = samples_of(read_prompts("shapes:train").prompts[:2], 1)
        return draw_micro_batch(
            policy, samples, config.sampling, denoise_ref=None, seed=0, stream=Stream.TRAINING, epoch=1
        )

    return call


@pytest.mark.parametrize(
    ("file", "key", "factor", "message"),
    [
        (VAE, "decoder.conv_out.weight", float("inf"), r"decoded images are not finite: vae \(float32\) has weights"),
        (UNET, "", float("nan"), r"latents are not finite: unet \(float32\) has weights that are not finite, first "),
        (TEXT, "", float("nan"), r"text embeddings are not finite: text_encoder \(float32\) has weights"),
        (
            UNET,
            "conv_out.weight",
            1e38,
            "latents are not finite: unet overflows in float32, so its weights are too lar",
        ),
    ],
)
def test_what_a_network_computes_is_checked_where_it_is_born(draw, file, key, factor, message):
    with pytest.raises(TrainingError, match=message):
        draw(file, key, factor)


def test_a_vae_that_overflows_in_float16_makes_no_black_pictures(draw):
    with pytest.raises(TrainingError, match=r"vae overflows in float16; set model\.dtype to bfloat16 or float32"):
        draw(VAE, "decoder.conv_in.weight", 3e5, "float16")


def test_the_model_itself_is_finite(draw):
    trajectories, images = draw(VAE, "decoder.conv_out.weight", 1.0)

    assert torch.isfinite(trajectories.latents).all()
    assert len(images) == 2

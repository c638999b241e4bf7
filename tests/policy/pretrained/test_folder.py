import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.pipeline import load_pipeline
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.pretrained.source import check_model

SAMPLING = SamplingConfig(num_steps=3)
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN, tmp_path / "model")


def check(folder, **settings):
    check_model(ModelConfig(source=str(folder), **settings), SAMPLING)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_checker_in_the_index(folder):
    edit(
        folder / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )


@pytest.mark.parametrize("for_export", [False, True])
def test_a_safety_checker_that_was_not_downloaded_is_needed_by_nothing(folder, for_export):
    with_checker_in_the_index(folder)
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")  # a download that stopped

    check(folder)
    pipeline = load_pipeline(ModelConfig(source=str(folder)), safety_checker=for_export)

    assert pipeline.safety_checker is None
    assert pipeline.feature_extractor is None


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_part_without_weights_is_refused_before_any_work(folder, part):
    (folder / part / f"{WEIGHTS[part]}.safetensors").unlink()

    with pytest.raises(UserError, match=rf"has no (UNet|{part}) weights: fetch the whole model with rft fetch-weights"):
        check(folder)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("unet", {"in_channels": 9}, "its UNet takes 9 channels, its VAE makes 4: inpainting and editing models"),
        ("vae", {"latent_channels": 16}, "its UNet takes 4 channels, its VAE makes 16"),
        ("unet", {"time_cond_proj_dim": 256}, "is distilled to take guidance as an input"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_before_any_work(folder, part, change, message):
    edit(folder / part / "config.json", **change)

    with pytest.raises(UserError, match=message):
        check(folder)


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_part_without_config_is_refused_before_any_work(folder, part):
    (folder / part / "config.json").unlink()

    with pytest.raises(UserError, match=rf"is no whole pipeline: {part}/config.json missing"):
        check(folder)


def test_weights_of_one_variant_alone_say_which_to_set(folder):
    for part, stem in WEIGHTS.items():
        (folder / part / f"{stem}.safetensors").rename(folder / part / f"{stem}.fp16.safetensors")

    with pytest.raises(UserError, match=r"has weights of the variant fp16 alone: set model.variant: fp16"):
        check(folder)
    check(folder, variant="fp16")
    with pytest.raises(UserError, match=r"model.variant 'bf16': no part of .* has weights of that variant"):
        check(folder, variant="bf16")
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").rename(
        folder / "vae" / "diffusion_pytorch_model.safetensors"
    )
    check(folder, variant="fp16")  # diffusers takes the plain file of a part without that variant
    load_pipeline(ModelConfig(source=str(folder), variant="fp16"))


@pytest.mark.slow
def test_a_pickle_in_a_model_folder_is_refused_and_the_conversion_in_the_message_works(folder):
    import torch
    from safetensors.torch import load_file

    for part, stem in WEIGHTS.items():
        file = folder / part / f"{stem}.safetensors"
        torch.save(load_file(file), folder / part / ("pytorch_model.bin" if stem == "model" else f"{stem}.bin"))
        file.unlink()

    with pytest.raises(UserError, match=r"as a pickle, which can run code") as caught:
        check(folder)
    with pytest.raises(UserError, match=r"cannot be loaded"):
        load_pipeline(ModelConfig(source=str(folder)))
    command = re.search(r'python3 (-c ".*"),', str(caught.value))[1]
    subprocess.run([sys.executable, *shlex.split(command)], check=True, capture_output=True)
    check(f"{folder}-safetensors")
    load_pipeline(ModelConfig(source=f"{folder}-safetensors"))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "", '{"a": ' + "9" * 5000 + "}", '{"a": 1, "a": 2}', "x" * 2**21], ids=len
)
@pytest.mark.parametrize("file", ["model_index.json", "scheduler/scheduler_config.json"])
def test_a_hostile_config_of_a_model_is_one_error(folder, file, text):
    (folder / file).write_text(text)

    with pytest.raises(UserError, match=rf"{file} (is missing or no JSON|must hold)") as caught:
        check(folder)

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"beta_start": "x"},
        {"beta_end": None},
        {"beta_schedule": []},
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": "1000"},
        {"prediction_type": {}},
        {"trained_betas": [0.1]},
    ],
    ids=str,
)
def test_a_scheduler_config_of_wrong_types_is_one_error(folder, change):
    edit(folder / "scheduler" / "scheduler_config.json", **change)

    with pytest.raises(UserError, match="the model's scheduler"):
        check(folder)

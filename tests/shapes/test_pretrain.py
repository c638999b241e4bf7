import json

import numpy as np
import pytest
import torch

from reward_finetuning.shapes import pretrain, prompt_sets
from reward_finetuning.shapes.judge import judge
from reward_finetuning.shapes.measure import sample_pictures
from reward_finetuning.shapes.scene import WORDS, describe
from reward_finetuning.shapes.text_encoder import MAX_LENGTH, tokenize
from reward_finetuning.shapes.unet import build_scheduler
from reward_finetuning.shapes.vae import encode

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def shipped():
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(pretrain.WEIGHTS)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_shipped_folder_weighs_at_most_8_megabytes():
    assert sum(file.stat().st_size for file in pretrain.WEIGHTS.rglob("*") if file.is_file()) <= 8e6


def test_the_shipped_weights_are_float32_safetensors():
    assert not [file.name for file in pretrain.WEIGHTS.rglob("*") if file.suffix in {".bin", ".pt", ".ckpt"}]


def test_the_shipped_pipeline_is_float32_and_has_no_safety_checker(shipped):
    parameters = [p for part in (shipped.unet, shipped.vae, shipped.text_encoder) for p in part.parameters()]

    assert {p.dtype for p in parameters} == {torch.float32}
    assert all(p.isfinite().all() for p in parameters)
    assert shipped.safety_checker is None
    assert shipped.feature_extractor is None


def test_latents_are_4_by_8_by_8(shipped):
    assert (shipped.unet.config.in_channels, shipped.unet.config.sample_size) == (4, 8)
    assert shipped.vae_scale_factor == 4


def test_the_tokenizer_knows_every_word_as_one_token(shipped):
    for word in WORDS:
        begin, token, end = shipped.tokenizer(word).input_ids

        assert (begin, end) == (shipped.tokenizer.bos_token_id, shipped.tokenizer.eos_token_id)
        assert token not in {begin, end, shipped.tokenizer.unk_token_id}
        assert shipped.tokenizer.decode([token]).strip() == word


def test_every_prompt_of_the_world_fits_without_truncation(shipped):
    prompts = [describe(scene) for scene in prompt_sets.world()]

    lengths = [len(ids) for ids in shipped.tokenizer(prompts).input_ids]

    assert max(lengths) <= MAX_LENGTH == shipped.tokenizer.model_max_length
    assert len({tuple(row) for row in tokenize(shipped.tokenizer, prompts).tolist()}) == len(prompts)


def test_the_scheduler_keeps_stable_diffusions_convention(shipped):
    config = shipped.scheduler.config

    assert isinstance(shipped.scheduler, diffusers.DDIMScheduler)
    assert (config.beta_schedule, config.beta_start, config.beta_end) == ("scaled_linear", 0.00085, 0.012)
    assert (config.num_train_timesteps, config.steps_offset) == (1000, 1)
    assert (config.set_alpha_to_one, config.clip_sample, config.prediction_type) == (False, False, "epsilon")


def test_the_last_denoising_step_keeps_a_real_variance():
    scheduler = build_scheduler()
    scheduler.set_timesteps(10)

    assert scheduler.timesteps[-1] == 1
    assert scheduler._get_variance(1, -99).sqrt() == pytest.approx(0.0207, abs=1e-4)


def test_encoded_pictures_have_unit_standard_deviation(shipped):
    pictures, _ = pretrain.draw(256, np.random.default_rng(5))

    latents = encode(shipped.vae, pictures)

    assert latents.std() == pytest.approx(1, abs=0.05)


def test_the_vae_draws_back_what_it_encodes(shipped):
    pictures, scenes = pretrain.draw(256, np.random.default_rng(6))
    with torch.no_grad():
        decoded = shipped.vae.decode(encode(shipped.vae, pictures) / shipped.vae.config.scaling_factor).sample
    images = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    scores = judge(images, [describe(scene) for scene in scenes])

    assert np.mean([score.exact for score in scores]) > 0.95


def measured(pipeline):
    """Mean reward of two pictures of each training prompt."""
    prompts = [describe(scene) for scene in prompt_sets.train()] * 2
    pictures = sample_pictures(pipeline, prompts, generator=torch.Generator().manual_seed(1))
    return np.mean([score.reward for score in judge(pictures, prompts)])


@pytest.mark.slow
def test_the_shipped_model_draws_as_well_as_its_record_says_good_but_not_perfect(shipped):
    record = json.loads((pretrain.WEIGHTS / pretrain.RECORD).read_text())

    reward = measured(shipped)

    assert 0.55 <= record["measured"]["train"]["reward"] <= 0.75
    assert reward == pytest.approx(record["measured"]["train"]["reward"], abs=0.12)


@pytest.mark.slow
def test_the_shipped_flow_model_draws_as_well_as_its_record_says():
    without_t5 = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(pretrain.FLOW_WEIGHTS, **without_t5)
    pipeline.set_progress_bar_config(disable=True)
    record = json.loads((pretrain.FLOW_WEIGHTS / pretrain.RECORD).read_text())

    reward = measured(pipeline)

    assert 0.4 <= record["measured"]["train"]["reward"] <= 0.65
    assert reward == pytest.approx(record["measured"]["train"]["reward"], abs=0.12)
    options = pretrain.parser().parse_args(record["command"].split("pretrain ", 1)[1].split())
    assert options == pretrain.parser().parse_args(["--output", "DIR", "--family", "flow"])


def test_the_record_says_how_to_train_the_shipped_weights_again():
    record = json.loads((pretrain.WEIGHTS / pretrain.RECORD).read_text())

    options = pretrain.parser().parse_args(record["command"].split("pretrain ", 1)[1].split())

    assert options == pretrain.parser().parse_args(["--output", "DIR"])
    assert (options.denoiser_steps, options.vae_steps) == (
        record["settings"]["unet_steps"],
        record["settings"]["vae_steps"],
    )


@pytest.mark.slow
def test_a_tiny_budget_trains_a_flow_model_on_the_latents_of_the_shipped_vae(tmp_path):
    budget = "--pictures 200 --denoiser-steps 30 --denoiser-batch-size 16 --images-per-prompt 1"

    pretrain.main(["--family", "flow", "--output", str(tmp_path), *budget.split()])

    without_t5 = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(tmp_path, **without_t5)
    pictures = sample_pictures(pipeline, ["a red circle"] * 2, generator=torch.Generator().manual_seed(0))
    (_, loss) = json.loads((tmp_path / pretrain.RECORD).read_text())["curves"]["heldout_loss"][-1]
    assert pictures.shape == (2, 32, 32, 3)
    assert json.loads((tmp_path / "vae" / "config.json").read_text())["_name_or_path"] == ""  # no path of this machine
    assert loss < 1.6  # latents and noise have variance 1, so the loss of no velocity is 2


@pytest.mark.slow
def test_a_tiny_budget_trains_end_to_end_and_saves_a_pipeline_that_draws(tmp_path):
    budget = "--pictures 200 --vae-steps 5 --vae-batch-size 8 --unet-steps 5 --unet-batch-size 8 --images-per-prompt 1"

    pretrain.main(["--seed", "3", "--output", str(tmp_path), *budget.split()])

    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path)
    pictures = sample_pictures(pipeline, ["a red circle"] * 2, generator=torch.Generator().manual_seed(0))
    record = json.loads((tmp_path / pretrain.RECORD).read_text())
    assert pictures.shape == (2, 32, 32, 3)
    assert record["settings"]["seed"] == 3
    assert [step for step, _ in record["curves"]["heldout_loss"]] == [5]

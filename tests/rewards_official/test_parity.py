"""Our scorers against the official packages, on the same weights and pictures."""

import numpy as np
import pytest

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import verification
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.models import aesthetic
from reward_finetuning.rewards.models.fetching import fetch
from reward_finetuning.rewards.networks.preprocessing import blip_crop, hps_pad

TOLERANCE = 1e-5


@pytest.mark.parametrize("scorer", verification.VERIFIABLE)
def test_scores_agree_with_the_official_package(scorer, weights, pictures, official_python):
    settings = ScorerConfig(source=str(weights / scorer))

    comparison = verification.compare(scorer, settings, *pictures, official_python)

    print(comparison.table())
    assert comparison.largest_difference <= TOLERANCE
    assert np.ptp(comparison.official) > 100 * TOLERANCE


@pytest.mark.parametrize("scorer", ["hpsv2", "image_reward"])
def test_converted_weights_score_the_same_in_both(scorer, weights, pictures, official_python, tmp_path):
    images, prompts = pictures[0][:2], pictures[1][:2]
    for file in weights.joinpath(scorer).iterdir():
        (tmp_path / file.name).symlink_to(file)
    before = verification.compare(scorer, ScorerConfig(source=str(weights / scorer)), images, prompts, official_python)
    fetch(MODELS[scorer], tmp_path, from_hub=False, report=print)
    (tmp_path / MODELS[scorer].files["weights"].name).unlink()

    after = verification.compare(scorer, ScorerConfig(source=str(tmp_path)), images, prompts, official_python)

    np.testing.assert_array_equal(after.ours, before.ours)
    np.testing.assert_array_equal(after.official, before.official)


@pytest.mark.parametrize(("name", "preprocess"), [("image_reward", blip_crop), ("hpsv2", hps_pad)])
def test_pixels_are_bit_equal_to_the_packages_own(name, preprocess, pictures, run_official, tmp_path):
    images = pictures[0]
    for number, image in enumerate(images):
        np.save(tmp_path / f"{number:04d}.npy", image)

    run_official("tests/rewards_official/official_pixels.py", tmp_path)

    for number, image in enumerate(images):
        official = np.load(tmp_path / f"{number:04d}.{name}.npy")
        assert np.array_equal(preprocess(image, 224).numpy(), official), image.shape


def test_aesthetic_agrees_with_an_independent_head_on_transformers_own_features(weights, pictures):
    import torch
    from safetensors.torch import load_file
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images, prompts = pictures
    head = load_file(weights / "aesthetic" / "aesthetic-model.safetensors")
    model = CLIPModel.from_pretrained(weights / "aesthetic").eval()
    scorer = aesthetic.load(ScorerConfig(source=str(weights / "aesthetic"), device="cpu"))

    for image, prompt in zip(images, prompts, strict=True):
        with torch.no_grad():
            pixels = CLIPImageProcessorPil()(image, return_tensors="pt").pixel_values
            x = model.get_image_features(pixel_values=pixels).pooler_output[0].double().numpy()
        x = x / np.linalg.norm(x)
        for layer in (0, 2, 4, 6, 7):
            x = head[f"layers.{layer}.weight"].double().numpy() @ x + head[f"layers.{layer}.bias"].double().numpy()

        score = scorer(image[None], [prompt])

        assert abs(score[0] - x[0]) <= TOLERANCE

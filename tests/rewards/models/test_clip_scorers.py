"""PickScore, HPSv2, CLIP score and the aesthetic predictor on small random weights."""

import copy
import html
import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.models import aesthetic, clip_score, hpsv2, hpsv2_1, pickscore
from reward_finetuning.rewards.networks import batching
from reward_finetuning.rewards.networks.preprocessing import clip_crop, hps_pad
from reward_finetuning.rewards.protocol import ImageFeatures


def settings(folder, **changes):
    return ScorerConfig(source=str(folder), device="cpu", **changes)


def cosines(model, pixels, prompts, tokenizer):
    """The definition: both features through the whole model, one pair at a time."""
    scores = []
    for image, prompt in zip(pixels, prompts, strict=True):
        tokens = tokenizer(prompt, truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            output = model(input_ids=tokens.input_ids, pixel_values=image[None])
        a, b = output.image_embeds[0].double(), output.text_embeds[0].double()
        scores.append(float(a @ b / a.norm() / b.norm()))
    return np.array(scores)


@pytest.fixture
def tokenizer(clip_files):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(clip_files)


@pytest.fixture(scope="module")
def pickscore_scorer(clip_files):
    return pickscore.load(settings(clip_files))


@pytest.fixture(scope="module")
def aesthetic_files(tmp_path_factory, clip_files):
    folder = tmp_path_factory.mktemp("aesthetic") / "weights"
    shutil.copytree(clip_files, folder)
    torch.manual_seed(1)
    sizes = {0: (1024, 16), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    head = {f"layers.{n}.weight": torch.randn(size) / math.sqrt(size[1]) for n, size in sizes.items()}
    head |= {f"layers.{n}.bias": torch.randn(size[0]) for n, size in sizes.items()}
    save_file(head, folder / "aesthetic-model.safetensors")
    return folder, head


@pytest.mark.slow
def test_pickscore_is_the_cosine_that_transformers_own_processor_and_model_give(
    pickscore_scorer, clip_model, tokenizer, pictures
):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images, prompts = pictures
    pixels = CLIPImageProcessorPil()(list(images), return_tensors="pt").pixel_values

    scores = pickscore_scorer(images, prompts)

    np.testing.assert_allclose(scores, cosines(clip_model, pixels, prompts, tokenizer), atol=1e-6)
    assert len(set(scores.round(4))) == len(images)


def test_clip_score_is_the_cosine_whatever_the_logit_scale(clip_files, clip_model, tokenizer, pictures, tmp_path):
    from safetensors.torch import load_file

    folder = shutil.copytree(clip_files, tmp_path / "clip")
    state = load_file(folder / "model.safetensors") | {"logit_scale": torch.tensor(math.log(14))}
    save_file(state, folder / "model.safetensors")
    images, prompts = pictures
    pixels = torch.stack([clip_crop(image, 224) for image in images])

    scores = clip_score.load(settings(folder))(images, prompts)

    np.testing.assert_allclose(scores, cosines(clip_model, pixels, prompts, tokenizer), atol=1e-6)


@pytest.mark.parametrize("module", [hpsv2, hpsv2_1])
def test_hpsv2_reads_open_clips_float16_checkpoint_and_pads_instead_of_cropping(
    module, hpsv2_files, clip_model, tokenizer, pictures, tmp_path
):
    folder = shutil.copytree(hpsv2_files, tmp_path / "weights")
    (folder / "HPS_v2_compressed.pt").rename(folder / module.MODEL.files["weights"].name)
    images, prompts = pictures
    pixels = torch.stack([hps_pad(image, 224) for image in images])
    rounded = copy.deepcopy(clip_model).half().float()

    scores = module.load(settings(folder))(images, prompts)

    np.testing.assert_allclose(scores, cosines(rounded, pixels, prompts, tokenizer), atol=1e-6)


def test_hpsv2_resolves_html_entities_as_open_clip_does_before_tokenizing(hpsv2_files, pictures):
    scorer = hpsv2.load(settings(hpsv2_files))
    images = pictures[0][:2]

    scores = scorer(np.stack([images[0], images[0]]), [html.escape("a dog & a cat"), "a dog & a cat"])

    assert scores[0] == scores[1]


def test_aesthetic_is_an_affine_map_of_the_unit_image_feature(aesthetic_files, clip_model, pictures):
    folder, head = aesthetic_files
    images, prompts = pictures
    pixels = torch.stack([clip_crop(image, 224) for image in images])
    with torch.no_grad():
        features = clip_model.get_image_features(pixel_values=pixels).pooler_output.double().numpy()
    matrix, offset = np.eye(16), np.zeros(16)
    for n in (0, 2, 4, 6, 7):  # no activations: five layers are one map
        weight = head[f"layers.{n}.weight"].double().numpy()
        matrix, offset = weight @ matrix, weight @ offset + head[f"layers.{n}.bias"].double().numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True) @ matrix.T + offset

    scores = aesthetic.load(settings(folder))(images, prompts)

    np.testing.assert_allclose(scores, expected[:, 0], atol=1e-5)


def test_aesthetic_does_not_look_at_the_prompt(aesthetic_files, pictures):
    scorer = aesthetic.load(settings(aesthetic_files[0]))
    images, prompts = pictures

    assert np.array_equal(scorer(images, prompts), scorer(images, ["something else"] * len(images)))


def test_both_kinds_of_clip_scorers_give_the_models_unit_image_features(
    pickscore_scorer, aesthetic_files, clip_model, pictures, monkeypatch
):
    images, _ = pictures
    pixels = torch.stack([clip_crop(image, 224) for image in images])
    with torch.no_grad():
        features = clip_model.get_image_features(pixel_values=pixels).pooler_output
    expected = features / features.norm(dim=-1, keepdim=True)
    monkeypatch.setattr(batching, "MICRO_BATCH", 3)

    for scorer in (pickscore_scorer, aesthetic.load(settings(aesthetic_files[0]))):
        assert isinstance(scorer, ImageFeatures)
        np.testing.assert_allclose(scorer.image_features(images), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_a_picture_scores_the_same_in_a_call_of_any_size(pickscore_scorer, pictures, size):
    images, prompts = pictures
    whole = pickscore_scorer(images, prompts)

    scores = pickscore_scorer(images[:size], prompts[:size])

    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, whole[:size], atol=1e-6)


def test_no_more_pictures_are_in_the_network_than_a_micro_batch_holds(pickscore_scorer, pictures, monkeypatch):
    images, prompts = pictures
    whole = pickscore_scorer(images, prompts)
    sizes = []
    network = pickscore_scorer._network
    hook = network.vision_model.register_forward_pre_hook(
        lambda _module, _arguments, options: sizes.append(len(options["pixel_values"])), with_kwargs=True
    )
    monkeypatch.setattr(batching, "MICRO_BATCH", 3)

    scores = pickscore_scorer(images, prompts)

    hook.remove()
    assert sizes == [3, 3, 1]
    np.testing.assert_allclose(scores, whole, atol=1e-6)


def test_a_prompt_is_encoded_once_however_often_it_comes(clip_files, pictures):
    scorer = pickscore.load(settings(clip_files))
    images, prompts = pictures
    calls = []
    scorer._network.text_model.register_forward_hook(lambda *_: calls.append(1))

    scorer(images, prompts)
    scorer(images[::-1], prompts[::-1])

    assert len(calls) == len(set(prompts))


def test_a_network_in_bfloat16_scores_nearly_the_same_with_features_compared_in_float32(
    clip_files, pickscore_scorer, pictures
):
    images, prompts = pictures

    scores = pickscore.load(settings(clip_files, dtype="bfloat16"))(images, prompts)

    exact = pickscore_scorer(images, prompts)
    assert 0 < np.abs(scores - exact).max() < 0.03
    assert (torch.tensor(scores).bfloat16().double().numpy() != scores).any()


def test_weights_with_an_untrained_logit_scale_are_refused(clip_files, tmp_path):
    from safetensors.torch import load_file

    folder = shutil.copytree(clip_files, tmp_path / "clip")
    state = load_file(folder / "model.safetensors") | {"logit_scale": torch.tensor(math.log(1 / 0.07))}
    save_file(state, folder / "model.safetensors")

    with pytest.raises(UserError, match=r"model.safetensors: exp\(logit_scale\) is 14.29, .* about 100"):
        pickscore.load(settings(folder))


def test_a_config_of_another_model_is_refused(clip_files, tmp_path):
    folder = shutil.copytree(clip_files, tmp_path / "clip")
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip"}))

    with pytest.raises(UserError, match=r"config.json describes a siglip; this scorer needs a CLIP model"):
        pickscore.load(settings(folder))


def test_a_config_of_another_size_than_the_weights_is_refused(clip_files, tmp_path):
    folder = shutil.copytree(clip_files, tmp_path / "clip")
    tree = json.loads((folder / "config.json").read_text())
    tree["text_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(tree))

    with pytest.raises(UserError, match=r"16 missing \(text_model.encoder.layers.2.layer_norm1.bias, "):
        pickscore.load(settings(folder))


def test_pictures_of_the_wrong_form_are_refused(pickscore_scorer, pictures):
    images, prompts = pictures

    with pytest.raises(ValueError, match=r"\[B=7, H, W, 3\] uint8, one per prompt, got \[7, 96, 130, 3\] float32"):
        pickscore_scorer(images.astype(np.float32), prompts)

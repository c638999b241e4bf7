"""Weights become a folder of safetensors once."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.models import image_reward
from reward_finetuning.rewards.models.fetching import fetch

MODEL = MODELS["image_reward"]


def test_a_pickle_is_converted_once_and_scores_the_same(image_reward_files, pictures, tmp_path):
    folder = shutil.copytree(image_reward_files, tmp_path / "weights")
    told = []
    fetch(MODEL, folder, from_hub=False, report=told.append)
    converted = (folder / "ImageReward.safetensors").stat()
    (folder / "ImageReward.pt").unlink()

    fetch(MODEL, folder, from_hub=False, report=told.append)

    assert (folder / "ImageReward.safetensors").stat() == converted
    assert len([line for line in told if line.endswith("ImageReward.safetensors exists")]) == 1
    scores = [image_reward.load(ScorerConfig(source=str(each)))(*pictures) for each in (folder, image_reward_files)]
    # Last bits may depend on where in its file a tensor begins: on some processors, sums depend on memory alignment.
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_what_the_state_dict_was_nested_in_is_left_behind(hpsv2_files, tmp_path):
    folder = shutil.copytree(hpsv2_files, tmp_path / "weights")

    fetch(MODELS["hpsv2"], folder, from_hub=False, report=print)

    nested = torch.load(folder / "HPS_v2_compressed.pt", weights_only=True)["state_dict"]
    converted = load_file(folder / "HPS_v2_compressed.safetensors")
    assert converted.keys() == nested.keys()
    assert all(torch.equal(converted[name], nested[name]) for name in nested)


def test_a_missing_file_is_named(image_reward_files, tmp_path):
    shutil.copy(image_reward_files / "ImageReward.pt", tmp_path)

    with pytest.raises(
        UserError,
        match=r"lacks vocab.txt, the vocabulary of image_reward: copy it to this folder, or download it",
    ):
        fetch(MODEL, tmp_path, from_hub=False, report=print)


def test_a_truncated_pickle_leaves_nothing_behind(image_reward_files, tmp_path):
    folder = shutil.copytree(image_reward_files, tmp_path / "weights")
    path = folder / "ImageReward.pt"
    path.write_bytes(path.read_bytes()[:100_000])

    with pytest.raises(UserError, match=r"ImageReward.pt .*truncated"):
        fetch(MODEL, folder, from_hub=False, report=print)

    assert sorted(each.name for each in folder.iterdir()) == ["ImageReward.pt", "config.json", "vocab.txt"]


def test_a_head_with_another_checksum_than_published_is_refused(tmp_path):
    for file in MODELS["aesthetic"].files.values():
        (tmp_path / file.name).write_text("x")
    torch.save({"layers.0.weight": torch.zeros(1)}, tmp_path / "aesthetic-model.pth")

    with pytest.raises(UserError, match=r"aesthetic-model.pth has sha256 \w+, the published file has 21dd590f3ccd"):
        fetch(MODELS["aesthetic"], tmp_path, from_hub=False, report=print)

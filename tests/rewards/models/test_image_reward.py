"""ImageReward on small random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.models import image_reward
from reward_finetuning.rewards.networks.preprocessing import blip_crop


@pytest.fixture(scope="module")
def scorer(image_reward_files):
    return image_reward.load(ScorerConfig(source=str(image_reward_files), device="cpu"))


class Reference:
    """BLIP's ViT and BERT with cross-attention, from the papers, over the checkpoint's own names, a pair at a time."""

    def __init__(self, state):
        self.state = {name: value.double() for name, value in state.items()}

    def reward(self, pixels, ids):
        x = self.see(pixels.double())
        raw = self.read(torch.tensor(ids), x)[0]
        for number in (0, 2, 4, 6, 7):
            raw = self.linear(raw, f"mlp.layers.{number}")
        return (float(raw) - 0.16717362830052426) / 1.0333394966054072

    def see(self, pixels):
        v = "blip.visual_encoder."
        patches = functional.conv2d(pixels[None], self.state[f"{v}patch_embed.proj.weight"], stride=16)[0].flatten(1).T
        patches = patches + self.state[f"{v}patch_embed.proj.bias"]
        x = torch.cat([self.state[f"{v}cls_token"][0], patches]) + self.state[f"{v}pos_embed"][0]
        for i in range(2):
            block = f"{v}blocks.{i}."
            q, k, values = self.linear(self.norm(x, f"{block}norm1", 1e-6), f"{block}attn.qkv").chunk(3, dim=-1)
            x = x + self.linear(attend(q, k, values, heads=4), f"{block}attn.proj")
            y = functional.gelu(self.linear(self.norm(x, f"{block}norm2", 1e-6), f"{block}mlp.fc1"))
            x = x + self.linear(y, f"{block}mlp.fc2")
        return self.norm(x, f"{v}norm", 1e-6)

    def read(self, ids, seen):
        t = "blip.text_encoder."
        words = self.state[f"{t}embeddings.word_embeddings.weight"][ids]
        x = words + self.state[f"{t}embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x, f"{t}embeddings.LayerNorm")
        for i in range(2):
            layer = f"{t}encoder.layer.{i}."
            for name, other in (("attention", None), ("crossattention", seen)):
                to = x if other is None else other
                q = self.linear(x, f"{layer}{name}.self.query")
                k, values = self.linear(to, f"{layer}{name}.self.key"), self.linear(to, f"{layer}{name}.self.value")
                y = self.linear(attend(q, k, values, heads=3), f"{layer}{name}.output.dense")
                x = self.norm(x + y, f"{layer}{name}.output.LayerNorm")
            y = functional.gelu(self.linear(x, f"{layer}intermediate.dense"))
            x = self.norm(x + self.linear(y, f"{layer}output.dense"), f"{layer}output.LayerNorm")
        return x

    def linear(self, x, name):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, x, name, eps=1e-12):
        return functional.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps)


def attend(q, k, values, heads):
    q, k, values = (each.unflatten(-1, (heads, -1)).transpose(0, 1) for each in (q, k, values))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ values).transpose(0, 1).flatten(1)


def test_rewards_agree_with_blip_written_out_in_float64(scorer, image_reward_files, pictures):
    reference = Reference(torch.load(image_reward_files / "ImageReward.pt", weights_only=True))
    vocabulary = {token: n for n, token in enumerate((image_reward_files / "vocab.txt").read_text().splitlines())}
    images = pictures[0][:3]
    words = [["dog"], ["red", "cat"], ["cat"] * 60]
    ids = [[vocabulary[token] for token in ("[CLS]", *each[:33], "[SEP]")] for each in words]
    expected = [reference.reward(blip_crop(image, 224), each) for image, each in zip(images, ids, strict=True)]

    scores = scorer(images, [" ".join(each) for each in words])

    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(scores) > 0.01


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_pair_scores_the_same_in_a_call_of_any_size(scorer, pictures, size):
    images, prompts = pictures
    whole = scorer(images, prompts)

    scores = scorer(images[:size], prompts[:size])

    np.testing.assert_allclose(scores, whole[:size], atol=1e-5)


def test_the_reward_depends_on_the_prompt(scorer, pictures):
    images = pictures[0][:1]

    assert scorer(images, ["a dog"]) != scorer(images, ["a cat"])


def test_another_depth_than_the_config_says_is_refused(image_reward_files, tmp_path):
    folder = shutil.copytree(image_reward_files, tmp_path / "weights")
    tree = json.loads((folder / "config.json").read_text())
    tree["vision_config"]["num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(tree))

    with pytest.raises(
        UserError, match=r"ImageReward.pt does not contain the weights .* 12 unexpected \(vision.encoder.layers.1"
    ):
        image_reward.load(ScorerConfig(source=str(folder)))


def test_small_weights_without_a_config_are_refused_for_the_published_architecture(image_reward_files, tmp_path):
    folder = shutil.copytree(image_reward_files, tmp_path / "weights")
    (folder / "config.json").unlink()

    with pytest.raises(UserError, match=r"of another shape \(.*should be \["):
        image_reward.load(ScorerConfig(source=str(folder)))


def test_a_config_without_both_towers_is_refused(image_reward_files, tmp_path):
    folder = shutil.copytree(image_reward_files, tmp_path / "weights")
    (folder / "config.json").write_text('{"text_config": {}}')

    with pytest.raises(UserError, match=r"config.json must contain vision_config and text_config of BLIP"):
        image_reward.load(ScorerConfig(source=str(folder)))

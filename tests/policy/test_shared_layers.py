"""Both branches of guidance evaluate the layers before the first cross-attention once, and nothing else changes."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.testing import assert_close

from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import Policy, load_policy
from reward_finetuning.policy.shared_layers import prompt_free_layers

SCALE = 3.0
PROMPTS = ["a red circle", "two blue squares", "a green cross"]
WITH_SHARED_LAYERS = ("built-in", "sd1", "sd2")
ATTENTION = "down_blocks.0.attentions.0"
LORA = {"trainable": "lora", "lora": LoraConfig(rank=2, alpha=4)}


@pytest.fixture
def load(family_folder):
    def load(family, **model):
        source = {} if family == "built-in" else {"source": str(family_folder(family))}
        sampling = SamplingConfig(num_steps=3, guidance_scale=SCALE, micro_batch_size=2)
        policy = load_policy(ModelConfig(device="cpu", **source, **model), sampling, seed=0)
        with torch.no_grad():
            for weight in policy.trainable().values():
                weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        return policy

    return load


def in_float64(policy):
    policy.network.double()
    return policy


def inputs(policy, dtype=torch.float32):
    x = torch.randn(len(PROMPTS), *policy.latent_shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x, torch.tensor([801, 401, 1]), policy.encode(PROMPTS)


def as_float64(prompts):
    pooled = None if prompts.pooled is None else prompts.pooled.double()
    return type(prompts)(prompts.embeddings.double(), pooled)


def gradient(policy, output):
    output.square().mean().backward()
    gradients = {name: weight.grad.clone() for name, weight in policy.trainable().items()}
    policy.network.zero_grad()
    return gradients


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("family", [*WITH_SHARED_LAYERS, "sdxl"])
def test_output_and_gradient_are_those_of_two_branches_evaluated_one_by_one(load, family, trainable):
    policy = in_float64(load(family, **trainable))
    x, t, prompts = inputs(policy, torch.float64)
    prompts = as_float64(prompts)
    alone = policy.unguided_denoiser()
    empty = as_float64(policy._encoder.unconditional())[torch.zeros(len(x), dtype=torch.int64)]

    guided = policy.denoiser()
    guided._unconditional = as_float64(guided._unconditional)
    together = guided(x, t, prompts)
    uncond, cond = alone(x, t, empty), alone(x, t, prompts)
    apart = uncond + SCALE * (cond - uncond)

    assert_close(together, apart, rtol=1e-11, atol=1e-12)
    assert not torch.allclose(uncond, cond, atol=1e-6)  # else a network without text would pass
    assert_close(gradient(policy, together), gradient(policy, apart), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("family", WITH_SHARED_LAYERS)
def test_layers_before_the_first_cross_attention_see_each_latent_once_and_the_others_twice(load, family):
    policy = load(family, **LORA)
    rows = {}

    def count(name):
        return lambda _, given, __: rows.update({name: len(given[0])})

    for name, layer in policy.network.named_modules():
        if name.rpartition(".")[2] in {"conv_in", "conv1", "to_q", "conv_out"}:
            layer.register_forward_hook(count(name))

    policy.denoiser()(*inputs(policy))

    once = {name for name, count in rows.items() if count == len(PROMPTS)}
    first = "down_blocks.0" if family != "built-in" else "down_blocks.1"
    expected = {"conv_in", f"{first}.resnets.0.conv1", f"{first}.attentions.0.transformer_blocks.0.attn1.to_q"}
    if family == "built-in":
        expected |= {"down_blocks.0.resnets.0.conv1"}
    assert once == expected
    assert {count for name, count in rows.items() if name not in once} == {2 * len(PROMPTS)}


def test_where_the_time_embedding_contains_text_no_layer_is_shared(load):
    assert prompt_free_layers(load("sdxl").network) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"conv_in", "down_blocks.0.resnets.0", f"{ATTENTION}.proj_in", f"{ATTENTION}.transformer_blocks.0.attn1"}),
        ({"only_cross_attention": True}, {"conv_in", "down_blocks.0.resnets.0", f"{ATTENTION}.proj_in"}),
        ({"dual_cross_attention": True}, {"conv_in"}),
        ({"down_block_types": ("AttnDownBlock2D",)}, {"conv_in"}),
        ({"class_embed_type": "timestep"}, set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_layer_that_reads_a_prompt_is_not_shared(settings, expected):
    options = {"down_block_types": ("CrossAttnDownBlock2D",), "cross_attention_dim": 8} | settings
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8,), layers_per_block=1, norm_num_groups=2, attention_head_dim=2,
        mid_block_type=None, up_block_types=("UpBlock2D",), **options,
    )  # fmt: skip
    names = {id(layer): name for name, layer in unet.named_modules()}

    assert {names[id(layer)] for layer in prompt_free_layers(unet)} == expected


@pytest.mark.parametrize("family", WITH_SHARED_LAYERS)
def test_shared_layers_have_the_same_output_for_every_prompt(load, family):
    policy = load(family)
    x, t, prompts = inputs(policy)
    outputs = []
    for layer in prompt_free_layers(policy.network):
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))

    with torch.no_grad():
        for each in (prompts, prompts[torch.tensor([2, 0, 1])]):
            policy.unguided_denoiser()(x, t, each)

    half = len(outputs) // 2
    assert half >= 4
    for one, other in zip(outputs[:half], outputs[half:], strict=True):
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["built-in", "sd1", "sdxl"])
@pytest.mark.parametrize("trainable", [{}, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_changes_no_bit(load, family, trainable):
    policy = load(family, **trainable)
    plain = gradient(policy, policy.denoiser()(*inputs(policy)))
    evaluations = []
    block = policy.network.up_blocks[-1].resnets[-1]
    block.register_forward_pre_hook(lambda *_: evaluations.append(torch.is_grad_enabled()))

    policy.enable_gradient_checkpointing()
    again = gradient(policy, policy.denoiser()(*inputs(policy)))

    assert len(evaluations) == 2  # forward, and once more in the backward pass
    for name, value in plain.items():
        assert torch.equal(again[name], value), name


def test_a_pipeline_that_two_policies_have_shares_its_layers_once(load):
    policy = load("built-in")
    with torch.no_grad():
        before = policy.denoiser()(*inputs(policy))
        other = Policy(policy.pipeline, policy._model, policy._sampling, seed=0)

        assert torch.equal(other.denoiser()(*inputs(other)), before)


def test_evaluations_without_guidance_before_and_after_see_each_of_their_rows(load):
    policy = load("built-in", **LORA)
    x, t, prompts = inputs(policy)
    with torch.no_grad():
        before = policy.unguided_denoiser()(x, t, prompts)
        policy.denoiser()(x, t, prompts)
        after = policy.unguided_denoiser()(x, t, prompts)

    assert torch.equal(before, after)
    assert not torch.allclose(before[0], before[1])


def test_after_an_error_in_the_network_the_next_evaluation_sees_each_of_its_rows(load):
    policy = load("built-in")
    x, t, prompts = inputs(policy)
    with torch.no_grad():
        before = policy.unguided_denoiser()(x, t, prompts)
        with pytest.raises(RuntimeError):
            policy.denoiser()(x[:, :1], t, prompts)  # a latent of one channel

        assert torch.equal(policy.unguided_denoiser()(x, t, prompts), before)


def test_the_copy_that_is_the_reference_shares_layers_of_its_own(load):
    policy = load("built-in")
    x, t, prompts = inputs(policy)
    policy.keep_reference()
    with torch.no_grad():
        same = policy.denoiser()(x, t, prompts)
        policy.network.conv_in.weight.add_(1.0)

        assert torch.equal(policy.reference_denoiser()(x, t, prompts), same)
        assert not torch.allclose(policy.denoiser()(x, t, prompts), same)

"""Frozen weights in 8 bits by bitsandbytes (make test-8bit), on the CPU."""

import copy

import pytest
import torch
import yaml
from bitsandbytes.nn import Linear8bitLt
from diffusers import DiffusionPipeline

from reward_finetuning.config import load_config
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch
from reward_finetuning.policy.load import load_policy
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import RunDirectory

GUIDANCE = {"sd3": 1.0, "flux-dev": 3.5}
PROMPTS = ["a red circle", "a blue square", "a green cross"]


def policy(folder, family, *, quantization="int8", **model):
    settings = {"source": str(folder), "trainable": "lora", "device": "cpu", "max_sequence_length": 24}
    sampling = SamplingConfig(num_steps=4, guidance_scale=GUIDANCE[family], height=16, width=16)
    return load_policy(ModelConfig(**settings | {"quantization": quantization} | model), sampling, seed=0)


def evaluate(of, denoiser, rows=slice(None)):
    x = torch.randn((3, *of.latent_shape), generator=torch.Generator().manual_seed(0))
    prompts = of.encode(PROMPTS)
    t = torch.full((3,), 500.0, dtype=torch.float64)
    return denoiser(x[rows], t[rows], prompts[torch.arange(3)[rows]])


def quantized_layers(network):
    return [module for module in network.modules() if isinstance(module, Linear8bitLt)]


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_linear_layers_of_the_blocks_are_in_8_bits_and_the_output_is_near(family_folder, family, dtype):
    folder = family_folder(family)
    plain, quantized = (policy(folder, family, quantization=q, dtype=dtype) for q in ("none", "int8"))

    with torch.no_grad():
        expected, output = (evaluate(each, each.denoiser()) for each in (plain, quantized))

    blocks = [child for child in quantized.network.children() if isinstance(child, torch.nn.ModuleList)]
    left = [
        name
        for block in blocks
        for name, layer in block.named_modules()
        if type(layer) is torch.nn.Linear and "lora" not in name
    ]
    assert left == []
    assert {layer.weight.dtype for layer in quantized_layers(quantized.network)} == {torch.int8}
    assert 0 < (output - expected).norm() / expected.norm() < 0.1


def test_an_output_does_not_depend_on_the_other_images_of_a_batch(family_folder):
    quantized = policy(family_folder("sd3"), "sd3")

    with torch.no_grad():
        whole = evaluate(quantized, quantized.denoiser())
        alone = evaluate(quantized, quantized.denoiser(), slice(1))

    torch.testing.assert_close(whole[:1], alone, rtol=0, atol=5e-3)  # a rounding error can move an input by a level


def test_adapters_alone_are_trained_and_a_copy_is_the_same_network(family_folder):
    quantized = policy(family_folder("sd3"), "sd3")

    evaluate(quantized, quantized.denoiser()).square().mean().backward()

    assert all("lora_" in name and weight.dtype == torch.float32 for name, weight in quantized.trainable().items())
    assert all(weight.grad is not None for weight in quantized.trainable().values())
    copied = copy.deepcopy(quantized.network)
    with torch.no_grad():
        before = evaluate(quantized, quantized.denoiser())
        quantized.network = copied
        assert torch.equal(evaluate(quantized, quantized.denoiser()), before)


@pytest.fixture
def run(family_folder, tmp_path):
    (tmp_path / "evaluation.txt").write_text("a blue square\n", encoding="utf-8")
    tree = {
        "name": "quantized",
        "run_root": str(tmp_path / "runs"),
        "model": {
            "source": str(family_folder("sd3")), "trainable": "lora", "quantization": "int8",
            "lora": {"rank": 2, "alpha": 8}, "max_sequence_length": 24, "device": "cpu",
        },
        "prompts": {"train": "shapes:train", "prompts_per_epoch": 2},
        "sampling": {
            "num_steps": 3, "guidance_scale": 1.0, "images_per_prompt": 3, "micro_batch_size": 4, "height": 16,
            "width": 16,
        },
        "reward": {"weights": {"colourfulness": 1.0}},
        "training": {"cells_per_batch": 6, "learning_rate": 3e-3, "old_log_probs": "replay"},
        "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
        "evaluation": {
            "prompt_sets": {"heldout": str(tmp_path / "evaluation.txt")}, "images_per_prompt": 1, "sampler": "ode",
            "num_steps": 4, "kl": False,
        },
        "loop": {"epochs": 1},
        "tracking": {"enabled": False},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    config = load_config(tmp_path / "run.yaml").model_dump_json()
    run_epochs(
        config, next_epochs(config, str(tmp_path / "p")).plan, str(tmp_path / "next"), str(tmp_path / "page.html")
    )
    return RunDirectory(load_config(tmp_path / "run.yaml"))


def test_an_epoch_trains_within_the_noise_gate_and_its_exports_have_the_base_without_quantization(
    run, family_folder, tmp_path
):
    base = DiffusionPipeline.from_pretrained(family_folder("sd3")).transformer.state_dict()

    export_policy(run, policy_of_epoch(run, 1), tmp_path / "adapter")
    export_policy(run, policy_of_epoch(run, 1), tmp_path / "whole", merge=True)

    assert "on a base in int8" in (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    merged = DiffusionPipeline.from_pretrained(tmp_path / "whole").transformer.state_dict()
    lora = DiffusionPipeline.from_pretrained(family_folder("sd3"))
    lora.load_lora_weights(tmp_path / "adapter")
    lora.fuse_lora()
    lora.unload_lora_weights()
    fused = lora.transformer.state_dict()
    changed = [name for name in base if not torch.equal(merged[name], base[name])]
    assert changed
    assert all(".to_" in name for name in changed)
    for name in base:
        torch.testing.assert_close(merged[name], fused[name])

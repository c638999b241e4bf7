"""Training in float16: gradients that it cannot hold are scaled, and come out as in float32."""

import pytest
import torch

from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.policy.load import load_policy
from reward_finetuning.training.engine import Engine, loss_scale
from reward_finetuning.training.processes import Processes

SAMPLING = SamplingConfig(num_steps=3, guidance_scale=3.0)


def gradient(folder, dtype, size, scaled):
    """Of size x the sum of all log-probs, after the engine's step took the scale out again."""
    lora = LoraConfig(rank=2, alpha=8)
    policy = load_policy(ModelConfig(source=str(folder), trainable="lora", dtype=dtype, lora=lora), SAMPLING, seed=0)
    generator = torch.Generator().manual_seed(0)
    for weight in policy.trainable().values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    engine = Engine(policy, TrainingConfig(learning_rate=1e-9, max_grad_norm=1e30), Processes())
    prompts, noise = policy.encode(["a red circle"]), torch.randn(1, 4, *policy.latent_shape, generator=generator)
    drawn = draw(policy.denoiser(), None, noise, prompts, policy.grid)
    source = CellSource(drawn.latents, prompts, torch.tensor([0]), policy.grid, policy.device)
    coefficients = torch.full((1, 3), size, dtype=torch.float64)
    scale = loss_scale(coefficients, drawn.latents[0, 0].numel()) if scaled else 1.0
    engine.backward(scale * size * source.log_probs(policy.denoiser(), torch.arange(3)).sum())
    return engine.step(scale)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-7, 1e6])
def test_a_gradient_too_small_or_too_large_for_float16_is_that_of_float32(family_folder, size):
    folder = family_folder("sd1")

    exact = gradient(folder, "float32", size, scaled=False)

    assert gradient(folder, "float16", size, scaled=True) == pytest.approx(exact, rel=0.05)


def test_the_scale_is_a_power_of_two_that_brings_the_gradient_to_one():
    coefficients = torch.tensor([[0.0, -3e4]])

    assert loss_scale(coefficients, 16384) == 0.5
    assert loss_scale(torch.zeros(4, 8), 16384) == 2.0**19

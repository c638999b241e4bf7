"""CPU time of sampling on the built-in model, against the pipeline of diffusers on the same network.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py

Alternating repeats of one batch to latents: diffusers; ours without the reference; ours with the reference at the
default share of the steps (DDPO, RWR); ours with the reference at every step (PRDP, PPOD). Prompts are encoded before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.noise import reference_steps
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.policy.load import load_policy

BATCH, STEPS, MICRO_BATCHES, REPEATS = 32, 10, 4, 3
SAMPLING = SamplingConfig(num_steps=STEPS, guidance_scale=3.0, micro_batch_size=BATCH)


def arms() -> dict[str, Callable[[], object]]:
    """Name -> a function that draws MICRO_BATCHES batches."""
    policy = load_policy(ModelConfig(trainable="lora"), SAMPLING, seed=0)
    policy.pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((BATCH, STEPS + 1, *policy.latent_shape), generator=torch.Generator().manual_seed(0))
    prompts = policy.encode(["a red circle"] * BATCH)
    denoise, reference = policy.denoiser(), policy.reference_denoiser()
    chosen = reference_steps(0, 1, MICRO_BATCHES, STEPS, share=SAMPLING.kl_share).tolist()

    @torch.no_grad()
    def diffusers() -> None:
        for _ in range(MICRO_BATCHES):
            policy.pipeline(
                prompt_embeds=prompts.embeddings,
                negative_prompt_embeds=prompts.embeddings,
                num_inference_steps=STEPS,
                guidance_scale=SAMPLING.guidance_scale,
                eta=1.0,
                output_type="latent",
            )

    def plain() -> None:
        for _ in range(MICRO_BATCHES):
            draw(denoise, None, noise, prompts, policy.grid)

    def share() -> None:
        for steps in chosen:
            draw(denoise, reference, noise, prompts, policy.grid, reference_steps=steps)

    def everywhere() -> None:
        for _ in range(MICRO_BATCHES):
            draw(denoise, reference, noise, prompts, policy.grid)

    name = f"ours, reference at {SAMPLING.kl_share:.0%} of the steps"
    return {"diffusers": diffusers, "ours, no reference": plain, name: share, "ours, reference everywhere": everywhere}


def main() -> None:
    """Print a table."""
    functions = arms()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(1 + REPEATS):
        for name, function in functions.items():
            before = time.process_time()
            function()
            if repeat:
                seconds[name].append(time.process_time() - before)
    stock = statistics.median(seconds["diffusers"])
    print("| arm | images per CPU second, median | range | against diffusers |\n|---|---|---|---|")
    for name, values in seconds.items():
        rates = sorted(BATCH * MICRO_BATCHES / value for value in values)
        middle = statistics.median(values)
        rate = f"{BATCH * MICRO_BATCHES / middle:.1f} | {rates[0]:.1f} to {rates[-1]:.1f}"
        print(f"| {name} | {rate} | {stock / middle:.2f} |")


if __name__ == "__main__":
    main()

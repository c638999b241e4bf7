"""Reward of a pipeline on the prompts of the built-in world."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.flow import T5_TOKENS
from reward_finetuning.shapes.judge import judge
from reward_finetuning.shapes.scene import CATEGORIES, describe

NUM_STEPS, GUIDANCE_SCALE, ETA = 10, 3.0, 1.0
"""Sampling of the built-in models: T denoising steps, classifier-free guidance, and the UNet's eta of DDIM."""


def sample_pictures(pipeline: Any, prompts: Sequence[str], *, generator: torch.Generator) -> NDArray[np.uint8]:
    """[B, 32, 32, 3] uint8 pictures, one per prompt. A flow model draws with its deterministic sampler."""
    own = {"eta": ETA} if hasattr(pipeline, "unet") else {"max_sequence_length": T5_TOKENS}
    pictures = [
        pipeline(
            list(prompts[start : start + 256]),
            num_inference_steps=NUM_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=generator,
            output_type="np",
            **own,
        ).images
        for start in range(0, len(prompts), 256)
    ]
    return (np.concatenate(pictures) * 255).round().astype(np.uint8)


def measure(pipeline: Any, *, images_per_prompt: int, seed: int) -> dict[str, dict[str, float]]:
    """Mean reward and share of exact pictures, by split and by category within a split."""
    generator = torch.Generator().manual_seed(seed)
    result: dict[str, dict[str, float]] = {}
    for split, split_scenes in (("train", prompt_sets.train()), ("heldout", prompt_sets.heldout())):
        scenes = [scene for scene in split_scenes for _ in range(images_per_prompt)]
        prompts = [describe(scene) for scene in scenes]
        scores = judge(sample_pictures(pipeline, prompts, generator=generator), prompts)
        result[split] = {
            "reward": float(np.mean([score.reward for score in scores])),
            "exact": float(np.mean([score.exact for score in scores])),
        }
        for category in CATEGORIES:
            rewards = [score.reward for score, scene in zip(scores, scenes, strict=True) if scene.category == category]
            result[split][f"reward_{category}"] = float(np.mean(rewards))
    return result

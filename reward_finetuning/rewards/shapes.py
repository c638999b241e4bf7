"""The reward of the built-in world: how well the picture shows what the prompt asks for, read from its pixels.

The judge itself belongs to the world and lives there, for the world measures its own model with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.shapes.judge import ShapesScore, judge

__all__ = ["ShapesScore", "score", "shapes_exact", "shapes_reward"]


def score(image: NDArray[np.uint8], prompt: str) -> ShapesScore:
    """What `image` [H, W, 3] uint8 sRGB earns for `prompt`, part by part."""
    return judge(image[None], [prompt])[0]


def shapes_reward(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """The dense reward in [0, 1]; images [B, H, W, 3] uint8 sRGB, result [B]."""
    return np.array([each.reward for each in judge(images, prompts)], dtype=np.float64)


def shapes_exact(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """1 where the picture is right in everything, else 0; images [B, H, W, 3] uint8 sRGB, result [B]."""
    return np.array([each.exact for each in judge(images, prompts)], dtype=np.float64)

"""The reward of the built-in world: how well the pixels of a picture match its prompt.

The judge is in `shapes/judge.py`, because the pretraining of the built-in model also uses it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.shapes.judge import ShapesScore, judge

__all__ = ["ShapesScore", "score", "shapes_exact", "shapes_reward"]


def score(image: NDArray[np.uint8], prompt: str) -> ShapesScore:
    """Score of `image` [H, W, 3] uint8 sRGB for `prompt`, with its parts."""
    return judge(image[None], [prompt])[0]


def shapes_reward(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """The dense reward in [0, 1]; images [B, H, W, 3] uint8 sRGB, result [B]."""
    return np.array([result.reward for result in judge(images, prompts)], dtype=np.float64)


def shapes_exact(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """1 if the picture matches its prompt completely, else 0; images [B, H, W, 3] uint8 sRGB, result [B]."""
    return np.array([result.exact for result in judge(images, prompts)], dtype=np.float64)

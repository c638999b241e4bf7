"""Adapter for packages that score one picture per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.rewards.protocol import Scorer


def one_by_one(score: Callable[[Any, str], float]) -> Scorer:
    """A scorer from a function (PIL picture, prompt) -> score."""

    def scorer(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        import torch
        from PIL import Image

        with torch.no_grad():
            pairs = zip(images, prompts, strict=True)
            return np.array([score(Image.fromarray(image), prompt) for image, prompt in pairs], dtype=np.float64)

    return scorer

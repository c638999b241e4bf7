"""Colourfulness: a reward that does not depend on the prompt. It is used to show over-optimisation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def colourfulness(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """Perceived colourfulness of each picture.

        rg = R - G,  yb = (R + G) / 2 - B
        M  = sqrt(std(rg)^2 + std(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2)

    over the pixels of a picture, with R, G and B in [0, 1]. This is the value of the paper divided by 255: 0 is grey,
    0.13 is averagely colourful and 0.43 is extremely colourful.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: B prompts, not used.

    Returns:
        [B] M, 0 or more.

    Source: Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", section 7.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(prompts):
        raise ValueError(f"images must be [B={len(prompts)}, H, W, 3], one per prompt, got {list(images.shape)}")
    red, green, blue = np.moveaxis(images.astype(np.float64) / 255, -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])  # [2, B, H, W]
    spread = np.sqrt(opponents.var(axis=(2, 3)).sum(axis=0))
    centre = np.sqrt(np.square(opponents.mean(axis=(2, 3))).sum(axis=0))
    return np.asarray(spread + 0.3 * centre, dtype=np.float64)

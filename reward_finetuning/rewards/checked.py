"""Check of the values that a scorer returned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import TrainingError


def one_score_each(name: str, returned: object, num_images: int) -> NDArray[np.float64]:
    """The scores [B] of B pictures in float64. The caller checks whether they are finite.

    Raises:
        TrainingError: the values are not numbers, or their number is not B; the message names the scorer.
    """
    try:
        values = np.asarray(returned)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"scorer {name} returned a {type(returned).__name__} that is not an array: {error}"
        ) from None
    if values.dtype.kind not in "fiub":
        kind = f"{type(returned).__name__} of {values.dtype}"
        raise TrainingError(f"scorer {name} returned {kind}; it must return one real number per picture")
    if values.shape != (num_images,):
        raise TrainingError(f"scorer {name} returned scores of shape {values.shape} for {num_images} pictures")
    return values.astype(np.float64)

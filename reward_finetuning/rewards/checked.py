"""What a scorer returned, as numbers: one for each picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import TrainingError


def one_score_each(name: str, returned: object, num_images: int) -> NDArray[np.float64]:
    """The scores [B] of B pictures in float64; whether they are finite is for who knows the samples to say.

    Raises:
        TrainingError: naming the scorer: these are no numbers, or not one for each picture.
    """
    try:
        values = np.asarray(returned)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(f"scorer {name} returned a {type(returned).__name__} that is no array: {error}") from None
    if values.dtype.kind not in "fiub":
        what = f"{type(returned).__name__} of {values.dtype}"
        raise TrainingError(f"scorer {name} returned {what}; real numbers are needed, one a picture")
    if values.shape != (num_images,):
        raise TrainingError(f"scorer {name} returned scores of shape {values.shape} for {num_images} pictures")
    return values.astype(np.float64)

"""Scores of all scorers on the same pictures, and their weighted sum."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import TrainingError
from reward_finetuning.records import Rewards, Sample
from reward_finetuning.rewards.checked import one_score_each
from reward_finetuning.rewards.groups import Pictures, with_groups
from reward_finetuning.rewards.protocol import Scorer


def score(
    scorers: Mapping[str, Scorer],
    weights: Mapping[str, float],
    batches: Iterable[Pictures],
    groupwise: Collection[str] = (),
) -> Rewards:
    """Score every picture with every scorer, and compute r = sum of weight x score.

    Args:
        scorers: by name.
        weights: by the same names; 0 for a guard, which is scored and not trained on.
        batches: pictures [M, H, W, 3] and their samples [M], streamed; the images of a prompt follow one another.
        groupwise: names of the scorers that are called once for each prompt, with all its images.

    Raises:
        TrainingError: a score is missing, not a number, NaN or infinite; the message names scorer and sample.
    """
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in scorers}
    stream = with_groups(batches) if groupwise else ((batch, []) for batch in batches)
    for batch, groups in stream:
        for name, scorer in scorers.items():
            calls = groups if name in groupwise else [batch]
            parts[name] += [_scores(name, scorer, *call) for call in calls if call[1]]
    scores = {name: np.concatenate(values) if values else np.zeros(0) for name, values in parts.items()}
    combined = sum((weights[name] * values for name, values in scores.items() if weights[name]), start=np.float64(0.0))
    return Rewards(scores, np.asarray(combined, dtype=np.float64))


def _scores(name: str, scorer: Scorer, images: NDArray[np.uint8], samples: Sequence[Sample]) -> NDArray[np.float64]:
    values = one_score_each(name, scorer(images, [s.prompt.text for s in samples]), len(samples))
    _check_finite(name, values, samples)
    return values


def _check_finite(name: str, values: NDArray[np.float64], samples: Sequence[Sample]) -> None:
    invalid = ~np.isfinite(values)
    if invalid.any():
        row = int(invalid.argmax())
        sample = samples[row]
        label = f"sample {sample.index} (image {sample.image_index} of {sample.prompt.text[:80]!r})"
        raise TrainingError(
            f"scorer {name} returned {values[row]} for {label}; invalid scores in this batch: {invalid.sum()}"
        )

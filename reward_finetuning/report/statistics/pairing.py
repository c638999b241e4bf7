"""Pairing of the images of two policies that come from the same prompt and noise."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples

Key = tuple[str, str, int]
"""(prompt set, prompt id, image index)"""


def pair(before: EvaluatedSamples, after: EvaluatedSamples) -> NDArray[np.int_]:
    """Rows of `after` in the order of `before`.

    Returns:
        [S]: image i of `before` and image pair(...)[i] of `after` come from the same prompt and the same noise.

    Raises:
        ValueError: images, prompts or reward columns differ; the message names the difference.
    """
    _same_columns(before, after)
    rows_before, rows_after = _rows("before", before), _rows("after", after)
    _same_keys(rows_before, rows_after)
    order = np.array([rows_after[key] for key in rows_before], dtype=np.int_)
    _same_text("prompt", before.prompts, after.prompts, rows_before, order)
    _same_text("category", before.categories, after.categories, rows_before, order)
    return order


def _rows(name: str, samples: EvaluatedSamples) -> dict[Key, int]:
    keys = list(zip(samples.prompt_sets, samples.prompt_ids, samples.image_indices, strict=True))
    rows = {key: row for row, key in enumerate(keys)}
    if not keys:
        raise ValueError(f"{name} contains no images: evaluate it on at least one prompt set")
    if len(rows) < len(keys):
        duplicate = next(key for row, key in enumerate(keys) if rows[key] != row)
        raise ValueError(
            f"{name} must contain each (prompt set, prompt id, image index) once, got {duplicate} more than once"
        )
    return rows


def _same_columns(before: EvaluatedSamples, after: EvaluatedSamples) -> None:
    if before.rewards.keys() != after.rewards.keys():
        raise ValueError(
            "before and after must have the same rewards, "
            f"got {', '.join(sorted(before.rewards)) or 'none'} and {', '.join(sorted(after.rewards)) or 'none'}"
        )
    if "reward" not in before.rewards:
        raise ValueError(
            f"the combined reward must be in column 'reward', got only {', '.join(before.rewards) or 'none'}"
        )
    for name, samples in (("before", before), ("after", after)):
        for column, values in samples.rewards.items():
            if values.shape != (len(samples.prompt_ids),):
                raise ValueError(
                    f"{name}.rewards[{column!r}] must be [S={len(samples.prompt_ids)}], got shape {list(values.shape)}"
                )


def _same_keys(before: dict[Key, int], after: dict[Key, int]) -> None:
    if before.keys() == after.keys():
        return
    sides = (("before", before.keys() - after.keys()), ("after", after.keys() - before.keys()))
    differences = [
        f"{len(keys)} images are only in {name}, such as {', '.join(map(str, islice(sorted(keys), 3)))}"
        for name, keys in sides
        if keys
    ]
    raise ValueError(
        f"before and after must contain the same (prompt set, prompt id, image index): {'; '.join(differences)}. "
        "Evaluate both policies on the same prompt sets with the same number of images"
    )


def _same_text(
    what: str, before: Sequence[str], after: Sequence[str], rows: dict[Key, int], order: NDArray[np.int_]
) -> None:
    for key, row in rows.items():
        if before[row] != after[order[row]]:
            raise ValueError(
                f"the {what} of image {key} must be the same before and after, "
                f"got {before[row][:80]!r} and {after[order[row]][:80]!r}"
            )

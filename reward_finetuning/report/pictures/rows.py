"""Selection of picture rows: one prompt and one noise, with one picture per policy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import reward_columns
from reward_finetuning.report.formatting import number, shortened
from reward_finetuning.report.pictures.cards import LONGEST_PROMPT, MARKUP_BYTES
from reward_finetuning.report.pictures.picture import Picture, embed
from reward_finetuning.report.runs import EvaluatedRun, RunsComparison, with_shared_rewards
from reward_finetuning.report.statistics.pairing import pair

MAX_STRIPS = 60


@dataclass(frozen=True, slots=True)
class Shot:
    """The picture of one policy."""

    policy: str
    picture: Picture
    reward: str


@dataclass(frozen=True, slots=True)
class Strip:
    """One prompt and one noise, sampled by every policy."""

    prompt: str
    prompt_set: str
    image_index: int
    reward: str
    """Name of the reward below the pictures."""

    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    samples: EvaluatedSamples
    order: NDArray[np.int_]
    """[S] rows in the order of the first policy."""


def strips(runs: Sequence[EvaluatedRun], comparison: RunsComparison, *, num_bytes: int) -> list[Strip]:
    """The strips that fit into `num_bytes`, of policies whose images pair with those of the first policy.

    The first strips are the image of each prompt on which the policies differ most, the largest difference first. Then
    follows the second image of each prompt, and so on.
    """
    sides = list(_sides(runs, comparison))
    if len(sides) < 2:
        return []
    first = sides[0].samples
    shared = set[str].intersection(*(set(side.samples.rewards) for side in sides))
    reward = next(column for column in reward_columns(first) if column in shared)
    if reward == "reward" and any(run.weights != runs[0].weights for run in runs):
        reward = next((column for column in reward_columns(first)[1:] if column in shared), reward)
    selected = []
    for row in islice(_ranked(sides, reward), MAX_STRIPS):
        strip = _strip(sides, row, reward)
        num_bytes -= _size(strip)
        if num_bytes < 0:
            break
        selected.append(strip)
    return selected


def _sides(runs: Sequence[EvaluatedRun], comparison: RunsComparison) -> Iterator[_Side]:
    first = runs[0]
    if first.before is not None:
        yield _Side("pretrained", first.before, pair(*with_shared_rewards(first.after, first.before)))
    for run, column in zip(runs, comparison.columns, strict=True):
        if not column.unpaired:
            yield _Side(run.name, run.after, pair(*with_shared_rewards(first.after, run.after)))


def _ranked(sides: Sequence[_Side], reward: str) -> Iterator[int]:
    values = np.stack([side.samples.rewards[reward][side.order] for side in sides])
    spread = values.max(axis=0) - values.min(axis=0)
    base, order = sides[0].samples, sides[0].order
    rank: dict[tuple[str, str], int] = {}
    ordered = []
    for row in sorted(range(len(spread)), key=lambda row: (-spread[row], row)):
        prompt = (base.prompt_sets[order[row]], base.prompt_ids[order[row]])
        ordered.append((rank.setdefault(prompt, 0), row))
        rank[prompt] += 1
    yield from (row for _, row in sorted(ordered, key=lambda item: item[0]))  # stable: by spread within a round


def _strip(sides: Sequence[_Side], row: int, reward: str) -> Strip:
    base, at = sides[0].samples, int(sides[0].order[row])
    return Strip(
        prompt=shortened(base.prompts[at], LONGEST_PROMPT),
        prompt_set=shortened(base.prompt_sets[at], 60),
        image_index=base.image_indices[at],
        reward=shortened(reward, 40),
        shots=tuple(_shot(side, int(side.order[row]), reward) for side in sides),
    )


def _shot(side: _Side, row: int, reward: str) -> Shot:
    return Shot(shortened(side.name, 60), embed(side.samples.images[row]), number(side.samples.rewards[reward][row], 3))


def _size(strip: Strip) -> int:
    """Upper bound of the bytes of its markup."""
    text = len(strip.prompt.encode()) + 4 * sum(strip.prompt.count(sign) for sign in "&<>\"'")
    return text + MARKUP_BYTES + sum(len(shot.picture.uri) + 600 for shot in strip.shots)

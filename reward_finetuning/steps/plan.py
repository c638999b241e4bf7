"""What travels as JSON text between the light steps: the epochs of a pipeline run, and the shards of an epoch."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from pydantic import ValidationError

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.storage import Reference


class _Text(Frozen):
    @classmethod
    def parse(cls, text: str) -> Self:
        """From JSON text.

        Raises:
            UserError: it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            raise UserError(
                f"{cls.__name__.lower()} must be JSON text of {', '.join(cls.model_fields)}, got {shown(text)}"
            ) from None


class Plan(_Text):
    """Epochs that one pipeline run does; `last` < `first`: none are left."""

    first: int
    last: int
    epochs: int
    """E of the whole run."""

    def epoch(self, offset: int) -> int | None:
        """Epoch number of the plan's `offset`-th epoch; None where the plan has fewer."""
        epoch = self.first + offset
        return epoch if epoch <= self.last else None


class Shard(_Text):
    """A part of an epoch: whole micro-batches [first, last)."""

    epoch: int
    first: int
    last: int
    skip: bool = False


def cut(epoch: int, num_micro_batches: int, num_shards: int) -> list[Shard]:
    """An epoch's micro-batches in `num_shards` parts of nearly one size."""
    edges = [i * num_micro_batches // num_shards for i in range(num_shards + 1)]
    return [Shard(epoch=epoch, first=first, last=last) for first, last in pairwise(edges)]


def sampling_policy(config: RunConfig, newest: Reference) -> Reference:
    """Who draws the images that the epoch after `newest` trains on: `newest` itself, or offline the pretrained model.

    The rollouts' own epoch is one more than this policy's.
    """
    return newest if config.sampling.rollouts == "online" else Reference(epoch=0)

"""What a pipeline run does: its epochs, the parts of an epoch, and the policy that an epoch continues."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Self

from pydantic import ValidationError

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import ArtifactError, UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.sections.loop import LoopConfig
from reward_finetuning.events import report_warning
from reward_finetuning.storage import Reference, RunDirectory, artifact_names, write_reference
from reward_finetuning.tracking import MlflowTracker


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


class Block(NamedTuple):
    """What next_epochs says to all tasks of a pipeline run."""

    run: str
    """Address of the settings, which tasks read in the place of the config."""

    plan: str
    """JSON text of a Plan, for the task that does all epochs."""

    epochs: list[str]
    """Numbers of the epochs to do; where none is left the last one, so that a missing evaluation is made good."""

    first: str
    """The first of them."""


class Trained(NamedTuple):
    """What train_epoch says of the policy."""

    address: str
    """Of the policy's artifact; empty for the pretrained model."""

    mlflow_run: str
    """Id of the run in MLflow; empty without tracking."""

    is_evaluated: bool
    """Whether this policy is evaluated now."""


class Shard(Frozen):
    """A part of an epoch: whole micro-batches [first, last)."""

    epoch: int
    first: int
    last: int


def cut(config: RunConfig, drawn_by: Reference, num_parts: int) -> list[Shard]:
    """The micro-batches that the policy `drawn_by` draws, in at most `num_parts` parts of nearly one size.

    No part splits the images of a prompt if a scorer compares them.
    """
    unit, num = config.micro_batches_per_unit, config.num_micro_batches
    num_units = -(-num // unit)
    num_parts = min(num_parts, num_units)
    edges = [min(i * num_units // num_parts * unit, num) for i in range(num_parts + 1)]
    return [Shard(epoch=drawn_by.epoch + 1, first=first, last=last) for first, last in pairwise(edges)]


def part_of(config: RunConfig, drawn_by: Reference, shard: str) -> Shard:
    """The `shard`-th part of the images that the policy `drawn_by` draws.

    Raises:
        UserError: the config has fewer shards.
    """
    parts = cut(config, drawn_by, config.loop.num_shards)
    if not shard.isdecimal() or int(shard) >= len(parts):
        raise UserError(f"shard must be a number from 0 to loop.num_shards - 1 = {len(parts) - 1}, got {shard!r}")
    return parts[int(shard)]


def epoch_number(epoch: str, offset: int) -> int:
    """The epoch that a task does.

    Raises:
        UserError: `epoch` is no number.
    """
    if not epoch.isdecimal():
        raise UserError(f"epoch must be a number, got {epoch!r}")
    return int(epoch) + offset


def policy_before(run: RunDirectory, epoch: int) -> Reference | None:
    """The policy that `epoch` continues; None where the epoch has nothing to do.

    That is an epoch that is done already, one after the last, and one that follows an epoch which failed: Kubeflow
    begins the next iteration of a loop even then. Such a task does nothing and succeeds, because the pipeline run has
    failed anyway, and an error here would be repeated, or hide the first one.
    """
    latest = run.latest()
    if epoch > run.config.loop.epochs or epoch <= latest.epoch:
        return None
    if latest.epoch < epoch - 1:
        report_warning(f"epoch {epoch} is not begun: epoch {latest.epoch + 1} of this pipeline run failed")
        return None
    return latest


def is_evaluated(loop: LoopConfig, epoch: int) -> bool:
    """Whether the policy after an epoch is evaluated: every evaluate_every epochs, and the last one."""
    return epoch <= loop.epochs and (epoch % loop.evaluate_every == 0 or epoch == loop.epochs)


def shards_of(run: RunDirectory, before: Reference) -> tuple[list[Reference], list[Reference]]:
    """Rollouts and rewards of all shards that the epoch after `before` trains on, in order.

    Raises:
        ArtifactError: a shard is absent.
    """
    parts = cut(run.config, sampling_policy(run.config, before), run.config.loop.num_shards)
    drawn = [_present(run, artifact_names.rollouts(part.epoch, part.first, part.last)) for part in parts]
    return drawn, [_present(run, artifact_names.rewards(rollouts.name)) for rollouts in drawn]


def _present(run: RunDirectory, name: str) -> Reference:
    manifest = run.store.manifest(name)
    if manifest is None:
        raise ArtifactError(f"{run.uri}/{name} is absent: all shards are drawn and scored before the epoch is trained")
    return Reference.to(name, manifest)


def trained(run: RunDirectory, epoch: int, next_policy: str) -> Trained:
    """What the task of an epoch that is over says of its policy.

    Args:
        run: the run.
        epoch: that the task was for; if it was not trained, the newest policy is the task's output.
        next_policy: where to write the reference; empty: nowhere.
    """
    latest = run.latest()
    name = artifact_names.policy(epoch)
    made = run.store.manifest(name) if epoch < latest.epoch else None
    policy = latest if made is None else Reference.to(name, made)
    if next_policy:
        write_reference(next_policy, policy)
    tracking = MlflowTracker(run).run_id
    address = f"{run.uri}/{policy.name}" if policy.name else ""
    is_due = policy.epoch >= epoch and is_evaluated(run.config.loop, epoch)
    return Trained(address, tracking or "", is_due)


def sampling_policy(config: RunConfig, newest: Reference) -> Reference:
    """Who draws the images that the epoch after `newest` trains on: `newest` itself, or offline the pretrained model.

    The rollouts' own epoch is one more than this policy's.
    """
    return newest if config.sampling.rollouts == "online" else Reference(epoch=0)

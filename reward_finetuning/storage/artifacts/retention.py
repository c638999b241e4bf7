"""Which artifacts of earlier epochs are deleted when an epoch is done."""

from __future__ import annotations

from reward_finetuning.storage import artifact_names
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.run_directory import RunDirectory

_EARLIER_EPOCHS = 2
"""Epochs before the one that falls out now, which are looked at again: their deletion may have been cut off."""


def delete_old_artifacts(run: RunDirectory, epoch: int) -> None:
    """Delete what the section `retention` no longer keeps once `epoch` is done.

    Offline, every epoch trains on the rollouts of the first one: they stay. A policy that has a report stays too.
    """
    keep = run.config.retention
    if run.config.sampling.rollouts == "online":
        for old in _falling_out(epoch, keep.rollouts):
            for name in run.artifacts(old, Kind.ROLLOUTS, Kind.REWARDS, Kind.SCORES):
                run.store.delete(name)
    if keep.policies:
        for old in _falling_out(epoch, keep.policies):
            if not run.artifacts(old, Kind.REPORT):
                run.store.delete(artifact_names.policy(old))


def _falling_out(epoch: int, kept: int) -> range:
    newest = epoch - kept
    return range(max(1, newest - _EARLIER_EPOCHS), newest + 1)

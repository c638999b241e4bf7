"""Which policies of a run are still there."""

from __future__ import annotations

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage import Reference, RunDirectory, artifact_names


def kept_epochs(run: RunDirectory) -> list[int]:
    """Epochs whose policies are kept, ascending."""
    return [epoch for epoch in run.epochs() if run.store.manifest(artifact_names.policy(epoch))]


def policy_of_epoch(run: RunDirectory, epoch: int | None) -> Reference:
    """The policy of an epoch; of the newest one when not given.

    Raises:
        ArtifactError: the epoch is not trained, or its policy is no longer kept.
    """
    latest = run.latest()
    if epoch is None or epoch == latest.epoch:
        policy = latest
    else:
        name = artifact_names.policy(epoch)
        manifest = run.store.manifest(name)
        policy = Reference(epoch=epoch) if manifest is None else Reference.to(name, manifest)
    if not policy.name:
        listed = ", ".join(map(str, kept_epochs(run))) or "none"
        raise ArtifactError(f"{run.uri} has no policy of epoch {policy.epoch}; it has those of epochs {listed}")
    return policy

"""Which policies of a run are still there."""

from __future__ import annotations

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage import Reference, RunDirectory


def kept_epochs(run: RunDirectory) -> list[int]:
    """Epochs whose policies are kept, ascending."""
    return [int(name) for name in run.store.names("epochs") if run.store.manifest(f"epochs/{name}/policy")]


def policy_of_epoch(run: RunDirectory, epoch: int | None) -> Reference:
    """The policy of an epoch; of the newest one when not given.

    Raises:
        ArtifactError: the epoch is not trained, or its policy is no longer kept.
    """
    latest = run.latest()
    if epoch is None or epoch == latest.epoch:
        found = latest
    else:
        manifest = run.store.manifest(run.name(epoch, "policy"))
        found = Reference(epoch=epoch) if manifest is None else Reference.to(run.name(epoch, "policy"), manifest)
    if not found.name:
        listed = ", ".join(map(str, kept_epochs(run))) or "none"
        raise ArtifactError(f"{run.uri} has no policy of epoch {found.epoch}; it has those of epochs {listed}")
    return found

"""Start from a policy of another run. What can be known without loading it needs no torch."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.sections.warm_start import WarmStartConfig
from reward_finetuning.policy.source import model_digest
from reward_finetuning.storage import artifact_names, open_store
from reward_finetuning.storage.run_directory import RUN, RunDirectory

DIGEST = "warm_start.digest"
"""Key of the fingerprint: sha256 of the weights that the run starts from."""


def warm_start_digest(config: RunConfig) -> dict[str, str]:
    """The fingerprint's part; empty where the run starts from the pretrained model.

    Raises:
        UserError: there is no such policy, or it is of another model or of other trainable weights.
    """
    if (start := config.warm_start) is None:
        return {}
    store = open_store(start.run_directory)
    described, manifest = store.read_json(RUN), store.manifest(_name(start))
    if described is None or manifest is None:
        what = "no run" if described is None else f"no policy of epoch {start.epoch}; is it kept (retention.policies)?"
        raise UserError(f"warm_start: {start.run_directory} holds {what}")
    theirs = {key: value for key, value in described["fingerprint"].items() if key.startswith("model.")}
    ours = {key: value for key, value in config.numbers().items() if key.startswith("model.")}
    ours["model.digest"] = model_digest(config.model)
    if differing := sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)):
        said = "; ".join(f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} here" for key in differing)
        raise UserError(f"warm_start: {start.run_directory} trained other weights ({said})")
    return {DIGEST: str(manifest.facts["weights_sha256"])}


def warm_start_weights(run: RunDirectory, start: WarmStartConfig, file: str) -> Path:
    """The weights file to start from, checked against what the run was begun with.

    Raises:
        UserError: it is another policy than then.
        ArtifactError: it is gone or damaged.
    """
    store = open_store(start.run_directory)
    folder = store.fetch(_name(start), [file])
    manifest = store.manifest(_name(start))
    assert manifest is not None
    known = run.fingerprinted().get(DIGEST)
    if manifest.facts["weights_sha256"] != known:
        raise UserError(
            f"warm_start: epoch {start.epoch} of {start.run_directory} is not the policy that this run was begun with "
            f"(weights {manifest.facts['weights_sha256'][:12]}, expected {str(known)[:12]})"
        )
    return folder / file


def _name(start: WarmStartConfig) -> str:
    return artifact_names.policy(start.epoch)

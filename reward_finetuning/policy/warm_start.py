"""Start a run from a policy of another run. The digest is computed without torch."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.sections.warm_start import WarmStartConfig
from reward_finetuning.policy.pretrained.source import model_digests
from reward_finetuning.storage import artifact_names, open_store
from reward_finetuning.storage.documents import entry
from reward_finetuning.storage.manifest import Manifest
from reward_finetuning.storage.run_directory import ADDED_LATER, RunDirectory, read_description

DIGEST = "warm_start.digest"
"""Key of the fingerprint: sha256 of the initial weights of the run."""


def warm_start_digest(config: RunConfig) -> dict[str, str]:
    """Entry of the fingerprint; empty if the run starts from the pretrained model.

    Raises:
        UserError: the policy does not exist, or it has another model or other trainable weights.
    """
    start = config.warm_start
    if start is None:
        return {}
    store = open_store(start.run_directory)
    described, manifest = read_description(store), store.manifest(_name(start))
    if described is None or manifest is None:
        missing = "run" if described is None else f"policy of epoch {start.epoch}; check retention.policies of that run"
        raise UserError(f"warm_start: {start.run_directory} contains no {missing}")
    theirs = {key: value for key, value in described["fingerprint"].items() if key.startswith("model.")}
    ours = {key: value for key, value in config.numbers().items() if key.startswith("model.")}
    ours |= model_digests(config.model)
    keys = (ours.keys() | theirs.keys()) - (ADDED_LATER - theirs.keys())
    differing = sorted(key for key in keys if ours.get(key) != theirs.get(key))
    if differing:
        values = "; ".join(f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} in this run" for key in differing)
        raise UserError(f"warm_start: {start.run_directory} trained other weights ({values})")
    return {DIGEST: _weights_sha256(start, manifest)}


def warm_start_weights(run: RunDirectory, start: WarmStartConfig, file: str) -> Path:
    """The file of the initial weights, compared with the fingerprint of the run.

    Raises:
        UserError: the policy changed since the start of the run.
        ArtifactError: the policy is missing or damaged.
    """
    store = open_store(start.run_directory)
    folder = store.fetch(_name(start), [file])
    manifest = store.manifest(_name(start))
    assert manifest is not None
    expected = run.fingerprinted().get(DIGEST)
    if _weights_sha256(start, manifest) != expected:
        raise UserError(
            f"warm_start: epoch {start.epoch} of {start.run_directory} is not the policy with which this run started "
            f"(weights {_weights_sha256(start, manifest)[:12]}, expected {str(expected)[:12]})"
        )
    return folder / file


def _weights_sha256(start: WarmStartConfig, manifest: Manifest) -> str:
    return entry(manifest.facts, "weights_sha256", str, f"{start.run_directory}/{_name(start)}")


def _name(start: WarmStartConfig) -> str:
    return artifact_names.policy(start.epoch)

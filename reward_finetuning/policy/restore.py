"""A policy as of some epoch of a run."""

from __future__ import annotations

from reward_finetuning.policy.load import Policy, load_policy
from reward_finetuning.policy.save import load_tensors, restore_weights
from reward_finetuning.storage import Reference, RunDirectory

WEIGHTS = "policy.safetensors"


def policy_at(run: RunDirectory, reference: Reference, *, keep_reference: bool) -> Policy:
    """The pretrained model with the weights of `reference`; the untouched model where it names none.

    Args:
        run: the run.
        reference: a policy of the run.
        keep_reference: whether the pretrained network will be evaluated too.
    """
    config = run.config
    policy = load_policy(config.model, config.sampling, seed=config.seed)
    if keep_reference:
        policy.keep_reference()
    if reference.name:
        folder, _ = run.open(reference, [WEIGHTS])
        restore_weights(policy.trainable(), load_tensors(folder / WEIGHTS), folder / WEIGHTS)
    return policy


def weights_sha256(reference: Reference) -> str:
    """sha256 of a policy's weights file; empty for the pretrained model."""
    return str(reference.facts["weights_sha256"]) if reference.name else ""

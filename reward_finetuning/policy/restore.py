"""Load the policy of an epoch of a run."""

from __future__ import annotations

from reward_finetuning.policy.load import Policy, load_policy
from reward_finetuning.policy.save import load_tensors, restore_weights
from reward_finetuning.policy.warm_start import warm_start_weights
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.reference import weights_sha256

__all__ = ["AVERAGED", "WEIGHTS", "load_weights", "policy_at", "weights_sha256"]

WEIGHTS, AVERAGED = "policy.safetensors", "averaged.safetensors"


def policy_at(
    run: RunDirectory, reference: Reference, *, keep_reference: bool, averaged: bool = False, shards: bool = False
) -> Policy:
    """The pretrained model with the weights of `reference`, or, if it has no name, with the initial weights of the run.

    Args:
        run: the run.
        reference: a policy of the run.
        keep_reference: also keep the reference network.
        averaged: load the averaged weights of the epoch instead of the newest.
        shards: leave the networks on the CPU, for `Policy.shard`.
    """
    config = run.config
    policy = load_policy(config.loaded_model, config.sampling, seed=config.seed, shards=shards)
    start = config.warm_start
    if keep_reference and (start is None or start.reference == "pretrained"):
        policy.keep_reference()
    if start is not None:
        path = warm_start_weights(run, start, WEIGHTS)
        restore_weights(policy.trainable(), load_tensors(path), path)
        if start.reference == "warm_start":
            policy.keep_reference(with_adapters=True)
    load_weights(policy, run, reference, averaged=averaged)
    return policy


def load_weights(policy: Policy, run: RunDirectory, reference: Reference, *, averaged: bool = False) -> None:
    """Load the weights of `reference` into a new policy. A reference without a name changes nothing."""
    if reference.name:
        file = AVERAGED if averaged else WEIGHTS
        folder, _ = run.open(reference, [file])
        restore_weights(policy.trainable(), load_tensors(folder / file), folder / file)

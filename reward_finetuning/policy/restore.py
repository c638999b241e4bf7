"""A policy as of some epoch of a run."""

from __future__ import annotations

from reward_finetuning.policy.load import Policy, load_policy
from reward_finetuning.policy.save import load_tensors, restore_weights
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.reference import weights_sha256

__all__ = ["AVERAGED", "WEIGHTS", "load_weights", "policy_at", "weights_sha256"]

WEIGHTS, AVERAGED = "policy.safetensors", "averaged.safetensors"


def policy_at(run: RunDirectory, reference: Reference, *, keep_reference: bool, averaged: bool = False) -> Policy:
    """The pretrained model with the weights of `reference`; the untouched model where it names none.

    Args:
        run: the run.
        reference: a policy of the run.
        keep_reference: whether the pretrained network will be evaluated too.
        averaged: the averaged weights of that epoch instead of the newest.
    """
    config = run.config
    policy = load_policy(config.model, config.sampling, seed=config.seed)
    if keep_reference:
        policy.keep_reference()
    load_weights(policy, run, reference, averaged=averaged)
    return policy


def load_weights(policy: Policy, run: RunDirectory, reference: Reference, *, averaged: bool = False) -> None:
    """Put the weights of `reference` into an untouched policy; nothing happens where it names none."""
    if reference.name:
        file = AVERAGED if averaged else WEIGHTS
        folder, _ = run.open(reference, [file])
        restore_weights(policy.trainable(), load_tensors(folder / file), folder / file)

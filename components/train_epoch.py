from kfp.dsl import Artifact, Input, Model, Output


def train_epoch(
    config: str,
    policy: Input[Model],
    rollouts: Input[list[Artifact]],
    rewards: Input[list[Artifact]],
    next_policy: Output[Model],
) -> None:
    """Update the policy on one epoch's shards."""
    from reward_finetuning.steps.train_epoch import train_epoch as step

    drawn, scored = [shard.path for shard in rollouts], [shard.path for shard in rewards]
    next_policy.metadata.update(step(config, policy.path, drawn, scored, next_policy.path))

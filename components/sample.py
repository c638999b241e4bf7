from kfp.dsl import Artifact, Input, Model, Output


def sample(config: str, shard: str, policy: Input[Model], rollouts: Output[Artifact]) -> None:
    """Draw a shard of an epoch's images."""
    from reward_finetuning.steps.sample import sample as step

    rollouts.metadata.update(step(config, shard, policy.path, rollouts.path))

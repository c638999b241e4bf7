from kfp.dsl import Artifact, Output


def sample(config: str, epoch: str, shard: str, rollouts: Output[Artifact], offset: int = 0) -> None:
    """Draw a shard of an epoch's images."""
    from reward_finetuning.steps.sample import sample as step

    step(config, epoch, shard, rollouts.path, offset)

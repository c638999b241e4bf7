from kfp.dsl import Artifact, Output


def draw(config: str, epoch: str, shard: str, rewards: Output[Artifact], offset: int = 0) -> None:
    """Draw a shard of an epoch's images, and score them."""
    from reward_finetuning.steps.draw import draw as step

    step(config, epoch, shard, rewards.path, offset)

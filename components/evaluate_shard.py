from kfp.dsl import Input, Model


def evaluate_shard(config: str, policy: Input[Model], shard: int) -> None:
    """Draw and score a share of an evaluation's images."""
    from reward_finetuning.steps.evaluate_shard import evaluate_shard as step

    step(config, policy.path, shard)

from kfp.dsl import Model, Output


def train_epoch(config: str, epoch: str, next_policy: Output[Model], offset: int = 0) -> bool:
    """Update the policy on one epoch's shards; returns whether it is evaluated now."""
    from reward_finetuning.steps.train_epoch import train_epoch as step

    trained = step(config, epoch, next_policy.path, offset)
    next_policy.metadata.update({"address": trained.address, "mlflow_run": trained.mlflow_run})
    return trained.is_evaluated

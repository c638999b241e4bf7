from kfp.dsl import Model, Output


def launch_train_epoch(config: str, epoch: str, next_policy: Output[Model], offset: int = 0, job: str = "") -> bool:
    """train_epoch on several nodes of a Kubernetes cluster, by a TrainJob of Kubeflow Trainer."""
    from reward_finetuning.components.launcher.programs import launch_train_epoch as step

    trained = step(config, epoch, next_policy.path, offset, job)
    next_policy.metadata.update({"address": trained.address, "mlflow_run": trained.mlflow_run})
    return trained.is_evaluated

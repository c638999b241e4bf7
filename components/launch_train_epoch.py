from kfp.dsl import Artifact, Input, Model, Output


def launch_train_epoch(
    config: str,
    policy: Input[Model],
    rollouts: Input[list[Artifact]],
    rewards: Input[list[Artifact]],
    next_policy: Output[Model],
    job: str,
) -> None:
    """train_epoch on several nodes of a Kubernetes cluster, by a TrainJob of Kubeflow Trainer."""
    from components.launcher.programs import launch_train_epoch as step

    drawn, scored = [shard.path for shard in rollouts], [shard.path for shard in rewards]
    next_policy.metadata.update(step(config, policy.path, drawn, scored, next_policy.path, job))

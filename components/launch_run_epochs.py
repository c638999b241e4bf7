from kfp.dsl import HTML, Model, Output


def launch_run_epochs(config: str, plan: str, policy: Output[Model], report: Output[HTML], job: str) -> None:
    """run_epochs on several nodes of a Kubernetes cluster, by a TrainJob of Kubeflow Trainer."""
    from components.launcher.programs import launch_run_epochs as step

    report.metadata.update(step(config, plan, policy.path, report.path, job))

from kfp.dsl import HTML, Markdown, Metrics, Model, Output


def launch_run_epochs(
    config: str,
    plan: str,
    policy: Output[Model],
    report: Output[HTML],
    metrics: Output[Metrics],
    summary: Output[Markdown],
    job: str,
) -> None:
    """run_epochs on several nodes of a Kubernetes cluster, by a TrainJob of Kubeflow Trainer."""
    from reward_finetuning.components.launcher.programs import launch_run_epochs as step

    for name, value in step(config, plan, policy.path, report.path, metrics.path, summary.path, job).items():
        metrics.log_metric(name, value)

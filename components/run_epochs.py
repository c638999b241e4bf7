from kfp.dsl import HTML, Markdown, Metrics, Model, Output


def run_epochs(
    config: str,
    plan: str,
    policy: Output[Model],
    report: Output[HTML],
    metrics: Output[Metrics],
    summary: Output[Markdown],
) -> None:
    """The fused loop: many epochs in one task."""
    from reward_finetuning.steps.run_epochs import run_epochs as step

    for name, value in step(config, plan, policy.path, report.path, metrics.path, summary.path).items():
        metrics.log_metric(name, value)

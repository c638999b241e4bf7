from kfp.dsl import HTML, Input, Markdown, Metrics, Model, Output


def evaluate(
    config: str,
    policy: Input[Model],
    report: Output[HTML],
    metrics: Output[Metrics],
    summary: Output[Markdown],
) -> None:
    """Compare the policy with the pretrained model; `report` is the page."""
    from reward_finetuning.steps.evaluate import evaluate as step

    for name, value in step(config, policy.path, report.path, metrics.path, summary.path).items():
        metrics.log_metric(name, value)

from kfp.dsl import HTML, Model, Output


def run_epochs(config: str, plan: str, policy: Output[Model], report: Output[HTML]) -> None:
    """The fused loop: many epochs in one task."""
    from reward_finetuning.steps.run_epochs import run_epochs as step

    report.metadata.update(step(config, plan, policy.path, report.path))

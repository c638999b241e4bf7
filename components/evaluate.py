from kfp.dsl import HTML, Input, Model, Output


def evaluate(config: str, policy: Input[Model], report: Output[HTML]) -> None:
    """Compare the policy with the pretrained model; `report` is the page."""
    from reward_finetuning.steps.evaluate import evaluate as step

    report.metadata.update(step(config, policy.path, report.path))

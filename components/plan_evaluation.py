from kfp.dsl import Model, Output


def plan_evaluation(config: str, policy: Output[Model]) -> None:
    """Find and check the policies that are compared."""
    from reward_finetuning.steps.plan_evaluation import plan_evaluation as step

    step(config, policy.path)

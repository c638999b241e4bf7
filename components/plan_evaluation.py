from kfp.dsl import Model, Output


def plan_evaluation(config: str, policy: Output[Model]) -> str:
    """Find and check the policies that are compared; returns the address of the settings."""
    from reward_finetuning.steps.plan_evaluation import plan_evaluation as step

    return step(config, policy.path)

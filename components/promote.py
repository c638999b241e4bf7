from kfp.dsl import Input, Model


def promote(config: str, policy: Input[Model]) -> str:
    """Make the policy the run's champion; returns its name in the run directory."""
    from reward_finetuning.steps.promote import promote as step

    return step(config, policy.path)["name"]

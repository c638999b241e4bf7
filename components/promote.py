from kfp.dsl import Input, Model


def promote(config: str, policy: Input[Model]) -> str:
    """Make the policy the champion if it beats the one there is; returns who is the champion now."""
    from reward_finetuning.steps.promote import promote as step

    return step(config, policy.path)["champion"]

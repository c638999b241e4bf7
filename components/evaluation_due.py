def evaluation_due(config: str, plan: str, offset: int) -> bool:
    """Whether the epoch is one of those that are evaluated."""
    from reward_finetuning.steps.evaluation_due import evaluation_due as step

    return step(config, plan, offset)

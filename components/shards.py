def shards(config: str, plan: str, offset: int) -> list[str]:
    """The parts of one epoch; each item carries all that the loop body needs."""
    from reward_finetuning.steps.shards import shards as step

    return step(config, plan, offset)

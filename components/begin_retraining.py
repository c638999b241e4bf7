def begin_retraining(config: str, options: str = "", run: str = "") -> str:
    """Find or begin the retraining for the prompts that there are now: returns its config."""
    from reward_finetuning.steps.begin_retraining import begin_retraining as step

    return step(config, options, run)

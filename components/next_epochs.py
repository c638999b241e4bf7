from kfp.dsl import Model, Output


def next_epochs(config: str, policy: Output[Model], inputs: str = "") -> str:
    """Begin or continue the run: returns the plan of epochs, and the newest policy."""
    from reward_finetuning.steps.next_epochs import next_epochs as step

    return step(config, policy.path, inputs)

from kfp.dsl import Input, Model


def gate(config: str, policy: Input[Model]) -> bool:
    """Whether the policy's report allows to promote it."""
    from reward_finetuning.steps.gate import gate as step

    return step(config, policy.path)

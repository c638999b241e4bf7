from kfp.dsl import Artifact, Input, Output


def reward(config: str, rollouts: Input[Artifact], rewards: Output[Artifact]) -> None:
    """Score every image of `rollouts`."""
    from reward_finetuning.steps.reward import reward as step

    step(config, rollouts.path, rewards.path)

"""The one check that everything a run reads is there and right."""

from __future__ import annotations

from reward_finetuning.config.run import RunConfig
from reward_finetuning.policy.pretrained.source import check_model
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import check_enough, read_prompts
from reward_finetuning.rewards.scorer import check_prompts, check_scorers
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import check_server


def check_inputs(config: RunConfig, *, training: bool = True) -> None:
    """Check scorers, prompt sets, model, the policy to start from, and that tracking has a server.

    Nothing is downloaded from the hub, and no server is asked.

    Args:
        config: of a run, or of an evaluation.
        training: False for an evaluation, which does not read the training prompts.

    Raises:
        UserError: the first thing that is wrong.
    """
    check_server(RunDirectory(config))
    check_scorers(config.reward)
    prompt_sets = [read_prompts(source) for source in config.evaluation.prompt_sets.values()]
    if training:
        train = read_prompts(config.prompts.train)
        check_enough(train, config.prompts.prompts_per_epoch)
        prompt_sets.insert(0, train)
    for prompts in prompt_sets:
        check_prompts(config.reward, prompts.source, [prompt.text for prompt in prompts.prompts])
    check_model(config.model, config.sampling)
    check_model(config.model, config.evaluation_sampling)
    warm_start_digest(config)

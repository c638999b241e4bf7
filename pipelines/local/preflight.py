"""Everything about a run that can be refused before any work; needs no torch."""

from __future__ import annotations

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.inputs import input_digests
from reward_finetuning.policy.source import check_model
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import check_enough, read_prompts
from reward_finetuning.rewards.scorer import check_scorers
from reward_finetuning.rewards.verification import check_verification
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import check_server


def check_run(config: RunConfig) -> RunDirectory:
    """Check scorers, prompts, model, and what the run directory holds already.

    Raises:
        UserError: the first thing that is wrong.
    """
    check_scorers(config.reward)
    check_verification(config.reward)
    prompts = read_prompts(config.prompts.train)
    check_enough(prompts, config.prompts.prompts_per_epoch)
    for source in config.evaluation.prompt_sets.values():
        read_prompts(source)
    check_model(config.model, config.sampling)
    warm_start_digest(config)
    run = RunDirectory(config)
    check_server(run)
    if run.describe() is not None:
        run.check(config.numbers() | input_digests(config))
        _check_artifacts(run)
    return run


def _check_artifacts(run: RunDirectory) -> None:
    latest = run.latest()
    if latest.epoch > run.config.loop.epochs:
        raise UserError(f"loop.epochs={run.config.loop.epochs}, but {run.uri} is at epoch {latest.epoch}: raise it")
    if latest.name:
        run.open(latest, [])
        run.store.check(latest.name)
    for epoch in (0, latest.epoch, latest.epoch + 1):
        for artifact in run.store.names(f"epochs/{epoch:04d}"):
            if "scores-" not in artifact:  # a cache: a damaged one is computed anew
                run.store.check(run.name(epoch, artifact))

"""Which policies does an evaluation compare? Found and checked before any image is drawn."""

from __future__ import annotations

from reward_finetuning.config import UserError, parse_run_or_evaluation
from reward_finetuning.config.run import RunConfig
from reward_finetuning.evaluation.candidates import evaluation_directory
from reward_finetuning.evaluation.task import begin_evaluation
from reward_finetuning.steps.program import Config, PolicyFile, run_step, step
from reward_finetuning.storage import RunDirectory, write_reference
from reward_finetuning.storage.recorded_config import record_config


@step
def plan_evaluation(config: Config, policy: PolicyFile) -> str:
    """Write a reference to the policies: those that an evaluation file names, or the newest one of a run.

    Returns:
        The address of the settings, which the other tasks read in the place of the config.
    """
    parsed = parse_run_or_evaluation(config)
    if not isinstance(parsed, RunConfig):
        write_reference(policy, begin_evaluation(parsed))
        return record_config(evaluation_directory(parsed).store, parsed)
    run = RunDirectory(parsed)
    run.check()
    latest = run.latest()
    if not latest.name:
        raise UserError(f"{run.uri} has trained no epoch yet: there is nothing to compare with the pretrained model")
    write_reference(policy, latest)
    return record_config(run.store, parsed)


if __name__ == "__main__":
    run_step(plan_evaluation)

"""Which epochs does this pipeline run do? Read from latest.json, so that one compiled package serves them all."""

from __future__ import annotations

import json
from hashlib import sha256

from reward_finetuning.config import parse_config
from reward_finetuning.evaluation.reports import prompt_datasets
from reward_finetuning.inputs import check_known, input_digests
from reward_finetuning.policy.source import check_model
from reward_finetuning.prompts import check_enough, read_prompts
from reward_finetuning.rewards.scorer import check_scorers
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.program import Config, Inputs, PolicyFile, run_step
from reward_finetuning.storage import RunDirectory, write_reference
from reward_finetuning.tracking import Entry, MlflowTracker, check_server, code_version, pipeline_run
from reward_finetuning.training.monitor import alarms_of, refuse


def next_epochs(config: Config, policy: PolicyFile, inputs: Inputs = "") -> str:
    """Begin the run, or find out how far it got: returns the plan, and writes a reference to the newest policy.

    Everything that can be refused before a GPU second is spent is refused here, `inputs` that are not those the package
    was compiled for included.
    """
    run = RunDirectory(parse_config(config))
    described = begin(run, inputs)
    if (before := described["code_version"]) != (now := code_version()):
        print(f"warning: the run was begun by code version {before}, this is {now}", flush=True)
    latest = run.latest()
    write_reference(policy, latest)
    loop = run.config.loop
    tracker = MlflowTracker(run)
    tracker.log(_beginning(run, latest.epoch))
    if latest.epoch < loop.epochs:
        refuse(run, alarms_of(run, latest.epoch))
        tracker.set_status("RUNNING")
    block = loop.epochs if loop.granularity == "fused" else loop.epochs_per_run
    last = min(loop.epochs, latest.epoch + block)
    return Plan(first=latest.epoch + 1, last=last, epochs=loop.epochs).model_dump_json()


def _beginning(run: RunDirectory, epoch: int) -> Entry:
    """Prompt sets, and which pipeline run goes on from here; one entry a pipeline run."""
    tags = pipeline_run()
    told = f"begin-{sha256(json.dumps(tags, sort_keys=True).encode()).hexdigest()[:8]}"
    return Entry(told, epoch, {}, tags=tags, datasets=prompt_datasets(run))


def begin(run: RunDirectory, inputs: str = "") -> dict[str, object]:
    """Check all inputs and write (or compare) run.json; returns it."""
    config = run.config
    check_server(run)
    check_scorers(config.reward)
    check_model(config.model, config.sampling)
    check_enough(read_prompts(config.prompts.train), config.prompts.prompts_per_epoch)
    for source in config.evaluation.prompt_sets.values():
        read_prompts(source)
    digests = input_digests(config)
    check_known(inputs, digests, config)
    return run.begin(digests, {"code_version": code_version()})


if __name__ == "__main__":
    run_step(next_epochs)

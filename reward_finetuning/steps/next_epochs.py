"""Which epochs this pipeline run does: read from latest.json, so that one compiled package serves all of them."""

from __future__ import annotations

import json
from hashlib import sha256

from reward_finetuning.config import parse_config
from reward_finetuning.evaluation.objections import check_promotion
from reward_finetuning.evaluation.reports import prompt_datasets
from reward_finetuning.events import report_warning
from reward_finetuning.inputs import check_compiled, check_inputs, input_digests
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.program import Config, Inputs, PolicyFile, run_step, step
from reward_finetuning.storage import RunDirectory, write_reference
from reward_finetuning.tracking import Entry, MlflowTracker, code_version, pipeline_run
from reward_finetuning.training.monitor import alarms_of, refuse


@step
def next_epochs(config: Config, policy: PolicyFile, inputs: Inputs = "") -> str:
    """Begin or continue the run: returns the plan, and writes a reference to the newest policy.

    Everything that can be refused before a GPU is used is refused here, including `inputs` that differ from those the
    package was compiled for.
    """
    run = RunDirectory(parse_config(config))
    described = begin(run, inputs)
    if (before := described.get("code_version")) != (now := code_version()):
        report_warning(f"the run was begun by code version {before}, this is {now}")
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
    """Prompt sets, and which pipeline run continues the training; one entry per pipeline run."""
    tags = pipeline_run()
    name = f"begin-{sha256(json.dumps(tags, sort_keys=True).encode()).hexdigest()[:8]}"
    return Entry(name, epoch, {}, tags=tags, datasets=prompt_datasets(run))


def begin(run: RunDirectory, inputs: str = "") -> dict[str, object]:
    """Check all inputs and write (or compare) run.json; returns it."""
    check_inputs(run.config)
    check_promotion(run.config)
    digests = input_digests(run.config)
    check_compiled(inputs, digests, run.config)
    return run.begin(digests, {"code_version": code_version()})


if __name__ == "__main__":
    run_step(next_epochs)

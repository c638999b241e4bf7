"""Which epochs this pipeline run does: read from latest.json, so that one compiled package serves all of them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from reward_finetuning.config import RunConfig, parse_config
from reward_finetuning.config.options import with_options
from reward_finetuning.evaluation.objections import check_promotion
from reward_finetuning.evaluation.reports import prompt_datasets
from reward_finetuning.events import report_news, report_warning
from reward_finetuning.inputs import check_compiled, check_inputs, input_digests
from reward_finetuning.report.settings import settings_page
from reward_finetuning.steps.plan import Block, Plan
from reward_finetuning.steps.program import Config, Inputs, Options, PolicyFile, Run, SummaryFile, run_step, step
from reward_finetuning.storage import RunDirectory, write_reference
from reward_finetuning.storage.recorded_config import record_config
from reward_finetuning.tracking import Entry, MlflowTracker, code_version, pipeline_run
from reward_finetuning.training.monitor import alarms_of, refuse


@step
def next_epochs(
    config: Config,
    policy: PolicyFile,
    summary: SummaryFile = "",
    inputs: Inputs = "",
    options: Options = "",
    run: Run = "",
) -> Block:
    """Begin or continue the run, and write a reference to the newest policy and a page of the settings.

    Everything that can be refused before a GPU is used is refused here, including `inputs` that differ from those the
    package was compiled for.
    """
    compiled = parse_config(config)
    directory = RunDirectory(with_options(compiled, options, run))
    if directory.config.name != compiled.name:
        report_news(f"these options belong to another run: {directory.uri}")
    described = begin(directory, _unchanged(inputs, compiled, directory.config))
    if (before := described.get("code_version")) != (now := code_version()):
        report_warning(f"the run was begun by code version {before}, this is {now}")
    latest = write_reference(policy, directory.latest())
    tracker = MlflowTracker(directory)
    tracker.log(_beginning(directory, latest.epoch))
    if latest.epoch < directory.config.loop.epochs:
        refuse(directory, alarms_of(directory, latest.epoch))
        tracker.set_status("RUNNING")
    block = _block(directory, latest.epoch)
    if summary:
        Path(summary).parent.mkdir(parents=True, exist_ok=True)
        page = settings_page(directory.config, directory.uri, tracker.run_id, block.epochs, latest.epoch)
        Path(summary).write_text(page, encoding="utf-8")
    return block


def _block(run: RunDirectory, latest: int) -> Block:
    loop = run.config.loop
    last = min(loop.epochs, latest + (loop.unrolled_epochs if loop.granularity == "split" else loop.epochs))
    plan = Plan(first=latest + 1, last=last, epochs=loop.epochs)
    epochs = [str(epoch) for epoch in range(plan.first, plan.last + 1)] or [str(loop.epochs)]
    return Block(record_config(run.store, run.config), plan.model_dump_json(), epochs, epochs[0])


def _unchanged(inputs: str, compiled: RunConfig, config: RunConfig) -> str:
    """`inputs`, unless the options name other inputs than those that the package was compiled for."""
    before, now = (
        each.model_dump(include={"model", "prompts", "evaluation", "reward", "warm_start"})
        for each in (compiled, config)
    )
    return inputs if before == now else ""


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

"""The steps that a TrainJob can run, seen from the task that launches it: the same inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

from reward_finetuning.components.launcher.attempt import run_to_end
from reward_finetuning.components.launcher.manifest import job_name, train_job
from reward_finetuning.components.launcher.settings import TrainJobSettings
from reward_finetuning.config import UserError, parse_config
from reward_finetuning.config.locations import BUCKET_EXAMPLES
from reward_finetuning.evaluation.reports import PAGE, SUMMARY, headline, page_metrics, report_name
from reward_finetuning.steps.outputs import Outputs
from reward_finetuning.steps.plan import Plan, Trained, epoch_number, policy_before, shards_of, trained
from reward_finetuning.steps.program import step
from reward_finetuning.storage import (
    Reference,
    RunDirectory,
    artifact_names,
    write_reference,
)

_IN_THE_POD = "/tmp/reference.json"
"""Where a program in the TrainJob writes the references to its outputs; the launcher reads the run directory."""


@step
def launch_train_epoch(config: str, epoch: str, next_policy: str, offset: int = 0, job: str = "") -> Trained:
    """`steps.train_epoch` on several nodes; arguments as there, and `job`: JSON text of TrainJobSettings."""
    number = epoch_number(epoch, offset)
    run, settings = RunDirectory(parse_config(config)), TrainJobSettings.parse(job)
    run.check()
    before, name = policy_before(run, number), artifact_names.policy(number)
    if before is None:
        return trained(run, number, next_policy)
    shards_of(run, before)  # what is absent is refused before machines are asked for
    options = {"config": config, "epoch": str(number), "next-policy": _IN_THE_POD}
    _run(run, settings, number, f"{run.uri}\n{before.checksum}", "train_epoch", options)
    if run.store.manifest(name) is None:
        raise _elsewhere(run, name)
    return trained(run, number, next_policy)


@step
def launch_run_epochs(
    config: str, plan: str, policy: str, report: str, metrics: str, summary: str, job: str
) -> dict[str, float]:
    """`steps.run_epochs` on several nodes; arguments as there, and `job`: JSON text of TrainJobSettings."""
    run, settings, block = RunDirectory(parse_config(config)), TrainJobSettings.parse(job), Plan.parse(plan)
    run.check()
    name = report_name(run, block.last)
    if run.latest().epoch < block.last or run.store.manifest(name) is None:
        options = {"config": config, "plan": plan, "policy": _IN_THE_POD, "report": f"{_IN_THE_POD}.html"}
        _run(run, settings, block.last, run.uri, "run_epochs", options)
    latest, made = run.latest(), run.store.manifest(name)
    if latest.epoch < block.last or made is None:
        raise _elsewhere(run, name)
    write_reference(policy, latest)
    folder, _ = run.open(Reference.to(name, made), [PAGE, SUMMARY])
    numbers = made.facts["metrics"]
    Outputs(report, metrics, summary).publish(folder / PAGE, folder / SUMMARY, headline(numbers))
    return page_metrics(numbers)


def _run(
    run: RunDirectory, settings: TrainJobSettings, epoch: int, key: str, module: str, options: Mapping[str, str]
) -> None:
    program = [
        f"reward_finetuning.steps.{module}",
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
    processes = run.config.training.processes
    num_processes = max(1, settings.gpus) if processes == "auto" else processes
    name = job_name(run.config.name, epoch, key)
    run_to_end(train_job(name, settings, program, num_processes=num_processes), settings)


def _elsewhere(run: RunDirectory, name: str) -> UserError:
    return UserError(
        f"the TrainJob is complete, but {run.uri}/{name} is absent here: run_root must be one place for all nodes "
        f"and for the task that launches them, e.g. {BUCKET_EXAMPLES}"
    )

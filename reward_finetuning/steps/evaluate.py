"""Compare policies on the evaluation prompts, from the same noise: a run's with the pretrained model, or any others."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reward_finetuning.evaluation.pages import run_page
from reward_finetuning.evaluation.parts import draw_floor, draw_parts, join, parts_of
from reward_finetuning.evaluation.reports import (
    GRID,
    METRICS,
    PAGE,
    SUMMARY,
    evaluation_entry,
    headline,
    page_metrics,
    report_name,
    settings_digest,
)
from reward_finetuning.evaluation.side_by_side import compare_policies
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.evaluation.task import open_evaluation
from reward_finetuning.policy.load import Policy
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import as_metrics, compare
from reward_finetuning.report.markdown import markdown_page
from reward_finetuning.report.pictures.sample_grid import write_grid
from reward_finetuning.report.summary import as_markdown
from reward_finetuning.rewards.scorer import Scorers, load_scorers
from reward_finetuning.steps.outputs import Outputs
from reward_finetuning.steps.program import Config, MetricsFile, PolicyFile, ReportFile, SummaryFile, run_step, step
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.artifacts.evaluations import read_evaluation, write_evaluation
from reward_finetuning.tracking import MlflowTracker, Tracker
from reward_finetuning.training.processes import Processes


@step
def evaluate(
    config: Config, policy: PolicyFile, report: ReportFile, metrics: MetricsFile = "", summary: SummaryFile = ""
) -> dict[str, float]:
    """Draw and score what is still missing, compare, and write page, numbers and summary.

    Returns:
        The few numbers that a page shows (`page_metrics`).
    """
    evaluation = open_evaluation(config, policy)
    run, outputs = evaluation.run, Outputs(report, metrics, summary)
    scorers = cache(lambda: load_scorers(run.config.reward))
    if evaluation.stands_alone:
        return _publish(run, compare_policies(evaluation, scorers), outputs)
    tracker = MlflowTracker(run)
    for subject in evaluation.subjects:
        evaluated = evaluate_policy(run, subject, subject.load, scorers, tracker)
    draw_floor(run, scorers)
    return publish(run, evaluated, outputs, tracker)


def evaluate_policy(
    run: RunDirectory, subject: Subject, policy: Callable[[], Policy], scorers: Scorers, tracker: Tracker
) -> Reference:
    """Commit the report of a policy of the run, unless it is there already; the pretrained model's comes first.

    Args:
        run: the run.
        subject: the policy; epoch 0 is the pretrained model.
        policy: gives it; called only where there is something to draw.
        scorers: gives the scorers; called only then, too.
        tracker: where the numbers go.
    """
    epoch = subject.reference.epoch
    name = report_name(run, epoch)
    identity = run.identity("report", epoch, subject.weights, settings_digest(run))

    def write(folder: Path) -> dict[str, Any]:
        draw_parts(run, subject, parts_of(run, subject), policy, scorers)
        return _write_report(run, subject, folder)

    manifest = run.commit(name, identity, write)
    tracker.log(evaluation_entry(run, subject.reference))
    return Reference.to(name, manifest)


def draw_share(
    run: RunDirectory, subject: Subject, policy: Callable[[], Policy], scorers: Scorers, processes: Processes
) -> None:
    """Draw this process's share of the parts of an evaluation; every process calls it, and all parts are there after.

    `evaluate_policy` joins them. It does nothing if the report is there already, or if this process is alone.
    """
    if processes.count == 1:
        return
    if processes.agreed(run.store.manifest(report_name(run, subject.reference.epoch)) is None):
        draw_parts(run, subject, parts_of(run, subject)[processes.rank :: processes.count], policy, scorers)
    processes.gathered(None)


def publish(run: RunDirectory, evaluated: Reference, outputs: Outputs, tracker: Tracker) -> dict[str, float]:
    """Copy the report's files to the paths that KFP gave; after the last epoch, mark the run FINISHED in MLflow.

    Returns:
        The few numbers that a page shows.
    """
    metrics = _publish(run, evaluated, outputs)
    if evaluated.epoch == run.config.loop.epochs and isinstance(tracker, MlflowTracker):
        tracker.set_status("FINISHED")
    return metrics


def _publish(run: RunDirectory, evaluated: Reference, outputs: Outputs) -> dict[str, float]:
    folder, manifest = run.open(evaluated, [])
    shown = [file for file in (PAGE, SUMMARY) if file in manifest.files]  # the pretrained model alone has no page
    run.store.fetch(evaluated.name, shown)
    metrics = manifest.facts["metrics"]
    outputs.publish(folder / PAGE if PAGE in shown else None, folder / SUMMARY, headline(metrics))
    return page_metrics(metrics)


def _write_report(run: RunDirectory, subject: Subject, folder: Path) -> dict[str, Any]:
    after = join(run, subject)
    write_evaluation(folder, after, parts_of(run, subject), run.config.sampling.micro_batch_size)
    write_grid(after.images, after.prompts, run.config.evaluation.grid_images, folder / GRID)
    if subject.reference.epoch == 0:
        metrics = _means(after)
        rows = [(name, f"{value:.4f}") for name, value in metrics.items()]
        sentence = "The pretrained model, with which policies are compared."
        summary = markdown_page(run.config.name, [sentence], ("metric", "mean"), rows)
    else:
        before = read_evaluation(run.store, report_name(run, 0))
        comparison = compare(before, after)
        metrics = as_metrics(comparison)
        summary = as_markdown(comparison, f"{run.config.name}: {comparison.after} against {comparison.before}")
        run_page(run, comparison, before, after).write(folder / PAGE)
    (folder / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True), encoding="utf-8")
    (folder / SUMMARY).write_text(summary, encoding="utf-8")
    return {"metrics": metrics}


def _means(samples: EvaluatedSamples) -> dict[str, float]:
    sets = np.array(samples.prompt_sets)
    return {
        f"eval/{prompt_set}/{name}/mean": float(values[sets == prompt_set].mean())
        for prompt_set in dict.fromkeys(samples.prompt_sets)
        for name, values in (samples.rewards | samples.measures).items()
    }


if __name__ == "__main__":
    run_step(evaluate)

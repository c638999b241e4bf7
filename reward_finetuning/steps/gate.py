"""The gate: whether a policy's report meets the conditions of promotion."""

from __future__ import annotations

from reward_finetuning.config import ArtifactError, parse_config
from reward_finetuning.evaluation.objections import find_objections
from reward_finetuning.evaluation.reports import report_name, reported_metrics
from reward_finetuning.events import report_news
from reward_finetuning.steps.program import Config, PolicyFile, run_step, step
from reward_finetuning.storage import RunDirectory, read_reference
from reward_finetuning.tracking import Entry, MlflowTracker


@step
def gate(config: Config, policy: PolicyFile) -> bool:
    """Whether the policy is better where promotion.improve_on asks for it, and nowhere worse than it allows.

    Reports each objection as a line.

    Raises:
        ArtifactError: the policy has no report.
    """
    run = RunDirectory(parse_config(config))
    run.check()
    reference = read_reference(policy)
    metrics = reported_metrics(run, reference.epoch)
    if metrics is None:
        raise ArtifactError(f"{run.uri}/{report_name(run, reference.epoch)} is absent: evaluate the policy first")
    objections = list(find_objections(run.config, metrics)) if reference.epoch else ["it is the pretrained model"]
    for objection in objections:
        report_news(f"epoch {reference.epoch}: not promoted, {objection}")
    tracker = MlflowTracker(run)
    tracker.log(Entry("gate", reference.epoch, {"gate/passed": float(not objections)}))
    return not objections


if __name__ == "__main__":
    run_step(gate)

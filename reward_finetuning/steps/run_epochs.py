"""The fused loop: many epochs in one task, each the other steps' functions in turn; nothing here is its own.

A crash costs at most the epoch it fell into: every artifact is committed as it is made, and the next attempt finds it.
"""

from __future__ import annotations

from functools import cache, partial

from reward_finetuning.config import parse_config
from reward_finetuning.policy.learner import Learner, learner_at
from reward_finetuning.policy.load import Policy
from reward_finetuning.rewards.scorer import Scorers, load_scorers
from reward_finetuning.steps.evaluate import evaluate_policy, publish
from reward_finetuning.steps.evaluation_due import evaluation_due
from reward_finetuning.steps.outputs import Outputs
from reward_finetuning.steps.plan import Plan, cut, sampling_policy
from reward_finetuning.steps.program import Config, MetricsFile, PolicyFile, ReportFile, SummaryFile, run_step
from reward_finetuning.steps.program import Plan as PlanText
from reward_finetuning.steps.reward import score_rollouts
from reward_finetuning.steps.sample import draw_shard
from reward_finetuning.steps.subjects import Subject
from reward_finetuning.steps.train_epoch import train_on
from reward_finetuning.storage import Reference, RunDirectory, write_reference
from reward_finetuning.tracking import MlflowTracker


def run_epochs(
    config: Config,
    plan: PlanText,
    policy: PolicyFile,
    report: ReportFile,
    metrics: MetricsFile = "",
    summary: SummaryFile = "",
) -> dict[str, float]:
    """Do the plan's epochs from wherever latest.json is; writes the last policy's reference and the last page."""
    run = RunDirectory(parse_config(config))
    run.check()
    tracker, session = MlflowTracker(run), _Session(run)
    scorers = cache(lambda: load_scorers(run.config.reward))
    pretrained = Subject.of_run(run, Reference(epoch=0))
    evaluated = evaluate_policy(run, pretrained, pretrained.load, scorers, tracker)
    latest = run.latest()
    for epoch in range(latest.epoch, Plan.parse(plan).last + 1):
        if epoch > latest.epoch:
            latest = _epoch(run, session, latest, scorers, tracker)
        here = Plan(first=epoch, last=epoch, epochs=run.config.loop.epochs).model_dump_json()
        if epoch > 0 and evaluation_due(config, here, 0):
            subject = Subject.of_run(run, latest)
            newest = partial(_policy, session, latest)
            load = subject.load if run.config.evaluation.averaged else newest
            evaluated = evaluate_policy(run, subject, load, scorers, tracker)
    write_reference(policy, latest)
    return publish(run, evaluated, Outputs(report, metrics, summary), tracker)


def _policy(session: _Session, reference: Reference) -> Policy:
    return session.at(reference).policy


def _epoch(
    run: RunDirectory, session: _Session, before: Reference, scorers: Scorers, tracker: MlflowTracker
) -> Reference:
    drawn_by = sampling_policy(run.config, before)
    (whole,) = cut(drawn_by.epoch + 1, run.config.num_micro_batches, 1)
    rollouts = draw_shard(run, whole, drawn_by, lambda: session.at(drawn_by).policy)
    rewards = score_rollouts(run, rollouts, scorers)
    after = train_on(run, before, [rollouts], [rewards], lambda: session.learn_from(before), tracker)
    session.learnt(after)
    return after


class _Session:
    """The learner in memory, for as long as it is the one that is asked for."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._learner: Learner | None = None
        self._reference: Reference | None = None
        self._learning = False

    def at(self, reference: Reference) -> Learner:
        """The learner at `reference`: the one in memory, or read from the run directory."""
        if self._learner is None or self._reference is None or self._reference.checksum != reference.checksum:
            self._learner = learner_at(self._run, reference, keep_reference=True)
            self._reference = reference
        return self._learner

    def learn_from(self, reference: Reference) -> Learner:
        """The learner at `reference`, about to be changed."""
        learner = self.at(reference)
        self._learning, self._reference = True, None
        return learner

    def learnt(self, after: Reference) -> None:
        """What was changed is now `after`, unless that had been committed by an earlier attempt."""
        self._reference = after if self._learning else self._reference
        self._learning = False


if __name__ == "__main__":
    run_step(run_epochs)

"""The fused loop: many epochs in one task. Each epoch calls the functions of the other steps in turn.

With several processes, each draws and scores a shard of the epoch and a share of an evaluation, all learn together, and
the first one writes reports.

A crash costs at most the epoch in which it happens: every artifact is committed when it is complete, and the next
attempt reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial

from reward_finetuning.config import parse_config
from reward_finetuning.evaluation.parts import draw_floor
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.policy.load import Policy
from reward_finetuning.rewards.scorer import Scorers, load_scorers
from reward_finetuning.steps.early_scores import EarlyScores
from reward_finetuning.steps.evaluate import draw_share, evaluate_policy, publish
from reward_finetuning.steps.outputs import Outputs
from reward_finetuning.steps.plan import Plan, cut, is_evaluated, sampling_policy
from reward_finetuning.steps.program import Config, MetricsFile, PolicyFile, ReportFile, SummaryFile, run_step, step
from reward_finetuning.steps.program import Plan as PlanText
from reward_finetuning.steps.promote import promote_last
from reward_finetuning.steps.reward import score_rollouts
from reward_finetuning.steps.sample import draw_shard, is_drawn
from reward_finetuning.steps.train_epoch import train_on
from reward_finetuning.storage import Reference, RunDirectory, write_reference
from reward_finetuning.tracking import MlflowTracker
from reward_finetuning.training.launch import processes_to_start, start
from reward_finetuning.training.learner import Learner, learner_at
from reward_finetuning.training.processes import Processes, joined


@step
def run_epochs(
    config: Config,
    plan: PlanText,
    policy: PolicyFile,
    report: ReportFile,
    metrics: MetricsFile = "",
    summary: SummaryFile = "",
) -> dict[str, float]:
    """Do the plan's epochs from wherever latest.json is; writes the last policy's reference and the last page."""
    run, block = RunDirectory(parse_config(config)), Plan.parse(plan)
    run.check()
    num_processes = processes_to_start(run.config) if block.epoch(0) is not None else 0
    if num_processes:
        options = {"config": config, "plan": plan, "policy": policy, "report": report}
        start("reward_finetuning.steps.run_epochs", options, num_processes)  # the lines below read what it commits
    with joined(run.config.model) as processes:
        return _run_epochs(run, block, processes, policy, Outputs(report, metrics, summary))


def _run_epochs(run: RunDirectory, plan: Plan, processes: Processes, policy: str, outputs: Outputs) -> dict[str, float]:
    tracker, session = MlflowTracker(run), _Session(run, processes)
    scorers = cache(lambda: load_scorers(run.config.reward))
    evaluated = Reference(epoch=0)
    pretrained = Subject.of_run(run, evaluated)
    draw_share(run, pretrained, pretrained.load, scorers, processes)
    if processes.is_first:
        evaluated = evaluate_policy(run, pretrained, pretrained.load, scorers, tracker)
        draw_floor(run, scorers)
    latest = processes.agreed(run.latest())
    for epoch in range(latest.epoch, plan.last + 1):
        if epoch > latest.epoch:
            latest = _epoch(run, session, latest, scorers, tracker)
        if epoch > 0 and is_evaluated(run.config.loop, epoch):
            averaged = run.config.evaluation.averaged
            with nullcontext() if averaged else session.gathered(latest):
                subject = Subject.of_run(run, latest)
                load = subject.load if averaged else partial(_policy, session, latest)
                draw_share(run, subject, load, scorers, processes)
                if processes.is_first:
                    evaluated = evaluate_policy(run, subject, load, scorers, tracker)
    metrics: dict[str, float] = {}
    if processes.is_first:
        write_reference(policy, latest)
        metrics = publish(run, evaluated, outputs, tracker)
        promote_last(run)
    return processes.agreed(metrics)  # no process ends before the last evaluation is committed


def _policy(session: _Session, reference: Reference) -> Policy:
    return session.at(reference).policy


def _epoch(
    run: RunDirectory, session: _Session, before: Reference, scorers: Scorers, tracker: MlflowTracker
) -> Reference:
    processes, drawn_by = session.processes, sampling_policy(run.config, before)
    parts = cut(run.config, drawn_by, processes.count)
    own = parts[processes.rank : processes.rank + 1]  # none where there are more processes than parts
    draws = processes.gathered(any(not is_drawn(run, part) for part in own))
    with session.gathered(drawn_by) if any(draws) else nullcontext(), EarlyScores(run, scorers) as early:
        rollouts = [draw_shard(run, part, drawn_by, lambda: session.at(drawn_by).policy, early) for part in own]
    rewards = [score_rollouts(run, drawn, scorers, early.usage_before) for drawn in rollouts]
    of_all = processes.gathered((rollouts, rewards))
    all_rollouts = [drawn for of_one, _ in of_all for drawn in of_one]
    all_rewards = [scored for _, of_one in of_all for scored in of_one]
    learner = partial(session.learn_from, before)
    after = train_on(run, before, all_rollouts, all_rewards, learner, processes, tracker)
    session.learnt(after)
    return after


class _Session:
    """Keeps the learner in memory while the same policy is needed."""

    def __init__(self, run: RunDirectory, processes: Processes) -> None:
        self._run, self.processes = run, processes
        self._learner: Learner | None = None
        self._reference: Reference | None = None
        self._learning = False

    def at(self, reference: Reference) -> Learner:
        """The learner at `reference`: the one in memory, or read from the run directory."""
        if self._learner is None or self._reference is None or self._reference.checksum != reference.checksum:
            self._learner = learner_at(self._run, reference, keep_reference=True, processes=self.processes)
            self._reference = reference
        return self._learner

    @contextmanager
    def gathered(self, reference: Reference) -> Iterator[None]:
        """Sharded networks of the learner at `reference` whole in each process; all processes enter together.

        Nothing is loaded if weights are not sharded.
        """
        if not self._run.config.training.shards(self.processes.count):
            yield
            return
        policy = self.at(reference).policy
        self.processes.agreed(value=None)  # the first process may still report, for longer than nccl waits
        with policy.gathered():
            yield

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

"""Draw and score one of several shares of an evaluation; `evaluate` joins them."""

from __future__ import annotations

from functools import cache

from reward_finetuning.evaluation.parts import draw_parts, parts_of
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.evaluation.task import open_evaluation
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps.program import Config, EvaluationShard, PolicyFile, run_step, step


@step
def evaluate_shard(config: Config, policy: PolicyFile, shard: EvaluationShard) -> None:
    """Commit the `shard`-th of evaluation.num_shards shares of all parts, of all policies that are compared."""
    evaluation = open_evaluation(config, policy)
    run = evaluation.run
    scorers = cache(lambda: load_scorers(run.config.reward))
    floor = None if evaluation.stands_alone else Subject.floor_of(run)
    subjects = [*evaluation.subjects, *([] if floor is None else [floor])]
    work = [(subject, part) for subject in subjects for part in parts_of(run, subject)]
    num_shards = run.config.evaluation.num_shards
    first, last = (edge * len(work) // num_shards for edge in (shard, shard + 1))
    for subject in subjects:
        mine = [part for owner, part in work[first:last] if owner is subject]
        if mine:
            draw_parts(run, subject, mine, subject.load, scorers)


if __name__ == "__main__":
    run_step(evaluate_shard)

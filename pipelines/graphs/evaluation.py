"""Evaluation as a piece of a graph: shares drawn and scored side by side, then joined, compared and shown."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl import Input, Model

from reward_finetuning.components.evaluate import evaluate as evaluate_component
from reward_finetuning.components.evaluate_shard import evaluate_shard as evaluate_shard_component
from reward_finetuning.components.plan_evaluation import plan_evaluation as plan_evaluation_component
from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.pipelines.targets.target import Target


def standalone(target: Target, config: RunConfig | EvaluationRun) -> Any:
    """The policies of an evaluation file; or of a run the newest one."""
    plan_evaluation = target.component(plan_evaluation_component)
    compare = evaluation(target, config.evaluation.num_shards)

    whole = config.model_dump_json()

    @dsl.pipeline(name="evaluation", description="Policies side by side on the same prompts and the same noise.")
    def pipeline() -> None:
        plan = plan_evaluation(config=whole)
        compare(config=plan.outputs["Output"], policy=plan.outputs["policy"])

    return pipeline


def evaluation(target: Target, num_shards: int) -> Callable[..., Any]:
    """A piece of a graph: (config, policy) -> the task that compares; it draws itself where there is one shard."""
    if num_shards == 1:
        return target.component(evaluate_component)
    evaluate_shard = target.component(evaluate_shard_component)
    evaluate = target.component(evaluate_component, "export")  # all pictures are there: no GPU

    # A nested pipeline, because no task can come after one inside a loop.
    @dsl.pipeline(name="evaluation-shards")
    def shards(config: str, policy: Input[Model]) -> None:
        with dsl.ParallelFor(list(range(num_shards))) as shard:
            evaluate_shard(config=config, policy=policy, shard=shard)

    def sharded(*, config: Any, policy: Any) -> Any:
        return evaluate(config=config, policy=policy).after(shards(config=config, policy=policy))

    return sharded

"""An epoch in parts that are sampled and scored side by side."""

from __future__ import annotations

from reward_finetuning.config import parse_config
from reward_finetuning.steps.plan import Plan, Shard, cut, sampling_policy
from reward_finetuning.steps.program import Config, Offset, run_step, step
from reward_finetuning.steps.program import Plan as PlanText
from reward_finetuning.storage import Reference


@step
def shards(config: Config, plan: PlanText, offset: Offset) -> list[str]:
    """JSON text of each shard of the plan's `offset`-th epoch; one that does nothing where the plan has fewer."""
    run = parse_config(config)
    epoch = Plan.parse(plan).epoch(offset)
    if epoch is None:
        return [Shard(epoch=0, first=0, last=0, skip=True).model_dump_json()]
    drawn_in = sampling_policy(run, Reference(epoch=epoch - 1)).epoch + 1
    return [shard.model_dump_json() for shard in cut(drawn_in, run.num_micro_batches, run.loop.num_shards)]


if __name__ == "__main__":
    run_step(shards)

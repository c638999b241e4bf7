"""Whether an epoch is evaluated."""

from __future__ import annotations

from reward_finetuning.config import parse_config
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.program import Config, Offset, run_step, step
from reward_finetuning.steps.program import Plan as PlanText


@step
def evaluation_due(config: Config, plan: PlanText, offset: Offset) -> bool:
    """Whether the plan's `offset`-th epoch is evaluated: every evaluate_every epochs, and the last of all.

    If no epoch is left, offset 0 evaluates the last epoch again: an earlier attempt may have ended before it did.
    """
    loop, block = parse_config(config).loop, Plan.parse(plan)
    epoch = block.epoch(offset)
    if epoch is None:
        return offset == 0
    return epoch % loop.evaluate_every == 0 or epoch == loop.epochs


if __name__ == "__main__":
    run_step(evaluation_due)

"""Make a policy the one to use: champion.json of the run directory points at it."""

from __future__ import annotations

from typing import Any

from reward_finetuning.config import RetryableError, parse_config
from reward_finetuning.steps.program import Config, PolicyFile, run_step
from reward_finetuning.storage import RunDirectory, read_reference
from reward_finetuning.tracking import Entry, MlflowTracker

CHAMPION = "champion.json"
_ATTEMPTS = 5


def promote(config: Config, policy: PolicyFile) -> dict[str, Any]:
    """Point champion.json at the policy, and say so in MLflow; returns what it points at.

    Raises:
        RetryableError: others kept promoting at the same time.
    """
    run = RunDirectory(parse_config(config))
    run.check()
    challenger = read_reference(policy)
    run.open(challenger, [])
    champion = challenger.model_dump()
    for _ in range(_ATTEMPTS):  # of two promotions at once one is refused, and looks again
        if (before := run.store.read_json(CHAMPION)) == champion:
            break
        if run.store.replace_json(CHAMPION, champion, expected=before):
            break
    else:
        raise RetryableError(f"{run.uri}/{CHAMPION} changed {_ATTEMPTS} times while it was to be replaced")
    print(f"epoch {challenger.epoch}: promoted, {run.uri}/{CHAMPION} points at it", flush=True)
    MlflowTracker(run).log(Entry("promote", challenger.epoch, {}, tags={"champion_epoch": str(challenger.epoch)}))
    return champion


if __name__ == "__main__":
    run_step(promote)

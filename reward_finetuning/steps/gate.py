"""Is the policy good enough to be promoted? Decided from its report alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reward_finetuning.config import ArtifactError, RunConfig, parse_config
from reward_finetuning.steps.program import Config, PolicyFile, run_step
from reward_finetuning.steps.reports import report_name, reported_metrics
from reward_finetuning.storage import RunDirectory, read_reference
from reward_finetuning.storage.rewards import COMBINED
from reward_finetuning.tracking import Entry, MlflowTracker


def gate(config: Config, policy: PolicyFile) -> bool:
    """Whether the policy is better where promotion.improve_on asks for it, and nowhere worse than it allows.

    Prints one line for each objection.

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
        print(f"epoch {reference.epoch}: not promoted, {objection}", flush=True)
    tracker = MlflowTracker(run)
    tracker.log(Entry("gate", reference.epoch, {"gate/passed": float(not objections)}))
    return not objections


def find_objections(config: RunConfig, metrics: Mapping[str, float]) -> Iterator[str]:
    """Each thing that speaks against promoting a policy with these `eval/...` metrics."""
    promotion = config.promotion
    for prompt_set in promotion.improve_on:
        low = metrics.get(f"eval/{prompt_set}/{COMBINED}/gain_low")
        if low is None or low <= 0:
            found = "has no interval: too few prompts or images" if low is None else f"may be as low as {low:+.4g}"
            yield f"its gain on {prompt_set} {found}"
    for prompt_set in promotion.keep_on:
        high = metrics.get(f"eval/{prompt_set}/{COMBINED}/gain_high", 0.0)
        if high < 0:
            yield f"its reward on {prompt_set} falls, by at least {-high:.4g}"
    for prompt_set in dict.fromkeys([*promotion.improve_on, *promotion.keep_on]):
        for reward, margin in promotion.guard_margins.items():
            gain = metrics.get(f"eval/{prompt_set}/{reward}/gain", 0.0)
            if gain < -margin:
                yield f"{reward} on {prompt_set} changes by {gain:+.4g}, and may fall by {margin:g}"


if __name__ == "__main__":
    run_step(gate)

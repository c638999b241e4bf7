"""A policy of a run as a folder for others: weights as diffusers saves them, and the model card."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.policy.card import Provenance, model_card
from reward_finetuning.policy.export import export_weights
from reward_finetuning.prompts import read_prompts
from reward_finetuning.report.comparison import as_table, compare
from reward_finetuning.steps.kept_policies import policy_of_epoch
from reward_finetuning.steps.reports import read_scores, report_name
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.reference import weights_sha256

__all__ = ["CARD", "export_policy", "policy_of_epoch", "provenance"]

CARD = "README.md"


def export_policy(run: RunDirectory, policy: Reference, folder: Path, *, merge: bool = False) -> None:
    """Write the policy's weights as stock diffusers loads them, and the model card, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    export_weights(run, policy, folder, merge=merge)
    (folder / CARD).write_text(model_card(provenance(run, policy), merge=merge), encoding="utf-8")


def provenance(run: RunDirectory, policy: Reference) -> Provenance:
    """What the card says of a policy."""
    described, prompts = run.describe(), read_prompts(run.config.prompts.train)
    assert described is not None
    verdict, results = _results(run, policy)
    return Provenance(
        config=run.config,
        epoch=policy.epoch,
        weights_sha256=weights_sha256(policy),
        fingerprint=run.fingerprint,
        code_version=str(described["code_version"]),
        num_prompts=len(prompts.prompts),
        prompts_digest=prompts.digest,
        results=results,
        verdict=verdict,
    )


def _results(run: RunDirectory, policy: Reference) -> tuple[str, list[tuple[str, ...]]]:
    """The verdict and the table of whole prompt sets, if the policy was evaluated."""
    before, after = (read_scores(run.uri, report_name(run, epoch)) for epoch in (0, policy.epoch))
    if before is None or after is None:
        return "", []
    comparison = compare(before, after)
    heading, *rows = as_table(comparison)
    whole = [heading, *(row for row in rows if not row[1])]
    return comparison.verdict, [(row[0], *row[2:]) for row in whole]

"""Export of a policy as a folder with weights in the format of diffusers and a model card."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.evaluation.reports import read_scores, report_name
from reward_finetuning.policy.export.card import Provenance, model_card
from reward_finetuning.policy.export.mlflow_model import begin_model, finish_model
from reward_finetuning.policy.export.weights import Exported, export_weights, form_of
from reward_finetuning.policy.pretrained.source import locate
from reward_finetuning.prompts import read_prompts
from reward_finetuning.report.comparison import as_table, compare
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.artifacts.policies import policy_of_epoch
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.storage.uri import in_bucket

__all__ = ["CARD", "export_model", "export_policy", "policy_of_epoch", "provenance"]

CARD = "README.md"


def export_policy(
    run: RunDirectory,
    policy: Reference,
    folder: Path,
    *,
    merge: bool = False,
    single_file: bool = False,
    averaged: bool | None = None,
) -> Exported:
    """Write the weights of a policy for stock diffusers, and the model card, to `folder`.

    Args:
        run: the run.
        policy: a policy of the run.
        folder: output folder; created if it does not exist.
        merge: merge LoRA adapters into the weights of the base model, and write a pipeline.
        single_file: write one file with merged weights and original names.
        averaged: export the averaged weights or the newest; default: the weights that are evaluated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    averaged = run.config.evaluation.averaged if averaged is None else averaged
    form = "file" if single_file else form_of(run.config.model, merge=merge)
    exported = export_weights(run, policy, folder, form, averaged=averaged)
    (folder / CARD).write_text(model_card(provenance(run, policy, averaged=averaged), exported), encoding="utf-8")
    return exported


def export_model(run: RunDirectory, policy: Reference, folder: Path) -> None:
    """Write the policy as an MLflow model: with its base model where others may not have that."""
    config = run.config
    merge = _is_only_here(config.model)
    prompts = read_prompts(next(iter(config.evaluation.prompt_sets.values()), config.prompts.train))
    begin_model(folder, config, form_of(config.model, merge=merge), prompts.prompts[0].text)
    finish_model(folder, config, export_policy(run, policy, folder, merge=merge))


def _is_only_here(model: ModelConfig) -> bool:
    """Whether diffusers cannot load the base model by its name: the built-in one, a bucket's, a single file."""
    where = locate(model)
    return where is not None and (model.source == "shapes" or in_bucket(model.source) or where.is_file())


def provenance(run: RunDirectory, policy: Reference, *, averaged: bool) -> Provenance:
    """The content of the model card."""
    described = run.describe()
    prompts = read_prompts(run.config.prompts.train)
    assert described is not None
    verdict, results = _results(run, policy) if averaged == run.config.evaluation.averaged else ("", [])
    return Provenance(
        config=run.config,
        epoch=policy.epoch,
        averaged=averaged,
        weights_sha256=weights_sha256(policy),
        fingerprint=run.fingerprint,
        code_version=str(described.get("code_version")),
        num_prompts=len(prompts.prompts),
        prompts_digest=prompts.digest,
        results=results,
        verdict=verdict,
    )


def _results(run: RunDirectory, policy: Reference) -> tuple[str, list[tuple[str, ...]]]:
    """The verdict and the table of whole prompt sets; empty if the policy was not evaluated."""
    before, after = (read_scores(run.uri, report_name(run, epoch)) for epoch in (0, policy.epoch))
    if before is None or after is None:
        return "", []
    comparison = compare(before, after)
    heading, *rows = as_table(comparison)
    whole = [heading, *(row for row in rows if not row[1])]
    return comparison.verdict, [(row[0], *row[2:]) for row in whole]

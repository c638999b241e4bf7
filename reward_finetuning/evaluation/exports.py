"""Export of a policy as a folder with weights in the format of diffusers and a model card."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.evaluation.reports import read_scores, report_name
from reward_finetuning.policy.export.card import Provenance, ShownPair, model_card
from reward_finetuning.policy.export.mlflow_model import begin_model, finish_model
from reward_finetuning.policy.export.weights import Exported, export_weights, form_of
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_MODELS
from reward_finetuning.policy.pretrained.source import locate
from reward_finetuning.prompts import read_prompts
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import as_table, compare
from reward_finetuning.report.formatting import number
from reward_finetuning.report.pictures.reels import typical
from reward_finetuning.report.statistics.pairing import pair
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.artifacts.policies import policy_of_epoch
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.storage.uri import in_bucket

__all__ = ["CARD", "export_model", "export_policy", "policy_of_epoch", "provenance"]

CARD, PICTURES = "README.md", "pictures"
"""Files of an export."""


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
    (folder / CARD).write_text(
        model_card(provenance(run, policy, averaged=averaged, folder=folder), exported), encoding="utf-8"
    )
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
    return where is not None and (model.source in BUILT_IN_MODELS or in_bucket(model.source) or where.is_file())


def provenance(run: RunDirectory, policy: Reference, *, averaged: bool, folder: Path | None = None) -> Provenance:
    """The content of the model card; pictures are written to `folder`."""
    described = run.describe()
    prompts = read_prompts(run.config.prompts.train)
    assert described is not None
    evaluated = _evaluated(run, policy) if averaged == run.config.evaluation.averaged else None
    return Provenance(
        config=run.config,
        epoch=policy.epoch,
        averaged=averaged,
        weights_sha256=weights_sha256(policy),
        fingerprint=run.fingerprint,
        code_version=str(described.get("code_version")),
        num_prompts=len(prompts.prompts),
        prompts_digest=prompts.digest,
        results=_results(*evaluated) if evaluated else [],
        verdict=compare(*evaluated).verdict if evaluated else "",
        pictures=write_pairs(*evaluated, folder) if evaluated and folder else (),
    )


def _evaluated(run: RunDirectory, policy: Reference) -> tuple[EvaluatedSamples, EvaluatedSamples] | None:
    """Images of the pretrained model and of the policy; None if the policy was not evaluated."""
    before, after = (read_scores(run.uri, report_name(run, epoch)) for epoch in (0, policy.epoch))
    return None if before is None or after is None else (before, after)


def _results(before: EvaluatedSamples, after: EvaluatedSamples) -> list[tuple[str, ...]]:
    """The table of whole prompt sets."""
    heading, *rows = as_table(compare(before, after))
    whole = [heading, *(row for row in rows if not row[1])]
    return [(row[0], *row[2:]) for row in whole]


def write_pairs(before: EvaluatedSamples, after: EvaluatedSamples, folder: Path) -> list[ShownPair]:
    """Write typical pairs of pictures to `folder`/pictures, for the model card."""
    order = pair(before, after)
    scores = before.rewards["reward"], after.rewards["reward"][order]
    (folder / PICTURES).mkdir(exist_ok=True)
    shown = []
    for position, row in enumerate(typical(before, scores[1] - scores[0])[0], start=1):
        files = f"{PICTURES}/{position}-before.png", f"{PICTURES}/{position}-after.png"
        for file, image in zip(files, (before.images[row], after.images[order[row]]), strict=True):
            Image.fromarray(image).save(folder / file)
        old, new = (number(float(values[row]), 3) for values in scores)
        shown.append(ShownPair(before.prompts[row], files[0], files[1], f"{old} → {new}"))
    return shown

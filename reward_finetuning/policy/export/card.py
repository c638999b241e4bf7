"""The model card of an exported policy: Markdown with the metadata header for model hubs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig
from reward_finetuning.policy.export.weights import SINGLE_FILE, Exported, scheduler_changes
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_MODELS
from reward_finetuning.policy.pretrained.published_models import PUBLISHED_MODELS
from reward_finetuning.policy.pretrained.source import locate, pinned_revision


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Pictures of one prompt and one noise in the export folder."""

    prompt: str
    before: str
    """File of the picture of the pretrained model."""

    after: str
    rewards: str
    """The combined reward before and after."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of an exported policy."""

    config: RunConfig
    epoch: int
    averaged: bool
    """Whether the weights are the moving average."""

    weights_sha256: str
    fingerprint: str
    code_version: str
    num_prompts: int
    prompts_digest: str
    results: Sequence[tuple[str, ...]]
    """Table of rewards before and after with intervals, after a heading; empty if the policy was not evaluated."""

    verdict: str
    pictures: Sequence[ShownPair] = ()
    """Typical pairs; empty if the policy was not evaluated."""


def model_card(policy: Provenance, exported: Exported) -> str:
    """The text of the card."""
    config = policy.config
    title = f"# {config.name}, epoch {policy.epoch}{', averaged weights' if policy.averaged else ''}"
    sections = [
        _header(policy, exported),
        title,
        _summary(config),
        *_pictures(policy),
        _use(config, exported),
        *_scale(config, exported),
        _training(policy, exported.pipeline),
    ]
    return "\n\n".join([*sections, _results(policy), _licences(config), _limitations(config, exported)]) + "\n"


def _header(policy: Provenance, exported: Exported) -> str:
    config = policy.config
    family = "flux" if exported.pipeline == "FluxPipeline" else "stable-diffusion"
    tags = ["text-to-image", family, "reward-finetuning", config.objective.name]
    header: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if (base := _hub_id(config)) is not None:
        relation = "adapter" if exported.form == "adapter" else "finetune"
        header |= {"base_model": base, "base_model_relation": relation}
    if (licence := _base_licence(config)) is not None:
        header["license"] = licence
    header["tags"] = [*tags, "lora"] if exported.form == "adapter" else tags
    if policy.pictures:
        header["widget"] = [{"text": pair.prompt, "output": {"url": pair.after}} for pair in policy.pictures]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _summary(config: RunConfig) -> str:
    rewards = ", ".join(f"{weight:g} × {name}" for name, weight in config.reward.weights.items() if weight)
    return f"{_base(config)}, finetuned by {config.objective.name} to raise a reward: {rewards}."


def _hub_id(config: RunConfig) -> str | None:
    """Hub id of the base model; of a folder, if its model_index.json names a published model; else None.

    The hub refuses a card whose `base_model` is no id of the hub.
    """
    folder = locate(config.model)
    if folder is None:
        return config.model.source
    index = folder / "model_index.json"
    name = json.loads(index.read_text(encoding="utf-8")).get("_name_or_path") if index.is_file() else None
    return name if name in PUBLISHED_MODELS else None


def _pictures(policy: Provenance) -> list[str]:
    if not policy.pictures:
        return []
    note = (
        "Typical pairs of the evaluation: the prompts whose mean change of the combined reward is nearest to the "
        "median of all prompts. Both pictures of a row are drawn from the same noise."
    )
    rows = [
        (_text(pair.prompt), f"![before]({pair.before})", f"![after]({pair.after})", pair.rewards)
        for pair in policy.pictures
    ]
    return [f"## Pictures\n\n{note}\n\n{_table([('Prompt', 'Before', 'After', 'Reward'), *rows])}"]


def _text(prompt: str) -> str:
    """A prompt as one line without tags, links, emphasis and table cells."""
    one_line = escape(" ".join(prompt.split())[:_LONGEST_PROMPT], quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]#~" else sign for sign in one_line)


_LONGEST_PROMPT = 300


def _scale(config: RunConfig, exported: Exported) -> list[str]:
    if exported.form != "adapter":
        return []
    rank = config.model.lora.rank
    text = (
        f"The whole strength of training is in the weights of the file: rank and alpha are {rank}, so a weight W of "
        "the base model becomes W + scale × up × down with the scale 1 in every program, with or without metadata "
        f"or `alpha` keys. Training used alpha {config.model.lora.alpha:g}; the factor alpha / rank is multiplied into "
        "`up`. A scale of 0 is the base model, 1 is the policy that was evaluated; other values were not evaluated."
    )
    usage = f'pipe.load_lora_weights("THIS_FOLDER", adapter_name="{config.objective.name}")\n'
    usage += f'pipe.set_adapters("{config.objective.name}", 0.5)  # half the change'
    return [f"## LoRA scale\n\n{text}\n\n```python\n{usage}\n```"]


def _use(config: RunConfig, exported: Exported) -> str:
    sampling, name = config.sampling, exported.pipeline
    is_flow = ARCHITECTURES[name].is_flow
    imported = name if exported.form == "pipeline" or is_flow else f"DDIMScheduler, {name}"
    size = "".join(f", {side}={value}" for side in ("height", "width") if (value := getattr(sampling, side)))
    call = f"num_inference_steps={sampling.num_steps}, guidance_scale={sampling.guidance_scale:g}"
    if not is_flow:
        call += f", eta={sampling.ddim_eta:g}"
    elif config.model.max_sequence_length is not None:
        call += f", max_sequence_length={config.model.max_sequence_length}"
    note = "Training and evaluation used these steps and this guidance."
    if is_flow:
        note = (
            f"Training used these steps, this guidance and the sampler {sampling.flow.sampler}; diffusers draws by ODE."
        )
    return (
        f"## How to use\n\n```python\nfrom diffusers import {imported}\n\n{_loading(config, exported)}\n"
        f'image = pipe("a prompt", {call}{size}).images[0]\n```\n\n{note}'
    )


def _loading(config: RunConfig, exported: Exported) -> str:
    name = exported.pipeline
    without_t5 = "" if config.model.t5 else ", text_encoder_3=None, tokenizer_3=None"
    if exported.form == "pipeline":
        return f'pipe = {name}.from_pretrained("THIS_FOLDER"{without_t5})'
    changes = ", ".join(f"{key}={value!r}" for key, value in scheduler_changes(config.sampling).items())
    set_scheduler = f"pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, {changes})"
    base = "THE_BUILT_IN_MODEL" if config.model.source in BUILT_IN_MODELS else config.model.source
    if exported.form == "file":
        loading = f'pipe = {name}.from_single_file("THIS_FOLDER/{SINGLE_FILE}", config={base!r})'
        return f"{loading}\n{set_scheduler}"
    revision = f", revision={pinned_revision(config.model)!r}" if locate(config.model) is None else ""
    loading = f"pipe = {name}.from_pretrained({base!r}{revision}{without_t5})"
    steps = [loading] if ARCHITECTURES[name].is_flow else [loading, set_scheduler]
    return "\n".join([*steps, 'pipe.load_lora_weights("THIS_FOLDER")'])


def _training(policy: Provenance, pipeline: str) -> str:
    config = policy.config
    network = "UNet" if ARCHITECTURES[pipeline].network == "unet" else "transformer"
    full = f"all {network} weights"
    trained = f"LoRA of rank {config.model.lora.rank}" if config.model.trainable == "lora" else full
    if config.model.quantization != "none":
        trained += f", on a base in {config.model.quantization}, which an export does not have"
    facts = {
        "Base model": _base(config) + (f", revision {config.model.revision}" if config.model.revision else ""),
        "Started from": config.model.adapter or "the base model",
        "Trained": trained,
        "Objective": config.objective.name,
        "Prompts": f"{policy.num_prompts} (sha256 {policy.prompts_digest[:16]})",
        "Epochs": f"{policy.epoch}, each of {config.num_images} images and {config.training.updates_per_epoch} updates",
        "Learning rate": f"{config.training.learning_rate:g}",
        "Seed": str(config.seed),
        "Weights (sha256)": policy.weights_sha256,
        "Run fingerprint": policy.fingerprint,
        "Code version": policy.code_version,
    }
    return "## Training\n\n" + _table([("", ""), *facts.items()])


def _results(policy: Provenance) -> str:
    if not policy.results:
        return "## Results\n\nThis epoch was not evaluated."
    note = "Rewards before and after finetuning, for the same prompts and the same noise, with 95 % intervals."
    return f"## Results\n\n{policy.verdict}\n\n{note}\n\n{_table(policy.results)}"


def _licences(config: RunConfig) -> str:
    parts = {
        "Base model": _base_licence(config) or "see the card of the base model; it also applies to finetuned weights",
        "Training prompts": "not stated by the prompt set",
        "Reward models": ", ".join(config.reward.weights) + ": not part of these weights; their own licences apply",
    }
    return "## Licences\n\n" + _table([("Part", "Licence"), *parts.items()])


def _limitations(config: RunConfig, exported: Exported) -> str:
    limits = [
        "A reward approximates human preference. Pictures may exploit its errors and become less diverse.",
        "The model was evaluated on the prompt sets above. Results for other prompts are unknown.",
        "The biases and limitations of the base model remain.",
    ]
    if exported.form == "adapter" and config.model.source in BUILT_IN_MODELS:
        limits.append("Only reward-finetuning contains its base model: export with --merge to share the model.")
    if exported.form != "adapter" and not exported.safety_checker:
        limits.append("This folder contains no safety checker: add one before you show pictures to others.")
    if config.sampling.scheduler == "own" and config.sampling.spacing == "quadratic":
        limits.append(
            "Training used quadratic timesteps, which stock schedulers do not support: pictures differ slightly."
        )
    return "## Limitations\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _base(config: RunConfig) -> str:
    source = config.model.source
    return f"The built-in model of coloured shapes, `{source}`" if source in BUILT_IN_MODELS else f"`{source}`"


def _base_licence(config: RunConfig) -> str | None:
    folder = locate(config.model)
    if folder in BUILT_IN_MODELS.values():
        return "apache-2.0"
    if folder is None:
        published = PUBLISHED_MODELS.get(config.model.source)
        return published.licence if published else None
    return _licence_of_card(folder / "README.md") if folder.is_dir() else None


def _licence_of_card(card: Path) -> str | None:
    """`license` in the header of a model card; None if it is missing."""
    if not card.is_file():
        return None
    _, *parts = card.read_text(encoding="utf-8", errors="replace").split("---", maxsplit=2)
    try:
        header = yaml.safe_load(parts[0]) if len(parts) == 2 else None
    except yaml.YAMLError:
        return None
    return str(header["license"]) if isinstance(header, dict) and header.get("license") else None


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    heading, *body = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([heading, "|" + " --- |" * len(cells[0]), *body])

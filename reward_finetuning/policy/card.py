"""The model card of an exported policy: Markdown with the metadata header that model hubs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig
from reward_finetuning.policy.export import Form, form_of, scheduler_changes
from reward_finetuning.policy.known_models import KNOWN_MODELS
from reward_finetuning.policy.source import BUILT_IN, locate


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an exported policy comes from."""

    config: RunConfig
    epoch: int
    weights_sha256: str
    fingerprint: str
    code_version: str
    num_prompts: int
    prompts_digest: str
    results: Sequence[tuple[str, ...]]
    """Rows of a table, the heading first: rewards before and after with intervals; empty: not evaluated."""

    verdict: str


def model_card(policy: Provenance, *, merge: bool) -> str:
    """The card's text."""
    config, form = policy.config, form_of(policy.config.model, merge=merge)
    title = f"# {config.name}, epoch {policy.epoch}"
    sections = [_header(config, form), title, _summary(config), _use(config, form), _training(policy)]
    return "\n\n".join([*sections, _results(policy), _licences(config), _limitations(config, form)]) + "\n"


def _header(config: RunConfig, form: Form) -> str:
    tags = ["text-to-image", "stable-diffusion", "reward-finetuning", config.objective.name]
    header: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if locate(config.model) is None:
        relation = "adapter" if form == "adapter" else "finetune"
        header |= {"base_model": config.model.source, "base_model_relation": relation}
    if (licence := _base_licence(config)) is not None:
        header["license"] = licence
    header["tags"] = [*tags, "lora"] if form == "adapter" else tags
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _summary(config: RunConfig) -> str:
    rewards = ", ".join(f"{weight:g} × {name}" for name, weight in config.reward.weights.items() if weight)
    return f"{_base(config)}, finetuned by {config.objective.name} to raise a reward: {rewards}."


def _use(config: RunConfig, form: Form) -> str:
    sampling = config.sampling
    loading = 'pipe = StableDiffusionPipeline.from_pretrained("THIS_FOLDER")'
    if form == "adapter":
        base = "THE_BUILT_IN_MODEL" if config.model.source == "shapes" else config.model.source
        revision = f", revision={config.model.revision!r}" if config.model.revision else ""
        changes = ", ".join(f"{key}={value!r}" for key, value in scheduler_changes(sampling).items())
        loading = (
            f"pipe = StableDiffusionPipeline.from_pretrained({base!r}{revision})\n"
            f"pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, {changes})\n"
            'pipe.load_lora_weights("THIS_FOLDER")'
        )
    size = "".join(f", {side}={value}" for side in ("height", "width") if (value := getattr(sampling, side)))
    call = f"num_inference_steps={sampling.num_steps}, guidance_scale={sampling.guidance_scale:g}"
    imported = "DDIMScheduler, StableDiffusionPipeline" if form == "adapter" else "StableDiffusionPipeline"
    return (
        f"## How to use\n\n```python\nfrom diffusers import {imported}\n\n{loading}\n"
        f'image = pipe("a prompt", {call}, eta={sampling.ddim_eta:g}{size}).images[0]\n```\n\n'
        "These are the steps and the guidance that it was trained and evaluated with."
    )


def _training(policy: Provenance) -> str:
    config = policy.config
    trained = f"LoRA of rank {config.model.lora.rank}" if config.model.trainable == "lora" else "all UNet weights"
    facts = {
        "Base model": _base(config) + (f", revision {config.model.revision}" if config.model.revision else ""),
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
    said = "Rewards of the same prompts from the same noise, before and after finetuning, with 95 % intervals."
    return f"## Results\n\n{policy.verdict}\n\n{said}\n\n{_table(policy.results)}"


def _licences(config: RunConfig) -> str:
    parts = {
        "Base model": _base_licence(config) or "not known here: see its own card; finetuned weights are bound by it",
        "Training prompts": "not stated by the prompt set",
        "Reward models": ", ".join(config.reward.weights) + ": not part of these weights; their own licences hold",
    }
    return "## Licences\n\n" + _table([("Part", "Licence"), *parts.items()])


def _limitations(config: RunConfig, form: Form) -> str:
    limits = [
        "A reward is a stand-in for what people like: pictures may exploit what it overlooks, and become less varied.",
        "It was judged on the prompt sets above; for other prompts nothing is claimed.",
        "The base model's biases and limits remain.",
    ]
    if form == "adapter" and config.model.source == "shapes":
        limits.append("Its base model comes with reward-finetuning alone: export with --merge to give it to others.")
    if form == "pipeline":
        limits.append("There is no safety checker in this folder: add one before strangers see pictures.")
    if config.sampling.scheduler == "own" and config.sampling.spacing == "quadratic":
        limits.append(
            "It was trained on quadratic steps, which stock schedulers do not have: pictures differ a little."
        )
    return "## Limitations\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _base(config: RunConfig) -> str:
    return "The built-in model of coloured shapes" if config.model.source == "shapes" else f"`{config.model.source}`"


def _base_licence(config: RunConfig) -> str | None:
    folder = locate(config.model)
    if folder == BUILT_IN:
        return "apache-2.0"
    if folder is None:
        known = KNOWN_MODELS.get(config.model.source)
        return known.licence if known else None
    return _licence_of_card(folder / "README.md")


def _licence_of_card(card: Path) -> str | None:
    """`license` of a model card's header, where there is one."""
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

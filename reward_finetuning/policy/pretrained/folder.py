"""A pipeline's folder as diffusers saves it: its parts, their configs and weights. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES, Architecture
from reward_finetuning.storage.files import read_regular

MAX_CONFIG_BYTES = 2**20
CHECKER = ("safety_checker", "feature_extractor")
"""Parts of Stable Diffusion 1.x that nothing here runs: an export has them if the model's folder does."""

_INDEX = "model_index.json"
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>[\w]+))?(?:-\d+-of-\d+(?:\.(?P<after>[\w]+))?)?\.safetensors"
)


def pipeline_class(folder: Path) -> str:
    """Name of the diffusers class that a pipeline's folder was saved by."""
    return str(_json(folder / _INDEX).get("_class_name"))


def scheduler_config(folder: Path) -> dict[str, Any]:
    """scheduler_config.json of a pipeline's folder, with the class that diffusers loads: that of model_index.json."""
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    entry = _json(folder / _INDEX).get("scheduler")
    return scheduler | ({"_class_name": entry[1]} if isinstance(entry, list) and len(entry) == 2 else {})


def network_config(folder: Path, part: str) -> dict[str, Any]:
    """config.json of a network of a pipeline, such as `unet`."""
    return _json(folder / part / "config.json")


def check_folder(folder: Path, setting: str) -> None:
    """Refuse what is no whole pipeline of ARCHITECTURES; `setting` says where the folder was named.

    Raises:
        UserError: with what is wrong.
    """
    index = folder / _INDEX
    if not index.is_file():
        raise UserError(f"{setting} {folder} is no pipeline: it has no model_index.json as diffusers saves it")
    name = pipeline_class(folder)
    if name not in ARCHITECTURES:
        raise UserError(f"{setting} {folder} holds a {name}; needed is a {' or a '.join(ARCHITECTURES)}")
    parts, needed = _json(index), ARCHITECTURES[name].parts
    if empty := [part for part in needed if parts.get(part) in (None, [None, None])]:
        raise UserError(f"{setting} {folder} is a {name} without {', '.join(empty)} (a refiner?), which is needed")
    if missing := [part for part in needed if not (folder / part).is_dir()]:
        raise UserError(f"{setting} {folder} is no whole pipeline: {', '.join(missing)} missing")


def architecture_of(folder: Path) -> Architecture:
    """The architecture of a folder that `check_folder` has accepted."""
    return ARCHITECTURES[pipeline_class(folder)]


def check_weights(folder: Path, variant: str | None) -> None:
    """Refuse a pipeline's folder in which a network lacks its config, or safetensors weights that would be loaded.

    Raises:
        UserError: naming the part, and what to set or to run.
    """
    parts = architecture_of(folder).networks
    variants = {part: _variants(folder / part) for part in parts}
    if variant is not None and not any(variant in each for each in variants.values()):
        raise UserError(
            f"model.variant {variant!r}: no part of {folder} has weights of that variant: remove the setting"
        )
    for part, names in variants.items():
        if not (folder / part / "config.json").is_file():
            raise UserError(f"{folder} is no whole pipeline: {part}/config.json missing")
        if variant not in names and None not in names:
            raise UserError(_without_weights(folder, part, sorted(name for name in names if name is not None)))


def check_networks(network: Mapping[str, Any], vae: Mapping[str, Any], source: str, architecture: Architecture) -> None:
    """Refuse networks that are no plain text-to-image model, by their configs; a missing key has diffusers' default.

    Raises:
        UserError: with what is wrong.
    """
    default = 4 if architecture.network == "unet" else 64 if architecture.is_packed else 16
    in_channels, latent_channels = network.get("in_channels", default), vae.get("latent_channels", 4)
    cells = 4 if architecture.is_packed else 1
    if not isinstance(latent_channels, int) or in_channels != cells * latent_channels:
        name = "UNet" if architecture.network == "unet" else "transformer"
        raise UserError(
            f"model.source {source!r}: its {name} takes {shown(in_channels)} channels, its VAE makes "
            f"{shown(latent_channels)}: inpainting and editing models are not supported"
        )
    if network.get("time_cond_proj_dim") is not None:
        raise UserError(f"model.source {source!r} is distilled to take guidance as an input: not supported")


def has_checker(folder: Path) -> bool:
    """Whether the folder holds a whole safety checker."""
    checker, extractor = (folder / part for part in CHECKER)
    configs = (checker / "config.json", extractor / "preprocessor_config.json")
    return all(config.is_file() for config in configs) and bool(_variants(checker))


def _variants(part: Path) -> set[str | None]:
    """The variants of which a part has safetensors weights; None stands for weights without a variant."""
    matches = [_WEIGHTS.fullmatch(path.name) for path in part.iterdir() if path.is_file()]
    return {match["variant"] or match["after"] for match in matches if match is not None}


def _without_weights(folder: Path, part: str, variants: list[str]) -> str:
    if variants:
        return f"{folder}/{part} has weights of the variant {variants[0]} alone: set model.variant: {variants[0]}"
    if any(path.suffix in {".bin", ".pt", ".ckpt"} for path in (folder / part).iterdir()):
        name = pipeline_class(folder)
        unused = ", safety_checker=None, feature_extractor=None" if name == "StableDiffusionPipeline" else ""
        program = (
            f"from diffusers import {name} as P; P.from_pretrained('{folder}'{unused}).save_pretrained("
            f"'{folder}-safetensors')"
        )
        return (
            f"{folder}/{part} has its weights as a pickle, which can run code when it is read; if you trust it, "
            f'convert it once: python3 -c "{program}", and set model.source to {folder}-safetensors'
        )
    name = "UNet" if part == "unet" else part
    return f"{folder} has no {name} weights: fetch the whole model with rft fetch-weights OWNER/NAME --download"


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = parse_json(read_regular(path, MAX_CONFIG_BYTES))
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or no JSON of at most 1 MiB: the model folder is not whole") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a JSON object")
    return tree

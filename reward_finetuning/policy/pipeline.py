"""Load a diffusers pipeline: a folder, a hub id at its commit, or one file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.lora.adapter import merge_file
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES, network_name
from reward_finetuning.policy.pretrained.folder import (
    CHECKER,
    check_folder,
    check_networks,
    check_weights,
    has_checker,
    pipeline_class,
)
from reward_finetuning.policy.pretrained.hub import hub_folder
from reward_finetuning.policy.pretrained.source import configs_of, locate
from reward_finetuning.server_errors import one_line


def load_pipeline(model: ModelConfig, *, safety_checker: bool = False, text_encoders: bool = True) -> Any:
    """The pretrained pipeline in float32, `model.adapter` merged where all weights are trained.

    Transformers for LoRA are loaded in `model.dtype`, which is what they are used in: in float32 FLUX has 48 GB.

    Args:
        model: which one.
        safety_checker: load it too if the model's folder holds one, for an export. Nothing here runs it, and a folder
            without it is whole.
        text_encoders: load them; else `add_text_encoders` does, when they are needed. A single file is read whole.

    Raises:
        UserError: the model is not there, or cannot be loaded as a pipeline of ARCHITECTURES.
        RetryableError: the hub cannot be reached.
    """
    source, configs = _files(model)
    name = pipeline_class(configs)
    options: dict[str, Any] = {}
    if name == "StableDiffusionPipeline" and not (safety_checker and has_checker(source)):
        options |= {"requires_safety_checker": False, **dict.fromkeys(CHECKER)}
    if not text_encoders and source.is_dir():
        options |= dict.fromkeys(ARCHITECTURES[name].text_encoders)
    pipeline = _load(model, source, configs, options)
    network = getattr(pipeline, network_name(pipeline))
    check_networks(network.config, pipeline.vae.config, model.source, ARCHITECTURES[type(pipeline).__name__])
    if model.adapter is not None and model.trainable == "full":
        merge_file(pipeline, model)
    return pipeline


def add_text_encoders(pipeline: Any, model: ModelConfig) -> None:
    """Load the text encoders of a pipeline that `load_pipeline` has loaded without them.

    Raises:
        UserError, RetryableError: as `load_pipeline`.
    """
    source, configs = _files(model)
    names = ARCHITECTURES[type(pipeline).__name__].text_encoders
    others = {name: part for name, part in pipeline.components.items() if name not in names}
    if "requires_safety_checker" in pipeline.config:
        others["requires_safety_checker"] = pipeline.config.requires_safety_checker
    whole = _load(model, source, configs, others)
    pipeline.register_modules(**{name: getattr(whole, name) for name in names})


def _files(model: ModelConfig) -> tuple[Path, Path]:
    """The folder or single file of the weights, and the folder of the configs."""
    source, configs = locate(model), configs_of(model)
    if source is None:
        source = configs = hub_folder(model)
        check_folder(source, "model.source")
        check_weights(source, model.variant)
    assert configs is not None
    return source, configs


def _load(model: ModelConfig, source: Path, configs: Path, parts: Mapping[str, Any]) -> Any:
    """The pipeline with `parts` as they are, and all others loaded."""
    name = pipeline_class(configs)
    is_frozen = ARCHITECTURES[name].is_flow and model.trainable == "lora"
    options: dict[str, Any] = {"dtype": getattr(torch, model.dtype) if is_frozen else torch.float32, **parts}
    if name == "StableDiffusion3Pipeline" and not model.t5:
        options |= dict.fromkeys(ARCHITECTURES[name].optional)
    try:
        if source.is_file():
            return _diffusers_class(name).from_single_file(source, config=str(configs), **options)
        return _diffusers_class(name).from_pretrained(source, variant=model.variant, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"model.source {model.source!r} cannot be loaded: {one_line(error, 500)}") from error


def _diffusers_class(name: str) -> Any:
    """A pipeline class of diffusers.

    The import of diffusers.loaders.ip_adapter reports that two image processors lack torchvision. No pipeline that is
    loaded here uses them, so the report is left out; every other one is printed.
    """
    import diffusers

    reports = logging.getLogger("transformers.utils.import_utils")
    level = reports.level
    reports.setLevel(logging.ERROR)
    try:
        return getattr(diffusers, name)
    finally:
        reports.setLevel(level)

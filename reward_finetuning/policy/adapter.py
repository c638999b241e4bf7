"""LoRA on a UNet: new adapters, and those of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.diffusion.noise import seed_sequence
from reward_finetuning.policy.source import adapter_file
from reward_finetuning.records import Stream

_NAME = "default"


def add_adapter(unet: Any, lora: LoraConfig, seed: int) -> None:
    """Give `unet` new adapters: initial weights are of the run's seed, in float32, and change nothing yet.

    Raises:
        UserError: no module has one of the targets' names.
    """
    from peft import LoraConfig as PeftConfig

    config = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(int(seed_sequence(seed, Stream.LORA_INIT).generate_state(1)[0]))
        try:
            unet.add_adapter(config, adapter_name=_NAME)
        except ValueError as error:
            raise UserError(f"model.lora.targets {list(lora.targets)}: {error}") from None
    for weight in unet.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


@torch.no_grad()
def start_from_file(pipeline: Any, model: ModelConfig) -> None:
    """Put the weights of `model.adapter` into the adapters of the UNet, which must be of the same shape.

    Raises:
        UserError: rank, alpha or targets differ, with what the file has.
    """
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft import set_peft_model_state_dict

    path = adapter_file(model)
    weights, alpha = _read(pipeline, path)
    weights = convert_unet_state_dict_to_peft(weights)
    ranks = {len(weight) for name, weight in weights.items() if "lora_A" in name}
    lora, rank = model.lora, max(ranks, default=0)
    alpha = alpha or rank
    if ranks != {lora.rank} or alpha != lora.alpha:
        raise UserError(
            f"model.adapter {path} has ranks {sorted(ranks)} and alpha {alpha:g}, model.lora has {lora.rank} and "
            f"{lora.alpha:g}: set model.lora.rank={rank} and model.lora.alpha={alpha:g}"
        )
    own = [name for name, weight in pipeline.unet.named_parameters() if weight.requires_grad]
    foreign = set_peft_model_state_dict(pipeline.unet, weights, adapter_name=_NAME).unexpected_keys
    if foreign or len(weights) != len(own):
        raise UserError(
            f"model.adapter {path} has {len(weights)} weights, model.lora.targets {list(lora.targets)} make "
            f"{len(own)}: set them to the modules that the file is of, e.g. that of {next(iter(weights))}"
        )


def merge_file(pipeline: Any, model: ModelConfig) -> None:
    """Put `model.adapter` into the pipeline's weights for good.

    Raises:
        UserError: the file fits no module.
    """
    path = adapter_file(model)
    _read(pipeline, path)
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"model.adapter {path} does not fit the model: {' '.join(str(error).split())}") from error


def _read(pipeline: Any, path: Path) -> tuple[dict[str, Tensor], float | None]:
    """The UNet's LoRA weights by diffusers' names, and the file's alpha; None where it says nothing."""
    try:
        weights, alphas, told = pipeline.lora_state_dict(
            path.parent, weight_name=path.name, return_lora_metadata=True, unet_config=pipeline.unet.config
        )
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"model.adapter {path} is no LoRA file that diffusers reads: {error}") from error
    of_unet = {name.removeprefix("unet."): value for name, value in weights.items() if name.startswith("unet.")}
    if not of_unet or len(of_unet) != len(weights):
        raise UserError(f"model.adapter {path} must hold LoRA weights of a UNet and nothing else")
    distinct = {float(alpha) for alpha in (alphas or {}).values()}
    if len(distinct) > 1:
        raise UserError(f"model.adapter {path} has layers of alpha {sorted(distinct)}; one for all is supported")
    return of_unet, distinct.pop() if distinct else (told or {}).get("unet.lora_alpha")

"""LoRA adapters of a UNet or transformer: new adapters, and adapters from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.diffusion.noise import seed_sequence
from reward_finetuning.policy.pretrained.architecture import network_name
from reward_finetuning.policy.pretrained.source import adapter_file
from reward_finetuning.records import Stream

_NAME = "default"


def add_adapter(network: Any, lora: LoraConfig, seed: int) -> None:
    """Add new adapters to `network`. Their initial float32 weights depend on the seed, and do not change the output.

    Raises:
        UserError: no module has the name of a target.
    """
    from peft import LoraConfig as PeftConfig

    from reward_finetuning.policy.lora.linear import evaluate_as_one_product

    config = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    if not getattr(network, "is_loaded_in_8bit", False):  # peft has layers of its own for bitsandbytes
        evaluate_as_one_product(config)
    with torch.random.fork_rng():  # peft uses the global generator
        torch.manual_seed(int(seed_sequence(seed, Stream.LORA_INIT).generate_state(1)[0]))
        try:
            network.add_adapter(config, adapter_name=_NAME)
        except ValueError as error:
            raise UserError(f"model.lora.targets {list(lora.targets)}: {error}") from None
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def adapter_layers(network: Any) -> list[Any]:
    """The layers of `network` with an adapter, each with peft's `enable_adapters(enabled)`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [layer for layer in network.modules() if isinstance(layer, BaseTunerLayer)]


@torch.no_grad()
def start_from_file(pipeline: Any, model: ModelConfig) -> None:
    """Load the weights of `model.adapter` into the adapters of the network, which must have the same shape.

    If alpha of the file is not `model.lora.alpha`, the weights are scaled, so that the output is that of the file.

    Raises:
        UserError: rank or targets differ; the message contains the values of the file.
    """
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft import set_peft_model_state_dict

    path = adapter_file(model)
    weights, alpha = _read(pipeline, path)
    weights = convert_unet_state_dict_to_peft(weights)
    network = getattr(pipeline, network_name(pipeline))
    ranks = {len(weight) for name, weight in weights.items() if "lora_A" in name}
    lora, rank = model.lora, max(ranks, default=0)
    if ranks != {lora.rank}:
        raise UserError(
            f"model.adapter {path} has ranks {sorted(ranks)}, model.lora has {lora.rank}: set model.lora.rank={rank}"
        )
    scale = (alpha or rank) / lora.alpha
    weights = {name: weight * scale if ".lora_B." in name else weight for name, weight in weights.items()}
    trainable = [name for name, weight in network.named_parameters() if weight.requires_grad]
    unexpected = set_peft_model_state_dict(network, weights, adapter_name=_NAME).unexpected_keys
    if unexpected or len(weights) != len(trainable):
        raise UserError(
            f"model.adapter {path} has {len(weights)} weights, model.lora.targets {list(lora.targets)} give "
            f"{len(trainable)}: set model.lora.targets to the modules of the file, e.g. that of {next(iter(weights))}"
        )


def merge_file(pipeline: Any, model: ModelConfig) -> None:
    """Merge `model.adapter` into the weights of the pipeline.

    Raises:
        UserError: the file does not fit the model.
    """
    path = adapter_file(model)
    weights, _ = _read(pipeline, path)
    if 0 < sum(".lora_A." in name or ".lora_B." in name for name in weights) < len(weights):
        raise UserError(
            f"model.adapter {path} has weights named lora_A/lora_B and weights named lora.down/lora.up, of which "
            "diffusers would load one kind: export the LoRA again, or use it with model.trainable=lora"
        )
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"model.adapter {path} does not fit the model: {' '.join(str(error).split())}") from error


def _read(pipeline: Any, path: Path) -> tuple[dict[str, Tensor], float | None]:
    """LoRA weights of the network with diffusers names, and alpha, or None if the file does not contain it."""
    name = network_name(pipeline)
    options: dict[str, Any] = {"weight_name": path.name, "return_lora_metadata": True}
    if name == "unet":
        options["unet_config"] = pipeline.unet.config
    if type(pipeline).__name__ == "FluxPipeline":
        options["return_alphas"] = True
    try:
        weights, *rest, metadata = pipeline.lora_state_dict(path.parent, **options)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"model.adapter {path} is not a LoRA file that diffusers can read: {error}") from error
    own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    if not own or len(own) != len(weights):
        kind = "UNet" if name == "unet" else name
        raise UserError(f"model.adapter {path} must contain only LoRA weights of a {kind}")
    alphas = rest[0] if rest else None  # SD 3's loader has none
    distinct = {float(alpha) for alpha in (alphas or {}).values()}
    if len(distinct) > 1:
        raise UserError(
            f"model.adapter {path} has layers with alpha {sorted(distinct)}; only one alpha for all layers is supported"
        )
    return own, distinct.pop() if distinct else (metadata or {}).get(f"{name}.lora_alpha")

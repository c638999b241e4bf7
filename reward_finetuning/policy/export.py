"""A policy as a folder that stock diffusers loads, without this project's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from reward_finetuning.config.model import ModelConfig
from reward_finetuning.config.sampling import SamplingConfig
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.pipeline import load_pipeline
from reward_finetuning.policy.restore import load_weights
from reward_finetuning.storage import Reference, RunDirectory

Form = Literal["pipeline", "adapter"]
"""`pipeline`: for from_pretrained. `adapter`: for load_lora_weights on top of the base model."""


def export_weights(run: RunDirectory, policy: Reference, folder: Path, *, merge: bool) -> Form:
    """Write the policy's weights as diffusers saves them.

    Args:
        run: the run.
        policy: which of its policies.
        folder: where to; made if it is not there.
        merge: put a LoRA policy's adapters into the base model's weights, and write the whole pipeline.

    Returns:
        What the folder holds.
    """
    config = run.config
    pipeline = load_pipeline(config.model)
    scheduler = pipeline.scheduler
    loaded = Policy(pipeline, config.model, config.sampling, seed=config.seed)
    load_weights(loaded, run, policy)
    form = form_of(config.model, merge=merge)
    if form == "adapter":
        _save_adapter(loaded.unet, folder)
        return form
    if config.model.trainable == "lora":
        loaded.unet.fuse_lora()
        loaded.unet.unload_lora()
    pipeline.register_modules(unet=loaded.unet, scheduler=_scheduler(scheduler, config.sampling))
    pipeline.to(torch.device("cpu")).save_pretrained(folder)
    return form


def form_of(model: ModelConfig, *, merge: bool) -> Form:
    """What an export of this model is."""
    return "adapter" if model.trainable == "lora" and not merge else "pipeline"


def scheduler_changes(sampling: SamplingConfig) -> dict[str, Any]:
    """What stock diffusers' DDIMScheduler has to be told to walk the run's grid; `quadratic` it does not know.

    The policy clips nothing, whatever the model's own scheduler says.
    """
    own = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
    return {"clip_sample": False, "thresholding": False} | (own if sampling.scheduler == "own" else {})


def _scheduler(scheduler: Any, sampling: SamplingConfig) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(scheduler.config, **scheduler_changes(sampling))


def _save_adapter(unet: Any, folder: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    # Without peft's settings a loader takes alpha = rank; sets are sorted for the same bytes every time.
    settings = unet.peft_config["default"].to_dict()
    settings = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    layers = {name: weight.detach().cpu() for name, weight in layers.items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=settings)

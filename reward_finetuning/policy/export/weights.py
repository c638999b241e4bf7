"""Export of the weights of a policy as files that stock diffusers loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.policy.export.original_names import original_state
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.pipeline import load_pipeline
from reward_finetuning.policy.pretrained.architecture import network_name
from reward_finetuning.policy.restore import load_weights
from reward_finetuning.storage import Reference, RunDirectory

Form = Literal["pipeline", "adapter", "file"]
"""`pipeline`: for from_pretrained. `adapter`: for load_lora_weights on top of the base model. `file`: one file for
from_single_file and for other programs."""

SINGLE_FILE = "model.safetensors"
ADAPTER_FILE = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True, slots=True)
class Drawing:
    """How the policy draws in evaluations."""

    grid: Grid
    image_size: tuple[int, int]
    """(height, width) in pixels."""

    latent_shape: tuple[int, int, int]
    """(C, H, W)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Content of an export folder."""

    form: Form
    pipeline: str
    """Name of the diffusers class."""

    safety_checker: bool
    drawing: Drawing


def export_weights(
    run: RunDirectory, policy: Reference, folder: Path, form: Form, *, averaged: bool = False
) -> Exported:
    """Write the weights of a policy in float32 in the format of diffusers. All forms but `adapter` merge LoRA adapters.

    Args:
        run: the run.
        policy: a policy of the run.
        folder: existing output folder.
        form: format of the export.
        averaged: export the averaged weights instead of the newest.

    Raises:
        UserError: a single file of a model that has no such format here.
    """
    config = run.config
    model = config.model.model_copy(update={"dtype": "float32", "device": "cpu", "quantization": "none"})
    pipeline = load_pipeline(model, safety_checker=True)
    name = network_name(pipeline)
    if form == "file" and name != "unet":
        raise UserError(
            f"a single file is written of Stable Diffusion 1.x, 2.x and XL alone, and this is a "
            f"{type(pipeline).__name__}: export a folder"
        )
    scheduler = pipeline.scheduler
    loaded = Policy(pipeline, model, config.sampling, seed=config.seed)
    load_weights(loaded, run, policy, averaged=averaged)
    if form == "adapter":
        _save_adapter(pipeline, folder)
    else:
        if model.trainable == "lora":
            loaded.network.fuse_lora()
            loaded.network.unload_lora()
        if name == "unet":
            pipeline.register_modules(scheduler=_scheduler(scheduler, config.sampling))
        if form == "file":
            save_file(original_state(pipeline), folder / SINGLE_FILE, metadata=_file_metadata(pipeline))
        else:
            pipeline.save_pretrained(folder)
    checker = form == "pipeline" and getattr(pipeline, "safety_checker", None) is not None
    drawn = loaded.sampled_with(config.evaluation_sampling)
    drawing = Drawing(drawn.grid, drawn.image_size, drawn.latent_shape)
    return Exported(form, type(pipeline).__name__, checker, drawing)


def form_of(model: ModelConfig, *, merge: bool) -> Form:
    """Form of an export of this model that is not a single file."""
    return "adapter" if model.trainable == "lora" and not merge else "pipeline"


def scheduler_changes(sampling: SamplingConfig) -> dict[str, Any]:
    """Changes to the DDIMScheduler of diffusers for the timestep grid of the run. It does not support `quadratic`.

    Sampling of this project does not clip, so clipping of the scheduler is disabled.
    """
    grid = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
    return {"clip_sample": False, "thresholding": False} | (grid if sampling.scheduler == "own" else {})


def _scheduler(scheduler: Any, sampling: SamplingConfig) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(scheduler.config, **scheduler_changes(sampling))


def _file_metadata(pipeline: Any) -> dict[str, str]:
    """Metadata of a single file (https://github.com/Stability-AI/ModelSpec)."""
    predicts_v = pipeline.scheduler.config.prediction_type == "v_prediction"
    return {"modelspec.sai_model_spec": "1.0.0", "modelspec.prediction_type": "v" if predicts_v else "epsilon"}


def _save_adapter(pipeline: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict

    # alpha / rank is multiplied into the weights, and alpha = rank. Programs that read no metadata, or no `alpha` keys,
    # assume alpha = rank, so the file means the same in all of them. Sets are sorted for reproducible bytes.
    name = network_name(pipeline)
    network = getattr(pipeline, name)
    settings = network.peft_config["default"].to_dict()
    settings = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    scale = settings["lora_alpha"] / settings["r"]
    settings["lora_alpha"] = settings["r"]
    layers = get_peft_model_state_dict(network)
    layers = {layer: weight.detach().cpu() * (scale if ".lora_B." in layer else 1) for layer, weight in layers.items()}
    layers = _with_names_of_one_kind(layers, is_unet=name == "unet")
    named = {f"{name}_lora_layers": layers, f"{name}_lora_adapter_metadata": settings}
    pipeline.save_lora_weights(folder, **named)


def _with_names_of_one_kind(layers: dict[str, Tensor], *, is_unet: bool) -> dict[str, Tensor]:
    """diffusers' names for the attention of a UNet, which most programs know; where other layers are too, peft's.

    diffusers renames four projections alone, and of a file with both kinds of names it reads one kind.
    """
    from diffusers.utils import convert_state_dict_to_diffusers

    renamed: dict[str, Tensor] = convert_state_dict_to_diffusers(layers)
    return renamed if is_unet and not any(".lora_A." in name for name in renamed) else layers

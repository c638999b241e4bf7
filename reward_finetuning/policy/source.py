"""What can be known of a model without loading it: is it a pipeline, which digest, which grid. Needs no torch."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.model import ModelConfig
from reward_finetuning.config.sampling import SamplingConfig
from reward_finetuning.diffusion.grid import Grid, alphas_cumprod, strided_grid
from reward_finetuning.storage.folders import in_bucket, local_path

BUILT_IN = Path(__file__).parents[1] / "shapes" / "weights"
_PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")


def locate(model: ModelConfig) -> Path | None:
    """The model's folder; None for a hub id.

    Raises:
        UserError: the folder is no Stable Diffusion pipeline saved by diffusers, or the source is neither.
    """
    folder = BUILT_IN if model.source == "shapes" else _here(model.source)
    if not folder.exists():
        if model.source.count("/") == 1 and not model.source.startswith((".", "/", "~")):
            return None
        raise UserError(f"model.source {model.source!r} is no folder and no hub id (owner/name)")
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"model.source {folder} is no pipeline: it has no model_index.json as diffusers saves it")
    pipeline = _json(index).get("_class_name")
    if pipeline != "StableDiffusionPipeline":
        raise UserError(f"model.source {folder} holds a {pipeline}; a StableDiffusionPipeline is needed")
    if missing := [part for part in _PARTS if not (folder / part).is_dir()]:
        raise UserError(f"model.source {folder} is no whole pipeline: {', '.join(missing)} missing")
    return folder


def _here(source: str) -> Path:
    """The path of a source on this machine."""
    return local_path(source) if in_bucket(source) else Path(source)


def model_digest(model: ModelConfig) -> str:
    """Identity of the pretrained weights: sha256 over the folder's files, or `id@revision` of a hub."""
    folder = locate(model)
    if folder is None:
        return f"{model.source}@{model.revision or 'main'}"
    digest = sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.parent != folder):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def sampler_grid(scheduler: dict[str, Any], sampling: SamplingConfig) -> Grid:
    """The grid of timesteps, from the model's scheduler config and the run's sampling section.

    Raises:
        UserError: a step's sigma is below sampling.min_std, a schedule or a prediction type that is not known.
    """
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise UserError(f"the model's scheduler predicts {prediction!r}; only epsilon-prediction is supported")
    if scheduler.get("rescale_betas_zero_snr"):
        raise UserError(
            "the model's scheduler has zero terminal SNR, where epsilon-prediction has no step; not supported"
        )
    try:
        alpha_bars = alphas_cumprod(
            scheduler["beta_start"], scheduler["beta_end"], scheduler["num_train_timesteps"], scheduler["beta_schedule"]
        )
        own = {"steps_offset": 1, "spacing": sampling.spacing}
        grid = own if sampling.scheduler == "own" else _of_model(scheduler)
        return strided_grid(alpha_bars, sampling.num_steps, eta=sampling.ddim_eta, min_std=sampling.min_std, **grid)
    except KeyError as error:
        raise UserError(f"the model's scheduler_config.json has no {error}") from None
    except ValueError as error:
        raise UserError(f"sampling.scheduler={sampling.scheduler}: {error}") from None


def _of_model(scheduler: dict[str, Any]) -> dict[str, Any]:
    return {
        "steps_offset": scheduler.get("steps_offset", 0),
        "final_alpha_bar": 1.0 if scheduler.get("set_alpha_to_one", True) else None,
        "spacing": scheduler.get("timestep_spacing", "leading"),
    }


def check_model(model: ModelConfig, sampling: SamplingConfig) -> None:
    """Everything about the model that can be refused before any work; a hub id is checked when it is loaded."""
    folder = locate(model)
    if folder is not None:
        sampler_grid(_json(folder / "scheduler" / "scheduler_config.json"), sampling)


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or no JSON: the model folder is not whole") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a JSON object")
    return tree

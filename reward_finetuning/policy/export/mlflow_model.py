"""A folder of exported weights as an MLflow model: a Python function, and for an adapter the flavor `diffusers` too."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from reward_finetuning.config import RunConfig
from reward_finetuning.policy.export import finetuned_policy
from reward_finetuning.policy.export.finetuned_policy import DRAWING
from reward_finetuning.policy.export.weights import ADAPTER_FILE, Exported, Form
from reward_finetuning.policy.pretrained.source import locate, pinned_revision

_REQUIREMENTS = ("accelerate", "diffusers", "numpy", "pandas", "peft", "pillow", "safetensors", "torch", "transformers")


def begin_model(folder: Path, config: RunConfig, form: Form, prompt: str) -> None:
    """Write what MLflow reads: MLmodel, signature, input example, environment, code.

    Args:
        folder: output folder, empty or absent. The weights follow.
        config: of the run.
        form: of the weights.
        prompt: of the input example.
    """
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    model = Model()
    if form == "adapter":
        base, revision = _base_model(config)
        model.add_flavor(
            "diffusers",
            base_model=base,
            base_model_revision=revision,
            adapter_type="lora",
            adapter_weights=".",
            weight_name=ADAPTER_FILE,
            diffusers_version=version("diffusers"),
        )
    inputs = [
        ColSpec(DataType.string, "prompt"),
        ColSpec(DataType.string, "prompt_id", required=False),
        ColSpec(DataType.long, "image_index", required=False),
    ]
    params = [
        ParamSpec("seed", DataType.long, config.seed),
        ParamSpec("guidance_scale", DataType.double, config.evaluation_sampling.guidance_scale),
    ]
    pyfunc.save_model(
        str(folder),
        loader_module=Path(finetuned_policy.__file__).stem,
        code_paths=[finetuned_policy.__file__],
        mlflow_model=model,
        signature=ModelSignature(Schema(inputs), Schema([ColSpec(DataType.binary, "image")]), ParamSchema(params)),
        input_example=pd.DataFrame({"prompt": [prompt]}),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIREMENTS],
    )


def finish_model(folder: Path, config: RunConfig, exported: Exported) -> None:
    """Write how the policy draws, after its weights."""
    drawing, adapter = exported.drawing, None
    if exported.form == "adapter":
        base, revision = _base_model(config)
        adapter = {"base_model": base, "revision": revision, "weight_name": ADAPTER_FILE}
    content = {
        "adapter": adapter,
        "seed": config.seed,
        "guidance_scale": config.evaluation_sampling.guidance_scale,
        "latents_dtype": config.sampling.latents_dtype,
        "max_sequence_length": config.model.max_sequence_length,
        "without": [] if config.model.t5 else ["text_encoder_3", "tokenizer_3"],
        "image_size": drawing.image_size,
        "latent_shape": drawing.latent_shape,
        "timesteps": drawing.grid.timesteps.tolist(),
        "p": drawing.grid.p.tolist(),
        "q": drawing.grid.q.tolist(),
        "stds": drawing.grid.stds.tolist(),
    }
    (folder / DRAWING).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _base_model(config: RunConfig) -> tuple[str, str | None]:
    """A folder of this machine, or a hub id and its commit."""
    folder = locate(config.model)
    return (config.model.source, pinned_revision(config.model)) if folder is None else (str(folder.absolute()), None)

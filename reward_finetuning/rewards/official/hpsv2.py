"""The score of the official hpsv2 package, v2.0."""

from __future__ import annotations

import json
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS, Model
from reward_finetuning.rewards.official.calls import one_by_one
from reward_finetuning.rewards.official.torchvision_shim import declare_missing_operators
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["hpsv2"]


def load(settings: ScorerConfig) -> Scorer:
    """hpsv2.score of v2.0, float64 [B]."""
    return load_version(MODEL, settings)


def load_version(model: Model, settings: ScorerConfig) -> Scorer:
    """The score of hpsv2 with the weights of a version. The package reads them again for every picture."""
    declare_missing_operators()
    factory = import_module("hpsv2.src.open_clip.factory")
    img_score = import_module("hpsv2.img_score")
    files = sources.locate(model, settings)
    if "config" in files:
        factory._MODEL_CONFIGS["ViT-H-14"] = _open_clip_config(json.loads(files["config"].read_text("utf-8")))
    # By default the package first downloads 4 GB of LAION weights, which the checkpoint then replaces.
    network, _, preprocess = factory.create_model_and_transforms(
        "ViT-H-14", pretrained=None, precision="amp", device=img_score.device, light_augmentation=True, output_dict=True
    )
    img_score.model_dict.update(model=network, preprocess_val=preprocess)
    checkpoint = _as_pickle(files["weights"])
    return one_by_one(lambda image, prompt: float(img_score.score(image, prompt, cp=str(checkpoint))[0]))


def _as_pickle(path: Path) -> Path:
    """The checkpoint as a pickle, which the package reads."""
    if path.suffix != ".safetensors":
        return path
    import torch
    from safetensors.torch import load_file

    pickled = Path(tempfile.mkdtemp(prefix="hpsv2-")) / path.with_suffix(".pt").name
    torch.save({"state_dict": load_file(path)}, pickled)
    return pickled


def _open_clip_config(tree: dict[str, Any]) -> dict[str, Any]:
    """A CLIPConfig in the format of open_clip, for weights with another size than the published ones."""
    text, vision = tree["text_config"], tree["vision_config"]
    return {
        "embed_dim": tree["projection_dim"],
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "patch_size": vision["patch_size"],
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
        },
    }

"""The score of the official image-reward package."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.official.calls import one_by_one
from reward_finetuning.rewards.official.torchvision_shim import declare_missing_operators
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["image_reward"]

# med_config.json of the package.
_MED_CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30524,
    "encoder_width": 768,
    "add_cross_attention": True,
}


def load(settings: ScorerConfig) -> Scorer:
    """ImageReward's score, float64 [B]."""
    import torch

    from reward_finetuning.rewards.networks.checkpoints import read_state

    files = sources.locate(MODEL, settings)
    network = build(files, "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu")
    # The package ignores mismatched weights and would score with random ones.
    keys = network.load_state_dict(read_state(files["weights"]), strict=False)
    mismatched = [name for name in (*keys.missing_keys, *keys.unexpected_keys) if not name.endswith("position_ids")]
    if mismatched:
        raise UserError(
            f"{files['weights']} does not fit image-reward: {len(mismatched)} mismatched tensors, such as "
            f"{', '.join(mismatched[:3])}"
        )
    network.eval()
    return one_by_one(lambda image, prompt: float(network.score(prompt, image)))


def build(files: Mapping[str, Path], device: str) -> Any:
    """The network of the package with random weights. A config.json among the files can make it smaller."""
    declare_missing_operators()
    # Its trainer and its CLIP score import packages that scoring does not need.
    for name in ("clip", "ImageReward.ReFL"):
        sys.modules.setdefault(name, ModuleType(name)).__dict__.setdefault("__all__", [])
    package: Any = import_module("ImageReward.ImageReward")
    text, vision = dict(_MED_CONFIG), None
    if "config" in files:
        tree = json.loads(files["config"].read_text("utf-8"))
        text |= {key: value for key, value in tree["text_config"].items() if key in _MED_CONFIG}
        vision = tree["vision_config"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), _vision_tower(vision):
        # The package loads "bert-base-uncased" by name, and finds this folder in the working directory.
        vocabulary = Path("bert-base-uncased/vocab.txt")
        vocabulary.parent.mkdir()
        vocabulary.write_bytes(files["vocabulary"].read_bytes())
        Path("med_config.json").write_text(json.dumps(text), encoding="utf-8")
        return package.ImageReward(med_config="med_config.json", device=device).to(device)


@contextlib.contextmanager
def _vision_tower(config: Mapping[str, int] | None) -> Iterator[None]:
    """Replace the vision tower ViT-L, for which the package has no setting."""
    pretrain: Any = import_module("ImageReward.models.BLIP.blip_pretrain")
    original = pretrain.create_vit

    def create_vit(_: str, image_size: int, *__: Any) -> tuple[Any, int]:
        assert config is not None
        width, depth, heads = (config[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
        vit = import_module("ImageReward.models.BLIP.vit").VisionTransformer
        return vit(img_size=image_size, patch_size=16, embed_dim=width, depth=depth, num_heads=heads), width

    if config is not None:
        pretrain.create_vit = create_vit
    try:
        yield
    finally:
        pretrain.create_vit = original

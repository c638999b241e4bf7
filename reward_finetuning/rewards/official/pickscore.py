"""PickScore as in its model card, with processor and model of transformers; the cosine, not times 100."""

from __future__ import annotations

from typing import Any

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.official.calls import one_by_one
from reward_finetuning.rewards.official.torchvision_shim import declare_missing_operators
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["pickscore"]


def load(settings: ScorerConfig) -> Scorer:
    """PickScore / 100, float64 [B]."""
    import torch

    declare_missing_operators()  # transformers imports torchvision if it is installed
    from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    files = sources.locate(MODEL, settings)
    # AutoProcessor loads this tokenizer. The slow tokenizer repairs Unicode first and reads curly quotes differently.
    tokenizer = CLIPTokenizerFast(str(files["vocabulary"]), str(files["merges"]), model_max_length=77)
    processor = CLIPProcessor(CLIPImageProcessor(), tokenizer)
    network: Any = CLIPModel.from_pretrained(files["weights"].parent).eval()

    def score(image: Any, prompt: str) -> float:
        inputs = processor(text=prompt, images=image, padding=True, truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            output = network(**inputs)
        return float((output.image_embeds * output.text_embeds).sum())

    return one_by_one(score)

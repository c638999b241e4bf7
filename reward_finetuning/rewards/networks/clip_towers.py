"""Scorers with CLIP: the cosine of both towers (PickScore, HPSv2, CLIP score), or a head on the image feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.networks.batching import features_in_micro_batches, score_in_micro_batches
from reward_finetuning.rewards.networks.checkpoints import State, fill, read_config
from reward_finetuning.rewards.networks.devices import torch_device, torch_dtype
from reward_finetuning.rewards.networks.preprocessing import Preprocess
from reward_finetuning.rewards.networks.text_cache import TextCache

# CLIP training starts at 1 / 0.07 and ends at its limit of 100.
_TRAINED_LOGIT_SCALE = (90.0, 110.0)


class ClipCosine:
    """cos(f(image), g(prompt)) of a CLIP model, in [-1, 1]."""

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        preprocess: Preprocess,
        clean: Callable[[str], str] = str,
    ) -> None:
        """`network` is a CLIPModel on its device; `clean` is applied to a prompt before the tokenizer."""
        self._network = network
        self._tokenizer, self._preprocess, self._clean = tokenizer, preprocess, clean
        self._size = network.config.vision_config.image_size
        self._texts = TextCache(self._encode)

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Cosines [B] of pictures [B, H, W, 3] uint8 and their prompts [B]."""
        return score_in_micro_batches(images, prompts, self._preprocess, self._size, self._score)

    def image_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit features [B, D] of pictures [B, H, W, 3] uint8."""
        return features_in_micro_batches(images, self._preprocess, self._size, self._features)

    def _score(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        return (self._features(pixels) * self._texts(prompts)).sum(dim=-1)

    def _features(self, pixels: Tensor) -> Tensor:
        return unit(self._network.get_image_features(pixel_values=pixels.to(self._network.device)).pooler_output)

    def _encode(self, prompt: str) -> Tensor:
        # One prompt without padding: attention is causal, so padding after the end would not change the feature.
        tokens = self._tokenizer(self._clean(prompt), truncation=True, max_length=77, return_tensors="pt")
        features = self._network.get_text_features(input_ids=tokens.input_ids.to(self._network.device))
        return unit(features.pooler_output)[0]


class ClipImageScore:
    """A head on the unit feature of a picture. Prompts are not used."""

    def __init__(self, tower: Any, preprocess: Preprocess, head: nn.Module) -> None:
        """`tower` is a CLIPVisionModelWithProjection, `head` maps [B, D] float32 to [B, 1], both on their device."""
        self._tower, self._preprocess, self._head = tower, preprocess, head

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Scores [B] of pictures [B, H, W, 3] uint8."""
        return score_in_micro_batches(images, prompts, self._preprocess, self._tower.config.image_size, self._score)

    def image_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit features [B, D] of pictures [B, H, W, 3] uint8."""
        return features_in_micro_batches(images, self._preprocess, self._tower.config.image_size, self._features)

    def _score(self, pixels: Tensor, _: Sequence[str]) -> Tensor:
        return self._head(self._features(pixels))[:, 0]

    def _features(self, pixels: Tensor) -> Tensor:
        return unit(self._tower(pixel_values=pixels.to(self._tower.device)).image_embeds)


def unit(features: Tensor) -> Tensor:
    """Features [B, D] divided by their L2 norm, in float32 for every data type of the network."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


def clip_network(state: State, config: Any, path: Path, settings: ScorerConfig) -> nn.Module:
    """A CLIPModel of `config` with these weights on the configured device."""
    from transformers import CLIPModel

    return fill(lambda: CLIPModel(config), state, path, torch_dtype(settings)).to(torch_device(settings))


def clip_config(path: Path) -> Any:
    """A CLIPConfig from transformers' config.json.

    Raises:
        UserError: it is no JSON, or another model's.
    """
    from transformers import CLIPConfig

    return CLIPConfig.from_dict(read_config(path, "clip", "CLIP"))


def check_logit_scale(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not those of a trained reward model, in which exp(logit_scale) is about 100.

    Raises:
        UserError: exp(logit_scale) has another value.
    """
    if "logit_scale" not in state:
        return  # `fill` reports it with the other missing weights
    scale = float(state["logit_scale"].float().exp())
    low, high = _TRAINED_LOGIT_SCALE
    if not low <= scale <= high:
        raise UserError(
            f"{path}: exp(logit_scale) is {scale:.4g}, a trained reward model has about 100: these are not its weights"
        )

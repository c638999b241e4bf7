"""The network of HPSv3: Qwen2-VL, and a head on the hidden state of one special token.

Differences from Qwen2-VL as transformers runs it: every token has its index as its position, image patches included
(M-RoPE is not used), and the vocabulary ends after the special token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.rewards.networks.checkpoints import State, read_config

MICRO_BATCH = 4
"""Pictures per forward pass: each has about 800 tokens."""

PIXELS = 256 * 28 * 28
"""Pixels that a picture is resized to: 448 x 448 if it is a square, 256 image tokens."""

_HIDDEN_SIZES = (1024, 16)


class Qwen2VLReward(nn.Module):
    """Qwen2-VL without its language head, and two numbers from a hidden state: mean and log standard deviation."""

    def __init__(self, config: Any) -> None:
        """`config` is a Qwen2VLConfig."""
        from transformers import Qwen2VLModel

        super().__init__()
        self.body = Qwen2VLModel(config)
        first, second = _HIDDEN_SIZES
        self.head = nn.Sequential(
            nn.Linear(config.text_config.hidden_size, first),
            nn.ReLU(),
            nn.Dropout(0.05),  # keeps the numbers of the checkpoint's layers; off in eval mode
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 2),
        )

    def forward(self, ids: Tensor, ends: Tensor, patches: Tensor, grid: Tensor) -> Tensor:
        """Mean score [B] of B pictures and prompts.

        Args:
            ids: [B, L] int64, padded on the right. Attention is causal, so padding does not change a score.
            ends: [B] int64, the index of the special token.
            patches: [patches of all pictures, 3 * 2 * 14 * 14] float32.
            grid: [B, 3] int64, patches of each picture along time, height and width.
        """
        embeddings = self.body.get_input_embeddings()(ids)
        features = self.body.visual(patches.to(self.body.visual.dtype), grid_thw=grid).pooler_output
        is_image = (ids == self.body.config.image_token_id)[..., None]
        embeddings = embeddings.masked_scatter(is_image, features.to(embeddings.dtype))
        # Without positions the text model counts tokens, as HPSv3 was trained.
        states = self.body.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return self.head(states[torch.arange(len(ids), device=ids.device), ends].float())[:, 0]


class Qwen2VLScorer:
    """HPSv3's score of pictures and prompts, in micro-batches."""

    def __init__(self, network: Qwen2VLReward, tokenizer: Any, text: Callable[[str, int], str]) -> None:
        """`tokenizer` is a tokenizers.Tokenizer; `text` is the input for a prompt and a number of image tokens."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        self._network, self._tokenizer, self._text = network, tokenizer, text
        self._processor = Qwen2VLImageProcessorPil(size={"shortest_edge": PIXELS, "longest_edge": PIXELS})

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Scores [B] of pictures [B, H, W, 3] uint8 and their prompts [B]."""
        device = next(self._network.parameters()).device
        scores = np.zeros(len(images), dtype=np.float64)
        with torch.inference_mode():
            for first in range(0, len(images), MICRO_BATCH):
                part = slice(first, first + MICRO_BATCH)
                inputs = self._inputs(images[part], prompts[part])
                scores[part] = self._network(*(value.to(device) for value in inputs)).double().cpu().numpy()
        return scores

    def _inputs(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the network's forward."""
        pixels = self._processor(list(images), input_data_format="channels_last", return_tensors="pt")
        image_tokens = pixels.image_grid_thw.prod(-1) // self._processor.merge_size**2
        texts = [self._text(prompt, count) for prompt, count in zip(prompts, image_tokens.tolist(), strict=True)]
        sequences = [torch.tensor(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
        ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        ends = torch.tensor([len(sequence) - 1 for sequence in sequences])
        return ids, ends, pixels.pixel_values, pixels.image_grid_thw


def qwen2_vl_config(path: Path, vocabulary: int) -> Any:
    """A Qwen2VLConfig from the published config.json, with the number of tokens of the weights.

    Raises:
        UserError: it is no JSON, or another model's.
    """
    from transformers import Qwen2VLConfig

    config = Qwen2VLConfig.from_dict(read_config(path, "qwen2_vl", "Qwen2-VL"))
    config.text_config.vocab_size = vocabulary
    return config


def reward_state(state: State) -> State:
    """The tensors of a published checkpoint under the names of Qwen2VLReward.

    transformers 4.45, which HPSv3 was trained with, has the language model at `model.` and the vision tower at
    `visual.`; versions from 4.52 on have both below `model.`. Both layouts are accepted.
    """
    kept = {name: value for name, value in state.items() if not name.startswith("lm_head.")}
    return {_name(name): value for name, value in kept.items()}


def _name(published: str) -> str:
    if published.startswith("rm_head."):
        return published.replace("rm_head.", "head.", 1)
    bare = published.removeprefix("model.")
    nested = bare.startswith(("visual.", "language_model."))
    return f"body.{bare}" if nested else f"body.language_model.{bare}"

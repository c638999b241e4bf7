"""Text encoders of the pipeline classes of diffusers behind one function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.offload import Placement
from reward_finetuning.policy.pipeline import add_text_encoders
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES
from reward_finetuning.records import Conditioning

_T5_TOKENS = {"StableDiffusion3Pipeline": 256, "FluxPipeline": 512}
"""Tokens that T5 reads by default in diffusers."""

Sources = dict[str, Tensor]
"""Text encoder -> its part of the result, to check."""


class TextEncoders:
    """The frozen text encoders of a pipeline, in the type of the run."""

    def __init__(self, pipeline: Any, model: ModelConfig, placement: Placement) -> None:
        """Move the text encoders home; if the pipeline was loaded without them, nothing happens before `at_work`."""
        self._pipeline, self._model, self._placement = pipeline, model, placement
        self._names = ARCHITECTURES[type(pipeline).__name__].text_encoders
        self._freeze()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the text encoders on the device, loaded if they are not."""
        if self._pipeline.text_encoder is None:
            add_text_encoders(self._pipeline, self._model)
            self._freeze()
        with self._placement.at_work(self._present()):
            yield

    def _freeze(self) -> None:
        for encoder in self._present():
            encoder.to(self._placement.home, getattr(torch, self._model.dtype)).eval().requires_grad_(
                requires_grad=False
            )

    def _present(self) -> list[Any]:
        return [encoder for name in self._names if (encoder := getattr(self._pipeline, name)) is not None]


def encode_prompt(
    pipeline: Any, text: str, device: torch.device, max_sequence_length: int | None
) -> tuple[Conditioning, Sources]:
    """One prompt, encoded as the pipeline itself does.

    Args:
        pipeline: of ARCHITECTURES.
        text: the prompt.
        device: where the encoders are.
        max_sequence_length: tokens that T5 reads; the pipeline's default when not given.
    """
    options = {"device": device, "num_images_per_prompt": 1}
    name = type(pipeline).__name__
    if name in _T5_TOKENS:
        options["max_sequence_length"] = max_sequence_length or _T5_TOKENS[name]
    if name == "FluxPipeline":
        embeddings, pooled, _ = pipeline.encode_prompt(text, None, **options)
        return Conditioning(embeddings, pooled), {"text_encoder": pooled, "text_encoder_2": embeddings}
    options["do_classifier_free_guidance"] = False
    if name == "StableDiffusionPipeline":
        embeddings, _ = pipeline.encode_prompt(text, **options)
        return Conditioning(embeddings), {"text_encoder": embeddings}
    if name == "StableDiffusionXLPipeline":
        embeddings, _, pooled, _ = pipeline.encode_prompt(text, **options)
        return Conditioning(embeddings, pooled), _clip(pipeline, embeddings)
    embeddings, _, pooled, _ = pipeline.encode_prompt(text, None, None, **options)
    clip_tokens = pipeline.tokenizer_max_length
    sources = _clip(pipeline, embeddings[:, :clip_tokens])
    if pipeline.text_encoder_3 is not None:
        sources["text_encoder_3"] = embeddings[:, clip_tokens:]
    return Conditioning(embeddings, pooled), sources


def reader(pipeline: Any, max_sequence_length: int | None) -> tuple[Any, int]:
    """The tokenizer whose encoder reads the most of a prompt, and how many tokens."""
    name = type(pipeline).__name__
    t5 = {"StableDiffusion3Pipeline": "tokenizer_3", "FluxPipeline": "tokenizer_2"}.get(name)
    tokenizer = getattr(pipeline, t5) if t5 is not None else None
    if tokenizer is None:
        return pipeline.tokenizer, pipeline.tokenizer.model_max_length
    return tokenizer, max_sequence_length or _T5_TOKENS[name]


def _clip(pipeline: Any, embeddings: Tensor) -> Sources:
    """Two CLIP encoders' embeddings, which stand side by side."""
    width = pipeline.text_encoder.config.hidden_size
    return {"text_encoder": embeddings[..., :width], "text_encoder_2": embeddings[..., width:]}

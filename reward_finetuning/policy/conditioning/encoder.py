"""Prompts to what a network is conditioned on, by the pipeline's own text encoders; each is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from reward_finetuning.config.display import shown
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.events import report_warning
from reward_finetuning.policy.conditioning.embedding_cache import EmbeddingCache
from reward_finetuning.policy.conditioning.text_encoders import TextEncoders, encode_prompt, reader
from reward_finetuning.policy.denoiser import joined
from reward_finetuning.policy.finite import check_outputs
from reward_finetuning.policy.offload import Placement
from reward_finetuning.records import Conditioning

_MOST_ROWS = 1024
"""Prompts whose encoding is kept: more than an epoch has, and with SDXL 0.6 GB."""

_MOST_BYTES = 4 * 2**30
"""Bytes of them; one prompt of FLUX has 8 MB in float32."""

_MOST_WARNINGS = 5


class PromptEncoder:
    """Encodes each prompt once, and alone: in a batch of another size the last bits would differ."""

    def __init__(self, pipeline: Any, model: ModelConfig, placement: Placement) -> None:
        """Use the text encoders of a pipeline of ARCHITECTURES, as they are.

        Args:
            pipeline: whose. If it was loaded without text encoders, they are loaded when a prompt is not in the cache.
            model: its settings.
            placement: where they encode, and where they are in between.
        """
        self._pipeline, self._placement, self._limit = pipeline, placement, model.max_sequence_length
        self._encoders = TextEncoders(pipeline, model, placement)
        self._cache = EmbeddingCache(pipeline, model, placement.device) if model.prompt_cache else None
        self._rows: dict[str, Conditioning] = {}
        self._cut: dict[tuple[int, ...], str] = {}  # what is left of a long prompt -> the first prompt it is of
        self._warnings = 0

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The encoded prompts, a row each.

        Raises:
            TrainingError: an embedding is not finite.
        """
        rows = {text: row for text in dict.fromkeys(prompts) if (row := self._encoded(text)) is not None}
        missing = [text for text in dict.fromkeys(prompts) if text not in rows]
        with self._encoders.at_work() if missing else nullcontext():
            rows |= {text: self._encode(text) for text in missing}
        for text in prompts:
            self._keep(text, rows[text])
        return joined([rows[text] for text in prompts])

    def unconditional(self) -> Conditioning:
        """What stands for no prompt in guidance, one row: the empty prompt, or zeros where SDXL's config says so."""
        empty = self.encode([""])
        if not self._pipeline.config.get("force_zeros_for_empty_prompt", False):
            return empty
        assert empty.pooled is not None
        return Conditioning(torch.zeros_like(empty.embeddings), torch.zeros_like(empty.pooled))

    def _encoded(self, text: str) -> Conditioning | None:
        """The row of a text that was encoded before, by this process or by another one."""
        if text in self._rows:
            return self._rows[text]
        self._report_cut(text)
        return self._cache.get(text) if self._cache is not None else None

    def _keep(self, text: str, row: Conditioning) -> None:
        self._rows.pop(text, None)
        self._rows[text] = row  # the newest last
        size = row.embeddings.numel() * row.embeddings.element_size()
        while len(self._rows) > min(_MOST_ROWS, max(1, _MOST_BYTES // size)):
            del self._rows[next(iter(self._rows))]

    def _report_cut(self, text: str) -> None:
        """Print a warning for a text that is longer than the text encoder reads, and for two that differ only there."""
        tokenizer, limit = reader(self._pipeline, self._limit)
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) <= limit:
            return
        kept = tuple(tokens[: limit - 1])
        twin = self._cut.setdefault(kept, text)
        self._warnings += 1
        if self._warnings > _MOST_WARNINGS:
            return
        beginning = shown(text)
        what = f"is cut after {limit} of its {len(tokens)} tokens, which is all that the text encoder reads"
        if twin != text:
            what += ", and is the same as another prompt to the model, which differs only after that"
        report_warning(f"prompt {beginning} {what}")

    @torch.no_grad()
    def _encode(self, text: str) -> Conditioning:
        encoded, sources = encode_prompt(self._pipeline, text, self._placement.device, self._limit)
        for name, embeddings in sources.items():
            encoder = getattr(self._pipeline, name)
            check_outputs("text embeddings", [embeddings], name, encoder, encoder.dtype)
        if self._cache is not None:
            self._cache.put(text, encoded)
        return encoded

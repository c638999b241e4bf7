"""Encoded prompts on the local disk, for all processes of this machine and for later runs with the same encoders."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.pretrained.source import text_digest
from reward_finetuning.records import Conditioning
from reward_finetuning.storage.entries import Entries

FORMAT = 1
"""Raise it when the same text gives another embedding, for a reason that is not in `_identity`."""


class EmbeddingCache:
    """One entry per prompt, under the sha256 of all that its bits depend on."""

    def __init__(self, pipeline: Any, model: ModelConfig, device: torch.device) -> None:
        self._pipeline, self._model, self._device = pipeline, model, device
        self._entries = Entries()

    def get(self, text: str) -> Conditioning | None:
        """One encoded prompt on the device, with the bits that the encoders gave; None where it must be encoded."""
        stored = self._entries.read(self._key(text))
        if stored is None:
            return None
        try:
            tensors = {name: tensor.to(self._device) for name, tensor in load(stored).items()}
        except SafetensorError:  # written by another version under the same key
            return None
        return Conditioning(tensors["embeddings"], tensors.get("pooled"))

    def put(self, text: str, row: Conditioning) -> None:
        """Keep one encoded prompt."""
        tensors = {"embeddings": row.embeddings} | ({} if row.pooled is None else {"pooled": row.pooled})
        stored = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        self._entries.write(self._key(text), stored)

    def _key(self, text: str) -> str:
        return sha256(json.dumps([*self._identity, text]).encode()).hexdigest()

    @cached_property
    def _identity(self) -> list[object]:
        model = self._model
        packages = [(name, version(name)) for name in ("diffusers", "tokenizers", "torch", "transformers")]
        settings = [model.variant, model.t5, model.max_sequence_length, model.dtype, model.trainable]
        name = type(self._pipeline).__name__
        return ["embedding", FORMAT, name, text_digest(model, self._entries), settings, packages, self._machine()]

    def _machine(self) -> list[object]:
        """Another GPU, or another number of threads, may give other last bits."""
        if self._device.type == "cuda":
            return [torch.cuda.get_device_name(self._device), torch.version.cuda]
        return [self._device.type, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]

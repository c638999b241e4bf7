"""Features of prompts, made once for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CAPACITY = 16_384
"""Prompts kept; 1024 float32 each are 64 MiB."""


class TextCache:
    """Encodes each distinct prompt once, as long as it is among the `capacity` last used.

    Prompts are encoded alone: in a batch the last bits would depend on the other prompts, and on what was scored
    before.
    """

    def __init__(self, encode: Callable[[str], Tensor], capacity: int = CAPACITY) -> None:
        """`encode` maps a prompt to its features [D]."""
        self._encode, self._capacity = encode, capacity
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, D] of prompts [B]."""
        known = {text: self._of(text) for text in dict.fromkeys(prompts)}
        return torch.stack([known[text] for text in prompts])

    def _of(self, text: str) -> Tensor:
        if text in self._features:
            self._features.move_to_end(text)
            return self._features[text]
        features = self._features[text] = self._encode(text)
        if len(self._features) > self._capacity:
            self._features.popitem(last=False)
        return features

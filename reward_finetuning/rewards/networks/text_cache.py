"""Cache of prompt features."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CAPACITY = 16_384
"""Number of cached prompts; with 1024 float32 values each they need 64 MiB."""


class TextCache:
    """Encodes each distinct prompt once, and caches the `capacity` most recently used prompts.

    Prompts are encoded one by one: in a batch, the last bits would depend on the other prompts.
    """

    def __init__(self, encode: Callable[[str], Tensor], capacity: int = CAPACITY) -> None:
        """`encode` maps a prompt to its features [D]."""
        self._encode, self._capacity = encode, capacity
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, D] of prompts [B]."""
        features = {text: self._lookup(text) for text in dict.fromkeys(prompts)}
        return torch.stack([features[text] for text in prompts])

    def _lookup(self, text: str) -> Tensor:
        if text in self._features:
            self._features.move_to_end(text)
            return self._features[text]
        features = self._encode(text)
        self._features[text] = features
        if len(self._features) > self._capacity:
            self._features.popitem(last=False)
        return features

"""BLIP's attention in fused kernels; transformers spells it out, and half of a small tower's time went into that.

The modules have the names and shapes of those they replace, so that the same weights fill them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class VisionAttention(nn.Module):
    """Replaces transformers' BlipAttention; no dropout, for a reward model is never trained."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Width D and number of heads."""
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        """[B, L, D] -> [B, L, D]; the attention itself is not kept."""
        batch, length, width = hidden_states.shape
        mixed = self.qkv(hidden_states).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value)
        return self.projection(seen.transpose(1, 2).reshape(batch, length, width)), None


class TextAttention(nn.Module):
    """Replaces transformers' BlipTextSelfAttention: over the prompt, or from the prompt to the picture."""

    def __init__(self, width: int, num_heads: int, width_seen: int) -> None:
        """Width of the text D, number of heads, width of what is looked at."""
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width_seen, width)
        self.value = nn.Linear(width_seen, width)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """[B, L, D] -> [B, L, D]; with `encoder_hidden_states` [B, P, V] every one of these is looked at."""
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = attention_mask if encoder_hidden_states is None else None
        query, key, value = (
            self._heads(self.query(hidden_states)),
            self._heads(self.key(seen)),
            self._heads(self.value(seen)),
        )
        read = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return read.transpose(1, 2).flatten(2), None

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def fuse_attention(vision: Any, text: Any) -> None:
    """Put these modules into a BlipVisionModel and a BlipTextModel that have no weights yet."""
    config = vision.config
    for layer in vision.encoder.layers:
        layer.self_attn = VisionAttention(config.hidden_size, config.num_attention_heads)
    config = text.config
    for layer in text.encoder.layer:
        layer.attention.self = TextAttention(config.hidden_size, config.num_attention_heads, config.hidden_size)
        layer.crossattention.self = TextAttention(
            config.hidden_size, config.num_attention_heads, config.encoder_hidden_size
        )

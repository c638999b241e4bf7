"""BLIP's attention with fused kernels.

The attention of transformers is not fused and takes half of the time of a small tower. These modules have the parameter
names and shapes of the modules that they replace, so that the same weights fit.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class VisionAttention(nn.Module):
    """Replaces BlipAttention of transformers. It has no dropout, because a reward model is not trained."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Width D and number of heads."""
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        """[B, L, D] -> [B, L, D]; attention weights are not returned."""
        batch, length, width = hidden_states.shape
        mixed = self.qkv(hidden_states).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value)
        return self.projection(attended.transpose(1, 2).reshape(batch, length, width)), None


class TextAttention(nn.Module):
    """Replaces BlipTextSelfAttention of transformers: self-attention, or cross-attention to the picture."""

    def __init__(self, width: int, num_heads: int, encoder_width: int) -> None:
        """Width of the text D, number of heads, width of keys and values."""
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(encoder_width, width)
        self.value = nn.Linear(encoder_width, width)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """[B, L, D] -> [B, L, D]; attends to all of `encoder_hidden_states` [B, P, V] if given."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = attention_mask if encoder_hidden_states is None else None
        query, key, value = (
            self._heads(self.query(hidden_states)),
            self._heads(self.key(context)),
            self._heads(self.value(context)),
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2), None

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def fuse_attention(vision: Any, text: Any) -> None:
    """Replace the attention of a BlipVisionModel and a BlipTextModel before their weights are loaded."""
    config = vision.config
    for layer in vision.encoder.layers:
        layer.self_attn = VisionAttention(config.hidden_size, config.num_attention_heads)
    config = text.config
    for layer in text.encoder.layer:
        layer.attention.self = TextAttention(config.hidden_size, config.num_attention_heads, config.hidden_size)
        layer.crossattention.self = TextAttention(
            config.hidden_size, config.num_attention_heads, config.encoder_hidden_size
        )

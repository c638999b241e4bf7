"""Layers of a UNet that no prompt has entered: evaluated once for all prompts of a latent.

The two branches of classifier-free guidance have the same x and t. What comes before the first cross-attention is
therefore the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def prompt_free_layers(unet: Any) -> list[Any]:
    """The layers of a UNet2DConditionModel from x_t to the first cross-attention, in the order of evaluation.

    Normalizations are left out, because to repeat their output takes as long as to compute it. Empty where the time
    embedding contains text (SDXL), which then enters the first block.
    """
    config = unet.config
    if config.addition_embed_type is not None or config.class_embed_type is not None:
        return []
    layers = [unet.conv_in]
    for block, kind in zip(unet.down_blocks, config.down_block_types, strict=True):
        if kind == "DownBlock2D":
            layers.append(block)
            continue
        if kind == "CrossAttnDownBlock2D" and not config.dual_cross_attention:
            layers.extend([block.resnets[0], *_before_cross_attention(block.attentions[0])])
        break
    return layers


def _before_cross_attention(transformer: Any) -> list[Any]:
    first = transformer.transformer_blocks[0]
    reads_text = first.only_cross_attention or first.norm_type != "layer_norm"
    return [transformer.proj_in] if reads_text else [transformer.proj_in, first.attn1]


def share_layers(unet: Any) -> None:
    """Prepare the layers of `unet` for `equal_parts`, if they are not; a copy of the network is prepared too."""
    for layer in prompt_free_layers(unet):
        if hasattr(layer, "equal_parts"):
            continue
        layer.equal_parts = 1
        layer.register_forward_pre_hook(_first_part, with_kwargs=True)
        layer.register_forward_hook(_repeat_output)


@contextmanager
def equal_parts(layers: Sequence[Any], number: int) -> Iterator[None]:
    """A context in which the rows of each input of `layers` are `number` equal parts: only the first one is evaluated.

    It sets an attribute of the layers, because torch.compile looks at those.
    """
    before = [layer.equal_parts for layer in layers]
    for layer in layers:
        layer.equal_parts = number
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.equal_parts = value


def checkpoints(unet: Any) -> Callable[..., Any]:
    """The function for diffusers' `enable_gradient_checkpointing`: layers compute again what they computed before.

    A backward pass takes place outside the context `equal_parts` of its forward pass.
    """
    layers = prompt_free_layers(unet)

    def with_checkpoint(module: Any, *inputs: Any) -> Any:
        number = layers[0].equal_parts if layers else 1

        def evaluate(*values: Any) -> Any:
            with equal_parts(layers, number):
                return module(*values)

        return checkpoint(evaluate, *inputs, use_reentrant=False)

    return with_checkpoint


def _first_part(layer: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if layer.equal_parts == 1:
        return None

    def first(value: Any) -> Any:
        return value[: len(value) // layer.equal_parts] if isinstance(value, Tensor) else value

    return tuple(map(first, positional)), {name: first(value) for name, value in named.items()}


def _repeat_output(layer: Any, _: Any, output: Any) -> Any:
    """An output is a tensor, or of a block: the last of its outputs, and all of them."""
    if layer.equal_parts == 1:
        return None
    if isinstance(output, Tensor):
        return torch.cat([output] * layer.equal_parts)
    _, outputs = output
    copies = tuple(torch.cat([each] * layer.equal_parts) for each in outputs)
    return copies[-1], copies

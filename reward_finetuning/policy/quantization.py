"""Frozen linear layers of a transformer in 8 bits, by bitsandbytes."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn


def quantize(network: Any, device: torch.device) -> None:
    """Put the linear layers of all blocks on `device` in 8 bits, one at a time; adapters are added afterwards.

    A row of a weight has one scale, and so has each token of the input. Embeddings and the last layer stay as they
    are. LLM.int8() also keeps columns of the input with outliers in 16 bits. Here it does not, because which columns
    these are depends on the other images of a batch.

    Args:
        network: frozen, on the CPU, with blocks in lists of modules.
        device: where the 8-bit weights are.

    Source: Dettmers et al. 2022 (arXiv:2208.07339), section 3, with vector-wise scales.
    """
    # It warns at every call about each input that is not float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    for blocks in network.children():
        if isinstance(blocks, nn.ModuleList):
            for module in list(blocks.modules()):
                for name, layer in list(module.named_children()):
                    if type(layer) is nn.Linear:
                        setattr(module, name, _in_8_bits(layer, device))
    network.is_loaded_in_8bit = True  # peft asks for it


def _in_8_bits(layer: nn.Linear, device: torch.device) -> nn.Module:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    quantized = Linear8bitLt(
        layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False, device="meta"
    )
    quantized.weight = Int8Params(layer.weight.data, requires_grad=False)
    quantized.bias = layer.bias
    moved: nn.Module = quantized.eval().to(device)
    return moved

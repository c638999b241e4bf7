"""Linear layers with a LoRA adapter, evaluated as one product with W + s B A."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

SMALL = 128 * 128
"""Elements of W up to which autograd's gradient, by way of the gradient of W + s B A, is the faster one. Forward and
backward pass of a layer in ms on one core, peft, by way of W + s B A, and without it: 3.4, 2.2 and 2.7 (64 x 64, 8192
rows), 10.5, 8.8 and 8.9 (128 x 128), 45, 49 and 41 (320 x 320), 66, 92 and 65 (1280 x 1280, 1024 rows); rank 4."""


class AdaptedLinear(Linear):
    """peft's linear layer with adapters; one adapter in float32 costs one product instead of three and a sum.

    peft computes W x + s B (A x). Here W + s B A is computed first, again in each call, so no copy of it can be out of
    date; with rank r it costs r / N of a product of N rows. Reduced precision, also TF32, would round s B A away
    beside W, so it is left to peft.

    Source: Hu et al. 2021 (arXiv:2106.09685), equation 3.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output [..., out_features] for x [..., in_features]."""
        if self.disable_adapters or self.merged or not self._is_plain(x):
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        weight, bias = self.base_layer.weight, self.base_layer.bias
        down, up, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        if weight.numel() <= SMALL:
            return functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)
        # torch's stub of `apply` has no types.
        output: Tensor = _Product.apply(x, weight, down, up, bias, scale)  # type: ignore[no-untyped-call]
        return output

    def enable_adapters(self, enabled: bool) -> None:  # noqa: FBT001  # peft's signature
        """Switch the adapter on or off, and nothing else: peft also changes which weights require a gradient."""
        self._disable_adapters = not enabled

    def _is_plain(self, x: Tensor) -> bool:
        return (
            len(self.active_adapters) == 1
            and x.dtype == self.base_layer.weight.dtype == torch.float32
            and not torch.is_autocast_enabled(x.device.type)
            and not torch.backends.cuda.matmul.allow_tf32
        )


def evaluate_as_one_product(config: Any) -> None:
    """Have peft make `AdaptedLinear` of the linear layers that the LoraConfig `config` names."""
    config._register_custom_module({nn.Linear: AdaptedLinear})  # the name in peft's documentation


class _Product(torch.autograd.Function):
    """x (W + s B A)^T + b, with the gradient of x, A and B; that of W, which is frozen, is never formed."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale  # type: ignore[attr-defined]  # torch's stub has no fields of users
        return functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        (gradient,) = gradients
        rows, gradient_rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_x = gradient @ torch.addmm(weight, up, down, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        of_down = ctx.scale * ((gradient_rows @ up).T @ rows)
        of_up = ctx.scale * (gradient_rows.T @ (rows @ down.T))
        return of_x, None, of_down, of_up, None, None

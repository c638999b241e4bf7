"""Refuse what a network computes when it is not finite, naming the network, its type and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from reward_finetuning.config.errors import TrainingError
from reward_finetuning.policy.sharding import own_part


def check_outputs(what: str, values: Iterable[Tensor], name: str, network: nn.Module, dtype: torch.dtype) -> None:
    """Refuse outputs that hold NaN or an infinity.

    Args:
        what: what the outputs are, in the plural, such as "latents".
        values: the outputs.
        name: of the network in its pipeline, such as "unet".
        network: that computed them.
        dtype: in which it computes.

    Raises:
        TrainingError: naming the network, the type and what to do.
    """
    if any(bool(_is_not_finite(tensor).any()) for tensor in values):
        raise TrainingError(f"{what} are not finite: {_cause(name, network, dtype)}")


def check_weights(weights: Mapping[str, Tensor], name: str) -> None:
    """Refuse trained weights that hold NaN or an infinity.

    Raises:
        TrainingError: naming the first such weight.
    """
    if (damaged := _first(weights.items(), _is_not_finite)) is not None:
        raise TrainingError(
            f"training diverged: {name}'s weight {damaged} is not finite after the update; lower training.learning_rate"
        )


def _cause(name: str, network: nn.Module, dtype: torch.dtype) -> str:
    type_name = str(dtype).removeprefix("torch.")
    # In float16 a weight may have become infinite when it was loaded; NaN is none of its roundings.
    is_damaged = torch.isnan if dtype == torch.float16 else _is_not_finite
    damaged = _first(network.named_parameters(), is_damaged)
    if damaged is not None:
        return (
            f"{name} ({type_name}) has weights that are not finite, first {damaged}; download the model again, or use "
            "another one"
        )
    if dtype == torch.float16:
        return f"{name} overflows in float16; set model.dtype to bfloat16 or float32"
    return (
        f"{name} overflows in {type_name}, so its weights are too large; lower training.learning_rate if it was "
        "trained, or use another model"
    )


def _first(weights: Iterable[tuple[str, Tensor]], is_damaged: Callable[[Tensor], Tensor]) -> str | None:
    return next((name for name, weight in weights if bool(is_damaged(own_part(weight)).any())), None)


def _is_not_finite(tensor: Tensor) -> Tensor:
    return ~torch.isfinite(tensor)

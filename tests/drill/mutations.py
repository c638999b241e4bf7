"""What a resume could forget. Each must make the drill fail: else the drill would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drill.failpoints import replace

Wrapped = Callable[[Callable[..., Any]], Callable[..., Any]]


def _nothing(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **named: None


def _no_step_count(load: Callable[..., Any]) -> Callable[..., Any]:
    """AdamW's count of steps is the one schedule of this project: it scales the step size."""

    def load_state(engine: Any, tensors: Any, path: Any) -> None:
        load(engine, {key: value * 0 if key.endswith("/step") else value for key, value in tensors.items()}, path)

    return load_state


def _no_average(restore: Callable[..., Any]) -> Callable[..., Any]:
    def restore_weights(trainable: Any, tensors: Any, path: Any) -> None:
        if path.name != "averaged.safetensors":
            restore(trainable, tensors, path)

    return restore_weights


def _from_the_beginning(position: int) -> Wrapped:
    """Randomness that begins again with the process, as a generator that was not restored: its epoch is 1."""

    def wrapped(draw: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **named: Any) -> Any:
            first = min(args[position], 1)  # 0 is the evaluation's, which has one noise for all epochs
            return draw(*args[:position], first, *args[position + 1 :], **named)

        return function

    return wrapped


MUTATIONS: dict[str, tuple[str, str, Wrapped]] = {
    "no optimizer state": ("reward_finetuning.training.engine", "Engine.load_state", _nothing),
    "no scheduler": ("reward_finetuning.training.engine", "Engine.load_state", _no_step_count),
    "no buffer": ("reward_finetuning.objectives.ddpo", "Ddpo.load_state_dict", _nothing),
    "no moving average": ("reward_finetuning.policy.save", "restore_weights", _no_average),
    "no RNG": ("reward_finetuning.diffusion.noise", "image_generator", _from_the_beginning(2)),
    "no data order": ("reward_finetuning.diffusion.noise", "cell_order", _from_the_beginning(1)),
}


def forget(name: str) -> None:
    """Apply a mutation to this process."""
    replace(*MUTATIONS[name])

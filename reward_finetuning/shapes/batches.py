"""Batches of latents with captions, and the training of a denoiser on them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reward_finetuning.shapes import captions
from reward_finetuning.shapes.learning_rate import one_cycle
from reward_finetuning.shapes.scene import Scene, describe
from reward_finetuning.shapes.text_encoder import tokenize

EMPTY_CAPTIONS = 0.1
"""Share of empty captions in pretraining, for classifier-free guidance."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B latents with captions, and the noise that is added to them."""

    latents: Tensor
    """[B, 4, 8, 8] scaled."""

    tokens: Tensor
    """[B, L] int64."""

    timesteps: Tensor
    """[B] int64, 0 to 999."""

    noise: Tensor
    """[B, 4, 8, 8] unit normal."""


class Examples:
    """Random batches of latents with captions. A picture gets a new caption in every batch."""

    def __init__(self, latents: Tensor, scenes: list[Scene], tokenizer: Any, *, caption_noise: float) -> None:
        """Latents [N, 4, 8, 8] of N scenes; `caption_noise` is the probability of a wrong caption."""
        self._latents, self._scenes, self._tokenizer = latents, scenes, tokenizer
        self._caption_noise = caption_noise
        self._tokens: dict[str, Tensor] = {}

    def batches(self, size: int, *, seed: int) -> Iterator[Batch]:
        """An infinite sequence of batches of `size`, determined by `seed`."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        while True:
            indices = rng.integers(len(self._scenes), size=size)
            latents = self._latents[torch.from_numpy(indices)]
            yield Batch(
                latents=latents,
                tokens=torch.stack([self._caption(self._scenes[index], rng) for index in indices]),
                timesteps=torch.randint(1000, (size,), generator=generator),
                noise=torch.randn(latents.shape, generator=generator),
            )

    def _caption(self, scene: Scene, rng: np.random.Generator) -> Tensor:
        """[L] tokens of a correct, a wrong or an empty caption of `scene`."""
        if rng.random() < EMPTY_CAPTIONS:
            caption = ""
        elif rng.random() < self._caption_noise:
            caption = describe(captions.misdescribe(scene, rng))
        else:
            caption = describe(scene)
        if caption not in self._tokens:
            self._tokens[caption] = tokenize(self._tokenizer, [caption])[0]
        return self._tokens[caption]


def train(
    parameters: Sequence[nn.Parameter],
    loss_of: Callable[[Batch], Tensor],
    *,
    examples: Iterator[Batch],
    steps: int,
    learning_rate: float,
    heldout: Batch,
    report: Callable[[int, float], None],
) -> None:
    """Minimise `loss_of` over `parameters` in place, on `steps` batches of `examples`.

    The learning rate rises to `learning_rate` and falls to zero once (one cycle), which replaces an average of the
    weights. `report` is called every 250 steps with (step, held-out loss). The held-out batch and its noise are fixed.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-4, fused=True)
    schedule = one_cycle(optimizer, steps=steps)
    for step in range(1, steps + 1):
        loss = loss_of(next(examples))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps:
            with torch.no_grad():
                report(step, loss_of(heldout).item())

"""Options of PRDP that the paper does not have, for arms of the study alone: `option` of an arm names one.

Each is a change of the objective; PROTOCOL.md does not judge them. What pays becomes a setting of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reward_finetuning import objectives
from reward_finetuning.config.sections.objective import PrdpConfig
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.prdp import Prdp
from reward_finetuning.objectives.protocol import Look, Objective
from reward_finetuning.records import Batch


class Anchored(Prdp):
    """The shift that all images of a prompt share is held near the policy that sampled, which differences do not see.

    Per prompt, weight * m^2 is added to the loss, with m the mean of l_it - l0_it over its K images and T steps.
    """

    weight = 1.0

    def prompt_coefficients(self, log_probs: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        """g of the pairs, and 2 weight m / (K T) of the shift."""
        g = super().prompt_coefficients(log_probs, rows, batch)
        part, num_prompts = batch.of_rows(rows), len(torch.unique(batch.prompt_index))
        moved = log_probs.double() - part.log_probs_old.double()
        for prompt in torch.unique(part.prompt_index):
            members = part.prompt_index == prompt
            g[members] += 2 * self.weight * moved[members].mean() / moved[members].numel() / num_prompts
        return g


class StronglyAnchored(Anchored):
    """With ten times the weight."""

    weight = 10.0


class EarlyEnd(Prdp):
    """An epoch's updates end when the mean of |l_it - l0_it| is above the clip range."""

    _num_images = 0

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Note how many images there are."""
        self._num_images = len(batch.rewards)

    def heldout_rows(self, num_updates: int, *, is_last: bool) -> Tensor | None:
        """All images, after each update."""
        return torch.arange(self._num_images) if num_updates else None

    def look(self, log_probs: Tensor, batch: Batch) -> Look:
        """The newest weights are kept."""
        move = float((log_probs.double() - batch.log_probs_old.double()).abs().mean())
        return Look(accuracy=0.0, is_best=True, ends_epoch=move > self.clip_range)


class UnitsOfSpread(Prdp):
    """Rewards of a prompt are divided by their standard deviation, and multiplied by the mean of these over prompts."""

    def prompt_coefficients(self, log_probs: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        """g at these rewards."""
        return super().prompt_coefficients(log_probs, rows, _in_units_of_spread(batch))

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """The loss of these rewards."""
        return super().metrics(log_probs, _in_units_of_spread(batch))


class TargetKl(Prdp):
    """beta grows by at most half an epoch where the KL to the reference is above `target`, and falls where below."""

    target = 0.015
    """Half of what PRDP's runs end at with the tuned beta."""

    def __init__(self, config: PrdpConfig) -> None:
        super().__init__(config)
        self._first = config.kl_weight

    def gradient_unit(self, num_steps: int, num_elements: int) -> float:
        """That of the first beta: it must not change in an epoch."""
        return self._first * num_steps * num_elements

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Measure the KL by the log-probs of the images, nats per latent element and step."""
        kl = float((batch.log_probs_old.double() - batch.log_probs_ref.double()).mean())
        self._kl_weight *= float(np.clip(kl / self.target, 1 / 1.5, 1.5))

    def state_dict(self) -> dict[str, Tensor]:
        """beta as it is."""
        return {"kl_weight": torch.tensor([self._kl_weight], dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        self._kl_weight = float(state["kl_weight"])


OPTIONS: dict[str, Callable[[Any], Objective]] = {
    "anchor-1": Anchored,
    "anchor-10": StronglyAnchored,
    "early-end": EarlyEnd,
    "units-of-spread": UnitsOfSpread,
    "target-kl": TargetKl,
}


def use(option: str) -> None:
    """Let this process train PRDP with an option."""
    objectives._OBJECTIVES["prdp"] = OPTIONS[option]


def _in_units_of_spread(batch: Batch) -> Batch:
    _, index, counts = torch.unique(batch.prompt_index, return_inverse=True, return_counts=True)
    sums = torch.zeros(2, len(counts), dtype=torch.float64)
    sums = sums.index_add(1, index, torch.stack([batch.rewards, batch.rewards**2]))
    stds = (sums[1] / counts - (sums[0] / counts) ** 2).clamp(min=0).sqrt()
    kept = stds > 1e-6 * stds.max()
    units = torch.where(kept, stds, torch.inf)
    return replace(batch, rewards=batch.rewards / units[index] * stds[kept].mean())

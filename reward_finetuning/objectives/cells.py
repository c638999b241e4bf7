"""An epoch's (image, step) cells: where they are read from, and one batch of them evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.diffusion.rollout import step_means
from reward_finetuning.diffusion.step import DeviceGrid
from reward_finetuning.records import Cells, Conditioning, Denoiser, Latents


@dataclass(frozen=True, slots=True)
class Denoisers:
    """The networks that a training step may evaluate."""

    policy: Denoiser
    unguided: Denoiser | None = None
    """The policy's conditional prediction alone."""

    reference: Denoiser | None = None
    """Guided as the policy is; given where the objective needs_reference."""


@dataclass(frozen=True, slots=True)
class CellSource:
    """Where cells are read from: an epoch's trajectories, on the CPU, and its encoded prompts."""

    latents: Latents
    """[B, T + 1, C, H, W]; read where a batch of cells needs them."""

    prompts: Conditioning
    """N of them."""

    prompt_index: Tensor
    """[B] int64, rows of prompts."""

    grid: Grid
    """The T stochastic transitions."""

    device: torch.device
    dtype: torch.dtype = torch.float32

    x_0: Latents | None = None
    """[B, C, H, W] the final latents, if they are not the last of `latents`."""

    device_grid: DeviceGrid = field(init=False)
    """`grid` on `device`."""

    def __post_init__(self) -> None:
        """Copy the grid to the device."""
        object.__setattr__(self, "device_grid", DeviceGrid.of(self.grid, self.device, self.dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.latents.shape[0], self.latents.shape[1] - 1

    @property
    def num_elements(self) -> int:
        """C H W."""
        return math.prod(self.latents.shape[2:])

    def of_images(self, rows: Tensor | None, order: Tensor) -> Tensor:
        """The part of `order` (flat indices into [B, T]) that belongs to image rows [R]; all of it for None."""
        return order if rows is None else order[torch.isin(order // self.shape[1], rows)]

    def log_probs(self, denoise: Denoiser, cells: Tensor) -> Tensor:
        """Log-probs of flat `cells` under `denoise`, [M] nats per latent element, with its gradient."""
        stored = self._read(cells, with_x_prev=True)
        assert stored.x_prev is not None
        return gaussian.log_prob(stored.x_prev, self._means(denoise, stored), stored.std)

    def evaluate(self, networks: Denoisers, cells: Tensor, *, with_means: bool, with_x_0: bool) -> Cells:
        """What is stored of flat `cells` [M], and what networks make of it.

        Args:
            networks: the policy's; the means of the reference are evaluated too where there is one.
            cells: flat indices into [B, T].
            with_means: also x_{t-1} and the policy's means, which log-probs depend on.
            with_x_0: also x_0.
        """
        batch = replace(self._read(cells, with_x_prev=with_means), unguided=networks.unguided)
        if with_means:
            batch = replace(batch, mean=self._means(networks.policy, batch))
        if with_x_0:
            batch = replace(batch, x_0=self._on_device(self._final(batch.images)))
        if networks.reference is None:
            return batch
        with torch.no_grad():
            return replace(batch, mean_ref=self._means(networks.reference, batch))

    def _read(self, cells: Tensor, *, with_x_prev: bool) -> Cells:
        images, steps = cells // self.shape[1], cells % self.shape[1]
        on_device = steps.to(self.device)
        following = torch.arange(2 if with_x_prev else 1)  # x_t and x_{t-1} are neighbours in a file
        latents = self._on_device(self.latents[images[:, None], steps[:, None] + following])
        return Cells(
            images=images,
            steps=on_device,
            x_t=latents[:, 0],
            x_prev=latents[:, 1] if with_x_prev else None,
            timesteps=self.device_grid.timesteps[on_device],
            levels=self.device_grid.levels[on_device],
            std=self.device_grid.stds[on_device],
            prompts=self.prompts[self.prompt_index[images]],
        )

    def _on_device(self, stored: Tensor) -> Tensor:
        """Latents from the host. A GPU need not end its work first: they are pinned, and it converts their type."""
        if self.device.type == "cuda":
            stored = stored.pin_memory()
        return stored.to(self.device, non_blocking=True).to(self.dtype)

    def _final(self, images: Tensor) -> Tensor:
        if self.x_0 is not None:
            return self.x_0[images]
        return self.latents[images, torch.full_like(images, self.shape[1])]

    def _means(self, denoise: Denoiser, cells: Cells) -> Tensor:
        return step_means(denoise, cells.x_t, cells.prompts, self.device_grid, cells.steps)

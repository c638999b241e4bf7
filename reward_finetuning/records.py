"""Records that pass between steps.

Legend of axes for the whole project: N prompts, K images per prompt, B = N K images of an epoch, T denoising steps,
C H W latent axes, M items of a micro-batch, L D token and embedding axes of an encoded prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Conditioning:
    """M encoded prompts, one row per prompt. Only denoisers read the content."""

    embeddings: Tensor
    """[M, L, D]."""

    pooled: Tensor | None = None
    """[M, P] one vector per prompt, for models with two text encoders (SDXL)."""

    def __len__(self) -> int:
        """M."""
        return len(self.embeddings)

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        """The prompts of `rows`, [R] indices on any device, or a slice."""
        rows = rows if isinstance(rows, slice) else rows.to(self.embeddings.device)
        return Conditioning(self.embeddings[rows], None if self.pooled is None else self.pooled[rows])


Denoiser = Callable[["Tensor", "Tensor", Conditioning], "Tensor"]
"""(x [M, C, H, W], t [M] float64, M prompts) -> raw network output [M, C, H, W], with guidance."""


class Pictures(Protocol):
    """S pictures that are not necessarily in memory. An array [S, H, W, 3] implements it."""

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]:
        """Picture [H, W, 3] of a row."""
        ...


class Latents(Protocol):
    """Latents of B images that are not necessarily in memory. A tensor implements it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, T + 1, C, H, W], or [B, C, H, W]."""
        ...

    def __getitem__(self, index: Tensor | tuple[Tensor, Tensor], /) -> Tensor:
        """[..., C, H, W] of images [...] and steps [...], or of images [...]; on the CPU."""
        ...


class Stream(IntEnum):
    """Purpose of random numbers. Different streams have independent random numbers."""

    TRAINING = 0
    EVALUATION = 1
    CELL_ORDER = 2
    PROMPT_ORDER = 3
    LORA_INIT = 4
    OBJECTIVE = 5
    REFERENCE_CELLS = 6


PRETRAINED = "pretrained"
"""Replaces the sha256 of the weights of a policy for the pretrained model."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One line of a prompt set."""

    id: str
    text: str
    """Untrusted."""

    category: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to sample. Its fields are the key of its noise."""

    index: int
    """Index among the B images of the epoch, or of the evaluation."""

    prompt: Prompt
    image_index: int
    """K-th image of its prompt."""


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Denoising trajectories of the M images of a micro-batch."""

    latents: Tensor
    """[M, T + 1, C, H, W] in the stored dtype, before and after each of the T stochastic steps, the noisiest first."""

    log_probs: Tensor
    """[M, T] float32 nats per latent element, under the policy that sampled."""

    log_probs_ref: Tensor
    """[M, T] the same under the reference; NaN where it was not evaluated."""

    kl: Tensor
    """[M, T] float32 exact KL of each step to the reference, >= 0, nats per latent element; NaN as log_probs_ref."""

    x_0: Tensor | None = None
    """[M, C, H, W] the final latents if deterministic steps follow the last stochastic one."""

    @property
    def final(self) -> Tensor:
        """[M, C, H, W] x_0."""
        return self.latents[:, -1] if self.x_0 is None else self.x_0


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The images of an epoch, as input of training. Latents are read by cell: an epoch's do not fit in memory."""

    latents: Latents
    """[B, T + 1, C, H, W], as in Trajectories."""

    log_probs: Tensor
    """[B, T], as in Trajectories."""

    log_probs_ref: Tensor
    """[B, T], as in Trajectories."""

    kl: Tensor
    """[B, T], as in Trajectories."""

    samples: tuple[Sample, ...]
    """[B] in the order of Sample.index."""

    x_0: Latents | None = None
    """[B, C, H, W], as in Trajectories."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of B images."""

    scores: dict[str, NDArray[np.float64]]
    """Scorer -> [B]."""

    combined: NDArray[np.float64]
    """[B] weighted sum, the trained reward."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Input of an objective."""

    log_probs_old: Tensor
    """[B, T] under the policy that sampled."""

    log_probs_ref: Tensor
    """[B, T]; NaN where the reference was not evaluated, which is nowhere if the objective reads it."""

    rewards: Tensor
    """[B] float64."""

    prompt_index: Tensor
    """[B] int64, equal for images of one prompt."""

    prompt_keys: Tensor
    """[B] int64 digest of the id of the prompt, equal in every epoch."""

    def of_rows(self, rows: Tensor) -> Batch:
        """The part of some image rows [R]."""
        return Batch(
            self.log_probs_old[rows],
            self.log_probs_ref[rows],
            self.rewards[rows],
            self.prompt_index[rows],
            self.prompt_keys[rows],
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """M (image, step) cells of one forward pass, as input of `cell_loss` of an objective."""

    images: Tensor
    """[M] int64, rows of Batch."""

    steps: Tensor
    """[M] int64, 0 is the step with the most noise."""

    x_t: Tensor
    """[M, C, H, W]."""

    timesteps: Tensor
    """[M] float64 time input of the network."""

    levels: Tensor
    """[M] noise level of x_t: alpha-bar, or s of a flow model."""

    std: Tensor
    """[M] sigma_t."""

    prompts: Conditioning
    """M prompts."""

    x_prev: Tensor | None = None
    """[M, C, H, W] x_{t-1}; if uses_log_probs."""

    x_0: Tensor | None = None
    """[M, C, H, W] final latent of the image; if has_cell_loss."""

    mean: Tensor | None = None
    """[M, C, H, W] mean of the step, with gradient; if uses_log_probs."""

    mean_ref: Tensor | None = None
    """[M, C, H, W] mean under the reference; if needs_reference."""

    unguided: Denoiser | None = None
    """Conditional prediction of the policy without guidance, for a denoising loss."""


@dataclass(frozen=True, slots=True)
class EvaluatedSamples:
    """The S images of one policy on the evaluation prompt sets, and their rewards."""

    epoch: int
    """0: pretrained."""

    policy: str
    """sha256 of the policy's weights, or PRETRAINED."""

    prompt_sets: tuple[str, ...]
    """[S]."""

    prompt_ids: tuple[str, ...]
    """[S]."""

    prompts: tuple[str, ...]
    """[S] untrusted."""

    categories: tuple[str, ...]
    """[S]."""

    image_indices: tuple[int, ...]
    """[S]; images with equal (prompt set, prompt id, image index) have the same noise."""

    rewards: dict[str, NDArray[np.float64]]
    """"reward" is the combined reward, the others are scorers; each [S]."""

    image_size: tuple[int, int]
    """(H, W)."""

    images: Pictures
    """[S]; read on access."""

    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Measures that are not rewards: "diversity", "kl"; [S]."""

    kl: NDArray[np.float32] | None = None
    """[S, T] KL of each step to the reference, nats per latent element."""

"""What flows between the steps.

Legend of axes, for the whole project: N prompts, K images per prompt, B = N K images of an epoch, T denoising steps,
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
    """M encoded prompts, a row each. Denoisers alone look inside."""

    embeddings: Tensor  # [M, L, D]
    pooled: Tensor | None = None  # [M, P] one vector a prompt, of models that have two text encoders (SDXL)

    def __len__(self) -> int:
        """M."""
        return len(self.embeddings)

    def __getitem__(self, rows: Tensor) -> Conditioning:
        """The prompts of `rows` [R], on whatever device the index is."""
        rows = rows.to(self.embeddings.device)
        return Conditioning(self.embeddings[rows], None if self.pooled is None else self.pooled[rows])


Denoiser = Callable[["Tensor", "Tensor", Conditioning], "Tensor"]
"""(x [M, C, H, W], t [M], M prompts) -> epsilon [M, C, H, W], guidance included."""


class Pictures(Protocol):
    """S pictures that need not be in memory; an array [S, H, W, 3] is one."""

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]:
        """Picture [H, W, 3] of a row."""
        ...


class Stream(IntEnum):
    """What noise is drawn for; streams never share a draw."""

    TRAINING = 0
    EVALUATION = 1
    CELL_ORDER = 2
    PROMPT_ORDER = 3
    LORA_INIT = 4
    OBJECTIVE = 5


PRETRAINED = "pretrained"
"""What stands for the sha256 of a policy's weights where these are the model's own."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One line of a prompt set."""

    id: str
    text: str  # untrusted
    category: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to draw: what its noise is keyed by."""

    index: int  # in the epoch's B images, or in the evaluation
    prompt: Prompt
    image_index: int  # k-th image of its prompt


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Denoising trajectories of M (or B) images."""

    latents: Tensor  # [B, T + 1, C, H, W] as stored: x_T first, x_0 last
    log_probs: Tensor  # [B, T] float32 nats per latent element, under the policy that sampled
    log_probs_ref: Tensor  # [B, T] the same under the reference
    kl: Tensor  # [B, T] float32 exact KL of each step to the reference, >= 0, nats per latent element


@dataclass(frozen=True, slots=True)
class Rollouts:
    """An epoch's images as training sees them."""

    trajectories: Trajectories
    samples: tuple[Sample, ...]  # [B] in order of Sample.index


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of B images."""

    scores: dict[str, NDArray[np.float64]]  # scorer -> [B]
    combined: NDArray[np.float64]  # [B] weighted sum, what is trained on


@dataclass(frozen=True, slots=True)
class Batch:
    """What an objective learns from."""

    log_probs_old: Tensor  # [B, T] under the policy that sampled
    log_probs_ref: Tensor  # [B, T]
    rewards: Tensor  # [B] float64
    prompt_index: Tensor  # [B] int64, equal for images of one prompt
    prompt_keys: Tensor  # [B] int64, a digest of the prompt's id: the same in every epoch


@dataclass(frozen=True, slots=True)
class Cells:
    """M (image, step) cells in one forward pass, as an objective's own term (`cell_loss`) may need them."""

    images: Tensor  # [M] int64, rows of Batch
    steps: Tensor  # [M] int64, 0 is the noisiest
    x_t: Tensor  # [M, C, H, W]
    x_0: Tensor  # [M, C, H, W] the image's final latent
    timesteps: Tensor  # [M]
    alpha_bars: Tensor  # [M] alpha-bar at x_t
    std: Tensor  # [M] sigma_t
    prompts: Conditioning  # M of them
    mean: Tensor | None = None  # [M, C, H, W] of the step, with gradient; where the objective uses_log_probs
    mean_ref: Tensor | None = None  # [M, C, H, W] under the reference; where the objective needs_reference
    unguided: Denoiser | None = (
        None  # the policy's conditional prediction, without guidance: what denoising loss trains
    )


@dataclass(frozen=True, slots=True)
class EvaluatedSamples:
    """One policy's S images on the evaluation prompt sets, and their rewards."""

    epoch: int  # 0: pretrained
    policy: str  # sha256 of the policy's weights, or PRETRAINED
    prompt_sets: tuple[str, ...]  # [S]
    prompt_ids: tuple[str, ...]  # [S]
    prompts: tuple[str, ...]  # [S] untrusted
    categories: tuple[str, ...]  # [S]
    image_indices: tuple[int, ...]  # [S]; (prompt set, prompt id, image index) pairs two policies: same noise
    rewards: dict[str, NDArray[np.float64]]  # "reward" is the combined one, the others are scorers; each [S]
    image_size: tuple[int, int]  # (H, W)
    images: Pictures  # [S]; read when they are asked for
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # what is no reward: "diversity", "kl"; [S]
    kl: NDArray[np.float32] | None = None  # [S, T] KL of each step to the reference, nats per latent element

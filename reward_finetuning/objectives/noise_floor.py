"""How far replayed log-probs are from the stored ones before anything was learnt: it must drown in the clip range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.two_pass import ALONE, Share, replay
from reward_finetuning.records import Denoiser

WARN_SHARE, FAIL_SHARE = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Measured on a fixed sample of cells at the batch shapes of training."""

    max_gap: float
    """max |replayed - stored|, nats per latent element."""

    clipped_share: float
    """Share of the cells that noise alone carries beyond the clip range."""

    def finding(self, clip_range: float) -> str:
        """What was measured, as the beginning of a message."""
        return (
            f"replayed log-probs differ from the stored ones by up to {self.max_gap:.2g} nats, clip_range is "
            f"{clip_range:g} ({self.clipped_share:.1%} of cells clip from noise alone)"
        )


def measure_noise_floor(
    denoise: Denoiser,
    source: CellSource,
    stored: Tensor,
    cells: Tensor,
    cells_per_batch: int,
    *,
    clip_range: float,
    advance: Callable[[int], None],
    share: Share = ALONE,
) -> NoiseFloor:
    """Replay `cells` (flat indices into [B, T]) and compare with `stored` [B, T]."""
    replayed = replay(denoise, source, cells, cells_per_batch, advance, share)
    gap = (replayed.view(-1)[cells] - stored.reshape(-1)[cells]).abs()
    return NoiseFloor(float(gap.max()), float((gap > clip_range).double().mean()))


def verdict(floor: NoiseFloor, clip_range: float) -> str | None:
    """`fail` above half the clip range, `warn` above a tenth, else None."""
    if not floor.max_gap <= FAIL_SHARE * clip_range:
        return "fail"
    return "warn" if floor.max_gap > WARN_SHARE * clip_range else None

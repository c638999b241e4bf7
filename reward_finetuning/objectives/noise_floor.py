"""How far evaluated log-probs are from the stored ones before anything was learnt: it must drown in the clip range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

WARN_SHARE, FAIL_SHARE = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Measured on the cells of an epoch's first gradient, at the batch shapes of training."""

    max_gap: float
    """max |evaluated - stored|, nats per latent element."""

    clipped_share: float
    """Share of the cells that noise alone carries beyond the clip range."""

    @classmethod
    def of(cls, evaluated: Tensor, stored: Tensor, cells: Tensor, *, clip_range: float) -> Self:
        """Compare log-probs `evaluated` and `stored` [B, T] at flat `cells`, at least one."""
        gap = (evaluated.view(-1)[cells] - stored.reshape(-1)[cells]).abs()
        return cls(float(gap.max()), float((gap > clip_range).double().mean()))

    def finding(self, clip_range: float) -> str:
        """What was measured, as the beginning of a message."""
        return (
            f"replayed log-probs differ from the stored ones by up to {self.max_gap:.2g} nats, clip_range is "
            f"{clip_range:g} ({self.clipped_share:.1%} of cells clip from noise alone)"
        )

    def verdict(self, clip_range: float) -> str | None:
        """`fail` above half the clip range, `warn` above a tenth, else None."""
        if not self.max_gap <= FAIL_SHARE * clip_range:
            return "fail"
        return "warn" if self.max_gap > WARN_SHARE * clip_range else None

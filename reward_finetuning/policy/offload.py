"""Frozen networks that are on the GPU only while they work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frozen network works, and where it stays in between."""

    device: torch.device
    home: torch.device
    """The same device, or the CPU."""

    @contextmanager
    def at_work(self, networks: Sequence[Any]) -> Iterator[None]:
        """Have `networks` on the device, and move them home at the end, also after an error."""
        if self.home == self.device:
            yield
            return
        for network in networks:
            network.to(self.device)
        try:
            yield
        finally:
            for network in networks:
                network.to(self.home)

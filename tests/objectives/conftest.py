"""A world of a few numbers for objectives that look beyond log-probs."""

import pytest
import torch

from reward_finetuning.diffusion.ddim import alphas_cumprod, ddim_grid
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.records import Batch, Conditioning


class Toy:
    """N prompts x K random trajectories of T steps with 2 x 3 x 3 latents, float64."""

    def __init__(self, seed=0, *, N=2, K=3, T=4):
        self.generator = torch.Generator().manual_seed(seed)
        B, index = N * K, torch.arange(N).repeat_interleave(K)
        grid = ddim_grid(alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear"), T)
        self.source = CellSource(
            self.normal(B, T + 1, 2, 3, 3),
            Conditioning(self.normal(N, 5, 7)),
            index,
            grid,
            torch.device("cpu"),
            torch.float64,
        )
        old = self.normal(B, T)
        self.batch = Batch(old, old + 0.1 * self.normal(B, T), self.normal(B), index, 1000 + index)
        self.cells = torch.arange(B * T)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)


@pytest.fixture(scope="session")
def toy():
    return Toy

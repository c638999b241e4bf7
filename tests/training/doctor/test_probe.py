"""The gradient's halves, of a model whose gradients are known. tests/steps/test_doctor.py has real epochs."""

import pytest
import torch

from reward_finetuning.objectives import build_objective
from reward_finetuning.objectives.two_pass import ALONE, Share
from reward_finetuning.training.doctor import probe
from reward_finetuning.training.doctor.measures import noise_share
from reward_finetuning.training.doctor.probe import Probe


class Engine:
    """A linear model: the gradient of a batch of cells is the sum of their rows."""

    def __init__(self, weights):
        self.policy = self.processes = self
        self._weights = weights

    def trainable(self):
        return self._weights

    def gathered(self, value):
        return [value]


def test_the_gradients_of_both_halves_are_those_of_their_cells(run_config):
    rows, weight = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(5, requires_grad=True)
    config = run_config(training={"cells_per_batch": 4})
    watcher = Probe(Engine({"w": weight}), build_objective(config.objective), config.training)
    watcher.watches_gradient = True

    with watcher.watched(torch.arange(20), ALONE, scale=8.0) as after_batch:
        for cells in torch.arange(20).split(4):
            (8.0 * rows[cells] @ weight).sum().backward()
            after_batch()
    watcher.after_step(float(rows.sum(dim=0).norm()))

    first, second, whole = rows[:8].sum(dim=0), rows[8:].sum(dim=0), rows.sum(dim=0)
    parts = [probe.GradientPart(8, float(first @ first)), probe.GradientPart(12, float(second @ second))]
    assert watcher._noise == pytest.approx(noise_share(parts, float(whole @ whole)), rel=1e-5)


def test_processes_are_parts_too_and_one_batch_says_nothing(run_config):
    weight = torch.zeros(2, requires_grad=True)
    config = run_config(training={"cells_per_batch": 4})
    watcher = Probe(Engine({"w": weight}), build_objective(config.objective), config.training)
    watcher.watches_gradient = True

    with watcher.watched(torch.arange(8), Share(rank=1, count=2), scale=1.0) as after_batch:
        weight.sum().backward()
        after_batch()

    assert watcher._parts == [probe.GradientPart(4, 2.0)]
    watcher.after_step(1.0)
    assert watcher._noise is None

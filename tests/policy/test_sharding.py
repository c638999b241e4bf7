"""Sharded weights: two processes have the gradient of one, and each can evaluate the network alone."""

from pathlib import Path

import pytest
import torch
from servers.forks import on_processes, run_program

OBJECTIVES = ["dpok", "prdp", "rwr"]
"""One pass with a reference and a loss of cells; two passes, one branch without gradient; a pass without log-probs."""

# In one worker: the fixture takes half a minute on two processes.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sharded")]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """What tests/training/train_sharded.py computes on two processes with gloo, and alone."""
    output = tmp_path_factory.mktemp("sharded") / "learnt.pt"
    on_processes(2, run_program, Path(__file__).parents[1] / "training" / "train_sharded.py", output)
    return torch.load(output, weights_only=False)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_with_sharded_weights_give_the_gradient_of_one(learnt, name):
    alone, together = learnt["alone"][name], learnt["together"][name]

    assert list(together["gradient"]) == list(alone["gradient"])
    one, two = (torch.cat([part.flatten() for part in each["gradient"].values()]) for each in (alone, together))
    assert one.norm() > 0
    assert (two - one).norm() <= 1e-4 * one.norm()
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-4)
    assert together["metrics"] == pytest.approx(alone["metrics"], rel=1e-4, abs=1e-4)
    torch.testing.assert_close(together["log_probs"], alone["log_probs"], equal_nan=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_process_evaluates_gathered_weights_alone_with_the_output_of_all(learnt, name):
    by_itself, with_the_other = learnt["together"][name]["apart"]

    assert torch.equal(by_itself, with_the_other)
    torch.testing.assert_close(by_itself, learnt["alone"][name]["apart"][0], rtol=1e-3, atol=1e-3)

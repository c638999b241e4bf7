"""Two processes learn what one does: in the gradient, in the update, and in every number that is reported."""

from pathlib import Path

import pytest
import torch
from servers.forks import on_processes, run_program

from reward_finetuning.config import TrainingError
from reward_finetuning.objectives.two_pass import ALONE, Share, batches_of
from reward_finetuning.training.processes import Processes

OBJECTIVES = ["ddpo", "dpok", "ppod", "prdp", "rwr"]

# In one worker: the fixture takes half a minute on two processes.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two-processes")]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """What `train_together.py` found on two processes, by rank, and alone."""
    output = tmp_path_factory.mktemp("together") / "learnt.pt"
    on_processes(2, run_program, Path(__file__).with_name("train_together.py"), output)
    return torch.load(output, weights_only=False)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_two_processes_give_the_gradient_of_one(learnt, name, dtype, tolerance):
    alone = learnt["alone"][name][dtype]

    for together in (process[name][dtype] for process in learnt["together"]):
        assert alone["gradient"].norm() > 0
        assert (together["gradient"] - alone["gradient"]).norm() <= tolerance * alone["gradient"].norm()
        assert together["metrics"] == pytest.approx(alone["metrics"], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_log_probs_of_two_processes_are_those_of_one_to_the_last_bit(learnt, name):
    alone = learnt["alone"][name]["float32"]["log_probs"]

    for process in learnt["together"]:
        together = process[name]["float32"]["log_probs"]
        assert torch.equal(together.isnan(), alone.isnan())
        assert torch.equal(together.nan_to_num(), alone.nan_to_num())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_updates_by_two_processes_are_those_of_one(learnt, name):
    alone = learnt["alone"][name]["updates"]
    change = (alone["after"] - alone["before"]).norm()
    first, second = (process[name]["updates"] for process in learnt["together"])

    assert change > 0
    assert (first["after"] - alone["after"]).norm() <= 1e-4 * change
    assert torch.equal(first["after"], second["after"])
    assert reproducible(first["metrics"]) == pytest.approx(reproducible(alone["metrics"]), rel=1e-4, abs=1e-4)
    assert first["state"].keys() == alone["state"].keys() == second["state"].keys()
    for key, value in alone["state"].items():
        torch.testing.assert_close(first["state"][key], value)


def reproducible(metrics):
    """Without the share of noise: it is estimated from parts of the batches, which depend on the processes."""
    return {key: value for key, value in metrics.items() if key != "doctor/gradient_noise"}


@pytest.mark.parametrize("num_cells", [0, 1, 7, 24])
def test_every_cell_has_one_process_and_progress_counts_all(num_cells):
    order = torch.randperm(num_cells)
    shares = [list(Share(rank, 3).rounds(batches_of(order, 5))) for rank in range(3)]

    visited = torch.cat([order[:0], *(own for rounds in shares for own, _ in rounds)])
    assert sorted(visited.tolist()) == list(range(num_cells))
    assert len({tuple(count for _, count in rounds) for rounds in shares}) == 1
    assert sum(count for _, count in shares[0]) == num_cells


def test_one_process_takes_every_batch_in_order():
    order = torch.randperm(24)

    rounds = list(ALONE.rounds(batches_of(order, 5)))

    assert torch.equal(torch.cat([own for own, _ in rounds]), order)
    assert [count for _, count in rounds] == [5, 5, 5, 5, 4]


class WithAnother(Processes):
    """One of two; what the other one holds is given."""

    other = ()

    def gathered(self, value):
        return [value, self.other]


def test_processes_that_have_drifted_apart_are_an_error():
    both = WithAnother(0, 2)
    both.other = [0]
    both.check_equal([torch.zeros(3)])
    both.other = [1]

    with pytest.raises(TrainingError, match="different weights"):
        both.check_equal([torch.zeros(3)])

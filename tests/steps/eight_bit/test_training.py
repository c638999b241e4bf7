"""Training with AdamW of bitsandbytes (make test-8bit), on the CPU."""

import pytest
import torch

from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.training.optimizer import build_optimizer, moments, state_from, tensors_of

EIGHT_BIT = {"optimizer": "adamw_8bit"}


def steps(weight, optimizer, numbers):
    for number in numbers:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
        optimizer.step()
    return optimizer.state_dict()["state"][0]


def test_the_8_bit_moments_are_those_of_adamw_up_to_8_bits(run_config):
    weights = [torch.nn.Parameter(torch.ones(64, 128)) for _ in range(2)]
    optimizers = [
        build_optimizer([weight], run_config(training={"optimizer": name}).training)
        for weight, name in zip(weights, ("adamw", "adamw_8bit"), strict=True)
    ]

    exact, quantized = (
        moments(tensors_of(steps(weight, optimizer, range(5))))
        for weight, optimizer in zip(weights, optimizers, strict=True)
    )

    assert exact[2] == quantized[2] == 5
    for one, other in zip(exact[:2], quantized[:2], strict=True):
        assert 0 < (one - other).norm() / one.norm() < 0.05
    assert (weights[0] - weights[1]).norm() < 0.1 * (weights[0] - 1).norm()


def test_saved_state_gives_the_same_next_steps(run_config):
    training = run_config(training={"optimizer": "adamw_8bit"}).training
    weight = torch.nn.Parameter(torch.ones(64, 128))
    optimizer = build_optimizer([weight], training)
    saved = {name: tensor.clone() for name, tensor in tensors_of(steps(weight, optimizer, range(3))).items()}
    copy = torch.nn.Parameter(weight.detach().clone())
    resumed = build_optimizer([copy], training)
    resumed.load_state_dict({"state": {0: state_from(saved)}, "param_groups": resumed.state_dict()["param_groups"]})

    steps(weight, optimizer, range(3, 6))
    steps(copy, resumed, range(3, 6))

    assert saved["state1"].dtype == torch.uint8
    assert torch.equal(weight, copy)


def test_a_run_resumes_in_the_same_bits_and_its_doctor_measures_the_step(tasks):
    changes = {"model": {"trainable": "full"}, "training": EIGHT_BIT}
    whole = tasks(name="whole", **changes)
    run_epochs(whole.config, whole.begin(), whole.path("p"), whole.path("r"))

    resumed = tasks(name="resumed", **changes)
    plan = resumed.begin()
    resumed.epoch(plan)  # weights and optimizer of the second epoch come from disk
    after = resumed.epoch(plan, 1)

    assert whole.run.latest().facts["weights_sha256"] == after.facts["weights_sha256"]
    assert after.facts["metrics"]["doctor/effective_step"] == pytest.approx(0.8, abs=0.4)

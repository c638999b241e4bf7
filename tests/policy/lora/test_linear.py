"""A linear layer with an adapter as one product: outputs and gradients of peft's own layer."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora import Linear
from torch import nn

from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.lora import linear
from reward_finetuning.policy.lora.adapter import add_adapter
from reward_finetuning.policy.lora.linear import AdaptedLinear, _Product
from reward_finetuning.policy.networks import tensor_float_32


class Network(nn.Module):
    """Two layers that get an adapter; the first has no bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5, bias=False), nn.Linear(5, 4)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))

    def add_adapter(self, config, adapter_name):
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, self, adapter_name)


@pytest.fixture
def network():
    torch.manual_seed(0)
    built = Network().requires_grad_(requires_grad=False)
    add_adapter(built, LoraConfig(rank=2, alpha=6.0, targets=("first", "second")), seed=0)
    with torch.no_grad():
        for name, weight in built.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    return built


def as_peft_does(network):
    """A copy whose layers are peft's."""
    copied = copy.deepcopy(network)
    for layer in (copied.first, copied.second):
        assert type(layer) is AdaptedLinear
        layer.__class__ = Linear
    return copied


def gradients(network, x):
    x = x.clone().requires_grad_()
    output = network(x)
    output.square().sum().backward()
    return [output, x.grad, *(weight.grad for weight in network.parameters() if weight.requires_grad)]


@pytest.mark.parametrize("small", [0, linear.SMALL])
@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 6), (1, 6)])
def test_outputs_and_gradients_are_those_of_peft(network, monkeypatch, shape, small):
    monkeypatch.setattr(linear, "SMALL", small)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    ours, theirs = gradients(network, x), gradients(as_peft_does(network), x)

    assert len(ours) == 2 + 4
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0.1, 4.0), st.booleans())
def test_the_gradient_is_that_of_finite_differences(seed, rank, scale, has_bias):
    random = torch.Generator().manual_seed(seed)
    x, weight, down, up, bias = (
        torch.randn(shape, generator=random, dtype=torch.float64)
        for shape in [(2, 5), (3, 5), (rank, 5), (3, rank), (3,)]
    )
    arguments = (x.requires_grad_(), weight, down.requires_grad_(), up.requires_grad_(), bias if has_bias else None)

    assert torch.autograd.gradcheck(lambda *given_: _Product.apply(*given_, scale), arguments)


def test_the_layer_never_uses_weights_that_are_out_of_date(network):
    x = torch.ones(1, 6)
    before = network(x)

    network.first.lora_B["default"].weight.data.mul_(2.0)  # `.data` leaves the version counter as it is

    assert not torch.equal(network(x), before)
    torch.testing.assert_close(network(x), as_peft_does(network)(x))


@pytest.mark.parametrize("case", ["disabled", "half", "autocast", "merged", "tf32"])
def test_other_cases_are_left_to_peft(network, monkeypatch, case):
    x = torch.ones(2, 6)
    if case == "disabled":
        network.first.enable_adapters(enabled=False)
    if case == "half":
        network.first.base_layer.bfloat16()
        x = x.bfloat16()
    if case == "merged":
        network.first.merge()
    expected = Linear.forward(network.first, x)
    calls = []
    monkeypatch.setattr(Linear, "forward", lambda layer, given_: calls.append(layer) or expected)

    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"), tensor_float_32(allowed=case == "tf32"):
        assert torch.equal(network.first(x), expected)
    assert calls == [network.first]


def test_every_adapter_of_the_built_in_model_is_one_product_and_its_reference_has_none(monkeypatch):
    model = ModelConfig(trainable="lora")
    policy = load_policy(model, SamplingConfig(num_steps=3, guidance_scale=3.0, micro_batch_size=2), seed=0)
    applied = []
    product = torch.addmm
    monkeypatch.setattr(
        linear.torch, "addmm", lambda *arguments, **options: applied.append(1) or product(*arguments, **options)
    )
    inputs = torch.zeros(2, *policy.latent_shape), torch.tensor([1, 501]), policy.encode(["a red circle"] * 2)

    with torch.no_grad():
        policy.denoiser()(*inputs)
        num_layers = len(applied)
        trainable = list(policy.trainable())
        policy.reference_denoiser()(*inputs)
        assert list(policy.trainable()) == trainable

    assert num_layers == len([each for each in policy.trainable() if "lora_A" in each])
    assert len(applied) == num_layers

import pytest
import torch

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.networks import Precision
from reward_finetuning.training.engine import Engine
from reward_finetuning.training.processes import Processes


def allowed():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def float32():
    """As a policy on a GPU sets it; put back afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = allowed()
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_allowed_in_the_network_forward_and_backward_and_nowhere_else(run_config, tf32):
    sampling = SamplingConfig(num_steps=3, guidance_scale=1.0)
    policy = load_policy(ModelConfig(tf32=tf32, device="cpu"), sampling, seed=0)
    engine = Engine(policy, run_config().training, Processes())
    seen = []
    policy.network.conv_in.register_forward_hook(lambda *_: seen.append(allowed()))
    policy.network.conv_in.weight.register_hook(lambda _: seen.append(allowed()))
    prompts = policy.encode(["a red circle"])

    output = policy.denoiser()(torch.zeros(1, *policy.latent_shape), torch.tensor([501]), prompts)
    between = allowed()
    engine.backward(output.sum())

    assert seen == [(tf32, tf32)] * 2
    assert between == allowed() == (False, False)


def test_what_was_allowed_before_is_restored_after_an_error():
    with pytest.raises(ValueError, match="inside"), Precision(tf32=True).forward(torch.zeros(1)):
        raise ValueError("inside")

    assert allowed() == (False, False)

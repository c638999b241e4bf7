"""Text encoders and the VAE away from the GPU while they do not work. `cpu:0` stands for the GPU."""

import pytest
import torch
from torch import nn

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy import load
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.offload import Placement
from reward_finetuning.policy.pipeline import load_pipeline

GPU, HOST = torch.device("cpu:0"), torch.device("cpu")


class Recorded(nn.Module):
    """Where it was moved to."""

    def __init__(self):
        super().__init__()
        self.places = []

    def to(self, place):
        self.places.append(place)
        return self


def test_a_network_is_on_the_device_while_it_works_and_at_home_after_an_error():
    network = Recorded()

    def overflow():
        with Placement(GPU, HOST).at_work([network]):
            assert network.places == [GPU]
            raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"):
        overflow()
    assert network.places == [GPU, HOST]


def test_a_network_whose_home_is_the_device_is_not_moved():
    network = Recorded()

    with Placement(GPU, GPU).at_work([network]):
        pass

    assert network.places == []


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_offloaded_encoders_and_vae_give_the_same_bits_and_move_once_per_use(family, family_folder, monkeypatch):
    sampling = SamplingConfig(num_steps=8, guidance_scale=3.0, height=16, width=16)
    monkeypatch.setattr(load, "_device", lambda name: GPU)
    moves = []

    def policy(*, offload):
        model = ModelConfig(source=str(family_folder(family)), trainable="lora", offload=offload)
        return Policy(load_pipeline(model), model, sampling, seed=0)

    plain, offloaded = policy(offload=False), policy(offload=True)
    move = nn.Module.to

    def record(self, *place):
        moves.append((type(self).__name__, *place))
        return move(self, *place)

    monkeypatch.setattr(nn.Module, "to", record)
    latents = torch.randn((1, *plain.latent_shape), generator=torch.Generator().manual_seed(0))
    expected = plain.encode(["a red circle", "a blue square"]), plain.decode(latents)
    assert moves == []

    encoded, picture = offloaded.encode(["a red circle", "a blue square"]), offloaded.decode(latents)
    first = list(moves)
    offloaded.encode(["a blue square"])

    assert torch.equal(encoded.embeddings, expected[0].embeddings)
    assert torch.equal(encoded.pooled, expected[0].pooled)
    assert (picture == expected[1]).all()
    assert moves == first  # a known prompt needs no encoder
    at_work, back = ([name for name, place in first if place == there] for there in (GPU, HOST))
    assert sorted(at_work) == sorted(back)
    assert at_work[-1] == back[-1] == "AutoencoderKL"
    assert len(at_work) == {"sdxl": 2, "sd3": 3}[family] + 1

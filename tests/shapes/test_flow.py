"""The small flow model: its text states, its noise levels and its loss."""

import pytest
import torch

from reward_finetuning.shapes.batches import Batch
from reward_finetuning.shapes.flow import T5_TOKENS, build_flow_pipeline, flow_loss, noise_levels, text_states
from reward_finetuning.shapes.text_encoder import tokenize, write_tokenizer
from reward_finetuning.shapes.vae import build_vae


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_flow_pipeline(build_vae(), write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def encoders(pipeline):
    return pipeline.text_encoder, pipeline.text_encoder_2


def test_the_text_states_are_those_of_the_pipeline(pipeline):
    prompt = "a red circle above a blue square"
    states, pooled = text_states(
        encoders(pipeline), tokenize(pipeline.tokenizer, [prompt]), pipeline.transformer.config.joint_attention_dim
    )

    own, _, own_pooled, _ = pipeline.encode_prompt(
        prompt, None, None, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
    )

    assert torch.equal(states, own)
    assert torch.equal(pooled, own_pooled)


def test_noise_levels_have_the_quantiles_of_a_logit_normal_distribution():
    levels = noise_levels(torch.arange(1000))

    normal = torch.distributions.Normal(0.0, 1.0)
    for share in (0.1, 0.5, 0.9):
        expected = float(normal.icdf(torch.tensor(share)).sigmoid())
        assert float(torch.quantile(levels, share)) == pytest.approx(expected, abs=2e-3)


def test_the_loss_is_zero_for_the_velocity_and_one_by_hand(pipeline):
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    batch = Batch(latents, tokenize(pipeline.tokenizer, ["a red circle"] * 3), torch.tensor([10, 500, 990]), noise)
    calls = []

    class Network:
        config = pipeline.transformer.config

        def __init__(self, velocity):
            self.velocity = velocity

        def __call__(self, **inputs):
            calls.append(inputs)
            return type("Output", (), {"sample": self.velocity})

    assert flow_loss(Network(noise - latents), encoders(pipeline), batch) == 0
    assert flow_loss(Network(noise - latents + 2.0), encoders(pipeline), batch) == pytest.approx(4.0)
    levels = calls[0]["timestep"] / 1000
    x_0 = (calls[0]["hidden_states"] - levels[:, None, None, None] * noise) / (1 - levels)[:, None, None, None]
    torch.testing.assert_close(x_0, latents, rtol=1e-4, atol=1e-4)


def test_an_untrained_pipeline_weighs_at_most_6_megabytes(pipeline):
    parts = (pipeline.transformer, pipeline.vae, *encoders(pipeline))

    assert sum(4 * parameter.numel() for part in parts for parameter in part.parameters()) <= 6e6

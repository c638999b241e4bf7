"""torch.compile with a backend that counts graphs and evaluates them as they are: generating code takes minutes."""

import shutil

import pytest
import torch

from reward_finetuning.config import UserError, parse_config
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy import compilation
from reward_finetuning.policy.compilation import compile_time
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.restore import WEIGHTS
from reward_finetuning.policy.save import load_tensors
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.sample import sample
from reward_finetuning.steps.train_epoch import train_epoch
from reward_finetuning.storage import RunDirectory, read_reference

SAMPLING = SamplingConfig(num_steps=3, guidance_scale=1.0, micro_batch_size=2)
LORA = {"trainable": "lora", "lora": LoraConfig(rank=2, alpha=2, targets=("time_emb_proj",)), "device": "cpu"}


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are compiled, in order."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    monkeypatch.setattr(compilation, "BACKEND", backend)
    yield compiled
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built-in pipeline with a UNet of two blocks: tracing the whole one takes seconds per graph."""
    from diffusers import UNet2DConditionModel

    path = shutil.copytree(BUILT_IN, tmp_path_factory.mktemp("models") / "two-blocks")
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
        norm_num_groups=2,
        cross_attention_dim=48,
    ).save_pretrained(path / "unet")
    return str(path)


def inputs(policy, count):
    x = torch.randn(count, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    return x, torch.full((count,), 501), policy.encode(["a red circle"] * count)


@pytest.mark.slow
def test_a_compiled_policy_has_the_names_and_numbers_of_the_eager_one_and_a_graph_per_shape(graphs, folder):
    eager, compiled = (
        load_policy(ModelConfig(source=folder, compile=enabled, **LORA), SAMPLING, seed=0) for enabled in (False, True)
    )
    counts = []

    with torch.no_grad():
        for weight in (*eager.trainable().values(), *compiled.trainable().values()):
            weight.add_(0.05)
        for name, size in (("denoiser", 2), ("reference_denoiser", 2), ("denoiser", 3), ("denoiser", 2)):
            values = [getattr(policy, name)()(*inputs(policy, size)) for policy in (compiled, eager)]
            torch.testing.assert_close(*values)
            counts.append(len(graphs))

    assert list(compiled.network.state_dict()) == list(eager.network.state_dict())
    assert list(compiled.trainable()) == list(eager.trainable())
    assert 0 < counts[0] < counts[1] < counts[2] == counts[3]


@pytest.mark.slow
def test_with_and_without_guidance_are_graphs_of_their_own(graphs, folder):
    guided = SAMPLING.model_copy(update={"guidance_scale": 3.0})
    eager, compiled = (
        load_policy(ModelConfig(source=folder, compile=enabled, **LORA), guided, seed=0) for enabled in (False, True)
    )
    x, t, prompts = inputs(eager, 2)

    with torch.no_grad():
        for name in ("denoiser", "unguided_denoiser", "denoiser"):
            # At guidance, four rows that are two latents; without, two latents.
            torch.testing.assert_close(*(getattr(policy, name)()(x, t, prompts) for policy in (compiled, eager)))
        wide = torch.cat([x, x + 1.0])  # as many rows as with guidance, but four latents
        arguments = wide, torch.cat([t, t]), prompts[torch.tensor([0, 1, 0, 1])]
        torch.testing.assert_close(*(policy.unguided_denoiser()(*arguments) for policy in (compiled, eager)))

    assert len(graphs) == 3


def test_the_copy_that_is_the_reference_is_compiled_too(graphs, folder):
    policy = load_policy(ModelConfig(source=folder, compile=True, device="cpu"), SAMPLING, seed=0)
    policy.keep_reference()

    with torch.no_grad():
        policy.reference_denoiser()(*inputs(policy, 2))

    assert graphs


@pytest.mark.slow
def test_a_compiled_epoch_reports_the_time_of_compiling_apart_and_saves_what_an_eager_one_saves(
    graphs, folder, run_config, tmp_path
):
    policies = {}
    for enabled in (False, True):
        config = run_config(
            name="compiled" if enabled else "eager",
            model={"source": folder, "compile": enabled, **LORA},
            sampling={"guidance_scale": 1.0},
            training={"cells_per_batch": 9, "gradient_checkpointing": True},
            tracking={"enabled": False},
        ).model_dump_json()
        drawn, scored, after = (str(tmp_path / name) for name in ("drawn", "scored", "after"))
        next_epochs(config, after)
        sample(config, "1", "0", drawn)
        reward(config, drawn, scored)
        train_epoch(config, "1", after)
        policies[enabled] = config, read_reference(after)

    metrics = policies[True][1].facts["metrics"]
    assert metrics["sample/compile_seconds"] > 0.01
    assert metrics["train/compile_seconds"] > 0.01
    assert "train/compile_seconds" not in policies[False][1].facts["metrics"]
    saved = [
        load_tensors(RunDirectory(parse_config(config)).open(policy)[0] / WEIGHTS)
        for config, policy in policies.values()
    ]
    assert saved[0].keys() == saved[1].keys()
    assert len(graphs) >= 3  # to sample, to replay, to train


def test_the_time_of_compiling_is_measured_in_its_context_alone(graphs):
    def double(x):
        return 2 * x

    with compile_time(enabled=True) as first:
        torch.compile(double, backend=compilation.BACKEND, dynamic=False)(torch.ones(2))
        measured = first.seconds
    torch.compile(double, backend=compilation.BACKEND, dynamic=False)(torch.ones(3))

    assert 0 < measured == first.seconds
    with compile_time(enabled=False) as off:
        torch.compile(double, backend=compilation.BACKEND, dynamic=False)(torch.ones(4))
    assert off.seconds == 0.0


def test_a_missing_compiler_is_refused_before_the_model_is_loaded(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    nowhere = ModelConfig(source="./nowhere", compile=True, device="cpu")

    with pytest.raises(UserError, match=r"there is no no-such-compiler: install .*or set model.compile: false"):
        load_policy(nowhere, SAMPLING, seed=0)

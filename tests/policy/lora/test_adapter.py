"""Training that starts from an adapter, weights kept as an average, and frozen parts in lower precision."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.source import model_digest
from reward_finetuning.training.moving_average import MovingAverage

SAMPLING = SamplingConfig(num_steps=3, guidance_scale=3.0, micro_batch_size=2)
LORA = LoraConfig(rank=2, alpha=8)


def inputs(policy):
    x = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 501]), policy.encode(["a red circle"] * 2)


@torch.no_grad()
def noise(policy, *, reference=False):
    denoise = policy.reference_denoiser() if reference else policy.denoiser()
    return denoise(*inputs(policy))


@pytest.fixture
def exported(nudged_run, tmp_path):
    """A run, and its newest policy as an adapter's folder."""
    run = nudged_run({1: 0.5}, model={"trainable": "lora", "lora": LORA.model_dump()})
    export_policy(run, policy_of_epoch(run, 1), tmp_path / "adapter")
    return run, tmp_path / "adapter"


def test_lora_goes_on_from_an_adapter_and_its_reference_is_the_untouched_base(exported):
    from reward_finetuning.policy.restore import policy_at

    run, folder = exported
    trained = policy_at(run, policy_of_epoch(run, 1), keep_reference=False)
    base = load_policy(ModelConfig(), SAMPLING, seed=0)

    model = ModelConfig(trainable="lora", lora=LORA, adapter=str(folder))
    policy = load_policy(model, SAMPLING, seed=0)

    assert not RunConfig(name="a", model=model).starts_at_reference
    assert torch.equal(noise(policy), noise(trained))
    assert torch.equal(noise(policy, reference=True), noise(base))
    assert all(torch.equal(w, trained.trainable()[name]) for name, w in policy.trainable().items())


def test_lora_with_another_alpha_starts_at_the_same_policy(exported):
    adapter = str(exported[1])

    same, other = (
        load_policy(ModelConfig(trainable="lora", lora=lora, adapter=adapter), SAMPLING, seed=0)
        for lora in (LORA, LoraConfig(rank=2, alpha=3))
    )

    torch.testing.assert_close(noise(other), noise(same), rtol=0, atol=1e-5)


def test_full_finetuning_begins_at_the_base_with_the_adapter_merged(exported):
    from reward_finetuning.policy.restore import policy_at

    run, folder = exported
    trained = policy_at(run, policy_of_epoch(run, 1), keep_reference=False)

    model = ModelConfig(adapter=str(folder / "pytorch_lora_weights.safetensors"))
    policy = load_policy(model, SAMPLING, seed=0)

    assert RunConfig(name="a", model=model).starts_at_reference
    torch.testing.assert_close(noise(policy), noise(trained), rtol=0, atol=1e-4)
    assert not torch.allclose(noise(policy), noise(trained, reference=True), atol=1e-2)
    assert not any("lora" in name for name in policy.trainable())


@pytest.mark.slow
def test_a_file_with_two_kinds_of_names_is_refused_where_diffusers_would_load_half_of_it(exported):
    path = exported[1] / "pytorch_lora_weights.safetensors"
    weights = load_file(path)
    other = {key: key.replace("lora.down", "lora_A").replace("lora.up", "lora_B") for key in weights if "to_q" in key}
    save_file({other.get(key, key): weight for key, weight in weights.items()}, path)

    with pytest.raises(UserError, match=r"named lora_A/lora_B and weights named lora\.down/lora\.up"):
        load_policy(ModelConfig(adapter=str(path)), SAMPLING, seed=0)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 4, "alpha": 8}, r"has ranks \[2\], model.lora has 4: set model.lora.rank=2"),
        ({"rank": 2, "alpha": 8, "targets": ["to_q"]}, r"has 48 weights, model.lora.targets \['to_q'\] give 12"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_with_what_would_be_right(exported, lora, message):
    model = ModelConfig(trainable="lora", lora=LoraConfig(**lora), adapter=str(exported[1]))

    with pytest.raises(UserError, match=message):
        load_policy(model, SAMPLING, seed=0)


def test_an_adapter_is_part_of_the_models_identity_and_a_missing_one_is_named(exported, tmp_path):
    model = ModelConfig(trainable="lora", lora=LORA, adapter=str(exported[1]))
    other = shutil.copytree(exported[1], tmp_path / "other") / "pytorch_lora_weights.safetensors"
    save_file({name: weight + 1 for name, weight in load_file(other).items()}, other)

    assert len({model_digest(m) for m in (ModelConfig(), model, model.model_copy(update={"adapter": str(other)}))}) == 3
    with pytest.raises(UserError, match=r"model.adapter 'nowhere': nowhere is no safetensors file"):
        model_digest(ModelConfig(adapter="nowhere"))


def test_the_average_follows_the_weights_by_its_formula():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage({"w": weight}, decay=0.75)
    for value in (2.0, 4.0):
        weight.data.fill_(value)
        average.update()

    assert average.weights["w"].item() == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["full", "lora"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_in_bfloat16_trained_weights_stay_float32_and_replayed_log_probs_are_the_sampled_ones(
    family_folder, family, trainable
):
    from reward_finetuning.diffusion.rollout import draw, step_means
    from reward_finetuning.diffusion.step import DeviceGrid

    model = ModelConfig(source=str(family_folder(family)), trainable=trainable, dtype="bfloat16", lora=LORA)
    policy = load_policy(model, SAMPLING, seed=0)
    exact = load_policy(model.model_copy(update={"dtype": "float32"}), SAMPLING, seed=0)
    prompts = policy.encode(["a red circle"] * 2)
    start = torch.randn(2, 4, *policy.latent_shape, generator=torch.Generator().manual_seed(0))

    drawn = draw(policy.denoiser(), policy.denoiser(), start, prompts, policy.grid)

    assert {weight.dtype for weight in policy.trainable().values()} == {torch.float32}
    assert prompts.embeddings.dtype == torch.bfloat16
    assert drawn.latents.dtype == drawn.log_probs.dtype == torch.float32
    assert torch.equal(drawn.log_probs, drawn.log_probs_ref)
    grid = DeviceGrid.of(policy.grid, policy.device, torch.float32)
    means = step_means(policy.denoiser(), drawn.latents[:, 0], prompts, grid, torch.zeros(2, dtype=torch.int64))
    means.sum().backward()
    assert all(weight.grad is None or weight.grad.dtype == torch.float32 for weight in policy.trainable().values())
    assert any(weight.grad is not None for weight in policy.trainable().values())
    assert noise(policy).dtype == torch.float32
    difference = (noise(policy) - noise(exact)).abs().max()
    assert 0 < difference < 0.2


def test_a_vae_that_overflows_in_float16_stays_in_float32(family_folder, tmp_path):
    folder = shutil.copytree(family_folder("sdxl"), tmp_path / "model")
    dtypes = []
    for overflows in (True, False):
        config = folder / "vae" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": overflows}))
        policy = load_policy(ModelConfig(source=str(folder), dtype="float16", trainable="lora"), SAMPLING, seed=0)
        dtypes.append(policy.pipeline.vae.dtype)

    assert dtypes == [torch.float32, torch.float16]


def test_the_first_epoch_from_an_adapter_records_the_reference_without_it(exported, run_config_in, tmp_path):
    from reward_finetuning.policy.restore import policy_at
    from reward_finetuning.steps.next_epochs import begin
    from reward_finetuning.steps.plan import Shard
    from reward_finetuning.steps.sample import draw_shard
    from reward_finetuning.storage import Reference, RunDirectory
    from reward_finetuning.storage.artifacts.rollouts import latents_file, read_rollouts

    model = {"trainable": "lora", "lora": LORA.model_dump(), "adapter": str(exported[1])}
    run, start = RunDirectory(run_config_in(tmp_path, name="goes-on", model=model)), Reference(epoch=0)
    begin(run)

    part = Shard(epoch=1, first=0, last=1)
    drawn = draw_shard(run, part, start, lambda: policy_at(run, start, keep_reference=False))
    folder, _ = run.open(drawn)
    stored = read_rollouts([folder / latents_file(0)], ())

    assert not torch.equal(stored.log_probs, stored.log_probs_ref)


@pytest.mark.slow
def test_an_average_is_kept_over_a_restart_evaluated_as_asked_and_exported(run_config_in, tmp_path):
    from reward_finetuning.policy.restore import AVERAGED, WEIGHTS
    from reward_finetuning.steps.next_epochs import begin
    from reward_finetuning.steps.plan import Plan
    from reward_finetuning.steps.run_epochs import run_epochs
    from reward_finetuning.storage import RunDirectory

    def run_of(name, *lasts):
        config = run_config_in(
            tmp_path, name=name, model={"trainable": "lora"}, tracking={"enabled": False},
            training={"ema_decay": 0.5, "learning_rate": 1e-3}, objective={"name": "prdp", "kl_weight": 1e-3},
            evaluation={"averaged": True, "images_per_prompt": 1},
        )  # fmt: skip
        run = RunDirectory(config)
        begin(run)
        for last in lasts:
            plan = Plan(first=1, last=last, epochs=2).model_dump_json()
            run_epochs(config.model_dump_json(), plan, str(tmp_path / "p"), str(tmp_path / "r"))
        return run, run.open(run.latest())[0]

    once, folder = run_of("once", 2)
    twice, again = run_of("twice", 1, 2)
    export_policy(once, once.latest(), tmp_path / "averaged")
    export_policy(once, once.latest(), tmp_path / "newest", averaged=False)

    assert once.latest().epoch == twice.latest().epoch == 2
    assert (folder / AVERAGED).read_bytes() == (again / AVERAGED).read_bytes() != (folder / WEIGHTS).read_bytes()
    averaged, newest = (
        load_file(tmp_path / each / "pytorch_lora_weights.safetensors") for each in ("averaged", "newest")
    )
    assert any(not torch.equal(averaged[name], newest[name]) for name in newest)
    assert "averaged weights" in (tmp_path / "averaged" / "README.md").read_text()

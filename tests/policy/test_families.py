"""Stable Diffusion 1.x, 2.1 (v-prediction) and XL, each as a small random pipeline, against stock diffusers."""

import json
import shutil

import diffusers
import pytest
import torch
from torch.distributions import Normal

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.policy.export.weights import scheduler_changes
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.source import check_model

FAMILIES = ("sd1", "sd2", "sdxl")
SAMPLING = SamplingConfig(num_steps=4, guidance_scale=5.0, micro_batch_size=2)
PROMPTS = ["a red circle", "two blue squares on the left"]


def noise_of(policy, generator):
    """[2, T + 1, C, H, W]: x_T, then what stock diffusers draws from a generator with seed 0."""
    shape = (len(PROMPTS), *policy.latent_shape)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    steps = [torch.randn(shape, generator=generator) for _ in range(SAMPLING.num_steps)]
    return torch.stack([start, *steps], dim=1)


def stock(folder, noise, sampling=SAMPLING, dtype=torch.float32):
    """Latents [2, T + 1, C, H, W] of the stock pipeline with its own DDIM scheduler at eta 1."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
    changes = scheduler_changes(sampling)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **changes)
    seen = [noise[:, 0]]
    pipeline(
        PROMPTS, num_inference_steps=sampling.num_steps, guidance_scale=sampling.guidance_scale, eta=1.0,
        latents=noise[:, 0].clone(), generator=torch.Generator().manual_seed(0), output_type="latent",
        height=sampling.height, width=sampling.width,
        callback_on_step_end=lambda pipe, i, t, state: seen.append(state["latents"]) or {},
    )  # fmt: skip
    return torch.stack(seen, dim=1), pipeline.scheduler


def ours(folder, sampling=SAMPLING, **model):
    policy = load_policy(ModelConfig(source=str(folder), **model), sampling, seed=0)
    noise = noise_of(policy, torch.Generator().manual_seed(0))
    return draw(policy.denoiser(), None, noise, policy.encode(PROMPTS), policy.grid), noise


def assert_same(latents, theirs):
    """To 2e-5 of a standard deviation: with a random network that predicts epsilon latents grow."""
    torch.testing.assert_close(latents, theirs, rtol=0, atol=2e-5 * float(theirs.std().clamp(min=1)))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_our_sampler_draws_what_the_stock_pipeline_draws_and_log_probs_are_its_gaussians(family_folder, family):
    folder = family_folder(family)
    drawn, noise = ours(folder)
    theirs, scheduler = stock(folder, noise)

    assert_same(drawn.latents, theirs)
    for step, t in enumerate(scheduler.timesteps):
        variance = scheduler._get_variance(t, t - 1000 // SAMPLING.num_steps).double()
        x_prev = theirs[:, step + 1].double()
        mean = x_prev - variance.sqrt() * noise[:, step + 1].double()
        expected = Normal(mean, variance.sqrt()).log_prob(x_prev).mean(dim=(1, 2, 3))
        torch.testing.assert_close(drawn.log_probs[:, step].double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_other_sizes_are_drawn_as_the_stock_pipeline_draws_them(family_folder, family):
    sampling = SAMPLING.model_copy(update={"height": 24, "width": 40})
    drawn, noise = ours(family_folder(family), sampling)

    assert drawn.latents.shape[-2:] == (12, 20)
    assert_same(drawn.latents, stock(family_folder(family), noise, sampling)[0])


@pytest.mark.parametrize("zeros", [True, False])
def test_what_stands_for_no_prompt_in_sdxl_is_as_its_config_says(family_folder, tmp_path, zeros):
    folder = shutil.copytree(family_folder("sdxl"), tmp_path / "model")
    edit(folder / "model_index.json", force_zeros_for_empty_prompt=zeros)
    drawn, noise = ours(folder)

    assert_same(drawn.latents, stock(folder, noise)[0])


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_v_prediction_model_with_zero_terminal_snr_is_drawn_on_our_grid_and_refused_on_one_that_begins_in_pure_noise(
    family_folder, tmp_path
):
    folder = shutil.copytree(family_folder("sd2"), tmp_path / "model")
    edit(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    drawn, noise = ours(folder)

    assert_same(drawn.latents, stock(folder, noise)[0])
    with pytest.raises(UserError, match=r"from_model: timestep 999 has zero signal-to-noise ratio"):
        check_model(ModelConfig(source=str(folder)), SAMPLING.model_copy(update={"scheduler": "from_model"}))


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_changes_adapters_alone_and_without_them_is_the_untouched_base_bit_for_bit(family_folder, family):
    model = ModelConfig(source=str(family_folder(family)), trainable="lora", lora=LoraConfig(rank=2, alpha=4))
    base = load_policy(model.model_copy(update={"trainable": "full"}), SAMPLING, seed=0)
    policy = load_policy(model, SAMPLING, seed=0)
    x, t = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 751])
    before = {name: weight.clone() for name, weight in policy.network.named_parameters()}

    step(policy, x, t)

    with torch.no_grad():
        plain, off = (
            d(x, t, p.encode(PROMPTS)) for d, p in ((base.denoiser(), base), (policy.reference_denoiser(), policy))
        )
    assert torch.equal(plain, off)
    moved = {name for name, weight in policy.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora" in name for name in moved)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_finetuning_changes_every_unet_weight_and_nothing_else(family_folder, family):
    policy = load_policy(ModelConfig(source=str(family_folder(family))), SAMPLING, seed=0)
    parts = {name: part for name, part in policy.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    before = {(part, name): w.clone() for part, m in parts.items() for name, w in m.named_parameters()}
    x, t = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 751])

    step(policy, x, t)

    same = {
        part: {name for name, w in m.named_parameters() if torch.equal(w, before[part, name])}
        for part, m in parts.items()
    }
    assert same.pop("unet") == set()
    for part, names in same.items():
        assert len(names) == len(dict(parts[part].named_parameters()))


def step(policy, x, t):
    """One optimizer step on a loss that looks at every output."""
    optimizer = torch.optim.SGD(policy.trainable().values(), lr=1.0)
    for _ in range(2):  # LoRA's second matrix is 0 at first, so its first has no gradient
        policy.denoiser()(x, t, policy.encode(PROMPTS)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

"""Stable Diffusion 3 and FLUX, each as a small random pipeline, against stock diffusers."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig
from reward_finetuning.config.sections.sampling import FlowConfig, SamplingConfig
from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.rollout import draw, step_means
from reward_finetuning.objectives import build_objective
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.prdp import Prdp, prdp_loss
from reward_finetuning.objectives.two_pass import backpropagate, replay
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.networks import packed, positions, unpacked
from reward_finetuning.policy.pretrained.source import check_model
from reward_finetuning.records import Batch

GUIDANCE = {"sd3": 5.0, "flux-dev": 3.5, "flux-schnell": 1.0}
PROMPTS = ["a red circle", "two blue squares on the left"]
TOKENS = 24


def sampling_of(family, **changes):
    settings = {"num_steps": 4, "guidance_scale": GUIDANCE[family], "height": 16, "width": 16, "micro_batch_size": 2}
    flow = FlowConfig(**changes.pop("flow", {}))
    return SamplingConfig(**settings | changes, flow=flow)


def load(folder, sampling, **model):
    settings = ModelConfig(source=str(folder), max_sequence_length=TOKENS, device="cpu", **model)
    check_model(settings, sampling)
    return load_policy(settings, sampling, seed=0)


def noise_of(policy, num_steps):
    shape = (len(PROMPTS), num_steps + 1, *policy.latent_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def stock(folder, noise, sampling, **parts):
    """Final latents [2, C, H, W] and pictures of the stock pipeline."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **parts)
    start = noise[:, 0].clone()
    is_flux = isinstance(pipeline, diffusers.FluxPipeline)
    if is_flux:
        start = pipeline._pack_latents(start, *start.shape)
    seen = []
    pictures = pipeline(
        PROMPTS, num_inference_steps=sampling.num_steps, guidance_scale=sampling.guidance_scale, latents=start,
        height=sampling.height, width=sampling.width, max_sequence_length=TOKENS, output_type="np",
        callback_on_step_end=lambda pipe, i, t, state: seen.append(state["latents"]) or {},
    ).images  # fmt: skip
    latents = seen[-1]
    if is_flux:
        latents = pipeline._unpack_latents(latents, sampling.height, sampling.width, pipeline.vae_scale_factor)
    return latents, pictures


def assert_drawn_as_stock(folder, sampling, parts=None, **model):
    policy = load(folder, sampling, **model)
    noise = noise_of(policy, sampling.num_steps)

    drawn = draw(policy.denoiser(), None, noise, policy.encode(PROMPTS), policy.grid)

    latents, pictures = stock(folder, noise, sampling, **(parts or {}))
    torch.testing.assert_close(drawn.final, latents, rtol=0, atol=1e-5 * float(latents.std().clamp(min=1)))
    np.testing.assert_allclose(policy.decode(drawn.final), pictures * 255, atol=0.6)


@pytest.mark.parametrize("family", GUIDANCE)
def test_without_noise_our_sampler_draws_what_the_stock_pipeline_draws(family_folder, family):
    sampling = sampling_of(family, num_steps=6, flow={"sampler": "ode"})

    assert_drawn_as_stock(family_folder(family), sampling)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
def test_other_sizes_are_drawn_as_the_stock_pipeline_draws_them(family_folder, family):
    sampling = sampling_of(family, height=24, width=32, flow={"sampler": "ode"})

    assert_drawn_as_stock(family_folder(family), sampling)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_dynamic_shifting_and_no_guidance_in_sd3_are_as_in_the_stock_pipeline(family_folder, tmp_path):
    folder = shutil.copytree(family_folder("sd3"), tmp_path / "model")
    edit(folder / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True)

    assert_drawn_as_stock(folder, sampling_of("sd3", guidance_scale=1.0, flow={"sampler": "ode"}))


def test_sd3_without_its_t5_is_drawn_as_the_stock_pipeline_draws_it(family_folder):
    without = {"text_encoder_3": None, "tokenizer_3": None}
    sampling = sampling_of("sd3", flow={"sampler": "ode"})

    assert_drawn_as_stock(family_folder("sd3"), sampling, without, t5=False)


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
def test_a_prompt_is_encoded_without_dropout(family_folder, family):
    policy = load(family_folder(family), sampling_of(family))

    first, again = policy.encode(PROMPTS[:1]), policy._encoder._encode(PROMPTS[0])

    assert torch.equal(first.embeddings, again.embeddings)
    assert torch.equal(first.pooled, again.pooled)


def test_packing_is_that_of_diffusers_and_its_inverse_gives_the_latents_back():
    x = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(0))

    tokens = packed(x)

    assert torch.equal(tokens, diffusers.FluxPipeline._pack_latents(x, 2, 4, 6, 10))
    assert torch.equal(unpacked(tokens, 6, 10), x)
    ids = diffusers.FluxPipeline._prepare_latent_image_ids(2, 3, 5, x.device, x.dtype)
    assert torch.equal(positions(3, 5, x), ids)


class Case:
    """A small pipeline in float64 after one perturbation of its weights, and rollouts of what it was before."""

    K = 2
    SETTINGS = PrdpConfig(kl_weight=1e-3, clip_range=2e-3)

    def __init__(self, folder, family, flow):
        self.policy = load(folder, sampling_of(family, flow=flow))
        self.policy.network.double()
        for name in self.policy._architecture.text_encoders:
            getattr(self.policy.pipeline, name, None) and getattr(self.policy.pipeline, name).double()
        g = torch.Generator().manual_seed(0)
        self.prompts, self.index = self.policy.encode(PROMPTS), torch.arange(2).repeat_interleave(self.K)
        self.denoise = self.policy.denoiser()
        noise = torch.randn(4, 5, *self.policy.latent_shape, generator=g)
        old = draw(self.as_float, None, noise, self.prompts[self.index], self.policy.grid)
        with torch.no_grad():
            for weight in self.policy.trainable().values():
                weight.add_(1e-3 * torch.randn(weight.shape, generator=g).to(weight))
        self.part = self.policy.grid.stochastic_part()
        rewards = torch.rand(4, generator=g, dtype=torch.float64)
        reference = old.log_probs + 1e-3 * torch.randn(old.log_probs.shape, generator=g)
        self.batch = Batch(old.log_probs, reference, rewards, self.index, self.index)
        self.source = CellSource(
            old.latents, self.prompts, self.index, self.part, torch.device("cpu"), torch.float64, old.x_0
        )

    def as_float(self, x, t, prompts):
        return self.denoise(x.double(), t, prompts).to(x.dtype)

    def gradient(self):
        weights = self.policy.trainable().values()
        parts = [(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in weights]
        self.policy.network.zero_grad()
        return torch.cat(parts)

    def full_graph(self):
        latents, columns, grid = self.source.latents.double(), [], self.source.device_grid
        for step in range(self.part.num_steps):
            steps = torch.full((4,), step)
            mean = step_means(self.denoise, latents[:, step], self.prompts[self.index], grid, steps)
            columns.append(gaussian.log_prob(latents[:, step + 1], mean, grid.stds[steps]))
        log_probs = torch.stack(columns, dim=1)
        losses = [
            prdp_loss(
                log_probs[rows], self.batch.log_probs_old[rows], self.batch.log_probs_ref[rows],
                self.batch.rewards[rows], clip_range=self.SETTINGS.clip_range, kl_weight=self.SETTINGS.kl_weight,
            )
            for rows in (torch.arange(2), torch.arange(2, 4))
        ]  # fmt: skip
        (sum(losses) / 2).backward()
        return self.gradient()

    def two_pass(self, cells_per_batch):
        order = torch.randperm(4 * self.part.num_steps, generator=torch.Generator().manual_seed(1))
        log_probs = replay(self.denoise, self.source, order, cells_per_batch, lambda _: None)
        objective = Prdp(self.SETTINGS)
        g = objective.coefficients(log_probs, self.batch)
        networks = Denoisers(self.denoise)
        backpropagate(
            objective, networks, self.source, g, order, cells_per_batch, torch.Tensor.backward, lambda _: None
        )  # fmt: skip
        return self.gradient()


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
@pytest.mark.parametrize("flow", [{"sampler": "cps"}, {"sampler": "sde", "window": (1, 3)}], ids=["cps", "sde-window"])
def test_the_gradient_of_two_passes_is_that_of_the_full_graph(family_folder, family, flow):
    case = Case(family_folder(family), family, flow)

    expected, found = case.full_graph(), case.two_pass(5)

    assert expected.norm() > 0
    assert float((found - expected).norm() / expected.norm()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        DdpoConfig(clip_range=1e-3, min_count=2),
        DpokConfig(clip_range=1e-3, kl_weight=0.1, value_updates=1),
        PpodConfig(kl_weight=30.0, clip_range=1e-2, pairs_per_update=4, convergence=None),
        RwrConfig(),
    ],
    ids=lambda config: config.name,
)
def test_every_other_method_has_a_gradient(family_folder, config):
    case, objective = Case(family_folder("sd3"), "sd3", {}), build_objective(config)
    case.policy._reference_network = load(family_folder("sd3"), sampling_of("sd3")).network.double()
    networks = Denoisers(case.denoise, case.policy.unguided_denoiser(), case.policy.reference_denoiser())
    objective.begin_epoch(case.batch, case.source, np.random.default_rng(0))
    order = case.source.of_images(objective.begin_update(0), torch.arange(4 * case.part.num_steps))
    log_probs = replay(case.denoise, case.source, order, 6, lambda _: None)
    g = objective.coefficients(log_probs, case.batch)

    backpropagate(objective, networks, case.source, g, order, 6, torch.Tensor.backward, lambda _: None)

    gradient = case.gradient()
    assert torch.isfinite(gradient).all()
    assert gradient.norm() > 0


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
def test_gradient_checkpointing_changes_no_gradient(family_folder, family):
    case = Case(family_folder(family), family, {})
    plain = case.two_pass(5)

    case.policy.enable_gradient_checkpointing()

    torch.testing.assert_close(case.two_pass(5), plain, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("family", GUIDANCE)
def test_lora_changes_adapters_alone_and_without_them_is_the_untouched_base_bit_for_bit(family_folder, family):
    folder, sampling = family_folder(family), sampling_of(family)
    base = load(folder, sampling)
    policy = load(folder, sampling, trainable="lora", lora=LoraConfig(rank=2, alpha=4))
    x, t = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([10.5, 751])
    before = {name: weight.clone() for name, weight in policy.network.named_parameters()}

    step(policy, x, t)

    with torch.no_grad():
        plain, off = (
            d(x, t, p.encode(PROMPTS)) for d, p in ((base.denoiser(), base), (policy.reference_denoiser(), policy))
        )
    assert torch.equal(plain, off)
    moved = {name for name, weight in policy.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == set(policy.trainable())
    assert all("lora" in name for name in moved)


def step(policy, x, t):
    """Two optimizer steps on a loss of every output: LoRA's first matrix has no gradient while its second is 0."""
    optimizer = torch.optim.SGD(policy.trainable().values(), lr=1.0)
    for _ in range(2):
        policy.denoiser()(x, t, policy.encode(PROMPTS)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
def test_in_bfloat16_frozen_parts_are_half_and_the_output_is_near_that_of_float32(family_folder, family):
    folder, sampling = family_folder(family), sampling_of(family)
    lora = {"trainable": "lora", "lora": LoraConfig(rank=2, alpha=4)}
    policy, whole = load(folder, sampling, dtype="bfloat16", **lora), load(folder, sampling, **lora)
    x, t = (
        torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0)),
        torch.tensor([500.0, 900.0]),
    )

    with torch.no_grad():
        half, expected = (each.denoiser()(x, t, each.encode(PROMPTS)) for each in (policy, whole))

    assert half.dtype == torch.float32
    assert {weight.dtype for weight in policy.trainable().values()} == {torch.float32}
    assert {w.dtype for w in policy.network.parameters() if not w.requires_grad} == {torch.bfloat16}
    assert float((half - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("sd3", {"height": 18}, r"height is 18; this model needs a multiple of 4"),
        ("sd3", {"width": 64}, r"width is 64; this model has positions for 48 pixels at most"),
        ("sd3", {"ddim_eta": 0.5}, r"ddim_eta belongs to UNets"),
        ("sd3", {"flow": {"min_std": 3.0}}, r"sampling.flow: no step is stochastic"),
        ("flux-schnell", {"guidance_scale": 3.5}, r"guidance_scale is 3.5, but this model takes no guidance"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_the_model_is_loaded(family_folder, family, changes, message):
    sampling = sampling_of(family, **{"height": 16} | changes) if "height" not in changes else None
    if sampling is None:
        sampling = sampling_of(family).model_copy(update=changes)

    with pytest.raises(UserError, match=message):
        check_model(ModelConfig(source=str(family_folder(family))), sampling)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_karras_sigmas": True}, "has use_karras_sigmas True, which is not supported"),
        ({"time_shift_type": "linear", "use_dynamic_shifting": True}, "time_shift_type 'linear'"),
        ({"_class_name": "DDIMScheduler"}, "is a 'DDIMScheduler'; a flow model needs"),
        ({"shift": "x"}, "has shift 'x'; it is a number"),
    ],
)
def test_a_scheduler_that_is_not_supported_is_refused(family_folder, tmp_path, changes, message):
    folder = shutil.copytree(family_folder("sd3"), tmp_path / "model")
    edit(folder / "scheduler" / "scheduler_config.json", **changes)
    if name := changes.get("_class_name"):
        edit(folder / "model_index.json", scheduler=["diffusers", name])

    with pytest.raises(UserError, match=message):
        check_model(ModelConfig(source=str(folder)), sampling_of("sd3"))


def test_settings_of_flow_models_are_refused_for_a_unet():
    with pytest.raises(UserError, match=r"sampling.flow.eta belongs to flow models"):
        check_model(ModelConfig(), SamplingConfig(num_steps=5, flow=FlowConfig(eta=0.5)))


def test_quantization_of_a_unet_is_refused():
    model = ModelConfig(source="shapes", trainable="lora", quantization="int8")

    with pytest.raises(UserError, match=r"quantization=int8 is for the transformers of .*'shapes' has a UNet"):
        check_model(model, SamplingConfig(num_steps=4))


def test_an_editing_model_is_refused(family_folder, tmp_path):
    folder = shutil.copytree(family_folder("flux-dev"), tmp_path / "model")
    edit(folder / "transformer" / "config.json", in_channels=24)

    with pytest.raises(UserError, match="takes 24 channels, its VAE makes 4"):
        check_model(ModelConfig(source=str(folder)), sampling_of("flux-dev"))

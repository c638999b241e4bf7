"""Load a Stable Diffusion pipeline as a policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.model import ModelConfig
from reward_finetuning.config.sampling import SamplingConfig
from reward_finetuning.diffusion.noise import seed_sequence
from reward_finetuning.policy.denoiser import GuidedDenoiser
from reward_finetuning.policy.source import locate, sampler_grid
from reward_finetuning.records import Denoiser, Stream


class Policy:
    """A text-to-image model: frozen text encoder and VAE, and a UNet whose trainable weights are the policy."""

    def __init__(self, pipeline: Any, model: ModelConfig, sampling: SamplingConfig, *, seed: int) -> None:
        self.device = _device(model.device)
        self.grid = sampler_grid(dict(pipeline.scheduler.config), sampling)
        self.unet = pipeline.unet.to(self.device).eval().requires_grad_(requires_grad=False)
        self._vae = pipeline.vae.to(self.device).eval().requires_grad_(requires_grad=False)
        self._text_encoder = pipeline.text_encoder.to(self.device).eval().requires_grad_(requires_grad=False)
        self._tokenizer = pipeline.tokenizer
        self._model, self._sampling = model, sampling
        self._embeddings: dict[str, Tensor] = {}
        self._reference_unet: Any = None
        if model.trainable == "lora":
            _add_adapter(self.unet, model, seed)
        else:
            self.unet.requires_grad_(requires_grad=True)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        size = self.unet.config.sample_size
        height = (self._sampling.height or size * factor) // factor
        width = (self._sampling.width or size * factor) // factor
        return self.unet.config.in_channels, height, width

    def trainable(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name, in a fixed order."""
        return {name: weight for name, weight in self.unet.named_parameters() if weight.requires_grad}

    def keep_reference(self, *, as_it_is: bool = False) -> None:
        """Keep a frozen copy of the UNet as the reference; call before trained weights are loaded.

        Args:
            as_it_is: what the UNet is now, adapters included; else the pretrained model, for which LoRA needs no copy.
        """
        if (as_it_is or self._model.trainable == "full") and self._reference_unet is None:
            self._reference_unet = copy.deepcopy(self.unet).requires_grad_(requires_grad=False)

    def denoiser(self, *, uncond_gradient: bool = True) -> Denoiser:
        """The policy's denoiser, guidance included."""
        return self._guided(self.unet, uncond_gradient=uncond_gradient)

    def unguided_denoiser(self) -> Denoiser:
        """The policy's conditional prediction alone, which a denoising loss trains."""
        return GuidedDenoiser(self.unet, self.encode([""]), guidance_scale=1.0)

    def reference_denoiser(self) -> Denoiser:
        """The reference's denoiser: the frozen copy, or with LoRA and none of these the adapters switched off."""
        if self._reference_unet is not None:
            return self._guided(self._reference_unet)
        assert self._model.trainable == "lora", "keep_reference() comes before weights are loaded"
        return self._guided(self.unet, within=self._without_adapter)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of the prompts, [len(prompts), L, D].

        Each distinct prompt is encoded once, and alone: in a batch of another size the last bits would differ.
        """
        for text in dict.fromkeys(prompts):
            if text not in self._embeddings:
                self._embeddings[text] = self._encode(text)
        return torch.cat([self._embeddings[text] for text in prompts])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures of the latents x_0 [M, C, H, W]: [M, height, width, 3]."""
        scaled = latents.to(self.device).float() / self._vae.config.scaling_factor
        pixels = self._vae.decode(scaled, return_dict=False)[0]
        pixels = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return (pixels * 255).round().astype(np.uint8)

    def _guided(self, unet: Any, **options: Any) -> GuidedDenoiser:
        return GuidedDenoiser(unet, self.encode([""]), guidance_scale=self._sampling.guidance_scale, **options)

    @torch.no_grad()
    def _encode(self, text: str) -> Tensor:
        length = self._tokenizer.model_max_length
        tokens = self._tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self._text_encoder(tokens.input_ids.to(self.device))[0]

    @contextmanager
    def _without_adapter(self) -> Iterator[None]:
        self.unet.disable_adapters()
        try:
            yield
        finally:
            self.unet.enable_adapters()


def load_policy(model: ModelConfig, sampling: SamplingConfig, *, seed: int) -> Policy:
    """The pretrained model as a policy at epoch 0.

    Args:
        model: which one, and what of it is trained.
        sampling: guidance and grid.
        seed: of the adapters' initial weights.

    Raises:
        UserError: the model cannot be loaded as a StableDiffusionPipeline.
    """
    return Policy(load_pipeline(model), model, sampling, seed=seed)


def load_pipeline(model: ModelConfig) -> Any:
    """The pretrained StableDiffusionPipeline in float32, without a safety checker.

    Raises:
        UserError: the model cannot be loaded as a StableDiffusionPipeline.
    """
    from diffusers import StableDiffusionPipeline

    source = locate(model) or model.source
    try:
        return StableDiffusionPipeline.from_pretrained(
            source,
            revision=model.revision,
            variant=model.variant,
            safety_checker=None,
            requires_safety_checker=False,
            torch_dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.source {model.source!r} cannot be loaded: {' '.join(str(error).split())}") from error


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # clip_range 1e-6 needs float32 log-probs; TF32's 10-bit mantissa would drown it.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def _add_adapter(unet: Any, model: ModelConfig, seed: int) -> None:
    from peft import LoraConfig

    lora = LoraConfig(r=model.lora.rank, lora_alpha=model.lora.alpha, target_modules=list(model.lora.targets))
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(int(seed_sequence(seed, Stream.LORA_INIT).generate_state(1)[0]))
        try:
            unet.add_adapter(lora)
        except ValueError as error:
            raise UserError(f"model.lora.targets {list(model.lora.targets)}: {error}") from None

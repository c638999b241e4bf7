"""A Stable Diffusion pipeline as a policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.adapter import add_adapter, start_from_file
from reward_finetuning.policy.decoder import Decoder
from reward_finetuning.policy.denoiser import GuidedDenoiser, NoisePrediction
from reward_finetuning.policy.encoder import PromptEncoder
from reward_finetuning.policy.noise_schedule import Prediction, noise_schedule, sampler_grid
from reward_finetuning.policy.pipeline import load_pipeline
from reward_finetuning.records import Conditioning, Denoiser


class Policy:
    """A text-to-image model: frozen text encoders and VAE, and a UNet whose trainable weights are the policy."""

    def __init__(self, pipeline: Any, model: ModelConfig, sampling: SamplingConfig, *, seed: int) -> None:
        self.pipeline = pipeline
        self.device = _device(model.device)
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        scheduler = dict(pipeline.scheduler.config) | {"_class_name": type(pipeline.scheduler).__name__}
        self.grid, self._schedule = sampler_grid(scheduler, sampling), noise_schedule(scheduler)
        self.unet = pipeline.unet.to(self.device).eval().requires_grad_(requires_grad=False)
        self._decoder = Decoder(pipeline.vae, self.device, self.dtype)
        for name in ("text_encoder", "text_encoder_2"):
            if hasattr(pipeline, name):
                getattr(pipeline, name).to(self.device, self.dtype).eval().requires_grad_(requires_grad=False)
        self._encoder = PromptEncoder(pipeline, self.device)
        self._model, self._sampling = model, sampling
        self._reference_unet: Any = None
        if model.trainable == "lora":
            if self.dtype != torch.float32:
                self.unet.to(self.dtype)
            add_adapter(self.unet, model.lora, seed)
            if model.adapter is not None:
                start_from_file(pipeline, model)
        else:
            self.unet.requires_grad_(requires_grad=True)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        factor = self._decoder.factor
        height, width = (side // factor for side in self.image_size)
        return self.unet.config.in_channels, height, width

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        factor = self._decoder.factor
        return self._sampling.height or height * factor, self._sampling.width or width * factor

    @property
    def prediction(self) -> Prediction:
        """What the UNet predicts."""
        return self._schedule.prediction

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trainable weights by name, in a fixed order."""
        return {name: weight for name, weight in self.unet.named_parameters() if weight.requires_grad}

    def keep_reference(self, *, with_adapters: bool = False) -> None:
        """Keep a frozen copy of the UNet as the reference. Call it before trained weights are loaded.

        Args:
            with_adapters: copy the UNet with its current adapters. Otherwise the reference is the pretrained model,
                for which LoRA needs no copy.
        """
        if (with_adapters or self._model.trainable == "full") and self._reference_unet is None:
            self._reference_unet = copy.deepcopy(self.unet).requires_grad_(requires_grad=False)

    def denoiser(self, *, uncond_gradient: bool = True) -> Denoiser:
        """The denoiser of the policy, with guidance."""
        return self._guided(self.unet, uncond_gradient=uncond_gradient)

    def unguided_denoiser(self) -> Denoiser:
        """The conditional prediction of the policy without guidance, for a denoising loss."""
        return GuidedDenoiser(self._epsilon(self.unet), self._encoder.unconditional(), guidance_scale=1.0)

    def reference_denoiser(self) -> Denoiser:
        """The denoiser of the reference: the frozen copy, or the UNet without adapters (LoRA without a copy)."""
        if self._reference_unet is not None:
            return self._guided(self._reference_unet)
        assert self._model.trainable == "lora", "keep_reference() comes before weights are loaded"
        return self._guided(self.unet, within=self._without_adapter)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The encoded prompts, one row per prompt."""
        return self._encoder.encode(prompts)

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures of the latents x_0 [M, C, H, W]: [M, height, width, 3]."""
        return self._decoder.decode(latents)

    def _guided(self, unet: Any, **options: Any) -> GuidedDenoiser:
        unconditional = self._encoder.unconditional()
        return GuidedDenoiser(
            self._epsilon(unet), unconditional, guidance_scale=self._sampling.guidance_scale, **options
        )

    def _epsilon(self, unet: Any) -> NoisePrediction:
        height, width = self.image_size
        # The default of diffusers: original size equals target size, without crop.
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=self.device)
        return NoisePrediction(unet, self._schedule, time_ids=time_ids, dtype=self.dtype)

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
        model: source and trainable weights.
        sampling: guidance and grid.
        seed: seed of the initial weights of adapters.

    Raises:
        UserError: the model cannot be loaded as a StableDiffusionPipeline.
    """
    return Policy(load_pipeline(model), model, sampling, seed=seed)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # clip_range 1e-6 needs float32 log-probs. The 10-bit mantissa of TF32 is too coarse.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)

"""A text-to-image pipeline as a policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.allocator import keep_freed_memory
from reward_finetuning.policy.compilation import check_compiler, compile_network
from reward_finetuning.policy.conditioning.encoder import PromptEncoder
from reward_finetuning.policy.decoder import Decoder
from reward_finetuning.policy.denoiser import GuidedDenoiser
from reward_finetuning.policy.lora.adapter import adapter_layers, add_adapter, start_from_file
from reward_finetuning.policy.networks import FluxTransformer, Network, Precision, Sd3Transformer, UNet
from reward_finetuning.policy.offload import Placement
from reward_finetuning.policy.pipeline import load_pipeline
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES, check_fit, check_guidance, geometry
from reward_finetuning.policy.pretrained.noise_schedule import sampler_grid
from reward_finetuning.policy.quantization import quantize
from reward_finetuning.policy.sharding import gathered, shard
from reward_finetuning.policy.shared_layers import checkpoints, share_layers
from reward_finetuning.records import Conditioning, Denoiser


class Policy:
    """A text-to-image model: frozen text encoders and VAE, and a UNet or transformer that is trained."""

    def __init__(
        self, pipeline: Any, model: ModelConfig, sampling: SamplingConfig, *, seed: int, shards: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.device = _device(model.device)
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        self.precision = Precision(self.dtype, tf32=model.tf32)
        self._architecture = ARCHITECTURES[type(pipeline).__name__]
        check_fit(model, self._architecture)
        self.network_name = self._architecture.network
        self.network = getattr(pipeline, self.network_name).eval().requires_grad_(requires_grad=False)
        if model.quantization == "int8":
            quantize(self.network, self.device)
        if not shards:  # else `shard` moves it, a block at a time
            self.network.to(self.device)
        self._set_sampling(sampling)
        placement = Placement(self.device, torch.device("cpu") if model.offload else self.device)
        self._decoder = Decoder(pipeline.vae, placement, self.dtype)
        self._encoder = PromptEncoder(pipeline, model, placement)
        self._model = model
        pays = self.device.type == "cpu" and not (shards or self._architecture.is_flow)
        self._channels_last: bool = pays if model.channels_last == "auto" else model.channels_last
        self._reference_network: Any = None
        if model.trainable == "lora":
            if self.dtype != torch.float32:
                self.network.to(self.dtype)
            add_adapter(self.network, model.lora, seed)
            if model.adapter is not None:
                start_from_file(pipeline, model)
            self._adapter_layers = adapter_layers(self.network)
        else:
            self.network.requires_grad_(requires_grad=True)
        if self.network_name == "unet":
            share_layers(self.network)
        self._lay_out(self.network)
        if self._channels_last:
            _put_channels_last(pipeline.vae)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        return self._geometry.latent_shape

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._geometry.image_size

    @property
    def is_compiled(self) -> bool:
        """Whether torch.compile generates the kernels of the network."""
        return self._model.compile

    def sampled_with(self, sampling: SamplingConfig) -> Policy:
        """This policy, with the same networks, under other settings of sampling.

        Raises:
            UserError: `sampling` does not fit the model.
        """
        if sampling == self._sampling:
            return self
        other = copy.copy(self)
        other._set_sampling(sampling)
        return other

    def _set_sampling(self, sampling: SamplingConfig) -> None:
        check_guidance(self.network.config, sampling, self._architecture)
        self._geometry = geometry(self._architecture, self.network.config, self.pipeline.vae.config, sampling)
        scheduler = self.pipeline.scheduler
        config = dict(scheduler.config) | {"_class_name": type(scheduler).__name__}
        self.grid = sampler_grid(config, sampling, self._architecture, self._geometry)
        self._sampling = sampling

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trainable weights by name, in a fixed order."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    def keep_reference(self, *, with_adapters: bool = False) -> None:
        """Keep a frozen copy of the network as the reference. Call it before trained weights are loaded.

        Args:
            with_adapters: copy the network with its current adapters. Otherwise the reference is the pretrained model,
                for which LoRA needs no copy.
        """
        if (with_adapters or self._model.trainable == "full") and self._reference_network is None:
            self._reference_network = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
            self._lay_out(self._reference_network)

    def _lay_out(self, network: nn.Module) -> None:
        """Apply settings of how a network is evaluated, which leave the names of its weights as they are."""
        if self._channels_last:
            _put_channels_last(network)
        if self._model.compile:
            compile_network(network)

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in a backward pass instead of keeping them; the numbers are the same."""
        # What torch.compile traces it need not evaluate again, and it cannot trace a context in a checkpoint.
        plain = self.is_compiled or self.network_name != "unet"
        self.network.enable_gradient_checkpointing(None if plain else checkpoints(self.network))

    def shard(self) -> None:
        """Shard the network, and the reference if there is a copy, over all processes; new parameters replace the old.

        Every process calls it, after the weights are loaded and before an optimizer gets them.
        """
        for network in self._networks():
            shard(network, self.device)

    def gathered(self) -> AbstractContextManager[None]:
        """A context in which this process evaluates sharded networks without the others; all processes enter it."""
        return gathered(self._networks())

    def _networks(self) -> list[nn.Module]:
        return [network for network in (self.network, self._reference_network) if network is not None]

    def denoiser(self, *, uncond_gradient: bool = True) -> Denoiser:
        """The denoiser of the policy, with guidance."""
        return self._guided(self.network, uncond_gradient=uncond_gradient)

    def unguided_denoiser(self) -> Denoiser:
        """The conditional prediction of the policy without classifier-free guidance, for a denoising loss."""
        return self._without_guidance(self.network)

    def reference_denoiser(self) -> Denoiser:
        """The denoiser of the reference: the frozen copy, or the network without adapters (LoRA without a copy)."""
        if self._reference_network is not None:
            return self._guided(self._reference_network)
        assert self._model.trainable == "lora", "keep_reference() comes before weights are loaded"
        return self._guided(self.network, within=self._without_adapter)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The encoded prompts, one row per prompt."""
        return self._encoder.encode(prompts)

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures of the latents x_0 [M, C, H, W]: [M, height, width, 3]."""
        return self._decoder.decode(latents)

    def _guided(self, network: Any, **options: Any) -> Denoiser:
        scale = 1.0 if self._architecture.is_packed else self._sampling.guidance_scale  # FLUX has it as an input
        return GuidedDenoiser(
            self._without_guidance(network), self._encoder.unconditional, guidance_scale=scale, **options
        )

    def _without_guidance(self, network: Any) -> Network:
        if self._architecture.is_packed:
            guidance = self._sampling.guidance_scale if network.config.guidance_embeds else None
            return FluxTransformer(network, guidance=guidance, precision=self.precision)
        if self._architecture.is_flow:
            return Sd3Transformer(network, precision=self.precision)
        height, width = self.image_size
        # The default of diffusers: original size equals target size, without crop.
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=self.device)
        return UNet(network, time_ids=time_ids, precision=self.precision)

    @contextmanager
    def _without_adapter(self) -> Iterator[None]:
        for layer in self._adapter_layers:
            layer.enable_adapters(enabled=False)
        try:
            yield
        finally:
            for layer in self._adapter_layers:
                layer.enable_adapters(enabled=True)


def load_policy(model: ModelConfig, sampling: SamplingConfig, *, seed: int, shards: bool = False) -> Policy:
    """The pretrained model as a policy at epoch 0.

    Args:
        model: source and trainable weights.
        sampling: guidance and grid.
        seed: seed of the initial weights of adapters.
        shards: leave the network on the CPU, for `Policy.shard`.

    Raises:
        UserError: the model cannot be loaded, `sampling` does not fit it, or a compiler that it needs is missing.
    """
    if model.compile:
        check_compiler(_device(model.device))
    pipeline = load_pipeline(model, text_encoders=not model.prompt_cache)
    return Policy(pipeline, model, sampling, seed=seed, shards=shards)


def _put_channels_last(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # clip_range 1e-6 needs float32 log-probs. The 10-bit mantissa of TF32 is too coarse.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    else:
        keep_freed_memory()
    return torch.device(name)

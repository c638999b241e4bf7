"""What differs between the pipeline classes that can be finetuned. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig

_SIZE = 128
"""Latent cells per side of a flow model, where its config names none."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parts of a pipeline class of diffusers."""

    parts: tuple[str, ...]
    """Folders that a pipeline must have."""

    network: Literal["unet", "transformer"] = "unet"
    """The part that is trained."""

    optional: tuple[str, ...] = ()
    """Parts that may be absent."""

    is_packed: bool = False
    """Whether a token of the network is 2 x 2 latent cells, and its levels end at 1 / T, as in FLUX."""

    @property
    def is_flow(self) -> bool:
        """Whether it is a flow model."""
        return self.network == "transformer"

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Text encoders, present or not."""
        return tuple(part for part in (*self.parts, *self.optional) if part.startswith("text_encoder"))

    @property
    def networks(self) -> tuple[str, ...]:
        """Parts with weights that must be there."""
        return tuple(part for part in self.parts if part.startswith(("text_encoder", "vae", self.network)))


_UNET = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
_TRANSFORMER = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
_SECOND = ("text_encoder_2", "tokenizer_2")

ARCHITECTURES = {
    "StableDiffusionPipeline": Architecture(_UNET),
    "StableDiffusionXLPipeline": Architecture((*_UNET, *_SECOND)),
    "StableDiffusion3Pipeline": Architecture(
        (*_TRANSFORMER, *_SECOND), "transformer", ("text_encoder_3", "tokenizer_3")
    ),
    "FluxPipeline": Architecture((*_TRANSFORMER, *_SECOND), "transformer", is_packed=True),
}


def network_name(pipeline: Any) -> Literal["unet", "transformer"]:
    """The trained part of a pipeline of ARCHITECTURES."""
    return ARCHITECTURES[type(pipeline).__name__].network


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a model's images."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""

    latent_shape: tuple[int, int, int]
    """(C, H, W)."""

    num_tokens: int
    """Tokens of a transformer, H W of a UNet."""


def geometry(
    architecture: Architecture, network: Mapping[str, Any], vae: Mapping[str, Any], sampling: SamplingConfig
) -> Geometry:
    """Sizes of the images, from the configs of the networks.

    Raises:
        UserError: a transformer cannot have this size.
    """
    factor = int(2 ** (len(vae["block_out_channels"]) - 1))
    size = network.get("sample_size") or _SIZE
    sides = (size, size) if isinstance(size, int) else tuple(size)
    height, width = sampling.height or sides[0] * factor, sampling.width or sides[1] * factor
    channels, patch = network["in_channels"], 1
    if architecture.is_flow:
        patch = 2 if architecture.is_packed else network.get("patch_size", 2)
        _check_size((height, width), factor * patch, None if architecture.is_packed else network)
    if architecture.is_packed:
        channels //= patch**2
    rows, columns = height // factor, width // factor
    return Geometry((height, width), (channels, rows, columns), (rows // patch) * (columns // patch))


def check_guidance(network: Mapping[str, Any], sampling: SamplingConfig, architecture: Architecture) -> None:
    """Refuse guidance of a network that is distilled without it (FLUX.1-schnell).

    Raises:
        UserError: with what to set.
    """
    if architecture.is_packed and not network.get("guidance_embeds", False) and sampling.guidance_scale != 1.0:
        raise UserError(
            f"sampling.guidance_scale is {sampling.guidance_scale:g}, but this model takes no guidance: set it to 1"
        )


def check_fit(model: ModelConfig, architecture: Architecture) -> None:
    """Refuse settings that the network has nothing for: few linear layers of a UNet, no convolutions of a transformer.

    Raises:
        UserError: with what to set.
    """
    if model.quantization != "none" and not architecture.is_flow:
        raise UserError(
            f"model.quantization={model.quantization} is for the transformers of Stable Diffusion 3 and FLUX, and "
            f"model.source {model.source!r} has a UNet: set it to none"
        )
    if model.channels_last is True and architecture.is_flow:
        raise UserError(
            "model.channels_last is for the convolutions of a UNet; this model has a transformer: remove it"
        )


def _check_size(size: tuple[int, int], step: int, network: Mapping[str, Any] | None) -> None:
    """Refuse sizes that are no whole number of patches, or beyond the position embeddings of SD 3."""
    for name, side in zip(("height", "width"), size, strict=True):
        if side % step:
            raise UserError(f"sampling.{name} is {side}; this model needs a multiple of {step}")
        if network is not None and side // step > (largest := network.get("pos_embed_max_size", 96)):
            raise UserError(f"sampling.{name} is {side}; this model has positions for {largest * step} pixels at most")

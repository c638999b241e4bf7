"""Cost of networks and data of accelerators for `rft estimate`. Does not need torch."""

from __future__ import annotations

from dataclasses import dataclass

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.folder import network_config
from reward_finetuning.policy.published_models import PUBLISHED_MODELS, Family
from reward_finetuning.policy.source import configs_of


@dataclass(frozen=True, slots=True)
class Network:
    """The UNet, text encoders and VAE of a family of models.

    A forward pass of one branch on P latent cells takes `fixed + linear P + quadratic P^2` FLOPs (a multiply-add is
    two): convolutions and linear layers grow with P, self-attention with P^2. The values were counted on the real
    architectures with torch.utils.flop_counter on the meta device. A test repeats the count.
    """

    size: int
    """Pixels per side, if the run does not set it."""

    parameters: int
    fixed: float
    linear: float
    quadratic: float
    activation_bytes: tuple[float, float]
    """Float32 bytes per latent cell for the backward pass: full, LoRA."""

    lora_parameters: int
    """Per rank, with the default targets."""

    frozen_parameters: int
    """Text encoders and VAE."""

    factor: int = 8
    """Pixels per latent cell, along a side."""

    decoding: tuple[float, float] = (605_507_616.0, 2048.0)
    """FLOPs of decoding P latent cells with the VAE: linear P + quadratic P^2; Stable Diffusion's, all of one VAE."""

    def flops(self, cells: int) -> float:
        """FLOPs of the forward pass of one branch on P = `cells` latent cells."""
        return self.fixed + self.linear * cells + self.quadratic * cells**2


NETWORKS: dict[Family, Network] = {
    "shapes": Network(
        32, 739_492, 704_512, 522_240, 48, (12_088, 9_679), 2_976, 454_647, factor=4, decoding=(1_538_976, 0)
    ),
    "sd1": Network(
        512, 859_520_964, 3.007775e9, 165_471_440, 7301.25, (456_384, 389_049), 199_296, 123_060_480 + 83_653_863
    ),
    "sd2": Network(
        768, 865_910_724, 3.991798e9, 165_471_440, 7301.25, (456_403, 367_789), 207_488, 340_387_840 + 83_653_863
    ),
    "sdxl": Network(
        1024, 2_567_463_684, 5.2531036e10, 363_591_680, 2800.0, (848_706, 690_259), 1_451_520, 817_720_320 + 83_653_863
    ),
}

SCORER_FLOPS = {
    "clip_score": 0.18e12,
    "aesthetic": 0.16e12,
    "pickscore": 0.38e12,
    "hpsv2": 0.38e12,
    "hpsv2_1": 0.38e12,
    "image_reward": 0.14e12,
}
"""FLOPs per picture and prompt: twice the published multiply-adds of ViT-L/14, ViT-H/14 and ViT-L/16 of BLIP at
224 x 224, with a margin for the text. Other scorers count as zero."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU with the dense performance of its data sheet."""

    float32: float
    """FLOP/s without tensor cores: TF32 is disabled, because log-probs need float32."""

    half: float
    """FLOP/s in bfloat16 and float16."""

    memory: float
    """GB."""


ACCELERATORS = {
    "t4": Accelerator(8.1e12, 65e12, 16),
    "l4": Accelerator(30.3e12, 121e12, 24),
    "a100-40gb": Accelerator(19.5e12, 312e12, 40),
    "a100-80gb": Accelerator(19.5e12, 312e12, 80),
    "h100": Accelerator(67e12, 989e12, 80),
    "h200": Accelerator(67e12, 989e12, 141),
}

UTILISATION = {"float32": 0.6, "half": 0.17}
"""Share of the peak performance. half: the published 0.22 images per second of DDPO on an A100 (LoRA, float16, 50
steps, guidance, 3 branches of 0.80 TFLOP per step) are 53 of 312 TFLOP/s. float32: our assumption, because it is bound
by arithmetic."""


def network_of(model: ModelConfig) -> Network:
    """The network of a model, from its hub id or from the config of its UNet.

    Raises:
        UserError: the model does not belong to a supported family.
    """
    configs = configs_of(model)
    if configs is None:
        published = PUBLISHED_MODELS.get(model.source)
        if published is not None:
            return NETWORKS[published.family]
        raise UserError(f"the cost of {model.source} is unknown: download it, and set model.source to its folder")
    config = network_config(configs, "unet")
    shape = (config.get("cross_attention_dim"), tuple(config.get("block_out_channels", ())))
    families: dict[object, Family] = {
        (48, (32, 64)): "shapes",
        (768, (320, 640, 1280, 1280)): "sd1",
        (1024, (320, 640, 1280, 1280)): "sd2",
        (2048, (320, 640, 1280)): "sdxl",
    }
    if shape not in families:
        raise UserError(
            f"the cost of {model.source} is unknown: rft estimate supports Stable Diffusion 1.x, 2.x, XL and shapes; "
            f"this UNet has cross_attention_dim {shape[0]} and channels {list(shape[1])}"
        )
    return NETWORKS[families[shape]]

"""Cost of networks and data of accelerators for `rft estimate`. Does not need torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.pretrained.folder import architecture_of, network_config
from reward_finetuning.policy.pretrained.published_models import PUBLISHED_MODELS, Family
from reward_finetuning.policy.pretrained.source import configs_of


@dataclass(frozen=True, slots=True)
class Network:
    """The UNet or transformer, text encoders and VAE of a family of models.

    A forward pass of one branch on P latent cells takes `fixed + linear P + quadratic P^2` FLOPs (a multiply-add is
    two): convolutions and linear layers grow with P, self-attention with P^2. A transformer's text tokens (333 of SD 3,
    512 of FLUX, 17 of shapes-flow) are in `fixed`, and their attention to the image in `linear`. The values were
    counted on the real architectures with torch.utils.flop_counter on the meta device. A test repeats the count.
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

    channels: int = 4
    """Of a latent cell."""

    blocks: int | None = None
    """Blocks of a transformer, of which gradient checkpointing keeps the inputs; None for a UNet."""

    quantized_parameters: int = 0
    """Weights of the linear layers of all blocks, which model.quantization has in 8 bits; 0 for a UNet."""

    has_guidance_input: bool = False
    """Whether guidance is an input, and costs no second branch."""

    decoding: tuple[float, float] = (605_507_616.0, 2048.0)
    """FLOPs of decoding P latent cells with the VAE: linear P + quadratic P^2; Stable Diffusion's, all of one VAE."""

    def flops(self, cells: int) -> float:
        """FLOPs of the forward pass of one branch on P = `cells` latent cells."""
        return self.fixed + self.linear * cells + self.quadratic * cells**2


T5_PARAMETERS = 4_762_310_656
"""Of the encoder of T5 v1.1 XXL."""

_SD3_FROZEN = 123_650_304 + 694_659_840 + T5_PARAMETERS + 83_819_683
_FLUX_FROZEN = 123_060_480 + T5_PARAMETERS + 83_819_683

NETWORKS: dict[Family, Network] = {
    "shapes": Network(
        32, 739_492, 704_512, 522_240, 48, (12_088, 9_679), 2_976, 454_647, factor=4, decoding=(1_538_976, 0)
    ),
    "shapes-flow": Network(
        32,
        909_616,
        9_742_080.0,
        165_760.0,
        80.0,
        (16_164, 8_296),
        2_560,
        479_639,
        factor=4,
        blocks=4,
        quantized_parameters=838_400,
        decoding=(1_538_976, 0),
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
    "sd3": Network(
        1024,
        2_028_328_000,
        460_297_617_408.0,
        364_388_352.0,
        9216.0,
        (964_989, 511_120),
        294_912,
        _SD3_FROZEN,
        channels=16,
        blocks=24,
        quantized_parameters=2_007_760_896,
    ),
    "sd3.5-medium": Network(
        1024,
        2_243_171_520,
        460_481_642_496.0,
        425_730_048.0,
        14208.0,
        (1_362_247, 749_962),
        454_656,
        _SD3_FROZEN,
        channels=16,
        blocks=24,
        quantized_parameters=2_222_456_832,
    ),
    "sd3.5-large": Network(
        1024,
        8_056_627_520,
        1_813_826_749_440.0,
        1_410_238_976.0,
        23104.0,
        (2_912_385, 1_530_812),
        739_328,
        _SD3_FROZEN,
        channels=16,
        blocks=38,
        quantized_parameters=8_014_315_520,
    ),
    "flux": Network(
        1024,
        11_901_408_320,
        6_813_006_692_352.0,
        3_407_020_032.0,
        43776.0,
        (5_561_832, 3_007_590),
        1_167_360,
        _FLUX_FROZEN,
        channels=16,
        blocks=57,
        quantized_parameters=11_834_228_736,
        has_guidance_input=True,
    ),
}

SCORER_FLOPS = {
    "clip_score": 0.18e12,
    "aesthetic": 0.16e12,
    "pickscore": 0.38e12,
    "hpsv2": 0.38e12,
    "hpsv2_1": 0.38e12,
    "hpsv3": 12e12,
    "image_reward": 0.14e12,
}
"""FLOPs per picture and prompt: twice the published multiply-adds of ViT-L/14, ViT-H/14 and ViT-L/16 of BLIP at
224 x 224, with a margin for the text. hpsv3: twice the 6.5e9 weights of Qwen2-VL-7B's layers for 800 tokens, and twice
the 0.68e9 of its vision tower for 1024 patches. Other scorers count as zero."""

SCORER_GB = {name: 33.0 if name == "hpsv3" else 4.0 for name in SCORER_FLOPS}
"""GB of the weights in float32, the default dtype of a scorer."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU with the dense performance of its data sheet; of the RTX 4090, of NVIDIA's Ada GPU architecture paper."""

    float32: float
    """FLOP/s without tensor cores: TF32 is disabled, because log-probs need float32."""

    half: float
    """FLOP/s in bfloat16 and float16, accumulated in float32; GeForce has twice that only if accumulated in float16."""

    memory: float
    """GB."""


ACCELERATORS = {
    "t4": Accelerator(8.1e12, 65e12, 16),
    "l4": Accelerator(30.3e12, 121e12, 24),
    "rtx4090": Accelerator(82.6e12, 165.2e12, 24),
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
    architecture = architecture_of(configs)
    config = network_config(configs, architecture.network)
    if architecture.is_flow:
        return _transformer(model, config, is_flux=architecture.is_packed)
    shape = (config.get("cross_attention_dim"), tuple(config.get("block_out_channels", ())))
    families: dict[object, Family] = {
        (48, (32, 64)): "shapes",
        (768, (320, 640, 1280, 1280)): "sd1",
        (1024, (320, 640, 1280, 1280)): "sd2",
        (2048, (320, 640, 1280)): "sdxl",
    }
    if shape not in families:
        raise UserError(
            f"{_unknown(model)}; this UNet has cross_attention_dim {shape[0]} and channels {list(shape[1])}"
        )
    return NETWORKS[families[shape]]


def _transformer(model: ModelConfig, config: dict[str, Any], *, is_flux: bool) -> Network:
    """The network of a transformer, by its numbers of blocks and heads."""
    if is_flux:
        shape: tuple[Any, ...] = (
            config.get("num_layers", 19),
            config.get("num_single_layers", 38),
            config.get("num_attention_heads", 24),
        )
        families: dict[object, Family] = {(19, 38, 24): "flux"}
    else:
        dual = config.get("dual_attention_layers") or ()
        shape = (config.get("num_layers", 18), config.get("num_attention_heads", 18), len(dual))
        families = {
            (4, 4, 0): "shapes-flow",
            (24, 24, 0): "sd3",
            (24, 24, 13): "sd3.5-medium",
            (38, 38, 0): "sd3.5-large",
        }
    if shape not in families:
        raise UserError(f"{_unknown(model)}; this transformer has numbers of blocks and heads {list(shape)}")
    return NETWORKS[families[shape]]


def _unknown(model: ModelConfig) -> str:
    supported = "Stable Diffusion 1.x to 3.5, FLUX.1 and the built-in models"
    return f"the cost of {model.source} is unknown: rft estimate supports {supported}"

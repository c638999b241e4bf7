"""Small random pipelines of each family, in the folder format that diffusers publishes."""

import string
from functools import cache

import pytest

FAMILIES = ("sd1", "sd2", "sdxl")
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def scheduler(family):
    """As published: v1.4 has PNDM, 2.1 DDIM on v, XL Euler."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

    if family == "sd1":
        return PNDMScheduler(**NOISE, skip_prk_steps=True, set_alpha_to_one=False)
    if family == "sd2":
        return DDIMScheduler(**NOISE, set_alpha_to_one=False, clip_sample=False, prediction_type="v_prediction")
    return EulerDiscreteScheduler(**NOISE, timestep_spacing="leading")


def unet(family, text_width):
    from diffusers import UNet2DConditionModel

    settings = {
        "sd1": {"attention_head_dim": 2},
        "sd2": {"attention_head_dim": [2, 4], "use_linear_projection": True},
        "sdxl": {
            "attention_head_dim": [2, 4],
            "use_linear_projection": True,
            "transformer_layers_per_block": [1, 2],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 48,
        },
    }[family]
    down = ("DownBlock2D", "CrossAttnDownBlock2D") if family == "sdxl" else ("CrossAttnDownBlock2D", "DownBlock2D")
    up = tuple(name.replace("Down", "Up") for name in reversed(down))
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=down, up_block_types=up, cross_attention_dim=text_width, **settings,
    )  # fmt: skip


def text_config(tokenizer, width, act):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, projection_dim=width,
        num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=16, hidden_act=act,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def safety_checker():
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(projection_dim=16, vision_config=vision | {"image_size": 32, "patch_size": 16})
    return StableDiffusionSafetyChecker(config), CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)


def build(family, folder):
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from reward_finetuning.shapes.text_encoder import write_tokenizer

    with torch.random.fork_rng():
        torch.manual_seed(FAMILIES.index(family))
        tokenizer = write_tokenizer(folder / "vocabulary")
        parts = {
            "vae": AutoencoderKL(
                block_out_channels=(16, 32), norm_num_groups=8, latent_channels=4, sample_size=16,
                down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            ),
            "text_encoder": CLIPTextModel(text_config(tokenizer, 32, "gelu" if family == "sd2" else "quick_gelu")),
            "tokenizer": tokenizer,
            "unet": unet(family, 32 + 48 if family == "sdxl" else 32),
            "scheduler": scheduler(family),
        }  # fmt: skip
        if family == "sdxl":
            second = CLIPTextModelWithProjection(text_config(tokenizer, 48, "gelu"))
            pipeline = StableDiffusionXLPipeline(**parts, text_encoder_2=second, tokenizer_2=tokenizer)
        else:
            checker, extractor = safety_checker() if family == "sd1" else (None, None)
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=checker, feature_extractor=extractor, requires_safety_checker=family == "sd1"
            )
    pipeline.save_pretrained(folder / family)
    return folder / family


def t5(folder, width):
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5Tokenizer(vocab=[*pieces, *((letter, -3.0) for letter in string.ascii_lowercase)], extra_ids=0)
    config = T5Config(vocab_size=32, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.1)
    return tokenizer, T5EncoderModel(config)


def flow_vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32), norm_num_groups=8, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


def build_flow(family, folder):
    """Stable Diffusion 3 with three text encoders, FLUX.1-dev with guidance as an input, and schnell without."""
    import torch
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from reward_finetuning.shapes.text_encoder import write_tokenizer

    with torch.random.fork_rng():
        torch.manual_seed(len(family))
        tokenizer = write_tokenizer(folder / "vocabulary")
        t5_tokenizer, t5_encoder = t5(folder, 32)
        if family == "sd3":
            encoders = [CLIPTextModelWithProjection(text_config(tokenizer, 16, act)) for act in ("quick_gelu", "gelu")]
            pipeline = StableDiffusion3Pipeline(
                SD3Transformer2DModel(
                    sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
                    num_attention_heads=4, joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=32,
                    pos_embed_max_size=12, dual_attention_layers=(0,), qk_norm="rms_norm",
                ),
                FlowMatchEulerDiscreteScheduler(shift=3.0),
                flow_vae(), encoders[0], tokenizer, encoders[1], tokenizer, t5_encoder, t5_tokenizer,
            )  # fmt: skip
        else:
            is_dev = family == "flux-dev"
            pipeline = FluxPipeline(
                FlowMatchEulerDiscreteScheduler(shift=3.0 if is_dev else 1.0, use_dynamic_shifting=is_dev),
                flow_vae(), CLIPTextModel(text_config(tokenizer, 32, "gelu")), tokenizer, t5_encoder, t5_tokenizer,
                FluxTransformer2DModel(
                    in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                    joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=is_dev, axes_dims_rope=(4, 4, 8),
                ),
            )  # fmt: skip
    pipeline.save_pretrained(folder / family)
    return folder / family


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """A function of a family's name: the folder of its small random pipeline, not to be changed."""

    def folder(family):
        return (build if family in FAMILIES else build_flow)(family, tmp_path_factory.mktemp(family))

    return cache(folder)


@pytest.fixture(scope="session")
def stock():
    """Runs programs where diffusers and MLflow are, and nothing of ours."""
    from servers.stock import Stock

    with Stock() as stock:
        yield stock

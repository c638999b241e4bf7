"""Which model is finetuned, and which of its weights."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from reward_finetuning.config.base import Frozen


class LoraConfig(Frozen):
    """Low-rank adapters on the UNet (peft)."""

    rank: PositiveInt = 4
    """r, rank of each adapter."""

    alpha: PositiveFloat = 4.0
    """The adapter's output is scaled by alpha / rank."""

    targets: tuple[str, ...] = Field(default=("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
    """Suffixes of the UNet modules that get an adapter."""


class ModelConfig(Frozen):
    """The pretrained text-to-image model."""

    source: str = Field(default="shapes", min_length=1)
    """`shapes` (the built-in model), a folder saved by diffusers (or gs://BUCKET/PREFIX), or a hub id."""

    revision: str | None = None
    """Commit, tag or branch of a hub id; pin a commit, or results may change under the same config."""

    variant: str | None = None
    """Weight files' variant, e.g. `fp16`."""

    trainable: Literal["full", "lora"] = "full"
    """`full`: every UNet weight. `lora`: adapters alone."""

    lora: LoraConfig = LoraConfig()
    """Used when trainable is `lora`."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where there is one."""

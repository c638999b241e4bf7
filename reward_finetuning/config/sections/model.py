"""Which model is finetuned, and which of its weights."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import Location


class LoraConfig(Frozen):
    """Low-rank adapters on the UNet or transformer (peft)."""

    rank: PositiveInt = 4
    """r, rank of each adapter."""

    alpha: PositiveFloat = 4.0
    """The adapter's output is scaled by alpha / rank."""

    targets: tuple[str, ...] = Field(default=("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
    """Suffixes of the modules that get an adapter."""


class ModelConfig(Frozen):
    """The pretrained text-to-image model."""

    source: Location = "shapes"
    """A built-in model (`shapes`, a UNet, or `shapes-flow`, a flow model), a folder saved by diffusers (Stable
    Diffusion 1.x, 2.x, XL, 3.x or FLUX.1; in a bucket gs://BUCKET/PREFIX or s3://BUCKET/PREFIX), a hub id, or one
    .safetensors file in the original Stable Diffusion format."""

    revision: str | None = None
    """Commit of a hub id, 40 hex digits; the one that is known here when not given."""

    variant: str | None = None
    """Weight files' variant, e.g. `fp16`."""

    single_file_configs: Location | None = None
    """Folder of a pipeline of the same kind, whose configs and tokenizers go with a single file; its weights are not
    read."""

    adapter: Location | None = None
    """LoRA file, or folder with one, that is loaded before training. `lora`: training starts from it, and the reference
    is the model without it. `full`: it is merged into the weights, and the reference is the merged model."""

    t5: bool = True
    """Of Stable Diffusion 3: load its T5, the largest of its three text encoders. Without it prompts are read by CLIP
    alone, up to 77 tokens."""

    max_sequence_length: PositiveInt | None = None
    """Tokens that T5 reads of a prompt; when not given 256 with Stable Diffusion 3 and 512 with FLUX, as in diffusers.
    FLUX.1-schnell needs 256."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the frozen weights and of the arithmetic inside the networks (autocast). Trained weights, guidance, steps
    and log-probs are float32 always, and so is a VAE that says that it overflows in float16."""

    trainable: Literal["full", "lora"] = "full"
    """`full`: every weight of the UNet or transformer. `lora`: adapters alone."""

    lora: LoraConfig = LoraConfig()
    """Used when trainable is `lora`."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where there is one."""

    quantization: Literal["none", "int8"] = "none"
    """`int8`: the frozen linear layers of a transformer (Stable Diffusion 3, FLUX) are in 8 bits, by bitsandbytes (the
    extra `8bit`); for `lora` alone. An exported LoRA is for the model as it is, without quantization."""

    offload: bool = False
    """Text encoders and the VAE stay in the memory of the host, and are on the GPU only while they encode or decode. It
    saves GPU memory while the network is sampled from or trained, and costs a copy to the GPU at each use."""

    prompt_cache: bool = False
    """Keep encoded prompts on the local disk, in `$RFT_CACHE` (docs/storage.md), for the other tasks of the run and for
    later runs with the same text encoders. The text encoders are loaded only for prompts that are not there. The
    numbers are the same. A prompt of Stable Diffusion 3 or FLUX has 3 to 8 MB."""

    compile: bool = False
    """Compile the UNet or transformer by torch.compile, of the policy and of the reference, to sample and to train. The
    first batch of each shape takes up to minutes, which are logged apart (`sample/compile_seconds`,
    `train/compile_seconds`). Log-probs change in their last bits. It needs a C++ compiler, on a GPU Triton."""

    channels_last: bool | Literal["auto"] = "auto"
    """Keep the weights of convolutions, of a UNet and of the VAE, with the channels last in memory, which tensor cores
    read without a copy. `auto`: on a CPU, unless `training.sharding` is on or `training.optimizer` is
    `adamw_8bit`; not measured on a GPU. Log-probs change in their last bits."""

    tf32: bool = False
    """On a GPU, let the UNet or transformer multiply float32 matrices in TF32, which has 10 bits of mantissa. The check
    of replayed log-probs refuses it where `objective.clip_range` is too small for that."""

    @model_validator(mode="after")
    def _trained_weights_are_not_quantized(self) -> Self:
        if self.quantization != "none" and self.trainable == "full":
            raise ValueError(
                f"quantization={self.quantization} is for frozen weights, and trainable is full: set trainable: lora, "
                "or quantization: none"
            )
        return self

    @model_validator(mode="after")
    def _quantized_layers_are_not_compiled(self) -> Self:
        if self.quantization != "none" and self.compile:
            raise ValueError(
                f"quantization={self.quantization} is not supported with compile, which does not know the kernels of "
                "bitsandbytes: set compile: false, or quantization: none"
            )
        return self

"""How the policy is updated."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen


class TrainingConfig(Frozen):
    """AdamW on the exact gradient, accumulated cell by cell."""

    updates_per_epoch: PositiveInt = 1
    """Gradient updates on one epoch's rollouts (the paper's K)."""

    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit`: AdamW of bitsandbytes (the extra `8bit`), whose moments take 2 bytes per trained weight instead of
    8; weights with fewer than 4096 elements keep moments in float32."""

    learning_rate: PositiveFloat = 1e-5
    """AdamW's learning rate, constant."""

    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's decoupled weight decay."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment."""

    epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the trained weights, updated after every update; none when not given.
    Sampling uses the newest weights; see evaluation.averaged."""

    max_grad_norm: PositiveFloat = 1.0
    """The gradient is scaled down to this norm."""

    cells_per_batch: PositiveInt = 64
    """(image, step) cells per forward and backward pass: memory grows with this, not with T.

    PRDP and PPOD save a pass where it is at least images_per_prompt times the steps that are trained.
    """

    uncond_gradient: bool = True
    """Whether the gradient flows through guidance's unconditional branch too (exact), or not (faster)."""

    gradient_checkpointing: bool = False
    """Keep the activations of each block's input alone and compute the others again in the backward pass: memory of a
    few blocks for about a third more time."""

    old_log_probs: Literal["stored", "replay"] = "stored"
    """`replay` recomputes them at the training batch shape before the first update: one more forward pass an epoch,
    for precisions in which stored and replayed values differ by more than the clip range allows."""

    processes: PositiveInt | Literal["auto"] = "auto"
    """Processes that train_epoch and run_epochs start on a node, each with its own GPU; `auto`: one per visible GPU,
    and one where there is none. Where images and cells go depends on it, what is drawn does not; gradients are
    summed in another order, which changes rounding alone. So a run may continue with another number."""

    sharding: Literal["none", "fsdp"] = "none"
    """`fsdp`: with several processes, each holds a part of the trained weights, of their gradient and of AdamW's state,
    and of the reference (FSDP2). Only with `model.trainable: full`. Checkpoints are the same as without."""

    @model_validator(mode="before")
    @classmethod
    def _without_removed_settings(cls, settings: Any) -> Any:
        """Settings but `gate_cells` of earlier versions, which bounded a check that has no cost now."""
        if isinstance(settings, dict):
            return {key: value for key, value in settings.items() if key != "gate_cells"}
        return settings

    @model_validator(mode="after")
    def _moments_in_8_bits_are_whole(self) -> Self:
        if self.sharding != "none" and self.optimizer == "adamw_8bit":
            raise ValueError(
                f"training.optimizer=adamw_8bit has no moments that training.sharding={self.sharding} could shard: set "
                "optimizer: adamw, or sharding: none"
            )
        return self

    def shards(self, num_processes: int) -> bool:
        """Whether weights are sharded; one process has them all."""
        return self.sharding == "fsdp" and num_processes > 1

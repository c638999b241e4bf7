"""A whole run."""

from typing import Self

from pydantic import Field, NonNegativeInt, model_validator

from reward_finetuning.config.base import Frozen, Name
from reward_finetuning.config.locations import Location
from reward_finetuning.config.sections.evaluation import EvaluationConfig
from reward_finetuning.config.sections.loop import LoopConfig
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.monitor import MonitorConfig
from reward_finetuning.config.sections.objective import ObjectiveConfig, PrdpConfig
from reward_finetuning.config.sections.promotion import PromotionConfig
from reward_finetuning.config.sections.prompts import PromptsConfig
from reward_finetuning.config.sections.retraining import RetrainingConfig
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.config.sections.tracking import RetentionConfig, TrackingConfig
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.config.sections.warm_start import WarmStartConfig

NUMERICS = 2
"""Version of what turns settings into numbers. Raise it when the same settings give other bits: a run directory of
another version is refused. 2: noise from Philox keys, PRDP's and PPOD's gradients in natural units."""


class RunConfig(Frozen):
    """All settings of a run; one YAML file in pipelines/runs."""

    name: Name
    """The run's folder under run_root, and its name in MLflow."""

    run_root: Location = "runs"
    """Folder of all runs: a path, or gs://BUCKET/PREFIX or s3://BUCKET/PREFIX."""

    seed: NonNegativeInt = Field(default=0, le=2**53 - 1)
    """Seed of all random numbers."""

    model: ModelConfig = ModelConfig()
    warm_start: WarmStartConfig | None = None
    prompts: PromptsConfig = PromptsConfig()
    sampling: SamplingConfig = SamplingConfig()
    reward: RewardConfig = RewardConfig()
    objective: ObjectiveConfig = PrdpConfig()
    training: TrainingConfig = TrainingConfig()
    loop: LoopConfig = LoopConfig()
    monitor: MonitorConfig = MonitorConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    tracking: TrackingConfig = TrackingConfig()
    retention: RetentionConfig = RetentionConfig()
    retraining: RetrainingConfig | None = None

    @property
    def evaluation_sampling(self) -> SamplingConfig:
        """`sampling`, with the settings of `evaluation` that replace its own."""
        evaluation, changes = self.evaluation, dict[str, object]()
        if evaluation.sampler == "ode":
            changes["flow"] = self.sampling.flow.model_copy(update={"sampler": "ode"})
        for key in ("num_steps", "guidance_scale"):
            if (value := getattr(evaluation, key)) is not None:
                changes[key] = value
        return self.sampling.model_copy(update=changes) if changes else self.sampling

    @property
    def num_images(self) -> int:
        """B = N K, images of an epoch."""
        return self.prompts.prompts_per_epoch * self.sampling.images_per_prompt

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of an epoch, the padded last one included."""
        return -(-self.num_images // self.sampling.micro_batch_size)

    @property
    def micro_batches_per_unit(self) -> int:
        """Shards of an epoch have a multiple of this number of micro-batches, the last one excepted."""
        sampling = self.sampling
        return self.reward.micro_batches_per_unit(sampling.images_per_prompt, sampling.micro_batch_size)

    @property
    def registered_model(self) -> str | None:
        """Name of the MLflow registered model; None where champions are kept in the run directory alone."""
        name = self.promotion.registered_model
        return name.replace("{name}", self.name) if name is not None and self.tracking.enabled else None

    @property
    def starts_at_reference(self) -> bool:
        """Whether the policy of epoch 0 is the reference itself."""
        if self.warm_start is not None:
            return self.warm_start.reference == "warm_start"
        return self.model.adapter is None or self.model.trainable == "full"

    @model_validator(mode="after")
    def _objective_fits_sampling(self) -> Self:
        k = self.sampling.images_per_prompt
        if self.objective.compares_images and k < 2:
            raise ValueError(
                f"{self.objective.name} compares images of one prompt: "
                f"sampling.images_per_prompt must be at least 2, got {k}"
            )
        return self

    @model_validator(mode="after")
    def _training_is_stochastic(self) -> Self:
        if self.sampling.flow.sampler == "ode":
            raise ValueError(
                "sampling.flow.sampler=ode is deterministic, and a deterministic step has no log-probability: use cps "
                "or sde, and evaluation.sampler: ode"
            )
        return self

    @model_validator(mode="after")
    def _sharded_weights_are_trained(self) -> Self:
        if self.training.sharding != "none" and self.model.trainable == "lora":
            raise ValueError(
                f"training.sharding={self.training.sharding} shards trained weights and their optimizer state, which "
                "are small with model.trainable=lora: set model.trainable: full, or training.sharding: none"
            )
        return self

    @model_validator(mode="after")
    def _sharded_weights_are_as_they_are_loaded(self) -> Self:
        for setting in ("compile", "channels_last"):
            if self.training.sharding != "none" and getattr(self.model, setting) is True:
                raise ValueError(
                    f"model.{setting} is not supported with training.sharding={self.training.sharding}, which gathers "
                    f"weights between blocks: set model.{setting}: false, or training.sharding: none"
                )
        return self

    @model_validator(mode="after")
    def _the_optimizer_keeps_the_order_of_weights(self) -> Self:
        if self.training.optimizer == "adamw_8bit" and self.model.channels_last is True:
            raise ValueError(
                "model.channels_last is not supported with training.optimizer=adamw_8bit, whose steps put weights in "
                "another order in memory than their moments: set model.channels_last: false, or optimizer: adamw"
            )
        return self

    @model_validator(mode="after")
    def _averages_are_kept(self) -> Self:
        if self.evaluation.averaged and self.training.ema_decay is None:
            raise ValueError("evaluation.averaged needs training.ema_decay, e.g. 0.99: no average is kept without it")
        return self

    @model_validator(mode="after")
    def _every_shard_has_work(self) -> Self:
        if self.loop.num_shards > self.num_micro_batches:
            raise ValueError(
                f"loop.num_shards={self.loop.num_shards} but an epoch's {self.num_images} images are "
                f"{self.num_micro_batches} micro-batches: lower it, or sampling.micro_batch_size"
            )
        num_units = -(-self.num_micro_batches // self.micro_batches_per_unit)
        if self.loop.num_shards > num_units:
            names = ", ".join(sorted(self.reward.groupwise))
            raise ValueError(
                f"loop.num_shards={self.loop.num_shards} but {names} scores all images of a prompt together, and "
                f"{self.num_images} images in micro-batches of {self.sampling.micro_batch_size} can be cut into "
                f"at most {num_units} shards without splitting a prompt: lower it, or set "
                "sampling.micro_batch_size to a divisor of sampling.images_per_prompt"
            )
        return self

    @model_validator(mode="after")
    def _gate_has_its_evaluation(self) -> Self:
        if self.loop.granularity != "staged" and self.retraining is None and not self.promotion.after_training:
            return self
        evaluated = self.evaluation.prompt_sets
        if unknown := sorted({*self.promotion.improve_on, *self.promotion.keep_on} - evaluated.keys()):
            raise ValueError(
                f"promotion asks for prompt sets {', '.join(unknown)}, "
                f"evaluation.prompt_sets has {', '.join(evaluated)}"
            )
        rewards = self.reward.weights
        if unknown := sorted(self.promotion.guard_margins.keys() - rewards.keys()):
            raise ValueError(f"promotion.guard_margins names {', '.join(unknown)}, reward.weights {', '.join(rewards)}")
        return self

    @model_validator(mode="after")
    def _event_files_have_a_folder(self) -> Self:
        if self.tracking.tensorboard and "://" in self.run_root:
            raise ValueError(f"tracking.tensorboard writes into a folder, and run_root is {self.run_root}: remove it")
        return self

    @model_validator(mode="after")
    def _retraining_fits_the_rest(self) -> Self:
        if self.retraining is None:
            return self
        if self.loop.granularity == "split":
            raise ValueError("retraining promotes at the end of one pipeline run: loop.granularity is fused or staged")
        if self.registered_model is None:
            raise ValueError(
                "retraining finds its champion in MLflow's registry: it needs tracking.enabled and "
                "promotion.registered_model"
            )
        if self.warm_start is not None:
            raise ValueError("retraining.start_from says what to start from: remove warm_start, or retraining")
        return self

    @property
    def loaded_model(self) -> ModelConfig:
        """`model` as tasks of the run load it: channels_last `auto` is off with settings that refuse it."""
        refuses = self.training.sharding != "none" or self.training.optimizer == "adamw_8bit"
        if refuses and self.model.channels_last == "auto":
            return self.model.model_copy(update={"channels_last": False})
        return self.model

    def numbers(self) -> dict[str, object]:
        """The settings that change numbers, as flat `section.key` -> value: the fingerprint's part of the config."""
        numeric = self.model_dump(
            mode="json", include={"seed", "prompts", "sampling", "reward", "objective", "training"}
        )
        # What the model is made of is in its digest.
        not_numbers = {"source", "revision", "variant", "single_file_configs", "adapter"}
        not_numbers |= {"device", "offload", "prompt_cache"}
        numeric["model"] = self.model.model_dump(mode="json", exclude=not_numbers)
        if self.model.dtype == "float32":
            del numeric["model"]["dtype"]  # as in runs from before there was a choice
        for key in ("t5", "max_sequence_length", "quantization", "compile", "channels_last", "tf32"):
            if self.model.model_dump()[key] == ModelConfig.model_fields[key].default:
                del numeric["model"][key]
        for key in ("flow", "kl_share"):
            if getattr(self.sampling, key) == SamplingConfig.model_fields[key].default:
                del numeric["sampling"][key]
        if self.model.trainable == "full":
            del numeric["model"]["lora"]
        if self.training.ema_decay is None:
            del numeric["training"]["ema_decay"]
        if self.training.optimizer == TrainingConfig.model_fields["optimizer"].default:
            del numeric["training"]["optimizer"]  # as in runs from before there was a choice
        del numeric["training"]["gradient_checkpointing"]  # the same numbers, computed twice
        del numeric["prompts"]["train"]
        del numeric["reward"]["verify"]
        for key in ("processes", "sharding"):  # as the number of GPUs, they change rounding alone
            del numeric["training"][key]
        # What scores depend on is in the scorers' digests, not in where they run; a plug-in may have no digest.
        numeric["reward"]["scorers"] = {
            name: each.model_dump(include={"dtype", "use"} | ({"groupwise"} if each.groupwise else set()))
            for name, each in self.reward.scorers.items()
        }
        if self.warm_start is not None:
            numeric["warm_start"] = {"reference": self.warm_start.reference}
        return {"numerics": NUMERICS, **flatten(numeric)}


def flatten(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested dicts as one dict with dotted keys."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

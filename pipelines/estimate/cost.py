"""Estimate of GPU hours, memory and disk of a run, by role."""

from __future__ import annotations

from dataclasses import dataclass

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, RwrConfig
from reward_finetuning.pipelines.estimate.networks import (
    NETWORKS,
    SCORER_FLOPS,
    SCORER_GB,
    T5_PARAMETERS,
    UTILISATION,
    Accelerator,
    network_of,
)
from reward_finetuning.prompts import read_prompts

_GIGA = 1e9
_PICTURE = 1.6  # bytes per pixel of a lossless picture
_HALF_ACTIVATIONS = 0.6  # share of float32 activations: norms stay in float32 under autocast
_FORWARD_ACTIVATIONS = 0.15  # share of the activations of a backward pass
_DECODED = 4 * 4 * 256  # bytes per pixel: four maps of the widest layer of the VAE at full size, in float32
_CONTEXT = 1.5  # GB of the CUDA context
_MOMENTS = {"adamw": 8, "adamw_8bit": 2}  # bytes per trained weight
_PROMPTS = {"pickapic": 500, "hpdv2": 800}


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one role."""

    flops: float
    hours: float
    """Hours of one GPU."""

    memory: float
    """GB per GPU."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of a run."""

    roles: dict[str, Cost]
    disk: float
    """GB, maximum at the end of the run."""

    assumptions: tuple[str, ...]

    @property
    def hours(self) -> float:
        """GPU hours of all roles."""
        return sum(cost.hours for cost in self.roles.values())


def estimate(config: RunConfig, accelerator: Accelerator, utilisation: float | None = None) -> Estimate:
    """Estimate the cost of a run on one type of accelerator.

    Args:
        config: config of the run.
        accelerator: type of accelerator.
        utilisation: share of the peak performance; default: UTILISATION.

    Raises:
        UserError: the cost of the model is unknown.
    """
    return _Estimator(config, accelerator, utilisation).run()


def num_evaluations(config: RunConfig) -> int:
    """How often a run evaluates its policy, the pretrained one included."""
    return 1 + -(-config.loop.epochs // config.loop.evaluate_every)


def evaluated_images(config: RunConfig) -> tuple[int, list[str]]:
    """Images of one evaluation, and a sentence for each prompt set that is not on this machine."""
    total, missing = 0, []
    for name, source in config.evaluation.prompt_sets.items():
        try:
            count = len(read_prompts(source).prompts)
        except UserError:
            count = _PROMPTS.get(source.partition(":")[0], 100)
            missing.append(f"evaluation set {name} ({source}) is not on this machine: counted as {count} prompts")
        total += count * config.evaluation.images_per_prompt
    return total, missing


class _Estimator:
    def __init__(self, config: RunConfig, accelerator: Accelerator, utilisation: float | None) -> None:
        self._config = config
        self._network = network_of(config.model)
        self._half = config.model.dtype != "float32"
        share = utilisation or UTILISATION["half" if self._half else "float32"]
        self._speed = share * (accelerator.half if self._half else accelerator.float32)
        self._share = share
        sampling, size = config.sampling, self._network.size
        self._pixels = (sampling.height or size) * (sampling.width or size)
        self._cells = self._pixels // self._network.factor**2
        self._branches = 2 if sampling.guidance_scale > 1 and not self._network.has_guidance_input else 1
        self._images = config.num_images
        self._missing_sets: list[str] = []

    def run(self) -> Estimate:
        loop = self._config.loop
        per_evaluation, self._missing_sets = evaluated_images(self._config)
        evaluated = num_evaluations(self._config) * per_evaluation
        rollouts = 1 if self._config.sampling.rollouts == "offline" else loop.epochs
        sampled = rollouts * self._images
        flops = {
            "sample": sampled * (self._trajectory() + self._decode()) + self._reference_flops(rollouts),
            "reward": sampled * self._scoring(),
            "train": self._train_flops(),
            "evaluate": evaluated * (self._evaluation_trajectory() + self._decode() + self._scoring()),
        }
        memory = self._memory()
        roles = {role: Cost(value, value / self._speed / 3600, memory[role]) for role, value in flops.items()}
        return Estimate(roles, self._disk(evaluated), self._assumptions())

    def _step(self) -> float:
        """FLOPs of the forward pass of one denoising step of one image, with guidance."""
        return self._branches * self._network.flops(self._cells)

    def _trajectory(self) -> float:
        return self._config.sampling.num_steps * self._step()

    def _evaluation_trajectory(self) -> float:
        sampling = self._config.evaluation_sampling
        branches = 2 if sampling.guidance_scale > 1 and not self._network.has_guidance_input else 1
        return sampling.num_steps * branches * self._network.flops(self._cells)

    def _decode(self) -> float:
        linear, quadratic = self._network.decoding
        return linear * self._cells + quadratic * self._cells**2

    def _scoring(self) -> float:
        return sum(SCORER_FLOPS.get(name, 0.0) for name in self._config.reward.weights)

    def _scorer_gb(self, name: str) -> float:
        settings = self._config.reward.scorers.get(name)
        return SCORER_GB.get(name, 0.0) / (1 if settings is None or settings.dtype == "float32" else 2)

    def _reference_flops(self, rollouts: int) -> float:
        """FLOPs of log_probs_ref. In the first epoch, the policy is the reference, unless it starts from an adapter."""
        config = self._config
        first = 0 if config.model.adapter is not None and config.model.trainable == "lora" else 1
        share = 1.0 if config.objective.reads_reference else config.sampling.kl_share
        return share * (rollouts - first) * self._images * self._trajectory()

    def _train_flops(self) -> float:
        """Upper bound: clipped cells need no backward pass, and stages of PPOD can converge earlier."""
        config, objective, steps = self._config, self._config.objective, self._config.sampling.num_steps
        epochs, updates = config.loop.epochs, config.training.updates_per_epoch
        images = (
            min(2 * objective.pairs_per_update, self._images) if isinstance(objective, PpodConfig) else self._images
        )
        step, cells = self._step(), epochs * updates * images * steps
        backward = 2.0 if config.model.trainable == "full" else 1.0
        if isinstance(objective, RwrConfig):
            return cells * (1 + backward) * self._network.flops(self._cells)
        if config.training.gradient_checkpointing:
            backward += 1.0  # every block is evaluated again
        learning = cells * (1 + backward) * step
        if not config.training.uncond_gradient:
            learning -= cells * backward * step / 2
        if isinstance(objective, DpokConfig) and objective.kl_weight > 0:
            learning += cells * step
        # The first update after sampling uses the stored log-probs.
        stored = epochs if config.sampling.rollouts == "online" else 1
        replayed = 0 if self._is_one_pass() else (epochs * updates - stored) * images * steps
        if config.training.old_log_probs == "replay":
            replayed += stored * self._images * steps
        if isinstance(objective, PpodConfig) and objective.convergence is not None:
            checks = epochs * updates / objective.convergence.check_every
            replayed += int(checks * objective.convergence.heldout_share * self._images * steps)
        return learning + replayed * step

    def _is_one_pass(self) -> bool:
        """Whether updates need no pass without gradient: as objectives/one_pass.py decides it."""
        config = self._config
        by_cell = isinstance(config.objective, DdpoConfig | DpokConfig)
        prompt_fits = config.sampling.images_per_prompt * config.sampling.num_steps <= config.training.cells_per_batch
        return config.model.dtype != "float16" and (by_cell or prompt_fits)

    def _memory(self) -> dict[str, float]:
        """GB per role; activations of other data types are a share of those in float32."""
        config, network = self._config, self._network
        full = config.model.trainable == "full"
        width = 2 if self._half else 4
        quantized = network.quantized_parameters if config.model.quantization == "int8" else 0
        unet = quantized + (network.parameters - quantized) * (4 if full else width)
        has_t5 = self._network.frozen_parameters > T5_PARAMETERS
        t5 = T5_PARAMETERS if has_t5 and not config.model.t5 else 0
        frozen = (network.frozen_parameters - t5) * width
        trained = network.parameters if full else network.lora_parameters * config.model.lora.rank
        moments = _MOMENTS[config.training.optimizer]
        optimizer = trained * (4 + moments + (0 if full else 4) + (4 if config.training.ema_decay else 0))
        activations = network.activation_bytes[0 if full else 1] * self._cells * self._branches
        activations *= _HALF_ACTIVATIONS if self._half else 1.0
        kept = activations
        if config.training.gradient_checkpointing and network.blocks is not None:
            kept *= 2 / network.blocks  # the inputs of all blocks, and one block whole
        reference = network.parameters * 4 if full else 0
        decoded = _DECODED * self._pixels * (config.sampling.micro_batch_size if self._pixels <= 512**2 else 1)
        sampling = max(decoded, config.sampling.micro_batch_size * activations * _FORWARD_ACTIVATIONS)
        batch = config.training.cells_per_batch * kept
        # Offloaded networks are on the GPU before a batch or after it, not beside it.
        sample = unet + reference + (max(frozen, sampling) if config.model.offload else frozen + sampling)
        train = unet + optimizer + (max(frozen, batch) if config.model.offload else frozen + batch)
        in_one_task = reference if config.loop.granularity == "fused" else 0
        return {
            "sample": sample / _GIGA + _CONTEXT,
            "reward": sum(self._scorer_gb(name) for name in config.reward.weights) + _CONTEXT,
            "train": (train + in_one_task) / _GIGA + _CONTEXT,
            "evaluate": (sample - reference) / _GIGA + _CONTEXT,
        }

    def _disk(self, evaluated: int) -> float:
        """GB of the run directory: retained rollouts and policies, and all evaluations."""
        config, network = self._config, self._network
        sampling, keep = config.sampling, config.retention
        latents = (
            (sampling.num_steps + 1)
            * network.channels
            * self._cells
            * (2 if sampling.latents_dtype == "float16" else 4)
        )
        rollouts = self._images * (latents + _PICTURE * self._pixels)
        lora = network.lora_parameters * config.model.lora.rank
        trained = network.parameters if config.model.trainable == "full" else lora
        moments = _MOMENTS[config.training.optimizer]
        policy = trained * (4 + moments + (4 if config.training.ema_decay else 0))
        epochs = config.loop.epochs
        policies = (
            epochs if keep.policies == 0 else min(epochs, keep.policies + -(-epochs // config.loop.evaluate_every))
        )
        retained = 1 if sampling.rollouts == "offline" else min(epochs, keep.rollouts + 1)
        return (retained * rollouts + policies * policy + evaluated * _PICTURE * self._pixels) / _GIGA

    def _assumptions(self) -> tuple[str, ...]:
        dtype, flops = self._config.model.dtype, self._network.flops(self._cells)
        backward = "twice" if self._config.model.trainable == "full" else "as much as"
        forward = f"one network evaluation of {self._cells} latent cells, one branch: {flops / 1e12:.3g} TFLOP; "
        speed = f"{dtype}: {self._share:.0%} of the peak of the accelerator, {self._speed / 1e12:.1f} TFLOP/s; "
        assumed = (
            f"{speed}the share is an assumption that no run of this project on a GPU has checked: --utilisation sets "
            "another one, --calibrate measures"
        )
        small = ("a built-in model does not fill a GPU, which takes longer than that",)
        return (
            f"{forward}{self._branches} branches per step; a backward pass counts {backward} a forward pass",
            assumed,
            "training is an upper bound: clipped cells need no backward pass, and stages of PPOD can converge earlier",
            "memory: memory-efficient attention of PyTorch; accurate to about 30 %",
            "one GPU at a time: several GPUs need the same GPU hours in less time, plus waiting times",
            *(small if self._network in (NETWORKS["shapes"], NETWORKS["shapes-flow"]) else ()),
            *self._missing_sets,
        )

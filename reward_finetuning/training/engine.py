"""Optimizer and accelerate around a policy: backward, one clipped step, and their state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from reward_finetuning.config.errors import ArtifactError, TrainingError
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.objectives.two_pass import Share
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.sharding import own_part, sharded_like, whole
from reward_finetuning.training.optimizer import build_optimizer, moments, state_from, tensors_of
from reward_finetuning.training.processes import Processes


class Engine:
    """AdamW on the policy's trainable weights; with several processes the same step on each."""

    def __init__(self, policy: Policy, training: TrainingConfig, processes: Processes) -> None:
        self.policy, self.processes = policy, processes
        self.is_sharded = training.shards(processes.count)
        self._max_grad_norm = training.max_grad_norm
        self._names = list(policy.trainable())
        self._accelerator = Accelerator(cpu=policy.device.type == "cpu")
        # Not DistributedDataParallel: it would average gradients, after every backward pass. Processes differ in their
        # number of passes, and coefficients carry every 1/n already: one sum before the step is what is needed.
        if training.gradient_checkpointing:
            policy.enable_gradient_checkpointing()
        if self.is_sharded:
            # By torch's own function, which accelerate's plugin calls too: the plugin shards one network of a process
            # and averages gradients, and a policy has a reference, and sums them (docs/decisions/0012).
            policy.shard()
        else:
            policy.network = self._accelerator.prepare_model(policy.network, evaluation_mode=True)
        optimizer = build_optimizer(policy.trainable().values(), training)
        self._optimizer = self._accelerator.prepare_optimizer(optimizer)
        self._summed = False  # whether the gradient is that of all processes already

    @property
    def share(self) -> Share:
        """This process's part of the cells; with sharded weights all processes make the same number of passes."""
        return replace(self.processes.share, in_lockstep=self.is_sharded)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of `loss`."""
        with self.policy.precision.backward():
            self._accelerator.backward(loss)

    def step(self, scale: float = 1.0) -> float:
        """Sum the gradient over processes, clip it, update the weights, clear it; returns its norm before clipping.

        Args:
            scale: what the losses were multiplied by; the gradient is divided by it first.

        Raises:
            TrainingError: the gradient is not finite, and the weights are as before; or the step overflows float32.
        """
        self._sum()
        if scale != 1.0:
            for weight in self.policy.trainable().values():
                if weight.grad is not None:
                    weight.grad /= scale
        norm = self._accelerator.clip_grad_norm_(self.policy.trainable().values(), self._max_grad_norm)
        value = 0.0 if norm is None else float(whole(norm))
        if not torch.isfinite(torch.tensor(value)):
            raise TrainingError(
                f"gradient norm is {value}: nothing was updated; lower the learning rate or look at the rewards"
            )
        self._step()
        self.clear()
        return value

    def _step(self) -> None:
        try:
            self._optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            rate = self._optimizer.param_groups[0]["lr"]
            raise TrainingError(
                f"training diverged: AdamW's step of the unet overflows float32 at rate {rate:g}; "
                "lower training.learning_rate"
            ) from error

    def gradient_is_finite(self) -> bool:
        """Whether the gradient summed over processes, as it will be stepped along, is finite."""
        self._sum()
        gradients = [weight.grad for weight in self.policy.trainable().values() if weight.grad is not None]
        damaged = sum(not bool(torch.isfinite(own_part(gradient)).all()) for gradient in gradients)
        if self.is_sharded:
            damaged = int(self.processes.total(torch.tensor(damaged)))
        return not damaged

    def clear(self) -> None:
        """Forget the gradient."""
        self._optimizer.zero_grad()
        self._summed = False

    def _sum(self) -> None:
        if not self._summed and not self.is_sharded:  # sharded gradients are summed in every backward pass
            self.processes.sum_gradients(self.policy.trainable().values())
        self._summed = True

    def state(self) -> dict[str, Tensor]:
        """AdamW's state by `weight name/entry`, sharded as the weights are."""
        return {f"{name}/{entry}": value for name, state in self._states() for entry, value in state.items()}

    def moments(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Of each weight that had a step: running means of the gradient and of its square, and the number of steps."""
        for _, state in self._states():
            first, second, steps = moments(state)
            yield whole(first), whole(second), steps

    def _states(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        states = self._optimizer.state_dict()["state"]
        return ((name, tensors_of(states[index])) for index, name in enumerate(self._names) if states.get(index))

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Go on from `state`.

        Raises:
            ArtifactError: it belongs to other weights.
        """
        states: dict[int, dict[str, Tensor]] = {}
        index_of = {name: index for index, name in enumerate(self._names)}
        trainable = self.policy.trainable()
        for key, value in tensors.items():
            name, _, entry = key.rpartition("/")
            if name not in index_of:
                raise ArtifactError(
                    f"{path} holds optimizer state of {name}, which is no trainable weight of this policy"
                )
            # The number of steps has no axis. Moments in 8 bits have axes of their own, and are never sharded.
            moment = sharded_like(value, trainable[name]) if self.is_sharded and value.dim() else value
            if moment.shape == trainable[name].shape and moment.stride() != trainable[name].stride():
                moment = torch.empty_like(trainable[name], dtype=moment.dtype).copy_(moment)  # channels last
            states.setdefault(index_of[name], {})[entry] = moment
        state = {index: state_from(entries) for index, entries in states.items()}
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def loss_scale(coefficients: Tensor, num_elements: int) -> float:
    """What a loss is multiplied by so that float16 holds its gradient: a power of two, so nothing is rounded.

    The gradient of a log-prob, a mean over the latent's elements, is of the order of 1 / num_elements in each of them;
    times g it should come to about 1, far from float16's smallest and largest numbers.

    Args:
        coefficients: [B, T] g; a term that is no function of log-probs counts as 1 / (B T).
        num_elements: C H W.
    """
    largest = max(float(coefficients.abs().max()), 1.0 / coefficients.numel())
    return float(2.0 ** round(math.log2(num_elements / largest)))

"""DPOK's value baseline V(x_t, t, prompt): a small MLP that learns to predict what an image will be rewarded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from reward_finetuning.objectives.cells import CellSource

_CELLS_PER_BATCH = 256
_TIME_FEATURES = 32
_LAYERS = ("hidden_1", "hidden_2", "output")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class ValueNetwork:
    """Two hidden layers on x_t, an embedding of t, and the prompt's embedding averaged over its tokens.

    Its weights and Adam's state are plain tensors between epochs, and every epoch starts from them: an epoch after a
    restart takes the same path as one without.
    """

    def __init__(self, *, hidden: int, learning_rate: float, passes: int) -> None:
        """Hidden units of each layer, Adam's learning rate, and passes over an epoch's cells."""
        self._hidden, self._learning_rate, self._passes = hidden, learning_rate, passes
        self._weights: dict[str, Tensor] = {}
        self._adam: dict[str, Tensor] = {}

    def baseline(self, source: CellSource, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        """V of an epoch's cells, and only then learn from them.

        A baseline may not know the rewards that it is subtracted from: a network fitted to them first would take away
        what the policy is to learn, and bias the gradient. So V is that of the epochs before; in the first epoch it is
        the mean of `targets`.

        Args:
            source: the epoch's trajectories.
            targets: [B] what an image was rewarded.
            rng: draws initial weights and the order of the cells.

        Returns:
            [B, T] float64, and the mean (V - target)^2 over the last pass of learning.
        """
        inputs = _Inputs(source)
        if not self._weights:
            self._weights = _initial_weights(inputs.size, self._hidden, float(targets.mean()), rng)
        values = self._predict(inputs)
        return values, self._fit(inputs, targets, rng)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, and Adam's state under `adam/`; empty before the first epoch."""
        return self._weights | {f"adam/{name}": value for name, value in self._adam.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        self._weights = {name: value for name, value in state.items() if not name.startswith("adam/")}
        self._adam = {name.removeprefix("adam/"): state[name] for name in state if name.startswith("adam/")}

    @torch.no_grad()
    def _predict(self, inputs: _Inputs) -> Tensor:
        weights = {name: value.to(inputs.device) for name, value in self._weights.items()}
        cells = torch.arange(math.prod(inputs.shape))
        parts = [_value(weights, inputs.of(part)).cpu() for part in cells.split(_CELLS_PER_BATCH)]
        return torch.cat(parts).double().view(inputs.shape)

    def _fit(self, inputs: _Inputs, targets: Tensor, rng: np.random.Generator) -> float:
        weights = {name: value.clone().to(inputs.device).requires_grad_() for name, value in self._weights.items()}
        optimizer = torch.optim.Adam(weights.values(), lr=self._learning_rate)
        if self._adam:
            states = {i: {m: self._adam[f"{name}/{m}"] for m in _MOMENTS} for i, name in enumerate(weights)}
            optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        of_cells = targets.float().to(inputs.device).repeat_interleave(inputs.shape[1])
        loss = 0.0
        for _ in range(self._passes):
            order = torch.from_numpy(rng.permutation(len(of_cells)))
            loss = _one_pass(weights, optimizer, inputs, of_cells, order)
        self._weights = {name: value.detach().cpu() for name, value in weights.items()}
        self._adam = {f"{name}/{m}": optimizer.state[w][m].cpu() for name, w in weights.items() for m in _MOMENTS}
        return loss


class _Inputs:
    """What the network sees of a cell; float32 on the source's device."""

    def __init__(self, source: CellSource) -> None:
        self.device, self.shape = source.device, source.shape
        self._latents, self._num_elements, self._prompt_index = source.latents, source.num_elements, source.prompt_index
        self._times = _time_embedding(torch.as_tensor(source.grid.timesteps)).to(self.device)  # [T, F]
        self._prompts = source.prompts.embeddings.float().mean(dim=1).to(self.device)  # [N, D]

    @property
    def size(self) -> int:
        """Numbers a cell."""
        return self._num_elements + self._times.shape[1] + self._prompts.shape[1]

    def of(self, cells: Tensor) -> Tensor:
        """Of flat `cells` [M], [M, size]."""
        images, steps = cells // self.shape[1], cells % self.shape[1]
        x_t = self._latents[images, steps].flatten(1).to(self.device, torch.float32)
        prompts = self._prompt_index[images].to(self.device)
        return torch.cat([x_t, self._times[steps.to(self.device)], self._prompts[prompts]], dim=1)


def _value(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    hidden = inputs
    for layer in _LAYERS[:-1]:
        hidden = silu(linear(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
    return linear(hidden, weights["output.weight"], weights["output.bias"])[:, 0]


def _one_pass(
    weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, inputs: _Inputs, targets: Tensor, order: Tensor
) -> float:
    """One Adam step a mini-batch; the mean squared error as it was met."""
    total = torch.zeros((), device=inputs.device)
    for cells in order.split(_CELLS_PER_BATCH):
        squares = (_value(weights, inputs.of(cells)) - targets[cells.to(inputs.device)]) ** 2
        optimizer.zero_grad()
        squares.mean().backward()
        optimizer.step()
        total += squares.detach().sum()
    return float(total) / len(order)


def _initial_weights(size: int, hidden: int, mean: float, rng: np.random.Generator) -> dict[str, Tensor]:
    """The last layer's weights are 0 and its bias is `mean`: V is the mean reward until it has learnt more."""
    weights = {}
    for layer, fan_in in zip(_LAYERS[:-1], (size, hidden), strict=True):
        weights[f"{layer}.weight"] = _uniform((hidden, fan_in), fan_in, rng)
        weights[f"{layer}.bias"] = _uniform((hidden,), fan_in, rng)
    return weights | {"output.weight": torch.zeros(1, hidden), "output.bias": torch.full((1,), mean)}


def _uniform(shape: Iterable[int], fan_in: int, rng: np.random.Generator) -> Tensor:
    bound = 1 / math.sqrt(fan_in)
    return torch.from_numpy(rng.uniform(-bound, bound, tuple(shape)).astype(np.float32))


def _time_embedding(timesteps: Tensor) -> Tensor:
    """Sinusoids of wavelengths 2 pi to 20000 pi, [T] -> [T, F] (Vaswani et al. 2017, section 3.5)."""
    half = _TIME_FEATURES // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float64) / half)
    angles = timesteps.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()

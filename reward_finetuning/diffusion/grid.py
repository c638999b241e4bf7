"""The transitions of a sampler; numpy alone, so that a laptop can check them without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Prediction = Literal["epsilon", "v_prediction", "flow"]
"""What a network predicts of x_t = signal x_0 + noise e: e, v = signal e - noise x_0, or the velocity e - x_0.

The first two have signal = sqrt(a), noise = sqrt(1 - a) with a = alpha-bar; a flow has signal = 1 - s, noise = s.
"""


@dataclass(frozen=True, slots=True)
class Grid:
    """T transitions, noisiest first: x_{t-1} ~ N(p x_t + q out, std^2 I), where `out` is the raw network output.

    All numbers are float64, so that every consumer rounds from the same values.
    """

    prediction: Prediction

    timesteps: NDArray[np.float64]
    """[T] time input of the network, descending."""

    levels: NDArray[np.float64]
    """[T] noise level of x_t: alpha-bar, or s of a flow model."""

    next_levels: NDArray[np.float64]
    """[T] noise level of x_{t-1}."""

    p: NDArray[np.float64]
    """[T] factor of x_t in the mean."""

    q: NDArray[np.float64]
    """[T] factor of the network output in the mean."""

    stds: NDArray[np.float64]
    """[T] standard deviation; 0 for a deterministic step."""

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.timesteps)

    @property
    def stochastic(self) -> NDArray[np.bool_]:
        """[T] whether a step is Gaussian, and so has a log-probability. These steps are consecutive."""
        return self.stds > 0

    def stochastic_part(self) -> Grid:
        """The transitions that have log-probabilities; the grid itself if all have."""
        kept = self.stochastic
        if kept.all():
            return self
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "prediction"}
        return replace(self, **{name: values[kept] for name, values in arrays.items()})

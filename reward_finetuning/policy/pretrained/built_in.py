"""The small models of this package: what `model.source` calls them, and where their files are. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import ModelConfig

_SHAPES = Path(__file__).parents[2] / "shapes"

BUILT_IN = _SHAPES / "weights"
"""A StableDiffusionPipeline of coloured shapes."""

BUILT_IN_FLOW = _SHAPES / "flow_weights"
"""A StableDiffusion3Pipeline of the same pictures: a transformer with flow matching, two text encoders, no T5."""

BUILT_IN_MODELS = {"shapes": BUILT_IN, "shapes-flow": BUILT_IN_FLOW}
"""Value of `model.source` -> folder. A folder of that name in the working directory is not meant."""

_FLOW_SETTINGS: dict[str, object] = {"t5": False, "max_sequence_length": 1}
"""SD 3 without T5 reads that many zero vectors in its place; the pretraining had one (shapes.flow.T5_TOKENS)."""


def check_built_in(model: ModelConfig) -> None:
    """Refuse settings with which the built-in flow model would read prompts otherwise than in its pretraining.

    Raises:
        UserError: `t5` or `max_sequence_length` is not the model's.
    """
    if model.source != "shapes-flow":
        return
    other = {key: getattr(model, key) for key, value in _FLOW_SETTINGS.items() if getattr(model, key) != value}
    if other:
        raise UserError(
            "model.source shapes-flow has no T5 and reads one token in its place: it needs model.t5=false and "
            f"model.max_sequence_length=1, got {', '.join(f'{key}={value}' for key, value in other.items())}"
        )

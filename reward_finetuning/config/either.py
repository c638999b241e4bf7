"""Commands and tasks that take a run or an evaluation of policies; the latter has the key `policies`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.evaluation_run import EvaluationRun
from reward_finetuning.config.load import apply_override, read_sections, validated
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.config.run import RunConfig


def load_run_or_evaluation(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig | EvaluationRun:
    """Read a run file or an evaluation file; `overrides` are `section.key=value`, the value in YAML.

    Raises:
        UserError: the file, a key or a value is wrong; the text names each.
    """
    tree = read_sections(Path(path), "run file", "pipelines/runs")
    for override in overrides:
        apply_override(tree, override)
    return _validated(tree, str(path))


def parse_run_or_evaluation(text: str) -> RunConfig | EvaluationRun:
    """A run or an evaluation from the JSON text that travels between tasks."""
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(f"config must be JSON text: {error}") from None
    return _validated(tree, "config")


def _validated(tree: object, where: str) -> RunConfig | EvaluationRun:
    if isinstance(tree, dict) and "policies" in tree:
        return validated(EvaluationRun, tree, where)
    return validated(RunConfig, tree, where)

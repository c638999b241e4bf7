"""Comparison of the scorers of this project with the official packages on the same pictures."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import TrainingError, UserError
from reward_finetuning.config.locations import in_bucket
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import ScorerModule

OFFICIAL_PYTHON = "RFT_OFFICIAL_PYTHON"
"""Environment variable: the Python of the scorer environment."""

TOLERANCE = 1e-4
"""Largest allowed difference. Rounding causes differences below 1e-5 for scores of size 1."""

VERIFIABLE = ("hpsv2", "hpsv2_1", "image_reward", "pickscore")
_PROMPT_COLUMNS = 48


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of N pictures by both implementations."""

    scorer: str
    prompts: Sequence[str]
    ours: NDArray[np.float64]
    """[N]."""

    official: NDArray[np.float64]
    """[N]."""

    @property
    def largest_difference(self) -> float:
        """max |ours - official|; NaN if a score is NaN."""
        return float(np.abs(self.ours - self.official).max())

    def table(self) -> str:
        """One line per picture."""
        head = f"{'ours':>11} {'official':>11} {'difference':>11}  prompt"
        rows = zip(self.ours, self.official, self.prompts, strict=True)
        lines = [f"{a:>11.6f} {b:>11.6f} {a - b:>11.1e}  {prompt[:_PROMPT_COLUMNS]}" for a, b, prompt in rows]
        return "\n".join([f"{self.scorer}: {len(self.prompts)} pictures", head, *lines])


def official_python(option: str | None = None) -> Path:
    """The Python of the scorer environment: `option`, or the value of the environment variable.

    Raises:
        UserError: neither is set, or it is not executable.
    """
    path = option or os.environ.get(OFFICIAL_PYTHON)
    if not path:
        raise UserError(
            "the official packages are in a separate environment: build it with `make scorer-environment`, "
            f"then set {OFFICIAL_PYTHON} or --official-python to its bin/python"
        )
    if not os.access(path, os.X_OK):
        raise UserError(f"{path} is not an executable Python: give the bin/python of the scorer environment")
    return Path(path).absolute()


def check_verification(config: RewardConfig) -> None:
    """Refuse `reward.verify` before any work if nothing can be verified.

    Raises:
        UserError: the scorer environment is missing, or no configured scorer has an official package.
    """
    if config.verify:
        official_python()
        if not _verifiable(config):
            raise UserError(
                f"reward.verify: {config.verify}, but none of {', '.join(config.weights)} has an official package to "
                f"compare with (available: {', '.join(VERIFIABLE)}): set it to 0"
            )


def verify(config: RewardConfig) -> list[Comparison]:
    """Compare the scores of `config.verify` pictures of the built-in world, for every configured scorer of VERIFIABLE.

    Raises:
        UserError: as `check_verification`, or the settings or files of a scorer are invalid.
        TrainingError: the scores differ by more than TOLERANCE.
    """
    from reward_finetuning.rewards.verification_pictures import generated_pictures

    check_verification(config)
    if not config.verify:
        return []
    images, prompts = generated_pictures(config.verify)
    python = official_python()
    comparisons = [compare(name, settings, images, prompts, python) for name, settings in _verifiable(config).items()]
    for comparison in comparisons:
        require_agreement(comparison)
    return comparisons


def require_agreement(comparison: Comparison) -> None:
    """Raise TrainingError if the scores differ by more than TOLERANCE, or if a score is NaN."""
    if not comparison.largest_difference <= TOLERANCE:
        raise TrainingError(
            f"{comparison.scorer} differs from its official package by up to {comparison.largest_difference:.1e}, "
            f"allowed is at most {TOLERANCE:.0e}:\n{comparison.table()}"
        )


def compare(
    scorer: str, settings: ScorerConfig, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], python: Path
) -> Comparison:
    """Score pictures [H, W, 3] uint8 of any size in this process and in the scorer environment.

    Raises:
        UserError: the scorer has no official package, its settings or files are invalid, or its environment is broken.
    """
    if scorer not in VERIFIABLE:
        raise UserError(f"{scorer} has no official package to compare with; choose from {', '.join(VERIFIABLE)}")
    module: ScorerModule = import_module(f"reward_finetuning.rewards.models.{scorer}")
    # Both sides use float32 on the CPU, so that the comparison shows only differences of the implementation: on a GPU,
    # hpsv2 rounds to steps of 2e-4.
    settings = settings.model_copy(
        update={"device": "cpu", "dtype": "float32", "source": _local_source(scorer, settings.source)}
    )
    score = module.load(settings)
    ours = np.concatenate([score(image[None], [prompt]) for image, prompt in zip(images, prompts, strict=True)])
    return Comparison(scorer, prompts, ours, _official(scorer, settings, images, prompts, python))


def _official(
    scorer: str, settings: ScorerConfig, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], python: Path
) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory(prefix="rft-verify-") as folder:
        request = {"scorer": scorer, "settings": settings.model_dump(mode="json"), "prompts": list(prompts)}
        Path(folder, "request.json").write_text(json.dumps(request), encoding="utf-8")
        for number, image in enumerate(images):
            np.save(Path(folder, f"{number:06d}.npy"), image)
        command = [str(python), "-m", "reward_finetuning.rewards.official", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean_environment())
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"the official {scorer} in {python} failed: {reason}")
        scores: NDArray[np.float64] = np.load(Path(folder, "scores.npy"))
        return scores


def _verifiable(config: RewardConfig) -> dict[str, ScorerConfig]:
    return {name: config.scorers.get(name, ScorerConfig()) for name in config.weights if name in VERIFIABLE}


def _local_source(scorer: str, source: str | None) -> str | None:
    """The source for another process, which cannot read buckets: an absolute folder, or a hub id."""
    if source and in_bucket(source):
        return str(sources.from_bucket(MODELS[scorer], source))
    return str(Path(source).absolute()) if source and Path(source).is_dir() else source


def _clean_environment() -> dict[str, str]:
    """The environment without PYTHON variables, which select other packages, and without GPUs.

    On a GPU, hpsv2 computes in float16.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return environment | {"CUDA_VISIBLE_DEVICES": ""}

"""Score the request of rewards/verification.py: `python -m reward_finetuning.rewards.official FOLDER`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from reward_finetuning.config.sections.reward import ScorerConfig


def score_request(folder: Path) -> None:
    """Score the pictures NNNN.npy ([H, W, 3] uint8) of request.json, and write scores.npy, float64 [N]."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    module = import_module(f"reward_finetuning.rewards.official.{request['scorer']}")
    scorer = module.load(ScorerConfig.model_validate(request["settings"]))
    images = [np.load(path) for path in sorted(folder.glob("[0-9]*.npy"))]
    scores = [scorer(image[None], [prompt])[0] for image, prompt in zip(images, request["prompts"], strict=True)]
    np.save(folder / "scores.npy", np.array(scores, dtype=np.float64))


if __name__ == "__main__":
    score_request(Path(sys.argv[1]))

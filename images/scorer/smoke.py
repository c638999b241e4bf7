"""Inside the image: a picture is scored as the task reward does it, and the official packages are there."""

import os
from importlib.metadata import version

os.environ["_KFP_RUNTIME"] = "true"  # KFP sets this when it starts a component: kfp then needs no dependencies
import kfp.dsl.executor_main
import numpy as np

from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.pipelines.cli.serve_rewards import serve_rewards
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps.reward import reward

assert callable(reward)
assert callable(serve_rewards)
scorer = load_scorers(RewardConfig(weights={"colourfulness": 1.0}))["colourfulness"]
scores = scorer(np.zeros((1, 32, 32, 3), np.uint8), ["nothing"])
print(scores, version("image-reward"), version("hpsv2x"), kfp.__version__)

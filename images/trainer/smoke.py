"""Inside the image: every component that placement puts here imports, and the built-in model draws pictures."""

import json
import os
from tempfile import TemporaryDirectory

os.environ["_KFP_RUNTIME"] = "true"  # KFP sets this when it starts a component
import datasets
import kfp.dsl.executor_main
import torch
from contents import import_all

from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.sample import sample

print(*import_all("trainer"), datasets.__version__)
with TemporaryDirectory() as folder:
    config = {
        "name": "smoke",
        "run_root": folder,
        "prompts": {"prompts_per_epoch": 1},
        "sampling": {"num_steps": 2, "images_per_prompt": 2, "micro_batch_size": 2},
        "tracking": {"enabled": False},
    }
    policy, rollouts = f"{folder}/policy.json", f"{folder}/rollouts.json"
    begun = next_epochs(json.dumps(config), policy)
    facts = sample(begun.run, begun.first, "0", rollouts)
    print(facts, torch.__version__, kfp.__version__)
    assert facts["num_images"] == 2

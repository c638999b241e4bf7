"""Inside the image: every component that placement puts here imports, an epoch is planned, and there is no torch."""

import importlib.util
import json
import os
from tempfile import TemporaryDirectory

os.environ["_KFP_RUNTIME"] = "true"  # KFP sets this when it starts a component
import datasets
import kfp.dsl.executor_main
from contents import import_all

from reward_finetuning.steps.next_epochs import next_epochs

assert importlib.util.find_spec("torch") is None, "the light image holds torch"
print(*import_all("light"), datasets.__version__)
with TemporaryDirectory() as folder:
    config = json.dumps({"name": "smoke", "run_root": folder, "tracking": {"enabled": False}})
    print(next_epochs(config, f"{folder}/policy.json", f"{folder}/settings.md"), kfp.__version__)

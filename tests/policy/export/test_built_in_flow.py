"""The run file of the built-in flow model: an epoch of it, exported, and drawn by the code of its model card."""

import re

import numpy as np
import pytest
from PIL import Image

from reward_finetuning.config import load_config
from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch
from reward_finetuning.pipelines.cli.run_files import packaged
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_FLOW
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.xdist_group("stock")  # in one worker: the fixture `stock` imports diffusers

SMALL = [
    "loop.epochs=1",
    "prompts.prompts_per_epoch=4",
    "sampling.images_per_prompt=2",
    "evaluation.images_per_prompt=1",
    "evaluation.kl=false",
    "tracking.enabled=false",
    "promotion.after_training=false",
]


@pytest.mark.slow
def test_an_epoch_of_the_run_file_is_drawn_by_the_code_on_its_model_card(stock, tmp_path):
    config = load_config(packaged()["shapes-flow-prdp"], [f"run_root={tmp_path}/runs", *SMALL])
    plan = next_epochs(config.model_dump_json(), str(tmp_path / "before")).plan
    run_epochs(config.model_dump_json(), plan, str(tmp_path / "after"), str(tmp_path / "report.html"))
    run = RunDirectory(config)
    policy = policy_of_epoch(run, 1)

    drawn = {}
    for form, merge in (("adapter", False), ("pipeline", True)):
        folder = tmp_path / form
        export_policy(run, policy, folder, merge=merge)
        (code,) = re.findall(r"## How to use\n\n```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        code = code.replace("THIS_FOLDER", str(folder)).replace("THE_BUILT_IN_MODEL", str(BUILT_IN_FLOW))
        code = code.replace('pipe("a prompt"', 'pipe("a red circle", generator=torch.manual_seed(0)')
        stock.run(f"import torch\n{code}\nimage.save('drawn.png')", cwd=folder)
        drawn[form] = np.asarray(Image.open(folder / "drawn.png"), float)

    assert drawn["pipeline"].shape == (32, 32, 3)
    np.testing.assert_allclose(drawn["adapter"], drawn["pipeline"], atol=1)  # all layers of the LoRA are read

"""A run of SD 3 and one of FLUX, exported, and drawn by stock diffusers where ours is not."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.evaluation.exports import export_model, export_policy, policy_of_epoch
from reward_finetuning.evaluation.reports import read_scores, report_name
from reward_finetuning.policy.export.finetuned_policy import FinetunedPolicy
from reward_finetuning.policy.restore import policy_at
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.records import Prompt, Sample, Stream
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import Reference, RunDirectory

pytestmark = pytest.mark.xdist_group("stock")  # in one worker: the fixture `stock` imports diffusers

PROMPT = "a red circle"
STEPS, TOKENS = 4, 24
GUIDANCE = {"sd3": 3.0, "flux-dev": 3.5}
TRAINABLE = {"sd3": "full", "flux-dev": "lora"}
STOCK = """
import json, sys
import diffusers
import numpy as np, torch

order = json.loads(sys.argv[1])
drawn = {}
for form, folder in order["exports"].items():
    pipe = diffusers.DiffusionPipeline.from_pretrained(order["base"] if form == "adapter" else folder)
    if form == "adapter":
        pipe.load_lora_weights(folder)
    start = torch.tensor(np.load(order["start"]))
    if isinstance(pipe, diffusers.FluxPipeline):
        start = pipe._pack_latents(start, *start.shape)
    drawn[form] = pipe(
        order["prompt"], num_inference_steps=order["steps"], guidance_scale=order["guidance"], latents=start,
        height=16, width=16, max_sequence_length=order["tokens"], output_type="np",
    ).images
np.savez(order["to"], **drawn)
"""


def run_epoch(folder, source, family):
    """One epoch of PRDP, of FLUX through the pipeline; evaluated with more steps, by the deterministic sampler."""
    (folder / "evaluation.txt").write_text("a blue square\n", encoding="utf-8")
    tree = {
        "name": "family",
        "run_root": str(folder / "runs"),
        "model": {
            "source": str(source),
            "trainable": TRAINABLE[family],
            "lora": {"rank": 2, "alpha": 8},
            "max_sequence_length": TOKENS,
        },
        "prompts": {"prompts_per_epoch": 2},
        "sampling": {
            "num_steps": 3,
            "guidance_scale": GUIDANCE[family],
            "images_per_prompt": 2,
            "micro_batch_size": 4,
            "height": 16,
            "width": 16,
        },
        "reward": {"weights": {"colourfulness": 1.0}},
        "training": {"cells_per_batch": 6, "learning_rate": 3e-3},
        "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
        "evaluation": {
            "prompt_sets": {"heldout": str(folder / "evaluation.txt")},
            "images_per_prompt": 1,
            "sampler": "ode",
            "num_steps": STEPS,
            "kl": False,
        },
        "loop": {"epochs": 1},
        "tracking": {"enabled": False},
    }
    config = RunConfig.model_validate(tree)
    if family != "flux-dev":
        plan = next_epochs(config.model_dump_json(), str(folder / "before")).plan
        run_epochs(config.model_dump_json(), plan, str(folder / "after"), str(folder / "report.html"))
        return RunDirectory(config)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return RunDirectory(config)


def ours(run, reference, start):
    """The picture of the deterministic sampler."""
    policy = policy_at(run, reference, keep_reference=False).sampled_with(run.config.evaluation_sampling)
    noise = torch.stack([start, *[torch.zeros_like(start)] * STEPS], dim=1)
    latents = draw(policy.denoiser(), None, noise, policy.encode([PROMPT]), policy.grid).final
    return latents, policy.decode(latents)


def evaluated(run, reference):
    """The picture of an evaluation."""
    policy = policy_at(run, reference, keep_reference=False).sampled_with(run.config.evaluation_sampling)
    samples = [Sample(0, Prompt("one", PROMPT), 3)]
    options = {"denoise_ref": None, "seed": run.config.seed, "stream": Stream.EVALUATION, "epoch": 0}
    return draw_micro_batch(policy, samples, run.config.evaluation_sampling, **options)[1][0].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("family", TRAINABLE)
def test_stock_diffusers_draws_the_picture_of_a_finetuned_flow_model_from_every_export(
    family, family_folder, stock, tmp_path
):
    source, trainable = family_folder(family), TRAINABLE[family]
    run = run_epoch(tmp_path, source, family)
    policy = policy_of_epoch(run, 1)
    forms = {"pipeline": {"merge": trainable == "lora"}} | ({"adapter": {}} if trainable == "lora" else {})
    for form, options in forms.items():
        export_policy(run, policy, tmp_path / form, **options)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    np.save(tmp_path / "start.npy", start.numpy())

    order = {
        "exports": {form: str(tmp_path / form) for form in forms},
        "base": str(source),
        "prompt": PROMPT,
        "steps": STEPS,
        "guidance": GUIDANCE[family],
        "tokens": TOKENS,
        "start": str(tmp_path / "start.npy"),
        "to": str(tmp_path / "drawn.npz"),
    }
    stock.run(STOCK, json.dumps(order), cwd=tmp_path)
    drawn = np.load(tmp_path / "drawn.npz")

    latents, picture = ours(run, policy, start)
    before, _ = ours(run, Reference(epoch=0), start)
    assert (latents - before).abs().max() > 1e-3 * latents.std()
    for form in forms:
        np.testing.assert_allclose(drawn[form], picture / 255, atol=0.6 / 255)
    assert read_scores(run.uri, report_name(run, 1)) is not None
    export_model(run, policy, tmp_path / "mlflow")
    rows = pd.DataFrame({"prompt": [PROMPT], "prompt_id": ["one"], "image_index": [3]})
    (png,) = FinetunedPolicy(tmp_path / "mlflow").predict(rows)
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(png)), float), evaluated(run, policy), atol=1)
    card = (tmp_path / "pipeline" / "README.md").read_text("utf-8")
    assert "eta=" not in card
    assert "DDIMScheduler" not in card
    with pytest.raises(UserError, match="a single file is written of Stable Diffusion"):
        export_policy(run, policy, tmp_path / "file", single_file=True)

"""A run of each UNet family, exported in every form, and drawn by stock diffusers in a process without ours."""

import json

import numpy as np
import pytest
import torch

from reward_finetuning.config import RunConfig
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch
from reward_finetuning.policy.restore import policy_at
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import Reference, RunDirectory

pytestmark = pytest.mark.xdist_group("stock")  # in one worker: the fixture `stock` imports diffusers

PROMPT = "a red circle"
STEPS, GUIDANCE = 3, 3.0
TRAINABLE = {"sd1": "full", "sd2": "lora", "sdxl": "lora"}
STOCK = """
import json, sys
import diffusers
import numpy as np, torch

order = json.loads(sys.argv[1])
drawn = {}
for form, folder in order["exports"].items():
    if form == "file":
        kind = getattr(diffusers, order["pipeline"])
        pipe = kind.from_single_file(folder + "/model.safetensors", config=order["base"])
    else:
        pipe = diffusers.DiffusionPipeline.from_pretrained(order["base"] if form == "adapter" else folder)
    if form != "pipeline":
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, **order["scheduler"])
    if form == "adapter":
        pipe.load_lora_weights(folder)
    for output in ("latent", "np"):
        drawn[f"{form}-{output}"] = pipe(
            order["prompt"], num_inference_steps=order["steps"], guidance_scale=order["guidance"], eta=1.0,
            latents=torch.tensor(np.load(order["start"])), generator=torch.Generator().manual_seed(0),
            output_type=output,
        ).images
    drawn[f"{form}-checked"] = np.array(getattr(pipe, "safety_checker", None) is not None)
np.savez(order["to"], **drawn)
"""


def run_epoch(folder, source, trainable):
    """One epoch of PRDP. tests/policy/export/test_flow_exports.py runs its epochs through the pipeline."""
    (folder / "evaluation.txt").write_text("a blue square\n", encoding="utf-8")
    tree = {
        "name": "family",
        "run_root": str(folder / "runs"),
        "model": {"source": str(source), "trainable": trainable, "lora": {"rank": 2, "alpha": 8}},
        "prompts": {"prompts_per_epoch": 2},
        "sampling": {"num_steps": STEPS, "guidance_scale": GUIDANCE, "images_per_prompt": 2, "micro_batch_size": 4},
        "reward": {"weights": {"colourfulness": 1.0}},
        "training": {"cells_per_batch": 6, "learning_rate": 3e-3, "ema_decay": 0.5},
        "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
        "evaluation": {"prompt_sets": {"heldout": str(folder / "evaluation.txt")}, "images_per_prompt": 1},
        "loop": {"epochs": 1},
        "tracking": {"enabled": False},
    }
    config = RunConfig.model_validate(tree)
    plan = next_epochs(config.model_dump_json(), str(folder / "before")).plan
    run_epochs(config.model_dump_json(), plan, str(folder / "after"), str(folder / "report.html"))
    return RunDirectory(config)


def ours(run, reference, noise):
    policy = policy_at(run, reference, keep_reference=False)
    latents = draw(policy.denoiser(), None, noise, policy.encode([PROMPT]), policy.grid).latents[:, -1]
    return latents.numpy(), policy.decode(latents)


@pytest.mark.slow
@pytest.mark.parametrize("family", TRAINABLE)
def test_stock_diffusers_draws_the_policys_picture_from_every_export(family, family_folder, stock, tmp_path):
    source, trainable = family_folder(family), TRAINABLE[family]
    run = run_epoch(tmp_path, source, trainable)
    policy = policy_of_epoch(run, 1)
    forms = {"pipeline": {"merge": trainable == "lora"}, "file": {"single_file": True}}
    forms |= {"adapter": {}} if trainable == "lora" else {}
    for form, options in forms.items():
        export_policy(run, policy, tmp_path / form, **options)
    generator, start = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    noise = [torch.randn((1, 4, 8, 8), generator=g) for g in (start, *[generator] * STEPS)]
    np.save(tmp_path / "start.npy", noise[0].numpy())

    order = {
        "exports": {form: str(tmp_path / form) for form in forms},
        "base": str(source),
        "pipeline": "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline",
        "scheduler": {
            "timestep_spacing": "leading",
            "steps_offset": 1,
            "set_alpha_to_one": False,
            "clip_sample": False,
        },
        "prompt": PROMPT,
        "steps": STEPS,
        "guidance": GUIDANCE,
        "start": str(tmp_path / "start.npy"),
        "to": str(tmp_path / "drawn.npz"),
    }
    stock.run(STOCK, json.dumps(order), cwd=tmp_path)
    drawn = np.load(tmp_path / "drawn.npz")

    latents, picture = ours(run, policy, torch.stack(noise, dim=1))
    before, _ = ours(run, Reference(epoch=0), torch.stack(noise, dim=1))
    scale = latents.std()
    assert np.abs(latents - before).max() > 1e-3 * scale
    for form in forms:
        np.testing.assert_allclose(drawn[f"{form}-latent"], latents, atol=1e-5 * scale, rtol=0)
        if family != "sd1" or form == "file":  # a random safety checker may black the picture out
            np.testing.assert_allclose(drawn[f"{form}-np"], picture / 255, atol=0.6 / 255)
    assert drawn["pipeline-checked"] == (family == "sd1")

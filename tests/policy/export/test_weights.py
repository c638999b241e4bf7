"""Exports, read by stock diffusers in a process that cannot import this project."""

import json

import numpy as np
import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from mlflow.artifacts import download_artifacts
from safetensors.torch import load_file

from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.restore import policy_at
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import Reference, write_reference
from reward_finetuning.tracking import MlflowTracker

pytestmark = pytest.mark.xdist_group("stock")  # in one worker: the fixture `stock` imports diffusers

PROMPT = "a red circle"
STOCK = """
import json, sys
import numpy as np, torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

order = json.loads(sys.argv[1])
pipe = StableDiffusionPipeline.from_pretrained(order["pipeline"])
if order["adapter"]:
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **order["scheduler"])
    pipe.load_lora_weights(order["adapter"])
drawn = pipe(
    order["prompt"], num_inference_steps=order["num_steps"], guidance_scale=order["guidance"], eta=1.0,
    latents=torch.tensor(np.load(order["start"])), generator=torch.Generator().manual_seed(0), output_type="latent",
)
np.save(order["to"], drawn.images.numpy())
"""


def ours(run, reference, noise):
    policy = policy_at(run, reference, keep_reference=False)
    return draw(policy.denoiser(), None, noise, policy.encode([PROMPT]), policy.grid).latents[:, -1].numpy()


@pytest.fixture
def noise(run_config):
    """[1, T + 1, C, H, W]: x_T, then what stock diffusers draws from a generator with seed 0."""
    steps = run_config().sampling.num_steps
    generator, start = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    shape = (4, 8, 8)
    drawn = [
        torch.randn((1, *shape), generator=start),
        *(torch.randn((1, *shape), generator=generator) for _ in range(steps)),
    ]
    return torch.stack(drawn, dim=1)


@pytest.fixture
def stock_latents(stock, tmp_path, noise, run_config):
    """Draw with stock diffusers in a process of its own, started where there is nothing of ours."""

    def pictures(pipeline, adapter=""):
        sampling = run_config().sampling
        np.save(tmp_path / "start.npy", noise[:, 0].numpy())
        order = {
            "pipeline": str(pipeline),
            "adapter": str(adapter),
            "scheduler": {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False},
            "prompt": PROMPT,
            "num_steps": sampling.num_steps,
            "guidance": sampling.guidance_scale,
            "start": str(tmp_path / "start.npy"),
            "to": str(tmp_path / "drawn.npy"),
        }
        stock.run(STOCK, json.dumps(order), cwd=tmp_path)
        return np.load(tmp_path / "drawn.npy")

    return pictures


def header(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["full", "lora", "lora of more layers", "merged"])
def test_stock_diffusers_draws_the_policys_picture_and_not_the_base_models(
    nudged_run, tmp_path, noise, stock_latents, form
):
    lora = {"rank": 2, "alpha": 8}  # unequal: whoever loses alpha draws another picture
    if (
        form == "lora of more layers"
    ):  # diffusers has names of its own for to_q, and none for proj_in, which comes first
        lora["targets"] = ["proj_in", "to_q"]
    run = nudged_run({1: 0.5}, model={"trainable": "full" if form == "full" else "lora", "lora": lora})
    policy, folder = policy_of_epoch(run, None), tmp_path / "export"

    export_policy(run, policy, folder, merge=form == "merged")
    drawn = stock_latents(BUILT_IN, adapter=folder) if form.startswith("lora") else stock_latents(folder)

    np.testing.assert_allclose(drawn, ours(run, policy, noise), atol=1e-5, rtol=0)
    assert np.abs(drawn - ours(run, Reference(epoch=0), noise)).max() > 1e-2


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_store")
def test_the_registered_champion_draws_the_policys_picture(nudged_run, tmp_path, monkeypatch, noise, stock_latents):
    run = nudged_run(
        {1: 0.5},
        model={"trainable": "lora"},
        evaluation={"images_per_prompt": 8},
        promotion={"keep_on": []},
    )
    policy = policy_of_epoch(run, 1)
    write_reference(str(tmp_path / "policy"), policy)
    promote(run.config.model_dump_json(), str(tmp_path / "policy"))

    monkeypatch.setenv("MLFLOW_TRACKING_URI", MlflowTracker(run).uri)
    folder = download_artifacts("models:/tiny@champion", dst_path=str(tmp_path / "champion"))

    np.testing.assert_allclose(stock_latents(folder), ours(run, policy, noise), atol=1e-5, rtol=0)


def test_the_matrices_of_an_adapter_are_the_whole_change_for_programs_that_read_no_metadata(nudged_run, tmp_path):
    run = nudged_run({1: 0.5}, model={"trainable": "lora", "lora": {"rank": 2, "alpha": 8}})
    policy = policy_of_epoch(run, 1)
    base = UNet2DConditionModel.from_pretrained(BUILT_IN / "unet").state_dict()

    export_policy(run, policy, tmp_path / "adapter")
    export_policy(run, policy, tmp_path / "merged", merge=True)

    adapter = load_file(tmp_path / "adapter" / "pytorch_lora_weights.safetensors")
    merged = UNet2DConditionModel.from_pretrained(tmp_path / "merged" / "unet").state_dict()
    by_hand = dict(base)
    for name, up in adapter.items():
        if name.endswith(".lora.up.weight"):
            down = adapter[name.replace(".lora.up.", ".lora.down.")]
            weight = name.removeprefix("unet.").replace(".lora.up.", ".")
            by_hand[weight] = base[weight] + up @ down
    assert max(float((merged[name] - base[name]).abs().max()) for name in base) > 1e-2
    for name in base:
        torch.testing.assert_close(by_hand[name], merged[name], rtol=0, atol=1e-5)


def test_an_adapter_is_one_weights_file_and_a_card(nudged_run, tmp_path):
    run = nudged_run({1: 0.5}, model={"trainable": "lora"})

    export_policy(run, policy_of_epoch(run, 1), tmp_path / "export")

    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
        "README.md",
        "pictures",
        "pytorch_lora_weights.safetensors",
    ]
    described = header(tmp_path / "export")
    assert all((tmp_path / "export" / each["output"]["url"]).is_file() for each in described.pop("widget"))
    assert described == {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "license": "apache-2.0",
        "tags": ["text-to-image", "stable-diffusion", "reward-finetuning", "prdp", "lora"],
    }

"""Registered policies, loaded by MLflow in a process that does not import this project."""

import io
import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.evaluation.exports import export_model, policy_of_epoch
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.restore import policy_at
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.prompts import read_prompts
from reward_finetuning.records import Prompt, Sample, Stream
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import Reference, write_reference
from reward_finetuning.tracking import MlflowTracker

pytestmark = pytest.mark.xdist_group("stock")  # in one worker: the fixture `stock` imports diffusers

PROMPT = "a red circle"
PYFUNC = """
import sys
import mlflow, pandas as pd
from pathlib import Path

uri, to = sys.argv[1:]
model = mlflow.pyfunc.load_model(uri)
rows = pd.DataFrame({"prompt": ["a red circle", "a red circle"], "prompt_id": ["one", "two"], "image_index": [0, 3]})
for name, params in (("default", {}), ("seed", {"seed": 7})):
    for number, picture in enumerate(model.predict(rows, params=params)):
        Path(to, f"{name}-{number}.png").write_bytes(picture)
optional = pd.DataFrame({"prompt": ["a red circle"] * 2, "prompt_id": [None, "x"]})
by_text, other = model.predict(optional)
(same,) = model.predict(pd.DataFrame({"prompt": ["a red circle"]}))
assert by_text == same != other and same.startswith(b"\\x89PNG")
"""
DIFFUSERS = """
import sys
import mlflow, numpy as np, torch
from diffusers import DDIMScheduler

uri, to, start = sys.argv[1:]
adapter = mlflow.diffusers.load_model(uri)
pipe = adapter.load_pipeline(device="cpu", torch_dtype=torch.float32)
pipe.scheduler = DDIMScheduler.from_config(
    pipe.scheduler.config, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False
)
drawn = pipe(
    "a red circle", num_inference_steps=3, guidance_scale=2.0, eta=1.0, latents=torch.tensor(np.load(start)),
    generator=torch.Generator().manual_seed(0), output_type="latent",
)
np.save(to, drawn.images.numpy())
"""
SAMPLES = (Sample(0, Prompt("one", PROMPT), 0), Sample(1, Prompt("two", PROMPT), 3))
SAMPLING = {"num_steps": 3, "guidance_scale": 2.0}


def pictures(run, reference, **changes):
    """Ours: the pictures of an evaluation."""
    policy = policy_at(run, reference, keep_reference=False)
    options = {"denoise_ref": None, "seed": run.config.seed, "stream": Stream.EVALUATION, "epoch": 0, **changes}
    return draw_micro_batch(policy, SAMPLES, run.config.sampling, **options)[1]


def read(folder, name):
    return np.stack([np.asarray(Image.open(io.BytesIO((folder / f"{name}-{n}.png").read_bytes()))) for n in (0, 1)])


def assert_same(drawn, expected):
    """Equal but for rounding: ours are drawn in a batch."""
    assert drawn.shape == expected.shape
    assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_store")
def test_the_champion_draws_our_pictures_in_a_fresh_process(nudged_run, stock, tmp_path):
    run = nudged_run({1: 0.5}, model={"trainable": "lora"}, sampling=SAMPLING, promotion={"keep_on": []})
    policy = policy_of_epoch(run, 1)
    write_reference(str(tmp_path / "policy"), policy)
    promote(run.config.model_dump_json(), str(tmp_path / "policy"))

    stock.run(PYFUNC, "models:/tiny@champion", tmp_path, cwd=tmp_path, MLFLOW_TRACKING_URI=MlflowTracker(run).uri)

    assert_same(read(tmp_path, "default"), pictures(run, policy))
    assert_same(read(tmp_path, "seed"), pictures(run, policy, seed=7))
    base = pictures(run, Reference(epoch=0)).astype(int)
    assert np.abs(read(tmp_path, "default") - base).max() > 10


@pytest.mark.slow
@pytest.mark.parametrize(("family", "trainable"), [("sd1", "full"), ("sd2", "lora"), ("sdxl", "lora")])
def test_each_family_draws_our_pictures(family, trainable, nudged_run, family_folder, stock, tmp_path):
    model = {"source": str(family_folder(family)), "trainable": trainable}
    reward = {"weights": {"colourfulness": 1.0}}
    run = nudged_run({1: 0.5}, model=model, sampling=SAMPLING, reward=reward, tracking={"enabled": False})
    policy, folder = policy_of_epoch(run, 1), tmp_path / "model"

    export_model(run, policy, folder)
    stock.run(PYFUNC, folder, tmp_path, cwd=tmp_path)

    assert_same(read(tmp_path, "default"), pictures(run, policy))


@pytest.mark.slow
def test_an_adapter_is_loaded_by_the_flavor_diffusers_and_draws_our_latents(nudged_run, stock, tmp_path):
    base = shutil.copytree(BUILT_IN, tmp_path / "base")
    model = {"source": str(base), "trainable": "lora", "lora": {"rank": 2, "alpha": 8}}
    run = nudged_run({1: 0.5}, model=model, sampling=SAMPLING, tracking={"enabled": False})
    policy, folder = policy_of_epoch(run, 1), tmp_path / "model"
    start, generator = torch.Generator().manual_seed(1), torch.Generator().manual_seed(0)
    normal = partial(torch.randn, (1, 4, 8, 8))
    noise = torch.stack([normal(generator=start), *(normal(generator=generator) for _ in range(3))], dim=1)
    np.save(tmp_path / "start.npy", noise[:, 0].numpy())

    export_model(run, policy, folder)
    stock.run(DIFFUSERS, folder, tmp_path / "drawn.npy", tmp_path / "start.npy", cwd=tmp_path)

    ours = policy_at(run, policy, keep_reference=False)
    latents = draw(ours.denoiser(), None, noise, ours.encode([PROMPT]), ours.grid).latents[:, -1].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "drawn.npy"), latents, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_model_says_how_it_is_called_and_what_it_needs(nudged_run, tmp_path):
    run = nudged_run({1: 0.5}, model={"trainable": "full"}, sampling=SAMPLING, tracking={"enabled": False})

    export_model(run, policy_of_epoch(run, 1), tmp_path / "model")

    model = yaml.safe_load((tmp_path / "model" / "MLmodel").read_text())
    inputs = json.loads(model["signature"]["inputs"])
    assert [(each["name"], each.get("required", True)) for each in inputs] == [
        ("prompt", True), ("prompt_id", False), ("image_index", False),
    ]  # fmt: skip
    assert [each["name"] for each in json.loads(model["signature"]["params"])] == ["seed", "guidance_scale"]
    assert "diffusers" not in model["flavors"]
    requirements = (tmp_path / "model" / "requirements.txt").read_text()
    assert all(f"{name}==" in requirements for name in ("torch", "diffusers", "transformers", "numpy"))
    example = json.loads((tmp_path / "model" / "input_example.json").read_text())
    prompt = read_prompts(next(iter(run.config.evaluation.prompt_sets.values()))).prompts[0].text
    assert example == {"columns": ["prompt"], "data": [[prompt]]}

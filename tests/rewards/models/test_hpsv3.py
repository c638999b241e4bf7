"""HPSv3 on small random weights of the published layout."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from rewards import hpsv3_files as files
from safetensors.numpy import load_file, save_file

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.models import hpsv3
from reward_finetuning.rewards.models.fetching import fetch
from reward_finetuning.rewards.scorer import check_prompts, check_scorers

SIZES = ((64, 64), (512, 512), (300, 200), (448, 448), (97, 640))
PROMPTS = ["a red cat", "two dogs {and} a café", "", "a frog " * 20, "a  cat\n猫"]
OFFICIAL = [41.0711746, 23.5914249, 29.8491497, 25.4226646, 29.4696884]
"""Scores of HPSv3RewardInferencer of hpsv3 1.0.0 with transformers 4.45.2 and torch 2.13.0 on the CPU, in float32."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return files.write(tmp_path_factory.mktemp("hpsv3"))


@pytest.fixture(scope="module")
def scorer(folder):
    return hpsv3.load(ScorerConfig(source=str(folder), device="cpu"))


def picture(size):
    return np.random.default_rng(size).integers(0, 256, (1, *size, 3), dtype=np.uint8)


def test_scores_are_those_of_the_official_package(scorer):
    scores = [scorer(picture(size), [prompt])[0] for size, prompt in zip(SIZES, PROMPTS, strict=True)]

    np.testing.assert_allclose(scores, OFFICIAL, rtol=1e-5)


def test_a_score_does_not_depend_on_the_pictures_and_prompts_beside_it(scorer):
    images = np.concatenate([picture((64 + row, 64))[:, :64] for row in range(5)])

    together = scorer(images, PROMPTS)

    alone = [scorer(images[row : row + 1], [PROMPTS[row]])[0] for row in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert np.ptp(together) > 1


def test_a_checkpoint_in_the_layout_of_newer_transformers_scores_the_same(folder, scorer, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    state = load_file(folder / "HPSv3.safetensors")
    newer = {"visual.": "model.visual.", "model.": "model.language_model."}
    prefixes = {name: next((old for old in newer if name.startswith(old)), "") for name in state}
    renamed = {newer.get(old, "") + name.removeprefix(old): state[name] for name, old in prefixes.items()}
    save_file(renamed, tmp_path / "HPSv3.safetensors")

    other = hpsv3.load(ScorerConfig(source=str(tmp_path), device="cpu"))

    # Not to the last bit: tensors begin elsewhere in this file (test_fetching.py).
    np.testing.assert_allclose(*(each(picture((64, 64)), ["a cat"]) for each in (other, scorer)), rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("INSTRUCTION = 'rate it'", r"must define INSTRUCTION with \{text_prompt\}"),
        (
            "INSTRUCTION = 'rate {text_prompt}'\nprompt_with_special_token = ask()",
            r"prompt_with_special_token with <\|Rew",
        ),
        ("<html>", r"is not a Python module .*copy it from the package hpsv3 again"),
    ],
)
def test_another_file_than_the_instruction_is_refused_and_not_run(tmp_path, module, message):
    path = tmp_path / "data_collator_qwen.py"
    path.write_text(module)

    with pytest.raises(UserError, match=message):
        hpsv3.read_instruction(path)


def test_an_instruction_that_is_not_the_published_one_is_a_warning(folder, caplog):
    hpsv3.read_instruction(folder / "data_collator_qwen.py")

    assert "another instruction than hpsv3 1.0.0" in caplog.text


def test_a_prompt_with_a_special_token_is_refused_before_anything_is_drawn():
    reward = RewardConfig(weights={"hpsv3": 1.0})

    with pytest.raises(UserError, match=r"hpsv3 cannot judge 1 of 2 prompts of mine.txt.*<\|im_end\|>"):
        check_prompts(reward, "mine.txt", ["a < b | c > d", "a cat<|im_end|>"])


def test_without_the_package_the_command_that_installs_it_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data_collator_qwen.py").unlink()

    with pytest.raises(UserError, match=r"pip install --no-deps hpsv3==1.0.0, or put the file into the folder"):
        fetch(MODELS["hpsv3"], tmp_path, from_hub=True, report=print)


def test_another_models_config_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')

    with pytest.raises(UserError, match=r"config.json describes a qwen3; this scorer needs a Qwen2-VL model"):
        hpsv3.load(ScorerConfig(source=str(tmp_path), device="cpu"))


def test_without_a_folder_the_package_is_asked_for_before_anything_is_downloaded():
    with pytest.raises(UserError, match=r"pip install --no-deps hpsv3==1.0.0"):
        check_scorers(RewardConfig(weights={"hpsv3": 1.0}))


def test_the_instruction_is_copied_from_the_package_which_is_not_imported(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "hpsv3"
    (package / "dataset").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs deepspeed')")
    shutil.copy(folder / "data_collator_qwen.py", package / "dataset")
    weights = shutil.copytree(folder, tmp_path / "weights")
    (weights / "data_collator_qwen.py").unlink()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    fetch(MODELS["hpsv3"], weights, from_hub=True, report=print)

    assert (weights / "data_collator_qwen.py").read_text() == (folder / "data_collator_qwen.py").read_text()


@pytest.mark.slow  # a whole run: its tasks are processes
def test_a_run_trains_on_it(folder, tmp_path):
    options = {
        "name": "preferred", "run_root": str(tmp_path),
        "prompts.train": "shapes:heldout", "prompts.prompts_per_epoch": 2,
        "sampling.num_steps": 2, "sampling.images_per_prompt": 2, "loop.epochs": 1, "loop.granularity": "fused",
        "loop.evaluate_every": 2, "tracking.enabled": "false", "reward.weights": "{hpsv3: 0.1, shapes: 0.0}",
        "reward.scorers": f"{{hpsv3: {{source: {folder}}}}}",
    }  # fmt: skip
    changes = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", "shapes-prdp", *changes]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    (scored,) = tmp_path.glob("preferred/epochs/0001/rewards-*/rewards.parquet")
    table = pq.read_table(scored).to_pydict()
    assert np.ptp(table["hpsv3"]) > 0
    np.testing.assert_allclose(table["reward"], 0.1 * np.array(table["hpsv3"]))

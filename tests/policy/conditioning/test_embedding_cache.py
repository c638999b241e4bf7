"""Encoded prompts on the local disk."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy

PROMPTS = ["a red circle", "a blue square", ""]


@pytest.fixture(autouse=True)
def entries(tmp_path, monkeypatch):
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "entries"


def policy(folder, *, prompt_cache=True, **model):
    sampling = SamplingConfig(num_steps=8, guidance_scale=1.0, height=16, width=16)
    settings = ModelConfig(source=str(folder), trainable="lora", device="cpu", prompt_cache=prompt_cache, **model)
    return load_policy(settings, sampling, seed=0)


def same(one, other):
    pooled = one.pooled is other.pooled or torch.equal(one.pooled, other.pooled)
    return pooled and torch.equal(one.embeddings, other.embeddings) and one.embeddings.dtype == other.embeddings.dtype


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux-dev"])
def test_a_cached_prompt_has_the_bits_of_an_encoded_one_and_needs_no_text_encoder(family_folder, family):
    folder = family_folder(family)
    encoded = policy(folder, prompt_cache=False).encode(PROMPTS)
    first, second = policy(folder), policy(folder)
    assert first.pipeline.text_encoder is None

    assert same(first.encode(PROMPTS), encoded)
    assert same(second.encode(PROMPTS), encoded)
    assert second.pipeline.text_encoder is None
    fresh = second.encode(["a green cross"])  # not there: now they are loaded
    assert not second.pipeline.text_encoder.training
    assert same(fresh, policy(folder, prompt_cache=False).encode(["a green cross"]))


def test_text_encoders_that_are_loaded_late_have_the_type_of_the_run_and_stay_in_host_memory(family_folder):
    cached = policy(family_folder("sd3"), dtype="bfloat16", offload=True, t5=False)

    row = cached.encode(["a red circle"])

    assert row.embeddings.dtype == torch.bfloat16
    assert cached.pipeline.text_encoder_3 is None
    assert not any(weight.requires_grad for weight in cached.pipeline.text_encoder_2.parameters())


def test_changed_files_and_other_settings_are_encoded_anew(family_folder, tmp_path):
    folder = Path(shutil.copytree(family_folder("sd3"), tmp_path / "sd3"))
    before = policy(folder).encode(PROMPTS)
    shorter = policy(folder, max_sequence_length=24).encode(PROMPTS)
    path = folder / "text_encoder_3" / "model.safetensors"
    save_file({name: 2 * weight for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})

    after = policy(folder).encode(PROMPTS)

    assert shorter.embeddings.shape[1] < before.embeddings.shape[1]
    assert same(after, policy(folder, prompt_cache=False).encode(PROMPTS))
    assert not torch.equal(after.embeddings, before.embeddings)


def test_a_truncated_file_is_encoded_anew(family_folder, entries):
    folder = family_folder("sd1")
    encoded = policy(folder).encode(PROMPTS)
    for path in entries.iterdir():
        path.write_bytes(path.read_bytes()[:-1])

    again = policy(folder)

    assert same(again.encode(PROMPTS), encoded)
    assert again.pipeline.text_encoder is not None


def test_a_prompt_that_is_cut_is_reported_also_when_it_is_cached(family_folder, capsys):
    long = "a red circle and " * 60
    policy(family_folder("sd1")).encode([long])
    capsys.readouterr()

    policy(family_folder("sd1")).encode([long])

    assert "is cut after" in capsys.readouterr().out

"""An epoch whose encoded prompts are kept on the local disk."""

import pytest

from reward_finetuning.policy.conditioning import text_encoders

pytestmark = pytest.mark.slow

SMALL = {"prompts": {"prompts_per_epoch": 1}, "sampling": {"images_per_prompt": 2, "micro_batch_size": 2}}


def test_an_epoch_with_cached_prompts_has_the_same_bits_and_training_loads_no_text_encoder(
    tasks, tmp_path, monkeypatch
):
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
    plain = tasks(name="plain", **SMALL)
    cached = tasks(name="cached", model={"prompt_cache": True}, **SMALL)
    for run in (plain, cached):
        run.rollouts(run.begin())
    expected = plain.train()
    monkeypatch.setattr(text_encoders, "add_text_encoders", lambda *_: pytest.fail("a text encoder was loaded"))

    after = cached.train()

    assert after.facts["weights_sha256"] == expected.facts["weights_sha256"]

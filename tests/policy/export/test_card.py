import pytest
import yaml

from reward_finetuning.policy.export.card import Provenance, model_card
from reward_finetuning.policy.export.weights import Drawing, Exported, form_of

DRAWING = Drawing(grid=None, image_size=(32, 32), latent_shape=(4, 8, 8))
RESULTS = [("prompt set", "reward", "before", "after"), ("a|b", "shapes", "0.5", "0.7")]


@pytest.fixture
def card(run_config):
    def write(*, merge=False, results=RESULTS, **changes):
        facts = {"epoch": 2, "weights_sha256": "w", "fingerprint": "f", "code_version": "c"}
        told = {"num_prompts": 64, "prompts_digest": "d" * 64, "results": results, "verdict": "Better."}
        config = run_config(**changes)
        exported = Exported(form_of(config.model, merge=merge), "StableDiffusionPipeline", False, DRAWING)
        return model_card(Provenance(config=config, averaged=False, **facts, **told), exported)

    return write


def header(text):
    return yaml.safe_load(text.split("---")[1])


def test_the_header_names_a_hubs_base_model_how_it_was_changed_and_its_licence(card):
    full = header(card(model={"source": "CompVis/stable-diffusion-v1-4"}))
    adapter = header(card(model={"source": "owner/unknown", "revision": "a" * 40, "trainable": "lora"}))

    assert (full["base_model"], full["base_model_relation"]) == ("CompVis/stable-diffusion-v1-4", "finetune")
    assert full["license"] == "creativeml-openrail-m"
    assert (adapter["base_model"], adapter["base_model_relation"]) == ("owner/unknown", "adapter")
    assert "license" not in adapter


def test_the_card_says_what_was_trained_how_to_load_it_and_what_came_of_it(card):
    text = card(model={"source": "owner/base", "revision": "a" * 40, "trainable": "lora"})

    assert "LoRA of rank 4" in text
    assert f"from_pretrained('owner/base', revision='{'a' * 40}')" in text
    assert "load_lora_weights" in text
    assert "| a\\|b | shapes | 0.5 | 0.7 |" in text
    assert "see the card of the base model" in text


def test_the_usage_in_the_card_is_python(card):
    for changes in ({}, {"model": {"trainable": "lora"}}):
        code = card(**changes).split("```python\n")[1].split("```")[0]

        compile(code, "card", "exec")


def test_a_policy_that_was_not_evaluated_says_so(card):
    assert "This epoch was not evaluated." in card(results=[])

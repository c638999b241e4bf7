import json
import shutil

import pytest
import yaml

from reward_finetuning.policy.export.card import Provenance, ShownPair, model_card
from reward_finetuning.policy.export.weights import Drawing, Exported, form_of
from reward_finetuning.policy.pretrained.built_in import BUILT_IN

DRAWING = Drawing(grid=None, image_size=(32, 32), latent_shape=(4, 8, 8))
RESULTS = [("prompt set", "reward", "before", "after"), ("a|b", "shapes", "0.5", "0.7")]


@pytest.fixture
def card(run_config):
    def write(*, merge=False, results=RESULTS, pictures=(), **changes):
        facts = {"epoch": 2, "weights_sha256": "w", "fingerprint": "f", "code_version": "c"}
        told = {"num_prompts": 64, "prompts_digest": "d" * 64, "results": results, "verdict": "Better."}
        config = run_config(**changes)
        exported = Exported(form_of(config.model, merge=merge), "StableDiffusionPipeline", False, DRAWING)
        return model_card(Provenance(config=config, averaged=False, pictures=pictures, **facts, **told), exported)

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


def test_a_folder_that_names_a_published_model_has_it_as_base_and_another_folder_has_none(card, tmp_path):
    def base_of(name):
        folder = shutil.copytree(BUILT_IN, tmp_path / name.replace("/", "-"))
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"_name_or_path": name}))
        return header(card(model={"source": str(folder)})).get("base_model")

    assert base_of("CompVis/stable-diffusion-v1-4") == "CompVis/stable-diffusion-v1-4"
    assert base_of("models/mine") is None


def test_pictures_are_in_the_hubs_gallery_and_in_the_text(card):
    pairs = [ShownPair("a *red* <b>circle</b> | x", "pictures/1-before.png", "pictures/1-after.png", "0.1 → 0.2")]

    text = card(pictures=pairs)

    assert header(text)["widget"] == [{"text": pairs[0].prompt, "output": {"url": "pictures/1-after.png"}}]
    assert "| a \\*red\\* &lt;b&gt;circle&lt;/b&gt; \\| x | ![before](pictures/1-before.png) |" in text
    assert "## Pictures" not in card()


def test_the_card_of_an_adapter_says_how_to_read_its_scale(card):
    lora = {"trainable": "lora", "lora": {"rank": 4, "alpha": 8}}

    assert "rank and alpha are 4" in card(model=lora)
    assert "Training used alpha 8" in card(model=lora)
    assert "LoRA scale" not in card(model=lora, merge=True)


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

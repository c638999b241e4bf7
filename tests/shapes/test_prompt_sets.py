import json
from collections import Counter

import pytest

from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.scene import COLOURS, KINDS, describe, parse


def read(name):
    return [json.loads(line) for line in (prompt_sets.PROMPTS / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["train.jsonl", "heldout.jsonl", "large.jsonl"])
def test_the_prompt_file_is_what_the_code_enumerates(name):
    assert (prompt_sets.PROMPTS / name).read_text(encoding="utf-8") == prompt_sets.files()[name]


@pytest.mark.parametrize(("name", "each"), [("train.jsonl", 16), ("heldout.jsonl", 8)])
def test_the_four_categories_come_equally_often(name, each):
    records = read(name)

    assert Counter(record["category"] for record in records) == dict.fromkeys(
        ("colour", "count", "composition", "location"), each
    )


def test_the_large_set_holds_at_least_a_thousand_prompts_and_all_small_training_ones():
    large = {record["prompt"] for record in read("large.jsonl")}

    assert len(large) >= 1000
    assert {record["prompt"] for record in read("train.jsonl")} <= large


@pytest.mark.parametrize("name", ["train.jsonl", "heldout.jsonl", "large.jsonl"])
def test_ids_and_prompts_are_unique_and_the_category_follows_from_the_prompt(name):
    records = read(name)

    assert len({record["id"] for record in records}) == len({record["prompt"] for record in records}) == len(records)
    assert all(parse(record["prompt"]).category == record["category"] for record in records)


@pytest.mark.parametrize("name", ["train.jsonl", "large.jsonl"])
def test_no_heldout_pair_is_named_in_a_training_prompt(name):
    pairs = {(item.colour, item.kind) for record in read(name) for item in parse(record["prompt"]).items}

    assert pairs.isdisjoint(prompt_sets.HELDOUT_PAIRS)
    assert {record["split"] for record in read(name)} == {"train"}


def test_every_heldout_prompt_names_a_heldout_pair():
    for record in read("heldout.jsonl"):
        pairs = {(item.colour, item.kind) for item in parse(record["prompt"]).items}

        assert not pairs.isdisjoint(prompt_sets.HELDOUT_PAIRS)
        assert record["split"] == "heldout"


def test_every_colour_and_every_kind_is_trained_on_in_some_pair():
    assert {colour for colour, _ in prompt_sets.TRAIN_PAIRS} == set(COLOURS)
    assert {kind for _, kind in prompt_sets.TRAIN_PAIRS} == set(KINDS)


def test_every_training_pair_comes_in_every_category_of_the_small_set():
    for category in ("colour", "count", "composition", "location"):
        scenes = [scene for scene in prompt_sets.train() if scene.category == category]

        assert {(item.colour, item.kind) for scene in scenes for item in scene.items} == set(prompt_sets.TRAIN_PAIRS)


def test_the_program_writes_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_sets, "PROMPTS", tmp_path)

    prompt_sets.main()

    assert (tmp_path / "train.jsonl").read_text().splitlines()[0] == (
        '{"id": "a-red-circle", "prompt": "a red circle", "category": "colour", "split": "train"}'
    )
    assert describe(prompt_sets.train()[0]) == "a red circle"

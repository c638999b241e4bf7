"""Prompts in the format of GenEval's six tasks."""

import json
import re
from collections import Counter

import pytest

from reward_finetuning.prompts import geneval_like, read_prompts
from reward_finetuning.prompts.geneval_like import COLOURS, FOLDER, NOUNS, NUMBERS, PLACES, files

TRAIN, HELDOUT = (read_prompts(f"geneval-like:{split}").prompts for split in ("train", "heldout"))


def combinations_of(prompt):
    """Pairs that a prompt names: noun and colour, noun and number, two nouns."""
    text = prompt.text.removeprefix("a photo of ")
    if prompt.category == "counting":
        word, plural = text.split(" ", 1)
        return {(word, re.sub("(?<=s|h)es$|s$", "", plural))}
    parts = re.split(f" and |{'|'.join(f' {place} ' for place in PLACES)}", text)
    named = [part.split(" ", 1)[1] for part in parts]
    pairs = {tuple(name.split(" ")) for name in named if name.split(" ")[0] in COLOURS}
    nouns = [name.split(" ")[-1] for name in named]
    assert set(nouns) <= set(NOUNS)
    return pairs | ({tuple(sorted(nouns))} if len(nouns) == 2 else set())


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_prompt_file_is_what_the_code_enumerates(split):
    assert (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8") == files()[f"{split}.jsonl"]


def test_the_six_tasks_are_in_both_splits():
    assert Counter(prompt.category for prompt in TRAIN) == {
        "single object": 32, "two objects": 96, "counting": 90, "colours": 96, "position": 96, "attribute binding": 96,
    }  # fmt: skip
    assert Counter(prompt.category for prompt in HELDOUT) == {
        "single object": 8, "two objects": 24, "counting": 24, "colours": 24, "position": 24, "attribute binding": 24,
    }  # fmt: skip
    assert {prompt.split for prompt in TRAIN} == {"train"}
    assert {prompt.split for prompt in HELDOUT} == {"heldout"}


def test_each_heldout_prompt_has_a_combination_that_no_training_prompt_has():
    trained = set().union(*(combinations_of(prompt) for prompt in TRAIN))

    for prompt in HELDOUT:
        if prompt.category != "single object":
            assert combinations_of(prompt) - trained, prompt.text
    assert not {prompt.text for prompt in HELDOUT} & {prompt.text for prompt in TRAIN}


def test_every_noun_colour_number_and_place_is_trained_on():
    texts = " ".join(prompt.text for prompt in TRAIN)

    for word in (*NOUNS, *COLOURS, *NUMBERS.values(), *PLACES):
        assert re.search(rf"\b{word}", texts), word


def test_a_prompt_of_each_task_reads_as_english():
    texts = {prompt.text for prompt in (*TRAIN, *HELDOUT)}

    assert {"a photo of an umbrella", "a photo of two buses", "a photo of four benches"} & texts
    assert not [text for text in texts if re.search(r"\ba [aeiou]|\ban [^aeiou]", text)]


def test_the_files_are_written_by_the_module(tmp_path, monkeypatch):
    monkeypatch.setattr(geneval_like, "FOLDER", tmp_path / "new")

    geneval_like.main()

    lines = (tmp_path / "new" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]).keys() == {"id", "prompt", "category", "split"}

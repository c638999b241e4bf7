import json
import time

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts

STYLES = ("anime", "concept-art", "paintings", "photo")


@pytest.fixture
def benchmark(tmp_path):
    folder = tmp_path / "benchmark"
    folder.mkdir()
    for style in STYLES:
        (folder / f"{style}.json").write_text(json.dumps([f"{style} {i}" for i in range(3)] + ["in all of them"]))
    (folder / "drawbench.json").write_text('["not of the benchmark"]')
    return folder


def test_the_benchmark_folder_gives_every_style_as_a_category(benchmark):
    prompts = read_prompts(f"hpdv2:{benchmark}")

    assert len(prompts.prompts) == 4 * 3 + 1
    assert [p.category for p in prompts.prompts if p.text.endswith(" 0")] == list(STYLES)
    assert prompts.duplicates == 3


@pytest.mark.parametrize("item", ["[" * 5000, "9" * 5000], ids=len)
def test_a_hostile_item_is_one_error_with_its_line(tmp_path, item):
    (tmp_path / "train.json").write_text(f'["a",\n{item}')

    with pytest.raises(UserError, match=r"train.json:2: an item is nested too deeply, or has a number that is too"):
        read_prompts(f"hpdv2:{tmp_path / 'train.json'}")


def test_one_style_is_a_set_too(benchmark):
    prompts = read_prompts(f"hpdv2:{benchmark / 'photo.json'}").prompts

    assert {p.category for p in prompts} == {"photo"}
    assert len(prompts) == 4


def test_the_records_of_train_and_test_give_each_prompt_once(tmp_path):
    train, test = tmp_path / "train.json", tmp_path / "test.json"
    record = {"human_preference": [1, 0], "prompt": "a cat", "file_path": ["1.jpg", "2.jpg"], "user_hash": "x"}
    train.write_text(json.dumps([record, record, record | {"prompt": "a dog"}], indent=2))
    test.write_text(json.dumps([{"prompt": "a fox", "image_path": ["1.jpg"], "rank": [1], "raw_annotation": []}]))

    of_train, of_test = read_prompts(f"hpdv2:{train}"), read_prompts(f"hpdv2:{test}")

    assert [(p.text, p.split) for p in of_train.prompts] == [("a cat", "train"), ("a dog", "train")]
    assert of_train.duplicates == 1
    assert [(p.text, p.split) for p in of_test.prompts] == [("a fox", "test")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '["a", {"caption": "b", "id": 1}]',
            r"train.json, item 1 must be a text, or .* `prompt`; it has fields caption",
        ),
        ('["a", 3]', r"train.json, item 1 must be a text, .*; it has 3"),
        ('[{"prompt": null}]', r"item 0 must be .*; it has fields prompt"),
        ('{"prompt": "a"}', r"train.json must hold a JSON list, as HPD v2's files do; it begins with '{"),
        ('["a",\n "b', r"train.json:2 is no whole JSON list: Unterminated string"),
        ('["a",\n "b"', r"train.json:2 is no whole JSON list: no , or \] after an item"),
        ('["a" "b"]', r"train.json:1 is no whole JSON list: no , or \] after an item"),
        ("[]", r"train.json holds no prompt"),
        ("", r"train.json must hold a JSON list"),
    ],
)
def test_a_file_of_another_form_is_one_message_that_says_what_is_there(tmp_path, content, message):
    path = tmp_path / "train.json"
    path.write_text(content)

    with pytest.raises(UserError, match=message):
        read_prompts(f"hpdv2:{path}")


def test_a_folder_without_a_style_says_which_and_what_it_holds(benchmark):
    (benchmark / "photo.json").unlink()

    with pytest.raises(UserError, match=r"lacks photo.json of HPD v2's benchmark \(it holds anime.json, concept-art"):
        read_prompts(f"hpdv2:{benchmark}")


def test_a_missing_file_and_a_missing_path_are_named():
    with pytest.raises(UserError, match=r"prompt set nowhere.json does not exist"):
        read_prompts("hpdv2:nowhere.json")
    with pytest.raises(UserError, match=r"'hpdv2:' names no file; write hpdv2:PATH"):
        read_prompts("hpdv2:")


@pytest.mark.slow
def test_as_many_records_as_the_dataset_has_are_read_in_linear_time(tmp_path):
    path = tmp_path / "train.json"
    records = [
        {"prompt": f"picture {i // 6}", "file_path": ["1.jpg", "2.jpg"], "user_hash": "x"} for i in range(100_000)
    ]
    path.write_text(json.dumps(records))
    started = time.monotonic()

    prompts = read_prompts(f"hpdv2:{path}")

    assert len(prompts.prompts) == -(-100_000 // 6)
    assert time.monotonic() - started < 30  # generous: it must not be quadratic

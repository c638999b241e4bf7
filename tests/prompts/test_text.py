import json
import os
import time

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts


def write(tmp_path, content, name="prompts.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_text_has_one_prompt_a_line_whatever_the_line_ending(tmp_path):
    prompts = read_prompts(write(tmp_path, b"\xef\xbb\xbfa cat\r\na dog\n\n  \na cat\rlast"))

    assert [p.text for p in prompts.prompts] == ["a cat", "a dog", "last"]
    assert (prompts.duplicates, prompts.empties) == (1, 2)


def test_json_lines_carry_id_category_and_split(tmp_path):
    line = json.dumps({"id": "x", "prompt": "a cat", "category": "animal", "split": "train"})

    (prompt,) = read_prompts(write(tmp_path, line + "\n", "p.jsonl")).prompts

    assert (prompt.id, prompt.text, prompt.category, prompt.split) == ("x", "a cat", "animal", "train")


def test_the_same_character_in_two_encodings_is_one_prompt(tmp_path):
    prompts = read_prompts(write(tmp_path, "caf\u00e9\ncafe\u0301\n"))

    assert len(prompts.prompts) == 1


def test_markup_is_kept_as_text(tmp_path):
    assert read_prompts(write(tmp_path, "<script>alert(1)</script>\n")).prompts[0].text == "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "p.txt", r"p.txt holds no prompt"),
        (b"\n \n", "p.txt", r"p.txt holds no prompt"),
        (b"ok\ncaf\xe9\n", "p.txt", r"p.txt:2 is not UTF-8 \(byte 0xe9 at offset 6\); save the file as UTF-8"),
        ("a\n".encode("utf-16"), "p.txt", r"p.txt:1 is not UTF-8"),
        (b"a\0b\n", "p.txt", r"p.txt:1 holds a NUL"),
        (b"x" * 20_000, "p.txt", r"p.txt:1 has 20000 characters"),
        (b"{\n", "p.jsonl", r"p.jsonl:1 is no JSON object"),
        (b'["a"]\n', "p.jsonl", r"p.jsonl:1 must be a JSON object with a text field `prompt`"),
        (b'{"prompt": 3}\n', "p.jsonl", r"p.jsonl:1 must be"),
        (b'{"prompt": "\\ud800"}\n', "p.jsonl", r"lone surrogate"),
        (b'{"id": "1", "prompt": "a"}\n{"id": "1", "prompt": "b"}\n', "p.jsonl", r"id '1' stands for 'a' and 'b'"),
    ],
)
def test_a_bad_file_is_one_message_with_the_line(tmp_path, content, name, message):
    with pytest.raises(UserError, match=message):
        read_prompts(write(tmp_path, content, name))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("a: b\n", "p.yaml", r"a .yaml file is no list of prompts"),
        (b"x", "p.txt.gz", r"a .gz file is no list of prompts"),
        ('{"prompt": "a"}\n', "p.txt", r"p.txt:1 is a JSON object, .*; name JSON Lines FILE.jsonl"),
        ('{"prompt": "a", "prompt": "b"}\n', "p.jsonl", r"p.jsonl:1 is no JSON object: .*'prompt' is given twice"),
        ('{"prompt": "a", "id": [1]}\n', "p.jsonl", r"p.jsonl:1: id must be a text or a number, got \[1\]"),
        ('{"prompt": "a", "split": true}\n', "p.jsonl", r"split must be a text or a number, got True"),
        ('{"prompt": "a", "id": ' + "9" * 5000 + "}\n", "p.jsonl", r"p.jsonl:1 is no JSON object: .*5000 digits"),
        ("[" * 100_000, "p.jsonl", r"p.jsonl:1 is no JSON object: .*nested too deeply"),
        ("x" * 300_000, "p.txt", r"p.txt:1 has 300000 characters; a line has at most 262144"),
    ],
)
def test_a_file_whose_lines_are_no_prompts_is_refused_with_what_would_be_right(tmp_path, content, name, message):
    with pytest.raises(UserError, match=message) as caught:
        read_prompts(write(tmp_path, content, name))

    assert len(str(caught.value)) < 1000


def test_ndjson_is_json_lines(tmp_path):
    assert [p.text for p in read_prompts(write(tmp_path, '{"prompt": "a"}\n', "p.ndjson")).prompts] == ["a"]


@pytest.mark.parametrize("notation", ["", "hpdv2:", "pickapic:"])
def test_devices_and_pipes_are_refused_and_not_read(tmp_path, notation):
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match=r"a device(,| or) a pipe"):
            read_prompts(f"{notation}{path}")


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_a_line_of_many_megabytes_is_refused_by_its_length(tmp_path, name):
    with pytest.raises(UserError, match=r":1 has 500000\d\d characters; a line has at most"):
        read_prompts(write(tmp_path, '{"prompt": "' + "x" * 50_000_000 + '"}', name))


def test_a_missing_file_and_an_unknown_built_in_set_are_named():
    with pytest.raises(UserError, match=r"prompt set nowhere.txt does not exist"):
        read_prompts("nowhere.txt")
    with pytest.raises(UserError, match=r"no built-in prompt set 'shapes:all'; choose from shapes:heldout"):
        read_prompts("shapes:all")


def test_the_digest_depends_on_content_alone(tmp_path):
    one, same = write(tmp_path, "a\nb\n", "1.txt"), write(tmp_path, "a\r\nb\nb", "2.txt")
    other = write(tmp_path, "b\na\n", "3.txt")

    assert read_prompts(one).digest == read_prompts(same).digest != read_prompts(other).digest


@pytest.mark.slow
def test_a_large_file_is_read_in_linear_time(tmp_path):
    path = write(tmp_path, "\n".join(f"a picture of number {i}" for i in range(200_000)))
    started = time.monotonic()

    prompts = read_prompts(path)

    assert len(prompts.prompts) == 200_000
    assert time.monotonic() - started < 60  # generous: it must not be quadratic

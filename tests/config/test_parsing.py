import os
import threading

import pytest

from reward_finetuning.config import UserError, load_config, load_run_or_evaluation, parse_config
from reward_finetuning.config.parsing import parse_json, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"the key 'a' is given in lines 1 and 3: keep one of them"),
        ("s:\n  a: 1\n  a: 1\n", r"the key 'a' is given in lines 2 and 3"),
        ("{a: 1, a: 2}", r"the key 'a' is given twice in line 1"),
        ("- {1: x}\n- {1: x, 1: y}\n", r"the key 1 is given twice in line 2"),
    ],
)
def test_duplicate_yaml_keys_are_refused_with_the_key_and_both_lines(text, message):
    with pytest.raises(UserError, match=message):
        parse_yaml(text, "run.yaml")


def test_the_first_of_two_sections_is_not_lost_without_a_word(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: dup\ntraining: {learning_rate: 1.0e-2}\ntraining:\n  cells_per_batch: 160\n")

    with pytest.raises(UserError, match=r"run.yaml .*the key 'training' is given in lines 2 and 3"):
        load_config(path)


def bomb(levels):
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "model:\n  source:\n" + "".join(f"    {line}\n" for line in lines)


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"name: bomb\n{bomb(9)}")

    for load in (load_config, load_run_or_evaluation):
        with pytest.raises(UserError, match=r"line 5 uses the alias \*a0: write the value itself") as caught:
            load(path)
        assert len(str(caught.value)) < 1000


HOSTILE_YAML = {
    "a number of 5000 digits": "a: " + "9" * 5000,
    "a hexadecimal number": "a: 0x" + "f" * 5000,
    "an impossible date": "a: 2026-13-45",
    "deep nesting": "[" * 2000,
    "deep mappings": "".join(f"{' ' * n}a:\n" for n in range(200)),
    "a wrong timestamp": "a: !!timestamp x",
    "a wrong boolean": "a: !!bool x",
    "a wrong integer": 'a: !!int ""',
    "an object": "a: !!python/object/apply:os.system [x]",
    "a recursive value": "a: &x [*x]",
    "an unhashable key": "? [a]\n: b",
    "a NUL": "a: \0",
    "an unfinished list": "a: [",
}


@pytest.mark.parametrize("case", HOSTILE_YAML, ids=lambda case: case.replace(" ", "-"))
def test_hostile_yaml_is_one_short_error(tmp_path, case):
    path = tmp_path / "run.yaml"
    path.write_text(HOSTILE_YAML[case])

    with pytest.raises(UserError, match="is no readable YAML") as caught:
        load_config(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_cannot_be_a_file_of_settings_is_not_read_to_its_end(tmp_path):
    with pytest.raises(UserError, match="/dev/zero has more than 256 KiB"):
        load_config("/dev/zero")
    with pytest.raises(UserError, match="Is a directory"):
        load_config(tmp_path)


def test_a_run_file_may_come_through_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("name: a\n",))
    writer.start()

    assert read_yaml(pipe) == {"name": "a"}
    writer.join()


def test_an_override_is_bounded_as_a_file_is(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: a\n")

    with pytest.raises(UserError, match=r"override 'seed=9+\.\.\.9+': the value is no readable YAML"):
        load_config(path, ["seed=" + "9" * 5000])
    with pytest.raises(UserError, match=r"the key 'a' is given twice"):
        load_config(path, ["evaluation.prompt_sets={a: x, a: y}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"seed": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"name": "a", "name": "b"}', "the key 'name' is given twice"),
        ("{", "Expecting"),
    ],
)
def test_hostile_json_is_one_short_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    with pytest.raises(UserError, match=rf"config must be JSON text: .*{message}") as caught:
        parse_config(text)
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
def test_a_value_of_any_size_is_shown_in_a_few_characters(tmp_path):
    path = tmp_path / "run.yaml"
    values = [f"name: [{', '.join(['x'] * 50_000)}]", f"name: a\nseed: {'x' * 200_000}", f"{'k' * 1000}: 1\nname: a"]

    for text in values:
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            load_config(path)
        assert len(str(caught.value)) < 3000


def test_of_very_many_mistakes_the_first_are_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: a\n" + "".join(f"key{n}: 1\n" for n in range(2000)))

    with pytest.raises(UserError, match=r"unknown key 'key0'.*and 1990 more$"):
        load_config(path)

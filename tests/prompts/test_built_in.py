import os

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts

KINDS = {
    "colour": "A green colored rabbit",
    "count": "Four wolves in the park",
    "composition": "A cat and a dog",
    "location": "A dog on the moon",
}


def test_there_are_45_animals_each_one_word():
    animals = read_prompts("animals")

    texts = [prompt.text for prompt in animals.prompts]
    assert len(texts) == 45
    assert (texts[0], texts[-1]) == ("cat", "kangaroo")
    assert all(text.isalpha() and text.islower() for text in texts)
    assert animals.duplicates == animals.empties == 0


@pytest.mark.parametrize(("kind", "prompt"), KINDS.items())
def test_ppod_trains_on_one_prompt_and_none_of_them_is_unseen(kind, prompt):
    (trained,) = read_prompts(f"ppod:{kind}").prompts
    unseen = read_prompts(f"ppod:{kind}-unseen").prompts

    assert (trained.text, trained.category, trained.split) == (prompt, kind, "train")
    assert len(unseen) >= 8
    assert {(each.category, each.split) for each in unseen} == {(kind, "unseen")}
    assert not {each.text.lower() for each in unseen} & {text.lower() for text in KINDS.values()}


def test_an_unknown_set_lists_those_of_its_family():
    with pytest.raises(
        UserError, match="no built-in prompt set 'ppod:colours'; choose from ppod:colour, ppod:colour-u"
    ):
        read_prompts("ppod:colours")


def test_what_is_written_like_no_built_in_set_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plants").write_text("fern\n")

    assert [prompt.text for prompt in read_prompts("plants").prompts] == ["fern"]


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("a\n")
    before = read_prompts(str(path))

    path.write_text("b\n")
    os.utime(path, ns=(1, 1))

    assert before.prompts[0].text == "a"
    assert read_prompts(str(path)).prompts[0].text == "b"
    assert read_prompts(str(path)) is read_prompts(str(path))

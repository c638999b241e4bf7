"""A tokenizer that would read every prompt the same is refused."""

import json
import shutil

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.rewards.networks.vocabularies import bert_tokenizer, clip_tokenizer


@pytest.fixture
def clip(clip_files, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(clip_files / name, tmp_path)
    return {"vocabulary": tmp_path / "vocab.json", "merges": tmp_path / "merges.txt"}


@pytest.fixture
def bert(image_reward_files, tmp_path):
    shutil.copy(image_reward_files / "vocab.txt", tmp_path)
    return {"vocabulary": tmp_path / "vocab.txt"}


def test_clips_tokenizer_joins_what_the_merges_join_between_start_and_end(clip):
    vocabulary = json.loads(clip["vocabulary"].read_text())

    ids = clip_tokenizer(clip)("Cat  a").input_ids

    assert ids == [49406, vocabulary["cat</w>"], vocabulary["a</w>"], 49407]


def test_a_cut_off_vocabulary_is_refused(clip):
    tokens = list(json.loads(clip["vocabulary"].read_text()).items())
    clip["vocabulary"].write_text(json.dumps(dict(tokens[:1000])))

    with pytest.raises(UserError, match=r"vocab.json has 1000 tokens, the vocabulary of this scorer has 49408"):
        clip_tokenizer(clip)


def test_a_vocabulary_that_is_no_json_is_refused(clip):
    clip["vocabulary"].write_text(clip["vocabulary"].read_text()[:500])

    with pytest.raises(UserError, match=r"vocab.json is not a JSON vocabulary"):
        clip_tokenizer(clip)


@pytest.mark.parametrize("merges", ["#version: 0.2\n", "#version: 0.2\nz z\n", "#version: 0.2\nlonely\n"])
def test_merges_of_another_vocabulary_are_refused(clip, merges):
    clip["merges"].write_text(merges)

    with pytest.raises(UserError, match=r"merges.txt does not belong to .*vocab.json: .*download both again"):
        clip_tokenizer(clip)


def test_blips_tokenizer_has_berts_words_and_two_of_its_own(bert):
    lines = bert["vocabulary"].read_text().splitlines()

    tokenizer = bert_tokenizer(bert)

    assert len(tokenizer) == 30524
    assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [30522, 30523]
    assert tokenizer("Red CAT").input_ids == [lines.index(token) for token in ("[CLS]", "red", "cat", "[SEP]")]


def test_a_cut_off_bert_vocabulary_is_refused(bert):
    bert["vocabulary"].write_text("\n".join(bert["vocabulary"].read_text().splitlines()[:5]))

    with pytest.raises(UserError, match=r"vocab.txt has 5 tokens, the vocabulary of this scorer has 30522"):
        bert_tokenizer(bert)


def test_a_vocabulary_of_the_right_length_without_berts_marks_is_refused(bert):
    bert["vocabulary"].write_text(bert["vocabulary"].read_text().replace("[CLS]", "[XXX]"))

    with pytest.raises(UserError, match=r"vocab.txt is not bert-base-uncased's vocabulary: it lacks \[CLS\]"):
        bert_tokenizer(bert)

"""Scorers' weights in buckets."""

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS

MODEL = MODELS["image_reward"]


@pytest.fixture
def there(bucket):
    return ScorerConfig(source=f"{bucket.uri}/weights/image_reward")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "image_reward"
    folder.mkdir()
    for name in ("ImageReward.safetensors", "ImageReward.pt", "vocab.txt", "notes.txt"):
        (folder / name).write_text(name)
    return folder


def test_the_digest_is_that_of_the_folder_on_disk_and_every_file_comes_once(bucket, folder, there):
    bucket.put_folder(folder, "weights/image_reward")

    sources.check(MODEL, there)
    digest = sources.digest(MODEL, there)
    found = sources.locate(MODEL, there)

    assert digest == sources.digest(MODEL, ScorerConfig(source=str(folder)))
    assert {role: path.read_text() for role, path in found.items()} == {
        "weights": "ImageReward.safetensors",
        "vocabulary": "vocab.txt",
    }
    assert bucket.downloads() == [f"weights/image_reward/{name}" for name in ("ImageReward.safetensors", "vocab.txt")]


def test_what_is_missing_is_named(bucket, folder, there):
    (folder / "vocab.txt").unlink()
    bucket.put_folder(folder, "weights/image_reward")

    with pytest.raises(UserError, match=r"image_reward holds no vocab.txt, the vocabulary of image_reward"):
        sources.check(MODEL, there)


def test_a_folder_that_is_not_there_is_named(bucket, there):
    with pytest.raises(UserError, match=rf"{bucket.uri}/weights/image_reward holds no files"):
        sources.check(MODEL, there)

"""Files of a bucket on this machine."""

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.storage.folders import local_folder, local_path


def below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_as_it_is_and_once(bucket):
    for name, data in {"model/a.json": b"a", "model/unet/b.bin": b"b" * 1000, "model2/c": b"c", "model/": b""}.items():
        bucket.put(name, data)

    folder = local_folder(f"{bucket.uri}/model/")
    again = local_folder(f"{bucket.uri}/model")

    assert below(folder) == {"a.json": b"a", "unet/b.bin": b"b" * 1000}
    assert folder.name == "model"
    assert below(again) == below(folder)
    assert bucket.downloads() == ["model/a.json", "model/unet/b.bin"]


def test_only_the_files_that_are_chosen_come(bucket):
    for name in ("a.bin", "a.safetensors", "b.json"):
        bucket.put(f"weights/{name}", name.encode())

    folder = local_folder(f"{bucket.uri}/weights", lambda names: [*(n for n in names if n.startswith("b")), "absent"])

    assert below(folder) == {"b.json": b"b.json"}


def test_a_folder_that_changed_is_another_one(bucket):
    bucket.put("model/a", b"old")
    old = local_folder(f"{bucket.uri}/model")
    bucket.put("model/a", b"new")

    new = local_folder(f"{bucket.uri}/model")

    assert (below(old), below(new)) == ({"a": b"old"}, {"a": b"new"})


def test_an_object_comes_in_its_newest_generation_and_each_generation_once(bucket):
    bucket.put("sets/prompts.txt", b"one\n")
    assert local_path(f"{bucket.uri}/sets/prompts.txt").read_bytes() == b"one\n"
    assert local_path(f"{bucket.uri}/sets/prompts.txt").read_bytes() == b"one\n"
    bucket.put("sets/prompts.txt", b"two\n")

    path = local_path(f"{bucket.uri}/sets/prompts.txt")

    assert (path.name, path.read_bytes()) == ("prompts.txt", b"two\n")
    assert bucket.downloads() == ["sets/prompts.txt"] * 2


def test_a_name_of_no_object_is_a_folder(bucket):
    bucket.put("sets/benchmark/photo.json", b"[]")

    assert below(local_path(f"{bucket.uri}/sets/benchmark")) == {"photo.json": b"[]"}


def test_what_is_not_there_is_named(bucket):
    with pytest.raises(UserError, match=rf"{bucket.uri}/sets/none.txt does not exist"):
        local_path(f"{bucket.uri}/sets/none.txt")
    with pytest.raises(UserError, match=rf"{bucket.uri}/none holds no files"):
        local_folder(f"{bucket.uri}/none")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model/../../etc/passwd", "model//x", "model/./x"])
def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, name):
    bucket.put(name, b"x")

    with pytest.raises(UserError, match="cannot be a file below a folder"):
        local_folder(f"{bucket.uri}/model")

import os

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.storage.files import files_below, stamp


def test_linked_folders_and_files_are_below_a_folder_and_a_link_back_adds_nothing(tmp_path):
    folder, shared = tmp_path / "folder", tmp_path / "shared"
    (folder / "plain").mkdir(parents=True)
    shared.mkdir()
    for path in (folder / "plain" / "a", shared / "b", tmp_path / "c"):
        path.write_text("x")
    (folder / "linked").symlink_to(shared)
    (folder / "file").symlink_to(tmp_path / "c")
    (folder / "plain" / "back").symlink_to(folder)
    (folder / "broken").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")

    assert [path.relative_to(folder).as_posix() for path in files_below(folder)] == ["file", "linked/b", "plain/a"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere cannot be read: No such file"):
        files_below(tmp_path / "nowhere")


def test_a_stamp_changes_with_size_time_and_file(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("x")
    other.write_text("x")
    before = stamp(path)
    os.utime(other, ns=(before[2], before[2]))
    other.replace(path)

    assert stamp(path) != before  # of the same size and time, but another file
    assert stamp(tmp_path / "nowhere")[1:] == (0, 0, 0, 0)

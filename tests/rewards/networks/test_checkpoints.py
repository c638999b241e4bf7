"""What is wrong with a weights file is found and named before a score is made."""

import hashlib
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reward_finetuning.config import UserError
from reward_finetuning.rewards.networks.checkpoints import fill, part, read_state

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


class RunsCode:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


@pytest.fixture
def pickled(tmp_path):
    torch.save(STATE, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture
def safe(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_safetensors_and_pickles_bare_or_nested_hold_the_same(pickled, safe, tmp_path):
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "nested.pt")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    for path in (pickled, safe, tmp_path / "nested.pt", tmp_path / "old.pth"):
        state = read_state(path)

        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_a_truncated_pickle_is_refused(pickled):
    with pytest.raises(
        UserError, match=r"weights.pt .*truncated or not such a file; download it again: rft fetch-weights"
    ):
        read_state(truncated(pickled))


def test_a_truncated_pickle_of_the_old_format_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    with pytest.raises(UserError, match=r"old.pth .*truncated or not such a file"):
        read_state(truncated(tmp_path / "old.pth"))


def test_a_truncated_safetensors_file_is_refused(safe):
    with pytest.raises(UserError, match=r"weights.safetensors is not a complete safetensors file .*truncated"):
        read_state(truncated(safe))


def test_a_web_page_saved_under_the_weights_name_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_text("<!doctype html><title>Sign in</title>")

    with pytest.raises(UserError, match=r"weights.pt .*truncated or not such a file"):
        read_state(tmp_path / "weights.pt")


@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path, old_format):
    ran = tmp_path / "ran"
    torch.save({"weight": RunsCode(f"touch {ran}")}, tmp_path / "bad.pt", _use_new_zipfile_serialization=not old_format)

    with pytest.raises(UserError, match=r"bad.pt is refused: loading it would run code \(\w+\.system\)"):
        read_state(tmp_path / "bad.pt")

    assert not ran.exists()


def test_a_git_lfs_pointer_is_named_as_one(tmp_path):
    (tmp_path / "weights.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")

    with pytest.raises(UserError, match=r"weights.pt is a git LFS pointer, not the weights: run `git lfs pull`"):
        read_state(tmp_path / "weights.pt")


def test_a_file_with_another_checksum_than_published_is_refused_before_it_is_read(pickled):
    published = hashlib.sha256(pickled.read_bytes()).hexdigest()
    read_state(pickled, sha256=published)
    pickled.write_bytes(pickled.read_bytes() + b" ")

    with pytest.raises(UserError, match=rf"weights.pt has sha256 \w+, the published file has {published}"):
        read_state(pickled, sha256=published)


def test_a_conversion_is_not_held_to_the_pickles_checksum(safe):
    assert read_state(safe, sha256="0" * 64).keys() == STATE.keys()


@pytest.mark.parametrize("content", [[1, 2], {"weight": 3}, {}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")

    with pytest.raises(UserError, match=r"other.pt is not a state dict: it must contain tensors by name"):
        read_state(tmp_path / "other.pt")


def test_a_filled_network_computes_with_the_weights_ready_to_score(pickled):
    network = fill(lambda: nn.Linear(3, 2), STATE, pickled, torch.float32)

    assert network(torch.ones(1, 3)).tolist() == [[3.0, 12.0]]
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_missing_unexpected_and_misshapen_weights_are_named_a_few_of_each(pickled):
    state = {f"extra.{i}": torch.zeros(1) for i in range(5)} | {"weight": torch.zeros(2, 4)}

    with pytest.raises(UserError) as error:
        fill(lambda: nn.Linear(3, 2), state, pickled, torch.float32)

    assert str(error.value) == (
        f"{pickled} does not contain the weights of this scorer: 1 missing (bias); "
        "5 unexpected (extra.0, extra.1, extra.2, ...); 1 of another shape (weight is [2, 4], should be [2, 3])"
    )


def test_position_ids_that_older_versions_stored_are_no_weights(pickled):
    fill(lambda: nn.Linear(3, 2), STATE | {"embeddings.position_ids": torch.zeros(1, 77)}, pickled, torch.float32)


def test_a_part_of_a_state_drops_its_prefix():
    assert part({"a.x": STATE["bias"], "b.x": STATE["weight"]}, "a.").keys() == {"x"}

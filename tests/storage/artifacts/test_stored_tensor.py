import os

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage.artifacts.stored_tensor import StoredTensor

SHAPES = [(3, 5, 2, 4, 4), (2, 5, 2, 4, 4)]


@pytest.fixture(params=[torch.float32, torch.float16], ids=str)
def stored(request, tmp_path):
    """Two files, the second one shorter, and the same tensor in memory."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=generator).to(request.param) for shape in SHAPES]
    files = [tmp_path / f"{number}.safetensors" for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        save_file({"before": torch.ones(3, dtype=torch.uint8), "latents": part, "x_0": part[:, 0].clone()}, file)
    return files, torch.cat(parts)


def test_an_index_gives_what_the_tensor_in_memory_gives(stored):
    files, whole = stored
    images, steps = torch.tensor([4, 0, 2, 4, 3, 0]), torch.tensor([0, 4, 1, 3, 0, 4])

    latents, x_0 = StoredTensor(files, "latents"), StoredTensor(files, "x_0")

    assert latents.shape == tuple(whole.shape)
    assert torch.equal(latents[images, steps], whole[images, steps])
    assert torch.equal(x_0[images], whole[images, 0])
    assert latents[images[:0], steps[:0]].shape == (0, 2, 4, 4)


@given(cells=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neighbours_in_any_order_and_across_files_are_what_the_tensor_in_memory_has(stored, cells):
    files, whole = stored
    images, steps = torch.tensor(cells, dtype=torch.int64).reshape(-1, 2).unbind(1)
    index = images[:, None], steps[:, None] + torch.arange(2)

    assert torch.equal(StoredTensor(files, "latents")[index], whole[index])


def test_neighbours_are_read_together(stored, monkeypatch):
    files, whole = stored
    reads, read = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: reads.append(read(*arguments)) or reads[-1])
    images = torch.arange(5)[:, None].expand(5, 4)

    items = StoredTensor(files, "latents")[images, torch.arange(4)]

    assert torch.equal(items, whole[:, :4])
    assert reads == [4 * whole[0, 0].nbytes] * 5  # the fifth latent of an image is not asked for


@pytest.mark.parametrize(("image", "step"), [(5, 0), (0, 5), (-1, 0), (0, -1)])
def test_an_index_outside_of_the_tensor_is_refused(stored, image, step):
    latents = StoredTensor(stored[0], "latents")

    with pytest.raises(ValueError, match="invalid entry"):
        latents[torch.tensor([image]), torch.tensor([step])]


def test_memory_does_not_grow_with_what_was_read(tmp_path):
    file, shape = tmp_path / "sparse.safetensors", (40, 51, 4, 64, 64)  # 134 MB that take no space on the disk
    header = f'{{"latents":{{"dtype":"F32","shape":{list(shape)},"data_offsets":[0,{4 * int(np.prod(shape))}]}}}}'
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    os.truncate(file, 8 + len(header) + 4 * int(np.prod(shape)))
    latents, process = StoredTensor([file], "latents"), psutil.Process()
    cells = torch.arange(shape[0] * shape[1])

    before, peak = process.memory_info().rss, 0
    for batch in cells.split(64):  # 4 MB
        latents[batch // shape[1], batch % shape[1]]
        peak = max(peak, process.memory_info().rss)

    assert peak - before < 30e6


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_a_file_that_changes_during_training_is_named(stored, damage):
    files, _ = stored
    latents = StoredTensor(files, "latents")
    files[1].unlink() if damage == "deleted" else os.truncate(files[1], files[1].stat().st_size // 2)

    with pytest.raises(ArtifactError, match=r"1\.safetensors (was truncated|cannot be read any more)"):
        latents[torch.tensor([4]), torch.tensor([4])]


@pytest.mark.parametrize("content", [{"other": torch.ones(2)}, {"latents": torch.ones(2, dtype=torch.int64)}, b"{}"])
def test_a_file_that_holds_something_else_is_refused(tmp_path, content):
    file = tmp_path / "foreign.safetensors"
    file.write_bytes(content) if isinstance(content, bytes) else save_file(content, file)

    with pytest.raises(ArtifactError, match=r"foreign\.safetensors does not hold what this version writes"):
        StoredTensor([file], "latents")


def test_files_of_other_shapes_are_refused(tmp_path):
    files = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for file, shape in zip(files, [(2, 3), (2, 4)], strict=True):
        save_file({"latents": torch.ones(shape)}, file)

    with pytest.raises(ArtifactError, match=r"second\.safetensors: latents is \[4\] float32 per image; .* has \[3\]"):
        StoredTensor(files, "latents")


def test_a_cached_folder_counts_as_used_while_it_is_read(stored):
    files, _ = stored
    os.utime(files[0].parent, (0, 0))

    StoredTensor(files, "latents")[torch.tensor([0]), torch.tensor([0])]

    assert files[0].parent.stat().st_mtime > 0

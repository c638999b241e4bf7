from collections import Counter

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import draw_prompts, read_prompts, samples_of


def write(tmp_path, content):
    path = tmp_path / "prompts.txt"
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_every_prompt_comes_once_before_any_comes_twice(tmp_path):
    prompts = read_prompts(write(tmp_path, "\n".join(f"p{i}" for i in range(12))))

    passes = [
        Counter(p.id for epoch in range(first, first + 3) for p in draw_prompts(prompts, 4, seed=0, epoch=epoch))
        for first in (1, 4)
    ]

    for seen in passes:
        assert len(seen) == 12
        assert set(seen.values()) == {1}


def test_draws_are_reproducible_and_differ_by_seed_and_epoch(tmp_path):
    prompts = read_prompts(write(tmp_path, "\n".join(f"p{i}" for i in range(40))))

    def drawn(seed, epoch):
        return draw_prompts(prompts, 8, seed=seed, epoch=epoch)

    assert drawn(0, 1) == drawn(0, 1)
    assert drawn(0, 1) != drawn(1, 1)
    assert drawn(0, 1) != drawn(0, 2)


def test_more_prompts_an_epoch_than_there_are_is_refused(tmp_path):
    prompts = read_prompts(write(tmp_path, "a\nb\n"))

    with pytest.raises(UserError, match=r"prompts_per_epoch=3 but .* holds 2 prompts: lower it to at most 2"):
        draw_prompts(prompts, 3, seed=0, epoch=1)


def test_samples_of_one_prompt_lie_beside_each_other(tmp_path):
    prompts = read_prompts(write(tmp_path, "a\nb\n")).prompts

    samples = samples_of(prompts, 3)

    assert [(s.index, s.prompt.text, s.image_index) for s in samples] == [
        (0, "a", 0), (1, "a", 1), (2, "a", 2), (3, "b", 0), (4, "b", 1), (5, "b", 2),
    ]  # fmt: skip

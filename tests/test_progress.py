from reward_finetuning.progress import SECONDS, Progress


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setenv(SECONDS, "0")
    with Progress("sample, epoch 3", 4, "images") as progress:
        progress.advance(1)
        progress.advance(3)

    assert capsys.readouterr().out.splitlines() == ["sample, epoch 3: 1/4 images", "sample, epoch 3: 4/4 images"]


def test_lines_in_between_are_left_out_but_never_the_last(monkeypatch, capsys):
    monkeypatch.setenv(SECONDS, "100")
    with Progress("train, epoch 1", 3, "cells") as progress:
        for _ in range(3):
            progress.advance(1)

    assert capsys.readouterr().out.splitlines() == ["train, epoch 1: 3/3 cells"]

import io
import sys

from reward_finetuning.pipelines.cli.terminal import make_console, make_encodable


def test_a_pipe_has_no_width_unless_columns_says_one(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width > 10_000

    monkeypatch.setenv("COLUMNS", "30")
    assert make_console().width == 30


def test_an_ascii_stream_gets_replacements(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    make_encodable()
    print("4 × 8 → 0.5 ± 0.1, ü", flush=True)

    assert raw.getvalue() == b"4 x 8 -> 0.5 +/- 0.1, ?\n"


def test_a_utf_8_stream_is_left_as_it_is(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))

    make_encodable()
    print("×", flush=True)

    assert raw.getvalue() == "×\n".encode()

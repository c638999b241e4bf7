import json
import os
import signal
import subprocess
import sys
import time

import pytest

from reward_finetuning.events import (
    EVENTS,
    SECONDS,
    Advance,
    EventFile,
    News,
    Progress,
    report_news,
    report_warning,
)


@pytest.fixture
def events(tmp_path, monkeypatch):
    """The launcher's end of a file that this process reports to."""
    monkeypatch.setenv(EVENTS, str(tmp_path / "events.jsonl"))
    with EventFile(tmp_path / "events.jsonl") as file:
        yield file


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setenv(SECONDS, "0")
    with Progress("sample", "epoch 3", 4, "images") as progress:
        progress.advance(1)
        progress.advance(3)

    assert capsys.readouterr().out.splitlines() == ["sample, epoch 3: 1/4 images", "sample, epoch 3: 4/4 images"]


def test_lines_in_between_are_left_out_but_never_the_last(monkeypatch, capsys):
    monkeypatch.setenv(SECONDS, "100")
    with Progress("train", "epoch 1", 3, "cells") as progress:
        for _ in range(3):
            progress.advance(1)

    assert capsys.readouterr().out.splitlines() == ["train, epoch 1: 3/3 cells"]


def test_the_launcher_reads_each_event_once_and_in_order(events, monkeypatch):
    monkeypatch.setenv(SECONDS, "0")
    report_warning("rewards have become alike")
    first = events.read()
    with Progress("sample", "epoch 3", 4, "images") as progress:
        progress.advance(4)
    report_news("epoch 3: done: 4/4 images, and a\nsecond line")

    assert first == [News(text="warning: rewards have become alike")]
    assert events.read() == [
        Advance(step="sample", part="epoch 3", done=4, total=4, unit="images"),
        News(text="epoch 3: done: 4/4 images, and a\nsecond line"),
    ]
    assert events.read() == []


def test_half_a_line_waits_for_its_other_half(events, tmp_path):
    line = News(text="whole").model_dump_json().encode() + b"\n"
    with (tmp_path / "events.jsonl").open("ab", buffering=0) as file:
        file.write(line[:9])
        before = events.read()
        file.write(line[9:])

    assert before == []
    assert events.read() == [News(text="whole")]


def test_text_is_printed_for_other_readers_too(events, capsys):
    report_news("epoch 1: done")

    assert capsys.readouterr().out == "epoch 1: done\n"


def test_a_step_works_on_where_its_events_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(EVENTS, str(tmp_path / "gone" / "events.jsonl"))

    report_news("epoch 1: done")

    assert capsys.readouterr().out == "epoch 1: done\n"


LAUNCHER = """
import os, subprocess, sys, time
from pathlib import Path
from reward_finetuning.events import EventFile
with EventFile(Path(os.environ["RFT_EVENTS"])):
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(600)
"""
STEP = """
import sys, time
from reward_finetuning.events import end_with_launcher
end_with_launcher()
print("working", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_step_ends_when_its_launcher_is_killed(tmp_path, number):
    environment = os.environ | {EVENTS: str(tmp_path / "events.jsonl"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LAUNCHER, STEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as launcher:
        lines = [launcher.stdout.readline().strip() for _ in range(2)]
        launcher.send_signal(number)
    pid = int(next(line for line in lines if line != "working"))

    deadline = time.monotonic() + 30
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_event_is_a_line_of_json(events, tmp_path):
    report_news("epoch 1: done")

    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line) == {"kind": "news", "text": "epoch 1: done"}


def test_argo_reads_the_progress_of_a_task_from_its_file(tmp_path, monkeypatch):
    path = tmp_path / "progress"
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(path))
    monkeypatch.setenv("RFT_PROGRESS_SECONDS", "0")
    seen = []

    with Progress("sample", "epoch 3", 4, "images") as progress:
        for _ in range(2):
            progress.advance(2)
            seen.append(path.read_text())

    assert seen == ["2/4\n", "4/4\n"]


def test_a_progress_file_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "absent" / "progress"))

    with Progress("sample", "epoch 3", 4, "images") as progress:
        progress.advance(4)

    assert "4/4 images" in capsys.readouterr().out

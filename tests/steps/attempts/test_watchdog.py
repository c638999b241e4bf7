import json
import os
import signal
import subprocess
import sys
import time

import pytest

from reward_finetuning import events
from reward_finetuning.events import Progress, report_news, waiting
from reward_finetuning.failures import FAILURE_FILE, failure_in
from reward_finetuning.steps.attempts.watchdog import Watchdog, stall_seconds

pytestmark = pytest.mark.slow

HANGING = """
import time
from reward_finetuning.steps.attempts.watchdog import Watchdog

def stuck_in_this_function():
    time.sleep({seconds})

with Watchdog({limit}):
    print("begun", flush=True)
    stuck_in_this_function()
"""


def started(limit, seconds, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", HANGING.format(limit=limit, seconds=seconds)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_step_that_hangs_ends_with_its_stacks_a_record_and_a_code_that_means_again(tmp_path):
    record = tmp_path / "failure.json"

    process = started(0.5, 300, **{FAILURE_FILE: str(record)})
    _, printed = process.communicate(timeout=120)

    assert process.returncode == 75
    assert "stuck_in_this_function" in printed
    assert "loop.stall_minutes" in printed
    assert "no progress" in str(failure_in(record.read_text()))


def test_a_process_that_was_stopped_is_not_ended_when_it_continues():
    process = started(2.0, 0.5)
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    process.send_signal(signal.SIGCONT)

    assert process.wait(60) == 0


def ends_within(body, limit=0.4):
    ended = []
    with Watchdog(limit, ended.append):
        body(time.monotonic() + 4 * limit)
    return bool(ended)


def test_silence_ends_a_step():
    assert ends_within(lambda end: time.sleep(end - time.monotonic()))


def test_a_step_that_reports_is_not_ended():
    def advancing(end):
        with Progress("sample", "epoch 1", 10**6, "images") as progress:
            while time.monotonic() < end:
                progress.advance(1)
                time.sleep(0.01)

    def talking(end):
        while time.monotonic() < end:
            report_news("still here")
            time.sleep(0.01)

    assert not ends_within(advancing)
    assert not ends_within(talking)


def test_a_step_that_waits_for_processes_with_watchdogs_is_not_ended():
    def parent(end):
        with waiting():
            time.sleep(end - time.monotonic())

    assert not ends_within(parent)
    assert events.movements() is not None


def test_a_jump_of_the_clock_ends_nothing(monkeypatch):
    def jumping(end):
        monkeypatch.setattr(time, "time", lambda: 1e10)
        with Progress("sample", "epoch 1", 10**6, "images") as progress:
            while time.monotonic() < end:
                progress.advance(1)
                time.sleep(0.01)

    assert not ends_within(jumping)


def test_the_limit_is_a_setting_with_a_default():
    assert stall_seconds(json.dumps({"loop": {"stall_minutes": 5}})) == 300
    assert stall_seconds("{}") == stall_seconds("no JSON") == 3600

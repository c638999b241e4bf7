"""How often Argo starts a task, by the compiled package and our patch of its defaults, in simulated time.

The rules are those of processNodeRetries in Argo Workflows 4.0.8 (workflow/controller/operator.go): the pause before
retry n is duration * factor^(n-1); no retry after `limit`, after max_duration, or if `expression` is false. A failed
attempt has the message `main: REASON (exit code CODE): TERMINATION MESSAGE` (inferFailedReason). Nobody has run this
against a real Argo yet: `infra/smoke/retries.py` is the check for a cluster.
"""

import re
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import ArtifactError, RetryableError, TrainingError, UserError
from reward_finetuning.failures import leave_failure

PATCH = Path(__file__).parents[3] / "infra" / "kubernetes" / "kubeflow" / "patches" / "workflow-defaults.yaml"
WEEK = 7 * 24 * 3600


@pytest.fixture
def policy(package):
    """Retry policy of a task in a package for Kubeflow."""
    tasks = dict(package("kfp", "loop.granularity=split", "loop.epochs_per_run=1").tasks())
    return lambda name: tasks[name]["retryPolicy"]


@pytest.fixture
def message(tmp_path, monkeypatch):
    """What Argo knows of a failed attempt of ours."""

    def of(error):
        record = tmp_path / "termination-log"
        record.unlink(missing_ok=True)
        monkeypatch.setenv("RFT_FAILURE_FILE", str(record))
        leave_failure(error)
        return f"main: Error (exit code 1): {record.read_text()}"

    return of


def expression():
    """The patched default, as a function of lastRetry.message."""
    defaults = yaml.safe_load(yaml.safe_load(PATCH.read_text())["data"]["workflowDefaults"])
    text = defaults["spec"]["templateDefaults"]["retryStrategy"]["expression"]
    (pattern,) = re.fullmatch(r'not \(lastRetry\.message matches "((?:[^"\\]|\\.)*)"\)', text).groups()
    return lambda message: not re.search(pattern.replace('\\"', '"'), message)


def attempts(policy, messages, *, is_patched):
    """(number of attempts, seconds from the first failure to the last) of a task that fails with these messages."""
    pause, factor = float(policy["backoffDuration"].removesuffix("s")), policy["backoffFactor"]
    may_continue, seconds = expression() if is_patched else (lambda message: True), 0.0
    for number in range(1, policy["maxRetryCount"] + 2):
        if number > policy["maxRetryCount"] or not may_continue(messages(number)):
            return number, seconds
        seconds += pause * factor ** (number - 1)
        assert seconds < WEEK
    raise AssertionError("not reached")


TASKS = ["next-epochs", "draw", "train-epoch"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", [UserError, ArtifactError, TrainingError])
def test_a_permanent_error_is_tried_once(policy, message, task, kind):
    text = message(kind("gs://bucket/prompts.txt does not exist"))

    assert attempts(policy(task), lambda number: text, is_patched=True) == (1, 0.0)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("lost", ["pod deleted", "main: OOMKilled (exit code 1)", "Pod was active on the node longer"])
def test_what_is_lost_by_chance_is_tried_as_often_as_before(policy, task, lost):
    assert attempts(policy(task), lambda number: lost, is_patched=True)[0] == 11


@pytest.mark.parametrize("task", TASKS)
def test_an_error_that_a_retry_may_heal_is_tried_as_often_as_before(policy, message, task):
    text = message(RetryableError("the store is away, UserError"))

    assert attempts(policy(task), lambda number: text, is_patched=True)[0] == 11


def test_a_permanent_error_after_lost_pods_ends_there(policy, message):
    text = message(UserError("no such prompts"))

    number, _ = attempts(policy("draw"), lambda number: text if number == 3 else "pod deleted", is_patched=True)

    assert number == 3


def test_light_tasks_are_tried_quickly_at_first(policy):
    light, heavy = policy("next-epochs"), policy("train-epoch")

    assert (light["backoffDuration"], heavy["backoffDuration"]) == ("5s", "30s")
    assert attempts(light, lambda number: "pod deleted", is_patched=False)[1] < 90 * 60

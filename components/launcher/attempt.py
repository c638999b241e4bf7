"""One attempt at a TrainJob: create it or attach to it, wait for it, and raise its error."""

from __future__ import annotations

import time
from typing import Any

from reward_finetuning.components.launcher.jobs import TrainJobs, digest_of
from reward_finetuning.components.launcher.settings import TrainJobSettings
from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.failures import failure_in


def run_to_end(manifest: dict[str, Any], settings: TrainJobSettings) -> None:
    """Create the TrainJob, or attach to the one of an earlier attempt, and wait until it is complete.

    Raises:
        UserError: the cluster refuses it, another TrainJob has its name, or a process raised a UserError.
        TrainingError: a process raised it.
        RetryableError: it failed otherwise, or is not complete in time; the next attempt creates a new one.
    """
    deadline = time.monotonic() + settings.timeout_seconds
    jobs, name = TrainJobs(settings.namespace, deadline=deadline, pause=settings.poll_seconds), _name(manifest)
    _begin(jobs, manifest)
    try:
        failure = _watch(jobs, name, deadline)
    except TimeoutError as late:
        TrainJobs(settings.namespace, deadline=time.monotonic() + 60, pause=settings.poll_seconds).delete(name)
        raise RetryableError(
            f"TrainJob {name} was not complete after {settings.timeout_seconds} s and is deleted; it was {late}. "
            "If it needs longer, or waits in a queue, raise pools.train.timeout"
        ) from None
    if settings.keep == "never" or (settings.keep == "failed" and failure is None):
        jobs.delete(name)
    if failure is not None:
        raise failure


def _begin(jobs: TrainJobs, manifest: dict[str, Any]) -> None:
    name = _name(manifest)
    while not jobs.create(manifest):
        existing = jobs.get(name)
        if existing is None:
            continue  # deleted since
        if (ended := _ended(existing)) is not None:
            # Its result is not in the run directory, where the caller looked first: the work has to be repeated.
            print(f"TrainJob {name} of an earlier attempt is {ended['type']}: it is replaced", flush=True)
            jobs.delete(name)
            continue
        if digest_of(existing) != digest_of(manifest):
            raise UserError(
                f"TrainJob {name} in namespace {jobs.namespace} trains this epoch with another spec (image, nodes or "
                f"settings); wait until it ends, or: kubectl -n {jobs.namespace} delete trainjob {name}"
            )
        print(f"TrainJob {name} is running: this task waits for it", flush=True)
        return
    print(f"TrainJob {name} is created; its logs: kubectl -n {jobs.namespace} logs -f {name}-node-0-0-...", flush=True)


def _watch(jobs: TrainJobs, name: str, deadline: float) -> Exception | None:
    """Wait for the end; returns None if it is complete, else its error.

    Raises:
        TimeoutError: with the state that it has at the deadline.
    """
    state = ""
    while True:
        job = jobs.get(name)
        if job is None:
            return RetryableError(f"TrainJob {name} was deleted before it was complete")
        if (now := _state(job)) != state:
            state = now
            print(f"TrainJob {name}: {state}", flush=True)
        ended = _ended(job)
        if ended is not None and ended["type"] == "Complete":
            return None
        failure = _failure_of_processes(jobs, name)
        if ended is not None:
            return failure or RetryableError(f"TrainJob {name} failed: {ended['reason']}: {ended['message']}")
        if isinstance(failure, (UserError, TrainingError)):
            # JobSet would restart the pods, and they would fail with the same error.
            jobs.delete(name)
            return failure
        if time.monotonic() >= deadline:
            raise TimeoutError(state)
        time.sleep(min(jobs.pause, max(0.0, deadline - time.monotonic())))


def _failure_of_processes(jobs: TrainJobs, name: str) -> Exception | None:
    """The error of a process. Most processes fail because another one did: an error of this project goes first."""
    messages = jobs.termination_messages(name)
    failures = [failure for text in messages if (failure := failure_in(text)) is not None]
    ours = (UserError, TrainingError, RetryableError)
    return next((failure for failure in failures if isinstance(failure, ours)), next(iter(failures), None))


def _ended(job: dict[str, Any]) -> dict[str, str] | None:
    """The condition of a job that has ended."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), None)


def _state(job: dict[str, Any]) -> str:
    """The state for the log, e.g. `started, active 2, failed 0`."""
    status = job.get("status", {})
    true = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
    pods = [f"{key} {sum(part[key] for part in status.get('jobsStatus', []))}" for key in ("active", "failed")]
    return ", ".join([true[-1].lower() if true else "started", *(pods if status.get("jobsStatus") else [])])


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["name"])

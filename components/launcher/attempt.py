"""One attempt to have a TrainJob done: made or found again, waited for, and its error told."""

from __future__ import annotations

import time
from typing import Any

from components.launcher.jobs import TrainJobs, digest_of
from components.launcher.settings import TrainJobSettings
from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.failures import failure_in


def run_to_end(manifest: dict[str, Any], settings: TrainJobSettings) -> None:
    """Make the TrainJob, or find the one that an earlier attempt made, and wait until it is complete.

    Raises:
        UserError: the cluster refuses it, another TrainJob has its name, or a process said so.
        TrainingError: a process said so.
        RetryableError: it failed otherwise, or is not done in time; the next attempt makes a new one.
    """
    deadline = time.monotonic() + settings.timeout_seconds
    jobs, name = TrainJobs(settings.namespace, deadline=deadline, pause=settings.poll_seconds), _name(manifest)
    _begin(jobs, manifest)
    try:
        failure = _watch(jobs, name, deadline)
    except TimeoutError as late:
        TrainJobs(settings.namespace, deadline=time.monotonic() + 60, pause=settings.poll_seconds).delete(name)
        raise RetryableError(
            f"TrainJob {name} was not done after {settings.timeout_seconds} s and is deleted; it was {late}. Where it "
            "needs longer, or waits for room, raise timeout_seconds"
        ) from None
    if settings.keep == "never" or (settings.keep == "failed" and failure is None):
        jobs.delete(name)
    if failure is not None:
        raise failure


def _begin(jobs: TrainJobs, manifest: dict[str, Any]) -> None:
    name = _name(manifest)
    while not jobs.create(manifest):
        found = jobs.get(name)
        if found is None:
            continue  # gone in between
        if (ended := _ended(found)) is not None:
            # What a finished one did is in the run directory, and was looked for there: it has to be done again.
            print(f"TrainJob {name} of an earlier attempt is {ended['type']}: it is made anew", flush=True)
            jobs.delete(name)
            continue
        if digest_of(found) != digest_of(manifest):
            raise UserError(
                f"TrainJob {name} in namespace {jobs.namespace} is at work on this epoch with another spec (image, "
                f"nodes, or settings); let it end, or: kubectl -n {jobs.namespace} delete trainjob {name}"
            )
        print(f"TrainJob {name} is at work already: waiting for it", flush=True)
        return
    print(f"TrainJob {name} is made; its logs: kubectl -n {jobs.namespace} logs -f {name}-node-0-0-...", flush=True)


def _watch(jobs: TrainJobs, name: str, deadline: float) -> Exception | None:
    """Wait for the end: None where it is complete.

    Raises:
        TimeoutError: saying in which state it was.
    """
    state = ""
    while True:
        job = jobs.get(name)
        if job is None:
            return RetryableError(f"TrainJob {name} was deleted by somebody before it was done")
        if (now := _state(job)) != state:
            state = now
            print(f"TrainJob {name}: {state}", flush=True)
        ended = _ended(job)
        if ended is not None and ended["type"] == "Complete":
            return None
        said = _said(jobs, name)
        if ended is not None:
            return said or RetryableError(f"TrainJob {name} failed: {ended['reason']}: {ended['message']}")
        if isinstance(said, (UserError, TrainingError)):
            # The runtime would start the pods again and again, and they would say the same.
            jobs.delete(name)
            return said
        if time.monotonic() >= deadline:
            raise TimeoutError(state)
        time.sleep(min(jobs.pause, max(0.0, deadline - time.monotonic())))


def _said(jobs: TrainJobs, name: str) -> Exception | None:
    """What a process of it failed of. Most fail because another one did: an error of ours goes first."""
    failures = [failure for text in jobs.last_words(name) if (failure := failure_in(text)) is not None]
    ours = (UserError, TrainingError, RetryableError)
    return next((failure for failure in failures if isinstance(failure, ours)), next(iter(failures), None))


def _ended(job: dict[str, Any]) -> dict[str, str] | None:
    """The condition that says that the job is over."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), None)


def _state(job: dict[str, Any]) -> str:
    """In words, for the log."""
    status = job.get("status", {})
    true = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
    pods = [f"{key} {sum(part[key] for part in status.get('jobsStatus', []))}" for key in ("active", "failed")]
    return ", ".join([true[-1].lower() if true else "started", *(pods if status.get("jobsStatus") else [])])


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["name"])

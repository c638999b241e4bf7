"""What can go wrong between a task and MLflow: an entry is refused, or the server is down or slow."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reward_finetuning.config.errors import UserError
from reward_finetuning.server_errors import is_retryable

_NOT_THE_ENTRY = {401, 403}
"""Statuses that refuse the client, whatever it sends."""


_ATTEMPTS = 3


def is_refusal(error: Exception) -> bool:
    """Whether sending the same entry again gives the same error, while other entries may be accepted."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        # A file of the run directory that is damaged, or an entry that cannot be read. Everything else of the system
        # (connections, disks, timeouts) is an OSError.
        return isinstance(error, UserError | TypeError | ValueError | KeyError) and not isinstance(error, OSError)
    return not is_retryable(status) and status not in _NOT_THE_ENTRY


def confirm_refusal(send: Callable[[], object]) -> None:
    """Send, and send again if the server refuses it: only a refusal that stays is one of the entry.

    Two tasks that send the same entry at once can collide in the database of the server, which answers one of them with
    400 (UNIQUE constraint failed). The next attempt finds the points of the other task, and is accepted.

    Raises:
        Exception: what the last attempt raises, or the first error that is not a refusal by the server.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_ATTEMPTS - 1):
        try:
            send()
        except MlflowException as error:
            if not is_refusal(error):
                raise
        else:
            return
    send()


def within(seconds: float, work: Callable[[], object]) -> None:
    """Run it in a separate thread, and wait for at most `seconds`.

    Raises:
        TimeoutError: it is not done by then. The thread continues; it does not keep the process alive.
        Exception: what `work` raises.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 raised again below
            errors.append(error)

    thread = threading.Thread(target=run, name="mlflow", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]

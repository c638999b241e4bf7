"""The errors that users see; the class of an error decides the exit code of every program."""

from __future__ import annotations

from reward_finetuning.config.display import redacted

LONGEST = 8000
"""Characters of a message; what is beyond is cut off."""


class _ReadableError(Exception):
    """An error whose text is bounded, and shows no secret wherever it is printed or stored."""

    def __str__(self) -> str:
        text = redacted(super().__str__()[: 2 * LONGEST])
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class UserError(_ReadableError, ValueError):
    """The request cannot be carried out as given; the text says what was given and what would be right."""

    exit_code = 2


class ArtifactError(UserError):
    """A stored artifact is missing, truncated, altered, foreign, or does not fit the one before it."""


class TrainingError(_ReadableError, RuntimeError):
    """The numbers went wrong (NaN, noise above the clip range): running the same again gives the same."""

    exit_code = 3


class RetryableError(_ReadableError, RuntimeError):
    """Something outside failed (a server, a disk); running the same command again may well succeed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

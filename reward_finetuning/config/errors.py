"""The errors that users see; the class of an error decides the exit code of every program."""

from __future__ import annotations


class UserError(ValueError):
    """The request cannot be carried out as given; the text says what was given and what would be right."""

    exit_code = 2


class ArtifactError(UserError):
    """A stored artifact is missing, truncated, altered, foreign, or does not fit the one before it."""


class TrainingError(RuntimeError):
    """The numbers went wrong (NaN, noise above the clip range): running the same again gives the same."""

    exit_code = 3


class RetryableError(RuntimeError):
    """Something outside failed (a server, a disk); running the same command again may well succeed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

"""The names of a run's artifacts: made and parsed here, and nowhere else.

    epochs/0003/policy                               the policy after epoch 3; epoch 0 is the pretrained model
    epochs/0003/rollouts-00000-00004                 micro-batches [0, 4) of epoch 3
    epochs/0003/rewards-00000-00004                  their rewards
    epochs/0003/scores-00000-00004-<contents>        their scores, until the rewards are committed
    epochs/0003/evaluated-<settings>-00000-00004     micro-batches [0, 4) of an evaluation of the policy
    epochs/0003/evaluation-scores-<contents>         their scores
    epochs/0003/report-<settings>                    the evaluation's report

An evaluation of several policies has the last three below `policies/<name>/` instead of `epochs/0003/`.
"""

from __future__ import annotations

from enum import StrEnum

EPOCHS = "epochs"
"""Folder of all epochs."""

EVALUATION_SCORES = "evaluation-scores-"
"""What the names of cached scores of an evaluation begin with."""

_SETTINGS_DIGITS = 8


class Kind(StrEnum):
    """What an artifact holds. Its name is the kind, or begins with the kind and a hyphen."""

    POLICY = "policy"
    ROLLOUTS = "rollouts"
    REWARDS = "rewards"
    SCORES = "scores"
    EVALUATED = "evaluated"
    EVALUATION_SCORES = "evaluation-scores"
    REPORT = "report"

    @property
    def is_cache(self) -> bool:
        """Whether artifacts of this kind only save work: a missing or damaged one is computed again."""
        return self in {Kind.SCORES, Kind.EVALUATION_SCORES}


def epoch_folder(epoch: int) -> str:
    """Folder of an epoch's artifacts."""
    return f"{EPOCHS}/{epoch:04d}"


def in_epoch(epoch: int, artifact: str) -> str:
    """Name of an epoch's artifact below the run directory."""
    return f"{epoch_folder(epoch)}/{artifact}"


def policy(epoch: int) -> str:
    """The policy after an epoch."""
    return in_epoch(epoch, Kind.POLICY)


def rollouts(epoch: int, first: int, last: int) -> str:
    """The rollouts of micro-batches [first, last) of an epoch."""
    return in_epoch(epoch, f"{Kind.ROLLOUTS}-{_interval(first, last)}")


def rewards(rollouts_name: str) -> str:
    """The rewards of a rollouts artifact."""
    return _beside_rollouts(rollouts_name, Kind.REWARDS)


def scores(rollouts_name: str) -> str:
    """What the names of a rollouts artifact's cached scores begin with, without the folder."""
    return _last(_beside_rollouts(rollouts_name, Kind.SCORES)) + "-"


def evaluated(folder: str, settings: str, first: int, last: int) -> str:
    """Micro-batches [first, last) of an evaluation.

    Args:
        folder: of the policy's artifacts, such as `epoch_folder(epoch)`.
        settings: digest of what is evaluated, hex.
        first: number of the first micro-batch.
        last: number after that of the last one.
    """
    return f"{folder}/{Kind.EVALUATED}-{settings[:_SETTINGS_DIGITS]}-{_interval(first, last)}"


def report(folder: str, settings: str) -> str:
    """The report of an evaluation; arguments as for `evaluated`."""
    return f"{folder}/{Kind.REPORT}-{settings[:_SETTINGS_DIGITS]}"


def kind_of(name: str) -> Kind | None:
    """The kind of an artifact, with or without its folder; None for a name of another form."""
    last = _last(name)
    return next((kind for kind in Kind if last == kind or last.startswith(f"{kind}-")), None)


def epoch_of(folder: str) -> int | None:
    """The epoch whose folder below `EPOCHS` has this name; None for a name of another form."""
    return int(folder) if folder.isdecimal() and folder.isascii() else None


def split_file(path: str) -> tuple[str, str]:
    """Artifact and file of `epochs/0003/<artifact>/<file>`, a path below the run directory."""
    epochs, number, artifact, *file = path.split("/")
    return f"{epochs}/{number}/{artifact}", "/".join(file)


def _beside_rollouts(name: str, kind: Kind) -> str:
    folder, slash, last = name.rpartition("/")
    assert kind_of(last) is Kind.ROLLOUTS, f"{name} names no rollouts"
    return f"{folder}{slash}{kind}{last.removeprefix(Kind.ROLLOUTS)}"


def _interval(first: int, last: int) -> str:
    return f"{first:05d}-{last:05d}"


def _last(name: str) -> str:
    return name.rpartition("/")[2]

"""The reward monitor of a run: its alarms go to the log, to MLflow and to the report, and may end the run."""

from __future__ import annotations

from collections.abc import Mapping

from reward_finetuning.config import TrainingError
from reward_finetuning.events import report_warning
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry, Tracker, history
from reward_finetuning.training.alarms import Alarm, find_alarms


def alarms_of(run: RunDirectory, epoch: int | None = None) -> list[Alarm]:
    """What is wrong at `epoch`, or at the newest epoch that the journal knows."""
    config = run.config
    guards = [name for name, weight in config.reward.weights.items() if not weight]
    curves = {
        key: [(at, value) for at, value in points if epoch is None or at <= epoch]
        for key, points in history(run).items()
        if key.startswith(("reward/", "sample/"))
    }
    return find_alarms(curves, config.monitor, guards)


def watch(run: RunDirectory, epoch: int, tracker: Tracker) -> None:
    """Look at an epoch whose numbers are in the journal.

    Raises:
        TrainingError: there is an alarm, and monitor.on_alarm is `stop`.
    """
    alarms = alarms_of(run, epoch)
    if not alarms:
        return
    tracker.log(Entry("monitor", epoch, _as_metrics(alarms)))
    for alarm in alarms:
        report_warning(f"epoch {epoch}: {alarm.text}")
    refuse(run, alarms)


def refuse(run: RunDirectory, alarms: list[Alarm]) -> None:
    """End the run where it is to be ended.

    Raises:
        TrainingError: there is an alarm, and monitor.on_alarm is `stop`.
    """
    if alarms and run.config.monitor.on_alarm == "stop":
        reasons = "; ".join(alarm.text for alarm in alarms)
        raise TrainingError(
            f"stopped by the monitor: {reasons}. To continue, change its bound, or set monitor.on_alarm: warn"
        )


def _as_metrics(alarms: list[Alarm]) -> Mapping[str, float]:
    return {f"monitor/{alarm.name}": 1.0 for alarm in alarms}

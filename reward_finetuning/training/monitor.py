"""The reward monitor and the doctor of a run, from its journal.

Alarms of the monitor go to the log, to MLflow and to the report, and may end the run. The doctor gives advice alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from reward_finetuning.config import TrainingError
from reward_finetuning.events import report_warning
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry, Tracker, history
from reward_finetuning.training.alarms import Alarm, find_alarms
from reward_finetuning.training.doctor.rules import Curves, Reading, examine


def alarms_of(run: RunDirectory, epoch: int | None = None) -> list[Alarm]:
    """What is wrong at `epoch`, or at the newest epoch that the journal knows."""
    return _alarms(run, _until(history(run), epoch))


def readings_of(run: RunDirectory, epoch: int | None = None) -> list[Reading]:
    """What the doctor measures at `epoch`, or at the newest epoch that the journal knows."""
    return examine(_until(history(run), epoch), run.config)


def watch(run: RunDirectory, epoch: int, tracker: Tracker) -> None:
    """Look at an epoch whose numbers are in the journal. Advice is given in the epoch in which its reason begins.

    Raises:
        TrainingError: there is an alarm, and monitor.on_alarm is `stop`.
    """
    logged = history(run)
    before = {reading.label for reading in examine(_until(logged, epoch - 1), run.config) if reading.advice}
    for reading in examine(_until(logged, epoch), run.config):
        if reading.advice and reading.label not in before:
            report_warning(f"epoch {epoch}: {reading.warning}")
    alarms = _alarms(run, _until(logged, epoch))
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


def _alarms(run: RunDirectory, logged: Curves) -> list[Alarm]:
    guards = [name for name, weight in run.config.reward.weights.items() if not weight]
    curves = {key: points for key, points in logged.items() if key.startswith(("reward/", "sample/"))}
    return find_alarms(curves, run.config.monitor, guards)


def _until(logged: Curves, epoch: int | None) -> Curves:
    """The curves up to `epoch`; all of them for None."""
    return {
        key: [(at, value) for at, value in points if epoch is None or at <= epoch] for key, points in logged.items()
    }


def _as_metrics(alarms: list[Alarm]) -> Mapping[str, float]:
    return {f"monitor/{alarm.name}": 1.0 for alarm in alarms}

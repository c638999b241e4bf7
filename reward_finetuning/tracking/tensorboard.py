"""Metrics as event files of TensorBoard, in tensorboard/ of the run directory."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from reward_finetuning.config.errors import UserError
from reward_finetuning.events import report_warning
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking.journal import Entry

FOLDER = "tensorboard"
_PACKAGE = "tensorboardX"
_MISSING = "tracking.tensorboard needs the package tensorboardX: pip install 'reward-finetuning[train]'"


def check_tensorboard(run: RunDirectory) -> None:
    """Refuse a run that cannot write event files, before any work.

    Raises:
        UserError: tensorboardX is not installed here.
    """
    if run.config.tracking.tensorboard and find_spec(_PACKAGE) is None:
        raise UserError(_MISSING)


class EventFiles:
    """The event file of this process; TensorBoard joins those of all processes."""

    def __init__(self, run: RunDirectory) -> None:
        self._folder = Path(run.uri) / FOLDER
        self._enabled = run.config.tracking.tensorboard
        self._writer: Any = None

    def log(self, report: Entry) -> None:
        """Write the metrics of an entry, with the epoch as step; without the package, warn once."""
        if not self._enabled or not report.metrics:
            return
        try:
            self._write(report)
        except ImportError:
            report_warning(f"{_MISSING}; no event files are written")
            self._enabled = False

    def _write(self, report: Entry) -> None:
        # Not SummaryWriter, whose thread may lose the last points at the end of the process.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The writer's own names differ only by second and host.
            self._writer = EventsWriter(str(self._folder / "events"), filename_suffix=f".{uuid4().hex[:8]}")
        for key, value in report.metrics.items():
            self._writer.write_event(Event(wall_time=time.time(), step=report.epoch, summary=scalar(key, value)))
        self._writer.flush()

"""What a task shows beside its artifacts: a page, numbers and a summary, in the files where KFP wants them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where they go; what is empty is not written."""

    report: str
    metrics: str = ""
    summary: str = ""

    def publish(self, page: Path | None, summary: Path, metrics: Mapping[str, float]) -> None:
        """Copy the page (if there is one) and the summary, and write the numbers as JSON."""
        for source, target in ((page, self.report), (summary, self.summary)):
            if source is not None and target:
                shutil.copyfile(source, _in_a_folder(target))
        if self.metrics:
            numbers = json.dumps(dict(metrics), indent=1, sort_keys=True)
            _in_a_folder(self.metrics).write_text(numbers + "\n", encoding="utf-8")


def _in_a_folder(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)

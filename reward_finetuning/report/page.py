"""The page on which people see whether the policy after is better, and on what it is worse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.charts.curves import Points, draw_curves
from reward_finetuning.report.charts.drawing import Overlay
from reward_finetuning.report.charts.kl_by_step import draw_kl_by_step
from reward_finetuning.report.comparison import MEASURES, Comparison
from reward_finetuning.report.html import render
from reward_finetuning.report.pairs import gallery
from reward_finetuning.report.sections import sections
from reward_finetuning.report.stages import Stage
from reward_finetuning.report.wording import shortened

MOST_BYTES = 1_900_000
"""Kubeflow's page shows artifacts of up to about 2 MB."""

FIRST_PAIRS = 12
"""Pairs that show before one asks for all."""

REWARDS_ABREAST = 4
"""Columns of a table by category; further rewards go into a table below."""

LONGEST_FACT = 2_000
"""Characters."""

PICTURES = "pictures"
"""Folder beside the page."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and the full pictures of those that it shows smaller than they are."""

    html: str
    pictures: Mapping[str, NDArray[np.uint8]]
    """File name -> [H, W, 3]."""

    def write(self, path: Path) -> None:
        """Write the page to `path`, and the full pictures into the folder `pictures` beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html, encoding="utf-8")
        if self.pictures:
            (path.parent / PICTURES).mkdir(exist_ok=True)
        for name, picture in self.pictures.items():
            Image.fromarray(picture).save(path.parent / PICTURES / name)


def render_page(
    comparison: Comparison,
    before: EvaluatedSamples,
    after: EvaluatedSamples,
    curves: Mapping[str, Points],
    facts: Mapping[str, str],
    against_kl: Sequence[Overlay] = (),
    by_epoch: Sequence[Stage] = (),
) -> Page:
    """The report as one HTML page below 2 MB, the same for the same input.

    Args:
        comparison: what `compare(before, after)` found.
        before: the images that stand on the left.
        after: the images that stand on the right.
        curves: what training logged: name -> (epoch, value); see `draw_curves` for which become bands.
        facts: where the policy comes from and where its files lie, in words; "run", if given, is the title.
        against_kl: what `draw_against_kl` drew.
        by_epoch: what `stages` found.
    """
    content = {
        "title": shortened(facts.get("run", "Reward finetuning"), 120),
        "comparison": comparison,
        "sections": sections(comparison),
        "stages": by_epoch,
        "overlays": against_kl,
        "kl_steps": draw_kl_by_step({comparison.after: after}),
        "measures": {row.reward for row in comparison.rows} & set(MEASURES),
        "curves": draw_curves(curves),
        "facts": [(shortened(name, 80), shortened(value, LONGEST_FACT)) for name, value in facts.items()],
        "first_pairs": FIRST_PAIRS,
        "rewards_abreast": REWARDS_ABREAST,
        "pictures": PICTURES,
    }
    shell = render("page.html", content | {"gallery": None})
    room = MOST_BYTES - len(shell.encode())
    pairs = gallery(comparison, before, after, num_bytes=room)
    return Page(render("page.html", content | {"gallery": pairs}), pairs.full)

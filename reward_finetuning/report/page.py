"""The report page of one policy."""

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
from reward_finetuning.report.formatting import shortened
from reward_finetuning.report.html import render
from reward_finetuning.report.pictures.gallery import gallery
from reward_finetuning.report.pictures.reels import reels
from reward_finetuning.report.sections import sections
from reward_finetuning.report.stages import Stage

MOST_BYTES = 1_900_000
"""The Kubeflow UI shows artifacts of up to about 2 MB."""

FIRST_PAIRS = 12
"""Number of pairs shown before "Show all"."""

REWARDS_PER_TABLE = 4
"""Most columns of a table of categories; more rewards go into several tables of about equal width."""

REELS = 4
"""The first rows of pairs take at most a fourth of the room for pictures."""

LONGEST_FACT = 2_000
"""Characters."""

PICTURES = "pictures"
"""Name of the folder next to the page."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and the full-size pictures of those that the page shows reduced."""

    html: str
    pictures: Mapping[str, NDArray[np.uint8]]
    """File name -> [H, W, 3]."""

    def write(self, path: Path) -> None:
        """Write the page to `path`, and the full-size pictures to the folder `pictures` next to it."""
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
    """The report as one HTML page below 2 MB. Equal inputs give equal pages.

    Args:
        comparison: result of `compare(before, after)`.
        before: images on the left.
        after: images on the right.
        curves: training metrics: name -> (epoch, value); `draw_curves` draws some of them as bands.
        facts: name -> text about the origin and the files of the policy; "run" is the title.
        against_kl: result of `draw_against_kl`.
        by_epoch: result of `stages`.
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
        "rewards_per_table": _columns(len({row.reward for row in comparison.rows})),
        "pictures": PICTURES,
    }
    shell = render("page.html", content | {"gallery": None, "reels": ()})
    room = MOST_BYTES - len(shell.encode())
    first = reels(comparison, before, after, num_bytes=room // REELS)
    shell = render("page.html", content | {"gallery": None, "reels": first})
    pairs = gallery(comparison, before, after, num_bytes=MOST_BYTES - len(shell.encode()))
    full = {name: picture for reel in first for name, picture in reel.full.items()} | pairs.full
    return Page(render("page.html", content | {"gallery": pairs, "reels": first}), full)


def _columns(num_rewards: int) -> int:
    """Rewards per table of categories."""
    num_tables = -(-num_rewards // REWARDS_PER_TABLE)
    return -(-num_rewards // num_tables)

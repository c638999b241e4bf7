"""The report page of a run, from the data of its run directory."""

from __future__ import annotations

from reward_finetuning.evaluation.provenance import provenance
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.charts.against_kl import draw_against_kl
from reward_finetuning.report.charts.curves import Points
from reward_finetuning.report.comparison import Comparison
from reward_finetuning.report.page import Page, render_page
from reward_finetuning.report.stages import stages
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import history

_CURVES = (
    "sample/kl_to_reference",
    "reward/std_within_prompt",
    "train/loss",
    "train/grad_norm",
    "train/clip_fraction",
    "train/log_prob_gap_max",
    "doctor/reference_pull",
    "doctor/log_prob_move",
    "doctor/gradient_noise",
    "doctor/effective_step",
    "doctor/epsilon_share",
)


def run_page(run: RunDirectory, comparison: Comparison, before: EvaluatedSamples, after: EvaluatedSamples) -> Page:
    """The page of one policy of a run.

    Args:
        run: the run.
        comparison: comparison of the policy with the pretrained model.
        before: images of the pretrained model.
        after: images of the policy.
    """
    logged = history(run)
    trained = {name for name, weight in run.config.reward.weights.items() if weight}
    against_kl = draw_against_kl(comparison, before, logged, epoch=after.epoch, trained=trained)
    by_epoch = stages(comparison, logged, after.epoch)
    curves = training_curves(run, logged)
    return render_page(comparison, before, after, curves, provenance(run, after), against_kl, by_epoch)


def training_curves(run: RunDirectory, logged: dict[str, list[tuple[int, float]]]) -> dict[str, Points]:
    """The curves of the journal that describe training, the most important first."""
    scorer_names = [
        name for name in run.config.reward.weights if logged.get(f"reward/{name}/mean") != logged.get("reward/mean")
    ]
    scorers = [f"reward/{name}/{part}" for name in scorer_names for part in ("mean", "std")]
    chosen = ["reward/mean", "reward/std", *scorers, *_CURVES]
    gains = [key for key in logged if key.startswith("eval/") and "/reward/gain" in key and "/category/" not in key]
    evaluated = [key for key in gains if len(logged[key]) > 1]  # a single evaluation is in the table
    return {key: logged[key] for key in [*chosen, *evaluated] if key in logged}

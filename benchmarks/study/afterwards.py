"""What was looked at after the results of a claim: arms without a rule, which count for no verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator

from judge import KINDS, Arms
from results import Arm, difference, over_seeds


def _options(arms: Arms) -> Iterator[str]:
    """Options that the paper does not have."""
    rows = {
        "the shift that a prompt's images share is anchored, weight 1": "prdp-anchor-1",
        "the same, weight 10": "prdp-anchor-10",
        "updates end where log-probs have moved by the clip range in the mean": "prdp-early-end",
        "rewards in units of their spread among a prompt's images": "prdp-units-of-spread",
        "β follows a target KL of 0.015": "prdp-target-kl",
    }
    if not {"prdp-large", *rows.values()} <= arms.keys():
        return
    paper = arms["prdp-large"]
    yield (
        "Added after these results, without a rule: options that the paper does not have (`options.py`), at the "
        "selected settings, on the same seeds. An option pays if the interval of its difference lies above 0. "
        "Leave-one-out weights are no option: at the policy that sampled, PRDP compares a reward with the mean of the "
        "others already (`tests/benchmarks/test_study_options.py`).\n"
    )
    yield "| PRDP, 1056 prompts | gain, training prompts | difference | gain, unseen prompts | KL to the reference |"
    yield "|---|---|---|---|---|"
    for label, arm in {"as in the paper": paper, **{label: arms[name] for label, name in rows.items()}}.items():
        change = "" if arm is paper else difference(arm, paper)
        kl = arm.last("sample/kl_to_reference")
        yield f"| {label} | {arm.gain()} | {change} | {arm.gain('unseen')} | {kl:.3f} |"
    yield (
        "\nNone pays, so the package has none of them. The early end leaves one update of four in most epochs: the "
        "first one already moves log-probs by more than the clip range, and the others pull them back. Without them "
        "the gain is smaller and the KL twice as large. β follows the KL by a factor of at most 1.5 per epoch, which "
        "is too slow to hold the target in 16 epochs.\n"
    )


def _exchange(arms: Arms) -> Iterator[str]:
    """Arms that were added after the others: they count for no verdict."""
    rows = {"DDPO": "ddpo", "PRDP, β = 1": "beta-1-stopped", "PRDP, β = 0.1": "beta-0.1-stopped"}
    if not set(rows.values()) <= arms.keys():
        return
    yield (
        "Added after these results, without a rule: PRDP stopped in the epoch in which the reward of its rollouts has "
        "risen as far as that of DDPO's in the last. It tells what β costs from what a larger gain costs.\n"
    )
    yield "| arm | images | gain in colourfulness | change of the pixel reward | KL to the reference |"
    yield "|---|---|---|---|---|"
    for label, name in rows.items():
        arm = arms[name]
        images = 256 * len(arm.results[0].curve("reward/mean"))
        kl = arm.last("sample/kl_to_reference")
        yield f"| {label} | {images} | {arm.gain()} | {arm.gain(reward='shapes')} | {kl:.3f} |"
    yield ""


def _other_settings(arms: Arms) -> Iterator[str]:
    """Arms that were added after the others: they count for no verdict."""
    variants = {
        "colour": ("offline", "online", "online-slow"),
        "location": ("offline", "online", "online-slow", "online-kept", "online-near"),
    }
    rows = [f"{name}-{kind}" for kind, names in variants.items() for name in names]
    beyond = ["beyond-kl-weight", "beyond-clip-range", "beyond-learning-rate"]
    if not {*rows, *beyond} <= arms.keys():
        return
    yield (
        "Added after these results, without a rule: other settings on the two kinds on which online training is below "
        "offline. `slow` has the learning rate 3e-3 instead of 1e-2. `kept` trains till convergence, and keeps the "
        "best weights of a stage by held-out pairs. `near` has the kl_weight 300 instead of 30 and the clip_range "
        "3e-3 instead of 3e-2, so that a stage moves the policy less. None of the three helps.\n"
    )
    yield _STAGES
    yield from (_stages(arms[name]) for name in rows)
    yield from _stage_start(arms)
    yield (
        "\nThe selected cell of PPOD's grid lies in a corner (kl_weight 30, clip_range 3e-2, learning rate 1e-2; gain "
        "+0.121). One step beyond it, on the seed and the prompts of the grid, the gain is lower in each direction: "
        "kl_weight 3, clip_range 0.1, learning rate 3e-2.\n"
    )
    yield _STAGES
    yield from (_stages(arms[name]) for name in beyond)
    yield ""


def _stage_start(arms: Arms) -> Iterator[str]:
    """The option `objective.reference: stage_start`, on the seeds that it has."""
    if not {f"online-stage-start-{kind}" for kind in KINDS} <= arms.keys():
        return
    yield (
        "\nAn option that the paper does not have is higher on each kind, on location with an interval above 0: "
        "`objective.reference: stage_start` takes log-ratios "
        "to the policy that drew the images of the stage, and not to the pretrained model. With the pretrained model, "
        "some of the steps are outside of the clip range before a stage begins, and train nothing. On the same seeds:\n"
    )
    yield "| kind | steps inside at the start of stage 4 | gain | with `stage_start` | difference |"
    yield "|---|---|---|---|---|"
    for kind in KINDS:
        paper, option = arms[f"online-{kind}"], arms[f"online-stage-start-{kind}"]
        gains = paper.gains()
        same = over_seeds([gains[seed] for seed in option.gains()])
        there = [result for result in paper.results if result.seed in option.gains()]
        live = [dict(result.curve("train/live_share_at_start"))[4] for result in there]
        yield f"| {kind} | {sum(live) / len(live):.0%} | {same} | {option.gain()} | {difference(option, paper)} |"


_STAGES = "| arm | seeds | gain, training prompts, by stage | gain at the end | unseen prompts |\n|---|---|---|---|---|"


def _stages(arm: Arm) -> str:
    gains = (arm.gain(epoch=stage).mean for stage in (1, 2, 3, 4))
    stages = ", ".join(f"{gain:+.3f}" for gain in gains if not math.isnan(gain)).replace("-", "−")
    return f"| {arm.name} | {len(arm.results)} | {stages} | {arm.gain()} | {arm.gain('unseen')} |"


def _kinds(arms: Arms) -> Iterator[str]:
    """Held-out prompts by kind, for two training sets."""
    rows = {
        "1056 prompts, 88 % of them compositions": "prdp-kinds",
        "45 prompts, equally many of a kind": "prdp-equal-kinds",
    }
    if not set(rows.values()) <= arms.keys():
        return
    yield "Added after these results, without a rule: PRDP's change on held-out prompts by their kind.\n"
    yield f"| training prompts | gain on them | held out | {' | '.join(KINDS)} |"
    yield "|---" * (3 + len(KINDS)) + "|"
    for label, name in rows.items():
        arm = arms[name]
        by_kind = " | ".join(str(arm.gain(kind)) for kind in KINDS)
        yield f"| {label} | {arm.gain()} | {arm.gain('unseen')} | {by_kind} |"
    yield (
        "\nWhat is lost is colour: a single object of a colour, of which the 1056 prompts have 16. With equally many "
        "prompts of a kind, it is not lost. So the cause is the set of training prompts, not the method or the "
        "sampler.\n"
    )


AFTERWARDS = {"b": _options, "c": _exchange, "d": _other_settings, "g": _kinds}
"""Claim -> what was looked at after its results."""

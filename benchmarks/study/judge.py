"""What the results say of each claim: its statements, each with the figure and whether it holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from results import Arm, Gain, difference, over_seeds

Arms = Mapping[str, Arm]
KINDS = ("count", "colour", "composition", "location")
CONVERGED_KINDS = KINDS[:2]
"""Of the arms that train until convergence."""

BETAS = ("0.1", "1", "10", "100")
OFFSETS = ("0", "0.4", "1.5", "3")
EQUAL = 0.01
"""A gain "matches" another one if the lower bound of their difference is at minus this or above."""


@dataclass(frozen=True)
class Finding:
    """One statement of a claim."""

    statement: str
    figure: str
    holds: bool | None
    """None while an arm it rests on lacks seeds."""


def judge(claim: str, found: Mapping[str, Arms]) -> list[Finding]:
    """Findings of a claim; a statement is left out while an arm that it rests on has no result at all."""
    findings = []
    for statement in _JUDGES[claim]:
        try:
            findings += statement(found)
        except (KeyError, ZeroDivisionError):  # an arm without a result, or two without a seed in common
            continue
    return findings


def at_offset(found: Mapping[str, Arms], method: str, offset: str) -> Arm:
    """The arm of claim o; without a constant it is one of claim b."""
    return found["o"][f"{method}-{offset}"] if offset != "0" else found["b"][f"{method}-large"]


def _finding(statement: str, figure: str, verdict: object, *arms: Arm) -> Finding:
    holds = bool(verdict) if all(arm.is_complete for arm in arms) else None
    return Finding(statement, re.sub(r"-(?=\d)", "−", figure), holds)


def _stability(name: str, *, stable: bool) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        arm = found["a"][name]
        method, _, scale = name.rpartition("-")
        unstable, seeds = len(arm.unstable), len(arm.results)
        figure = f"{unstable} of {seeds} seeds unstable; gain {arm.gain()}"
        holds = not unstable if stable else 2 * unstable >= seeds
        return [_finding(f"{method} is {'stable' if stable else 'unstable'} at {scale} scale", figure, holds, arm)]

    return judged


def _compared(
    statement: str, first: str, second: str, *, above: bool, claim: str = "b"
) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        ours, theirs = found[claim][first], found[claim][second]
        gap = difference(ours, theirs)
        holds = gap.low > 0 if above else gap.low >= -EQUAL
        return [_finding(statement, f"{ours.gain()} and {theirs.gain()}; difference {gap}", holds, ours, theirs)]

    return judged


def _fails(statement: str, name: str) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        arm = found["b"][name]
        return [_finding(statement, f"gain {arm.gain()}", arm.gain().low <= 0, arm)]

    return judged


def _unnormalised(found: Mapping[str, Arms]) -> list[Finding]:
    arm = found["b"]["ddpo-unnormalised-small"]
    figure = f"{len(arm.unstable)} of {len(arm.results)} seeds unstable; gain {arm.gain()}"
    holds = 2 * len(arm.unstable) >= len(arm.results)
    return [_finding("DDPO without per-prompt normalisation is unstable on 45 prompts", figure, holds, arm)]


def _of_offset(offset: str) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        prdp, plain = at_offset(found, "prdp", offset), at_offset(found, "prdp", "0")
        ddpo, ddpo_plain = at_offset(found, "ddpo", offset), at_offset(found, "ddpo", "0")
        groups = at_offset(found, "ddpo-groups", offset)
        change, fall = difference(prdp, plain, "shapes"), difference(ddpo, ddpo_plain, "shapes")
        lead, over_groups = difference(prdp, ddpo, "shapes"), difference(prdp, groups, "shapes")
        level = f"level {offset}"
        return [
            _finding(f"{level}: PRDP is unchanged", f"change {change}", abs(change.mean) <= 0.01, prdp, plain),
            _finding(f"{level}: DDPO, 256 × 1, falls", f"change {fall}", fall.high < 0, ddpo, ddpo_plain),
            _finding(f"{level}: PRDP is above DDPO, 256 × 1", f"difference {lead}", lead.low > 0, prdp, ddpo),
            _finding(
                f"{level}: PRDP is above DDPO, 32 × 8", f"difference {over_groups}", over_groups.low > 0, prdp, groups
            ),
        ]

    return judged


def _c(found: Mapping[str, Arms]) -> list[Finding]:
    arms = [found["c"][f"beta-{beta}"] for beta in BETAS]
    ddpo = found["c"]["ddpo"]

    def falls(name: str, values: list[float]) -> Finding:
        figure = ", ".join(f"β={beta}: {value:+.3f}" for beta, value in zip(BETAS, values, strict=True))
        return _finding(f"{name} falls from the smallest to the largest β", figure, values[-1] < values[0], *arms)

    watched = [-arm.gain(reward="shapes").mean for arm in arms]
    figure = f"DDPO loses {-ddpo.gain(reward='shapes').mean:+.3f}, PRDP with β=100 {watched[-1]:+.3f}"
    over = -ddpo.gain(reward="shapes").mean > watched[-1]
    return [
        falls("The gain in colourfulness, which is trained,", [arm.gain().mean for arm in arms]),
        falls("The loss of the pixel reward, which is watched,", watched),
        falls("The KL to the reference", [arm.last("sample/kl_to_reference") for arm in arms]),
        _finding("DDPO loses more of the pixel reward than PRDP with the largest β", figure, over, *arms, ddpo),
    ]


def over_kinds(arms: Arms, name: str, prompt_set: str = "train", epoch: int | None = None) -> Gain:
    """Mean over the arm's kinds, then Student's interval over seeds.

    Raises:
        KeyError: a kind has no result yet.
        ZeroDivisionError: no seed has a result for each kind.
    """
    kinds = CONVERGED_KINDS if name.endswith("-converged") else KINDS
    gains = [arms[f"{name}-{kind}"].gains(prompt_set, epoch=epoch) for kind in kinds]
    seeds = set(gains[0]).intersection(*gains[1:])
    return over_seeds([sum(gain[seed] for gain in gains) / len(gains) for seed in sorted(seeds)])


def _online(name: str, budget: str, prompt_set: str) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        arms = found["d"]
        resting = [arm for key, arm in arms.items() if key.startswith((f"online{name}-", f"offline{name}-"))]
        end = over_kinds(arms, f"offline{name}", prompt_set).mean
        by_stage = [over_kinds(arms, f"online{name}", prompt_set, stage).mean for stage in (1, 2, 3, 4)]
        matched = next((stage for stage, gain in enumerate(by_stage, start=1) if gain >= end), None)
        stages = f"online by stage {', '.join(f'{gain:+.3f}' for gain in by_stage)}; offline at its end {end:+.3f}"
        within = f"{stages}; matched {f'in stage {matched}' if matched else 'in no stage'}"
        who = f"{budget}, {prompt_set} prompts"
        improves = f"{by_stage[1]:+.3f} after stage 2, {by_stage[3]:+.3f} after stage 4"
        return [
            _finding(f"{who}: online matches offline within two stages", within, matched in {1, 2}, *resting),
            _finding(f"{who}: online goes on improving", improves, by_stage[3] > by_stage[1], *resting),
        ]

    return judged


def _losses(found: Mapping[str, Arms]) -> list[Finding]:
    cross, brier, reward = (found["d"][f"offline{name}-count"] for name in ("", "-brier", "-reward-difference"))
    figure = f"cross-entropy {cross.gain()}, brier {brier.gain()}, reward difference {reward.gain()}"
    holds = cross.gain().mean >= max(brier.gain().mean, reward.gain().mean)
    statement = "Cross-entropy is at least as good as a squared error (offline, count, training prompts)"
    return [_finding(statement, figure, holds, cross, brier, reward)]


def _unclipped(found: Mapping[str, Arms]) -> list[Finding]:
    arm, clipped = found["d"]["online-unclipped-count"], found["d"]["online-count"]
    unstable = len(arm.unstable)
    figure = f"{unstable} of {len(arm.results)} seeds unstable; gain {arm.gain()}, with clipping {clipped.gain()}"
    return [_finding("Without clipping finetuning is unstable", figure, 2 * unstable >= len(arm.results), arm, clipped)]


def _of_kind(kind: str) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        ppod, dpok, rwr = found["d"][f"online-{kind}"], *(found["e"][f"{name}-{kind}"] for name in ("dpok", "rwr"))
        figure = f"PPOD {ppod.gain()}, DPOK {dpok.gain()}, RWR {rwr.gain()}"
        holds = ppod.gain().mean > max(0.0, dpok.gain().mean, rwr.gain().mean)
        return [_finding(f"{kind}: PPOD is above the pretrained model, DPOK and RWR", figure, holds, ppod, dpok, rwr)]

    return judged


def _on_set(kind: str) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        arm = found["f"]["weighted-sum"]
        gain = arm.gain(kind)
        return [_finding(f"The weighted sum rises on unseen {kind} prompts", f"gain {gain}", gain.mean > 0, arm)]

    return judged


def _each_seed(statement: str, prompt_set: str, bound: float) -> Callable[[Mapping[str, Arms]], list[Finding]]:
    def judged(found: Mapping[str, Arms]) -> list[Finding]:
        arm = found["g"]["prdp"]
        gains = [result.gain(prompt_set) for result in arm.results]
        return [_finding(statement, "; ".join(map(str, gains)), all(gain.low >= bound for gain in gains), arm)]

    return judged


_JUDGES: dict[str, list[Callable[[Mapping[str, Arms]], list[Finding]]]] = {
    "a": [
        _stability("prdp-unclipped-small", stable=False),
        _stability("prdp-unclipped-large", stable=False),
        _stability("ddpo-unclipped-small", stable=False),
        _stability("ddpo-unclipped-large", stable=False),
        _stability("prdp-small", stable=True),
        _stability("prdp-large", stable=True),
        _stability("ddpo-small", stable=True),
        _stability("ddpo-large", stable=False),
    ],
    "b": [
        _compared("PRDP matches DDPO on 45 prompts", "prdp-small", "ddpo-small", above=False),
        _compared("PRDP matches DDPO, 256 × 1, at large scale", "prdp-large", "ddpo-large", above=False),
        _compared("PRDP is above DDPO, 256 × 1, at large scale", "prdp-large", "ddpo-large", above=True),
        _compared("PRDP matches DDPO, 32 × 8, at large scale", "prdp-large", "ddpo-groups-large", above=False),
        _compared("PRDP is above DDPO, 32 × 8, at large scale", "prdp-large", "ddpo-groups-large", above=True),
        _compared(
            "PRDP without a bound on the gradient's norm matches PRDP",
            "prdp-free-norm-large",
            "prdp-large",
            above=False,
        ),
        _fails("DDPO on one image of each prompt fails at large scale", "ddpo-large"),
        _fails("DDPO on N × K images fails at large scale", "ddpo-groups-large"),
        _unnormalised,
    ],
    "o": [_of_offset(offset) for offset in OFFSETS[1:]],
    "c": [_c],
    "d": [
        _online("", "equal updates", "train"),
        _online("", "equal updates", "unseen"),
        _online("-converged", "till convergence", "train"),
        _online("-converged", "till convergence", "unseen"),
        _losses,
        _unclipped,
    ],
    "e": [_of_kind(kind) for kind in KINDS],
    "f": [_on_set(kind) for kind in KINDS],
    "g": [
        _each_seed("On training prompts the lower bound of PRDP's gain is above 0.05 on each seed", "train", 0.05),
        _each_seed("On held-out prompts it is not below -0.02 on any seed", "unseen", -0.02),
        _compared("PRDP matches DDPO, 256 × 1", "prdp", "ddpo", above=False, claim="g"),
        _compared("PRDP matches GRPO-like, 32 × 8", "prdp", "grpo-like", above=False, claim="g"),
    ],
}

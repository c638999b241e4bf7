"""What the results say of each claim: its statements, each with the figure and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from results import Arm

Arms = Mapping[str, Arm]
KINDS = ("colour", "count", "composition", "location")
BETAS = ("0.1", "1", "10", "100")


@dataclass(frozen=True)
class Finding:
    """One statement of a claim."""

    statement: str
    figure: str
    holds: bool


def judge(claim: str, arms: Arms, others: Mapping[str, Arms]) -> list[Finding]:
    """Findings of a claim; `others` are the results of all claims. Empty while an arm it needs has no result."""
    try:
        return _JUDGES[claim](arms, others)
    except KeyError:
        return []


def tried(claim: str, arms: Arms) -> list[Finding]:
    """Findings of arms that were added once others were seen; they count for no verdict."""
    try:
        return _TRIED[claim](arms)
    except KeyError:
        return []


def _a(arms: Arms, _: Mapping[str, Arms]) -> list[Finding]:
    expected = {
        "prdp-unclipped-small": False,
        "prdp-unclipped-large": False,
        "ddpo-unclipped-small": False,
        "ddpo-unclipped-large": False,
        "prdp-small": True,
        "prdp-large": True,
        "ddpo-small": True,
        "ddpo-large": False,
    }
    return [_stability(arms[name], stable=stable) for name, stable in expected.items()]


def _stability(arm: Arm, *, stable: bool) -> Finding:
    method, _, scale = arm.name.rpartition("-")
    unstable = len(arm.unstable)
    figure = f"{unstable} of {len(arm.results)} seeds unstable; gain {arm.gain()}"
    return Finding(
        f"{method} is {'stable' if stable else 'unstable'} at {scale} scale", figure, bool(unstable) != stable
    )


def _b(arms: Arms, others: Mapping[str, Arms]) -> list[Finding]:
    small, large, ones = others["a"]["prdp-small"], others["a"]["prdp-large"], others["a"]["ddpo-large"]
    unnormalised, pairs = arms["ddpo-unnormalised-small"], arms["ddpo-pairs-large"]
    ddpo_small = others["a"]["ddpo-small"]
    return [
        Finding(
            "PRDP gains at least what DDPO does on 45 prompts",
            f"PRDP {small.gain()}, DDPO {ddpo_small.gain()}",
            small.gain().mean >= ddpo_small.gain().mean,
        ),
        Finding("PRDP on 32 × 2 images learns at large scale", f"gain {large.gain()}", large.gain().low > 0),
        Finding("DDPO on one image of each prompt fails at large scale", f"gain {ones.gain()}", ones.gain().low <= 0),
        Finding(
            "DDPO on N × K images, each prompt with its own statistics, fails at large scale",
            f"gain {pairs.gain()}",
            pairs.gain().low <= 0,
        ),
        Finding(
            "DDPO without per-prompt normalisation is unstable on 45 prompts",
            f"{len(unnormalised.unstable)} of {len(unnormalised.results)} seeds unstable; gain {unnormalised.gain()}",
            bool(unnormalised.unstable),
        ),
    ]


def _tried_b(arms: Arms) -> list[Finding]:
    groups, long = arms["prdp-groups-large"], arms["ddpo-singles-long-large"]
    return [
        Finding("PRDP on 8 × 8 images learns at large scale", f"gain {groups.gain()}", groups.gain().low > 0),
        Finding(
            "With as many reward queries DDPO on one image of each prompt fails",
            f"gain {long.gain()}",
            long.gain().low <= 0,
        ),
    ]


def _tried_d(arms: Arms) -> list[Finding]:
    online, offline = arms["online-10-steps"], arms["offline-10-steps"]
    found = []
    for prompt_set in ("train", "unseen"):
        end = offline.gain(prompt_set).mean
        by_stage = [online.gain(prompt_set, epoch=stage).mean for stage in (1, 2, 3, 4)]
        said = f"online by stage {', '.join(f'{g:+.3f}' for g in by_stage)}; offline at its end {end:+.3f}"
        found.append(
            Finding(
                f"{prompt_set}, ten steps: online matches offline within two stages and goes on improving",
                said.replace("-", "−"),
                max(by_stage[:2]) >= end and by_stage[3] > by_stage[1],
            )
        )
    return found


def _c(arms: Arms, _: Mapping[str, Arms]) -> list[Finding]:
    trained = [arms[f"beta-{beta}"].gain(reward="reward").mean for beta in BETAS]
    watched = [arms[f"beta-{beta}"].gain(reward="shapes").mean for beta in BETAS]
    ddpo = arms["ddpo"]
    said = ", ".join(f"β={beta}: {t:+.3f} / {w:+.3f}" for beta, t, w in zip(BETAS, trained, watched, strict=True))
    over = f"DDPO: {ddpo.gain().mean:+.3f} / {ddpo.gain(reward='shapes').mean:+.3f}"
    return [
        Finding(
            "The trained reward's gain falls from the smallest to the largest β (colourfulness / pixel reward)",
            said.replace("-", "−"),
            trained[-1] < trained[0],
        ),
        Finding(
            "The loss in the pixel reward, which was not trained on, shrinks from the smallest to the largest β",
            said.replace("-", "−"),
            watched[-1] > watched[0],
        ),
        Finding(
            "DDPO loses more of the pixel reward than PRDP with the largest β",
            over.replace("-", "−"),
            ddpo.gain(reward="shapes").mean < watched[-1],
        ),
    ]


def _d(arms: Arms, _: Mapping[str, Arms]) -> list[Finding]:
    online, offline = arms["online"], arms["offline"]
    found = []
    for prompt_set in ("train", "unseen"):
        end = offline.gain(prompt_set).mean
        by_stage = [online.gain(prompt_set, epoch=stage).mean for stage in (1, 2, 3, 4)]
        matched = next((stage for stage, gain in enumerate(by_stage, start=1) if gain >= end), None)
        said = f"online by stage {', '.join(f'{g:+.3f}' for g in by_stage)}; offline at its end {end:+.3f}"
        found += [
            Finding(
                f"{prompt_set}: online matches offline within two stages, with half the queries",
                f"{said}; matched {f'in stage {matched}' if matched else 'in no stage'}".replace("-", "−"),
                matched is not None and matched <= 2,
            ),
            Finding(
                f"{prompt_set}: online goes on improving",
                f"{by_stage[1]:+.3f} after stage 2, {by_stage[3]:+.3f} after stage 4".replace("-", "−"),
                by_stage[3] > by_stage[1],
            ),
        ]
    squared = {name: arms[f"offline-{name}"].gain() for name in ("brier", "reward-difference")}
    said = ", ".join(f"{name} {gain}" for name, gain in squared.items())
    unclipped = arms["online-unclipped"]
    return [
        *found,
        Finding(
            "Cross-entropy is at least as good as a squared error (offline, training prompts)",
            f"cross-entropy {offline.gain()}, {said}",
            all(offline.gain().mean >= gain.mean for gain in squared.values()),
        ),
        Finding(
            "Without clipping finetuning is unstable",
            f"{len(unclipped.unstable)} of {len(unclipped.results)} seeds unstable; gain {unclipped.gain()}, "
            f"with clipping {online.gain()}",
            bool(unclipped.unstable),
        ),
    ]


def _e(arms: Arms, _: Mapping[str, Arms]) -> list[Finding]:
    found = []
    for kind in KINDS:
        ppod, dpok, rwr = (arms[f"{method}-{kind}"].gain() for method in ("ppod", "dpok", "rwr"))
        found.append(
            Finding(
                f"{kind}: PPOD is above the pretrained model, DPOK and RWR",
                f"PPOD {ppod}, DPOK {dpok}, RWR {rwr}",
                ppod.mean > max(0.0, dpok.mean, rwr.mean),
            )
        )
    return found


def _f(arms: Arms, _: Mapping[str, Arms]) -> list[Finding]:
    arm = arms["weighted-sum"]
    found = []
    for kind in KINDS:
        gain = arm.gain(kind)
        found.append(Finding(f"The weighted sum rises on unseen {kind} prompts", f"gain {gain}", gain.mean > 0))
    return found


_JUDGES: dict[str, Callable[[Arms, Mapping[str, Arms]], list[Finding]]] = {
    "a": _a,
    "b": _b,
    "c": _c,
    "d": _d,
    "e": _e,
    "f": _f,
}

_TRIED: dict[str, Callable[[Arms], list[Finding]]] = {"b": _tried_b, "d": _tried_d}

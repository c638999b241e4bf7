"""Write README.md and the plots from the committed results.

python benchmarks/study/page.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from afterwards import AFTERWARDS
from answers import answers
from judge import Arms, Finding, judge
from plan import HERE, RESULTS, TUNING, arms_of, grid_of, read_study, seeds_of, selection
from plots import draw
from results import read_results

_HEAD = """\
# The papers' claims on the built-in world

Written by `page.py` from `results/`, one JSON file a run. [PROTOCOL.md](PROTOCOL.md) was written before the runs; the
arms, grids and the rule of each claim are in [`study.yaml`](study.yaml). An earlier study, with settings under which
PRDP could not learn, is in [`superseded/`](superseded/README.md).

The built-in world is small: a Stable Diffusion pipeline with latents of 4 x 8 x 8, 5 denoising steps, LoRA of rank 8.
What holds here need not hold at the papers' size, nor the other way round. Gains are differences to the pretrained
model on the same prompts from the same noise; in brackets 95 % intervals, over seeds (Student's t), or over prompts
where there is one seed.
"""

_FOOT = """\
## Repeat it

- `make study` runs what has no result yet and can be stopped and started again; `benchmarks/study/run.py --claims a`
  limits it to a claim.
- `make study-quick` does two runs again, holds them against the committed results, and draws every plot anew.
"""


def main() -> None:
    """Everything that the results allow to say."""
    study = read_study()
    seeds = {
        (claim, arm): len(seeds_of(stated, described))
        for claim, stated in study["claims"].items()
        for arm, described in arms_of(stated)
    }
    found = read_results(RESULTS, seeds)
    claims = [_section(claim, stated, found) for claim, stated in study["claims"].items()]
    parts = [_HEAD, answers(study, found), _summary(study, found), *claims, _tuning(study, found), _FOOT]
    (HERE / "README.md").write_text("\n".join(parts), encoding="utf-8")
    print(f"{HERE / 'README.md'}: {sum(len(a.results) for arms in found.values() for a in arms.values())} results")


def _summary(study: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    seconds = sum(result.cpu_seconds for arms in found.values() for arm in arms.values() for result in arm.results)
    lines = [
        "## The claims\n",
        f"The runs so far took {seconds / 3600:.1f} hours of one core.\n",
        "| claim | source | runs | holds |",
        "|---|---|---|---|",
    ]
    for claim, stated in study["claims"].items():
        wanted = sum(len(seeds_of(stated, described)) for _, described in arms_of(stated))
        there = sum(len(arm.results) for arm in found.get(claim, {}).values())
        findings = judge(claim, found)
        judged = [finding for finding in findings if finding.holds is not None]
        verdict = f"{sum(bool(f.holds) for f in judged)} of {len(judged)} statements" if judged else "open"
        lines.append(f"| [{claim}](#claim-{claim}) | {stated['source']} | {there} of {wanted} | {verdict} |")
    return "\n".join(lines) + "\n"


def _section(claim: str, stated: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    plot = HERE / "plots" / f"{claim}.svg"
    lines = [f"## Claim {claim}\n", f"**{stated['says']}** ({stated['source']})\n", f"Rule: {stated['rule']}\n"]
    lines += list(_findings(judge(claim, found)))
    if claim in AFTERWARDS:
        lines += list(AFTERWARDS[claim](found.get(claim, {})))
    if draw(claim, found, plot):
        lines.append(f"![Claim {claim}](plots/{plot.name})\n")
    lines += list(_runs(found.get(claim, {})))
    return "\n".join(lines)


def _findings(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        yield "No statement has a result of each arm that it rests on yet.\n"
        return
    yield "| statement | measured | holds |\n|---|---|---|"
    for finding in findings:
        verdict = {True: "yes", False: "**no**", None: "open: seeds are missing"}[finding.holds]
        yield f"| {finding.statement} | {finding.figure} | {verdict} |"
    yield ""


def _runs(arms: Arms) -> Iterator[str]:
    if not arms:
        return
    yield "<details><summary>Each run</summary>\n"
    yield "| arm | seed | gain, training prompts | gain, unseen prompts | unstable | core seconds |"
    yield "|---|---|---|---|---|---|"
    for arm in arms.values():
        for result in arm.results:
            gains = f"{result.gain()} | {result.gain('unseen')}"
            yield f"| {arm.name} | {result.seed} | {gains} | {result.unstable} | {result.cpu_seconds:.0f} |"
    yield "\n</details>\n"


def _tuning(study: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    seed = study["tuning"]["seed"]
    lines = [
        "## Tuning\n",
        f"Seed {seed}, gain after the last epoch. A chosen cell's gain is biased upwards and counts for no verdict.\n",
    ]
    for method in study["tuning"]["grids"]:
        cells = grid_of(study, method)
        there = [cell for cell in cells if cell.arm in found.get(TUNING, {})]
        lines.append(f"**{method}**: {len(there)} of {len(cells)} cells\n")
        if not there:
            continue
        knobs = list(cells[0].knobs)
        lines.append(f"| {' | '.join(knobs)} | gain, training prompts | gain, unseen prompts | unstable | |")
        lines.append("|---" * (len(knobs) + 4) + "|")
        chosen = selection(study, method)
        for cell in there:
            result = found[TUNING][cell.arm].results[0]
            values = " | ".join(f"{cell.knobs[knob]:g}" for knob in knobs)
            mark = "chosen" if chosen is not None and cell.arm == chosen.arm else ""
            lines.append(f"| {values} | {result.gain()} | {result.gain('unseen')} | {result.unstable} | {mark} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

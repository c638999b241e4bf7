"""Write README.md and the plots from the committed results.

python benchmarks/study/page.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from judge import Arms, Finding, judge, tried
from plan import HERE, RESULTS, read_study, tasks
from plots import draw
from results import read_results

_HEAD = """\
# The papers' claims on the built-in world

Written by `page.py` from `results/`, one JSON file a (claim, arm, seed). The arms, their settings and the rule of each
claim are in [`study.yaml`](study.yaml), written before the runs; settings were chosen on trial runs with another seed.

The built-in world is small: a Stable Diffusion pipeline with latents of 4 x 8 x 8, 5 denoising steps, LoRA of rank 8.
What holds here need not hold at the papers' size, nor the other way round. Gains are differences to the pretrained
model on the same prompts from the same noise; in brackets 95 % intervals, over seeds (Student's t), or over prompts
where there is one seed.

- `make study` runs what has no result yet, in the order of this page's claims, and can be stopped and started again.
- `make study-quick` runs claim a at small scale and claim d for two stages again (seed 1), holds them against the
  committed results, and draws every plot anew.
"""


def main() -> None:
    """Everything that the results allow to say."""
    study, found = read_study(), read_results(RESULTS)
    parts = [_HEAD, _summary(study, found)]
    for claim, stated in study["claims"].items():
        parts.append(_section(claim, stated, found))
    (HERE / "README.md").write_text("\n".join(parts), encoding="utf-8")
    print(f"{HERE / 'README.md'}: {sum(len(a.results) for arms in found.values() for a in arms.values())} results")


def _summary(study: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    wanted = list(tasks(study))
    there = [task for task in wanted if task.result.exists()]
    seconds = sum(result.seconds for arms in found.values() for arm in arms.values() for result in arm.results)
    took = f"they took {seconds / 3600:.1f} hours of one core, beside other work"
    lines = [
        f"{len(there)} of {len(wanted)} runs are done; {took}.\n",
        "| claim | source | holds |",
        "|---|---|---|",
    ]
    for claim, stated in study["claims"].items():
        findings = judge(claim, found.get(claim, {}), found)
        verdict = f"{sum(f.holds for f in findings)} of {len(findings)} statements" if findings else "not run yet"
        lines.append(f"| [{claim}](#claim-{claim}) | {stated['source']} | {verdict} |")
    return "\n".join(lines) + "\n"


def _section(claim: str, stated: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    arms = found.get(claim, {})
    plot = HERE / "plots" / f"{claim}.svg"
    findings = judge(claim, arms, found)
    lines = [f"## Claim {claim}\n", f"**{stated['says']}** ({stated['source']})\n", f"Rule: {stated['rule']}\n"]
    lines += list(_findings(findings))
    if added := tried(claim, arms):
        lines.append("Tried after these were seen, and counted for no verdict:\n")
        lines += list(_findings(added))
    if draw(claim, arms, found, plot):
        lines.append(f"![Claim {claim}](plots/{plot.name})\n")
    lines += list(_runs(arms))
    if notes := stated.get("notes"):
        lines.append(f"{notes}\n")
    return "\n".join(lines)


def _findings(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        yield "Not all of its runs are done yet.\n"
        return
    yield "| statement | measured | holds |\n|---|---|---|"
    for finding in findings:
        yield f"| {finding.statement} | {finding.figure} | {'yes' if finding.holds else '**no**'} |"
    yield ""


def _runs(arms: Arms) -> Iterator[str]:
    if not arms:
        return
    yield "<details><summary>Each run</summary>\n"
    yield "| arm | seed | gain, training prompts | gain, unseen prompts | unstable | seconds |"
    yield "|---|---|---|---|---|---|"
    for arm in arms.values():
        for result in arm.results:
            row = (
                arm.name,
                result.seed,
                result.gain(),
                result.gain("unseen"),
                result.unstable or "",
                round(result.seconds),
            )
            yield "| " + " | ".join(map(str, row)) + " |"
    yield "\n</details>\n"


if __name__ == "__main__":
    main()

"""Make a policy the champion if it is better than the current champion, with 95 % confidence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reward_finetuning.config import RetryableError, UserError, parse_config
from reward_finetuning.evaluation.champion import seat_of
from reward_finetuning.evaluation.contest import Decision, judge
from reward_finetuning.evaluation.exports import export_model
from reward_finetuning.evaluation.reports import is_done
from reward_finetuning.events import report_news, report_warning
from reward_finetuning.steps.program import Config, PolicyFile, run_step, step
from reward_finetuning.storage import Reference, RunDirectory, read_reference, write_reference
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking import Entry, MlflowTracker
from reward_finetuning.tracking.journal import Journal

_ATTEMPTS = 5
_FILES = "promotions/"


@step
def promote(config: Config, policy: PolicyFile) -> dict[str, Any]:
    """Compare the policy with the champion; if it wins, it becomes the champion.

    Returns:
        "promoted", "champion" (the name of the policy as champion, or of the champion that stays, "none" without one)
        and "reason".

    Raises:
        ArtifactError: the policy is the pretrained model, is gone, or was not evaluated.
        RetryableError: MLflow does not answer, or others kept promoting at the same time.
    """
    run = RunDirectory(parse_config(config))
    run.check()
    challenger = read_reference(policy)
    run.open(challenger, [])
    seat, export = seat_of(run), partial(export_model, run, challenger)
    for _ in range(_ATTEMPTS):  # of two promotions at the same time, one is refused and compares again
        champion, token = seat.holder()
        if champion is not None and champion.weights_sha256 == weights_sha256(challenger):
            return {"promoted": True, "champion": champion.label, "reason": "it is the champion already"}
        decision = judge(run, challenger, champion)
        if decision.objections:
            label = "none" if champion is None else champion.label
            _record(run, challenger, decision, label)
            return {"promoted": False, "champion": label, "reason": decision.reason}
        if (name := seat.take(challenger, decision, token, export)) is not None:
            _record(run, challenger, decision, name)
            return {"promoted": True, "champion": name, "reason": decision.reason}
    raise RetryableError(f"the champion changed {_ATTEMPTS} times while epoch {challenger.epoch} was compared with it")


def promote_last(run: RunDirectory) -> None:
    """`promote` the last policy of a finished run with promotion.after_training, unless that was decided before.

    What fails is reported and not raised, because the run is done: `rft run` or `rft sync` does it later.
    """
    latest = run.latest()
    if not run.config.promotion.after_training or not is_done(run) or _is_decided(run, latest.epoch):
        return
    with TemporaryDirectory() as folder:
        policy = str(Path(folder) / "policy")
        write_reference(policy, latest)
        try:
            promote(run.config.model_dump_json(), policy)
        except (UserError, RetryableError) as error:
            report_warning(f"the last policy is not registered: {error}; run rft sync to do it later")


def _is_decided(run: RunDirectory, epoch: int) -> bool:
    epochs = {
        entry["epoch"] for entry in Journal(run).entries() for file in entry["references"] if file.startswith(_FILES)
    }
    return epoch in epochs


def _record(run: RunDirectory, challenger: Reference, decision: Decision, champion: str) -> None:
    promoted = not decision.objections
    for line in decision.objections or (f"{champion} is the champion ({decision.reason})",):
        report_news(f"epoch {challenger.epoch}: {'promoted' if promoted else 'not promoted'}, {line}")
    tags = {"champion": champion} | ({"champion_epoch": str(challenger.epoch)} if promoted else {})
    facts = {"promoted": str(promoted), "champion": champion, "reason": decision.reason}
    entry = Entry(
        "promote" if promoted else "refuse",
        challenger.epoch,
        {},
        references={f"{_FILES}epoch_{challenger.epoch:05d}.json": facts},
        tags=tags,
    )
    MlflowTracker(run).log(entry)


if __name__ == "__main__":
    run_step(promote)

"""What a run owes its scorers: nothing is scored twice, nothing wrong is trained on, guards are named."""

import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from reward_finetuning.config import RetryableError, TrainingError
from reward_finetuning.steps.evaluate import evaluate
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.steps.sample import sample
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.slow

PLUGIN = """
    import json
    from pathlib import Path
    from reward_finetuning.config import RetryableError

    HERE = Path(__file__).parent

    def check(settings):
        pass

    def digest(settings):
        return "sha-of-weights"

    def load(settings):
        return score

    def score(images, prompts):
        script = HERE / "script.json"
        left = json.loads(script.read_text()) if script.exists() else {}
        with (HERE / "asked.txt").open("a") as file:
            file.writelines(prompt + "\\n" for prompt in prompts)
        if left.get("calls") == 0:
            script.unlink()
            raise RetryableError("down for maintenance")
        if "calls" in left:
            script.write_text(json.dumps({"calls": left["calls"] - 1}))
        scores = images.mean(axis=(1, 2, 3)) / 255
        if left.get("nan"):
            scores[-1] = float("nan")
        return scores
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A plug-in that costs something: settings that name it, what it was asked, and a way to make it fail."""
    (tmp_path / "costly_plugin.py").write_text(dedent(PLUGIN), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield Theirs(tmp_path)
    sys.modules.pop("costly_plugin", None)


class Theirs:
    def __init__(self, folder):
        self.folder = folder
        self.reward = {"weights": {"shapes": 1.0, "costly": 0.0}, "scorers": {"costly": {"use": "costly_plugin:"}}}

    def asked(self):
        path = self.folder / "asked.txt"
        prompts = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return prompts

    def script(self, **what):
        (self.folder / "script.json").write_text(json.dumps(what))


@pytest.fixture
def begun(tasks, theirs):
    def make(**changes):
        one = tasks(reward=theirs.reward, **changes)
        one.begin()
        sample(one.config, "1", "0", one.path("rollouts"))
        return one

    return make


def test_a_retry_of_the_reward_step_scores_only_what_the_first_attempt_had_not(begun, theirs):
    one = begun()
    theirs.script(calls=1)

    with pytest.raises(RetryableError, match="down for maintenance"):
        reward(one.config, one.path("rollouts"), one.path("rewards"))
    first = theirs.asked()
    reward(one.config, one.path("rollouts"), one.path("rewards"))
    second = theirs.asked()

    assert (len(first), len(second)) == (6, 2)  # micro-batches of 4 and 2; the second one was asked for in vain
    assert first[4:] == second
    assert not any("scores-" in name for name in one.run.store.names("epochs/0001"))


def test_a_reward_that_is_not_finite_stops_before_training_and_before_evaluation(begun, theirs):
    one = begun()
    theirs.script(nan=True)

    with pytest.raises(TrainingError, match=r"scorer costly returned nan for sample 3 \(image 0 of '"):
        reward(one.config, one.path("rollouts"), one.path("rewards"))
    with pytest.raises(TrainingError, match=r"scorer costly returned nan for sample 1 \(image 0 of 'a blue square'\)"):
        evaluate(one.config, one.path("policy"), one.path("report.html"))

    assert one.run.latest().epoch == 0
    assert not any(name.startswith(("rewards-", "report-")) for name in one.run.store.names("epochs/0001"))
    assert not any(name.startswith("report-") for name in one.run.store.names("epochs/0000"))


def test_a_second_evaluation_with_one_more_prompt_scores_that_one(begun, theirs, run_config):
    one = begun()
    evaluate(one.config, one.path("policy"), one.path("report.html"))
    assert theirs.asked() == ["a red circle", "a blue square"]
    more = one.folder / "more.txt"
    more.write_text("a red circle\na blue square\na green cross\n")
    again = run_config(reward=theirs.reward, evaluation={"prompt_sets": {"train": str(more)}})

    evaluate(again.model_dump_json(), one.path("policy"), one.path("report.html"))

    assert theirs.asked() == ["a green cross"]


def test_the_page_names_the_guards_and_the_journal_has_them(tasks, theirs):
    one = tasks(reward=theirs.reward, loop={"epochs": 1, "evaluate_every": 1})
    run_epochs(one.config, one.begin(), one.path("policy"), one.path("report.html"))

    page = Path(one.path("report.html")).read_text()
    metrics = one.run.latest().facts["metrics"]

    assert "Guards (not trained)" in page
    assert "1 × shapes" in page
    assert "× costly" not in page
    assert metrics["reward/mean"] == metrics["reward/shapes/mean"] != metrics["reward/costly/mean"]


def test_cached_scores_are_forgotten_with_the_rollouts_and_kept_with_the_report(tasks, theirs):
    one = tasks(reward=theirs.reward, loop={"epochs": 3, "evaluate_every": 2}, retention={"rollouts": 1})
    run_epochs(one.config, one.begin(), one.path("policy"), one.path("report.html"))

    kept = {epoch: one.run.store.names(f"epochs/{epoch}") for epoch in one.run.store.names("epochs")}

    assert not any(name.startswith("scores-") for names in kept.values() for name in names)
    assert any(name.startswith("evaluation-scores-") for name in kept["0002"])


def test_a_damaged_cache_does_not_stop_a_run(begun, theirs):
    from reward_finetuning.pipelines.local.preflight import check_run

    one = begun()
    evaluate(one.config, one.path("policy"), one.path("report.html"))
    (path,) = Path(one.run.uri).glob("epochs/0000/evaluation-scores-*/scores.parquet")
    path.write_bytes(b"")

    assert isinstance(check_run(one.run.config), RunDirectory)

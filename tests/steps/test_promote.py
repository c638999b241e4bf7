"""Challenger against champion; the registry is a real MLflow store on sqlite."""

import json
import socket

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from reward_finetuning.config import RetryableError
from reward_finetuning.evaluation.champion import CHAMPION
from reward_finetuning.evaluation.contest import Champion, judge
from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.evaluation.reports import report_name
from reward_finetuning.steps.promote import promote, promote_last
from reward_finetuning.storage import write_reference
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking import MlflowTracker

MANY = {"evaluation": {"images_per_prompt": 8}, "promotion": {"improve_on": ["train"], "keep_on": []}}
OFFLINE = MANY | {"tracking": {"enabled": False}}


@pytest.fixture
def promoted(tmp_path):
    """Promote a run's policy as the pipeline does: with its reference in a file."""

    def step(run, epoch):
        write_reference(str(tmp_path / "policy"), policy_of_epoch(run, epoch))
        return promote(run.config.model_dump_json(), str(tmp_path / "policy"))

    return step


def champion_of(run, epoch):
    weights = weights_sha256(policy_of_epoch(run, epoch))
    return Champion("the champion", run.uri, epoch, report_name(run, epoch), weights)


def test_only_a_surely_better_policy_takes_the_place_of_the_champion(nudged_run, promoted):
    run = nudged_run({1: 0.5, 2: 0.4, 3: 0.9}, **OFFLINE)

    outcomes = [promoted(run, epoch) for epoch in (1, 2, 3, 3)]

    assert [outcome["promoted"] for outcome in outcomes] == [True, False, True, True]
    assert "is the first model" in outcomes[0]["reason"]
    assert "its gain on train may be as low as -0.1" in outcomes[1]["reason"]
    assert "better than epoch 1 on" in outcomes[2]["reason"]
    assert outcomes[3]["reason"] == "it is the champion already"
    assert run.store.read_json(CHAMPION)["epoch"] == 3


def test_a_champion_of_another_run_is_compared_when_noise_and_prompts_are_the_same(nudged_run):
    one, other = nudged_run({1: 0.5}, name="one", **OFFLINE), nudged_run({1: 0.9}, name="other", **OFFLINE)

    assert judge(other, policy_of_epoch(other, 1), champion_of(one, 1)).objections == ()
    assert judge(one, policy_of_epoch(one, 1), champion_of(other, 1)).objections


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"evaluation": {"images_per_prompt": 7}}, "only in before"),
        ({"sampling": {"num_steps": 4}}, "sampling.num_steps is 3 there and 4 here"),
    ],
)
def test_what_does_not_pair_is_refused_with_the_reason(nudged_run, changes, said):
    one = nudged_run({1: 0.5}, name="one", **OFFLINE)
    other = nudged_run({1: 0.9}, name="other", **(OFFLINE | changes))

    (objection,) = judge(other, policy_of_epoch(other, 1), champion_of(one, 1)).objections

    assert objection.startswith("it cannot be compared with the champion: ")
    assert said in objection


def test_a_champion_whose_report_is_gone_stays(nudged_run):
    run = nudged_run({1: 0.5}, **OFFLINE)
    gone = Champion("the champion", run.uri + "-gone", 1, "epochs/0001/report-x", "w")

    (objection,) = judge(run, policy_of_epoch(run, 1), gone).objections

    assert "is gone" in objection


def test_a_first_model_has_to_beat_the_pretrained_one(nudged_run, promoted):
    run = nudged_run({1: -0.5, 2: 0.0, 3: 0.5}, **OFFLINE)

    outcomes = [promoted(run, epoch) for epoch in (1, 2, 3)]

    assert [outcome["promoted"] for outcome in outcomes] == [False, False, True]
    assert [outcome["champion"] for outcome in outcomes[:2]] == ["none", "none"]
    assert "its gain on train may be as low as -" in outcomes[0]["reason"]
    assert "Against the pretrained model: Epoch 3 is better" in outcomes[2]["reason"]


GUARDED = OFFLINE | {
    "reward": {"weights": {"shapes": 1.0, "colourfulness": 0.0}},
    "promotion": {"improve_on": ["train"], "keep_on": [], "guard_margins": {"colourfulness": 0.25}},
}


def test_promotions_in_a_row_cannot_cost_a_guard_more_than_its_margin(nudged_run, promoted):
    guard = {1: -0.15, 2: -0.3, 3: -0.1}  # each is within the margin of the one before
    run = nudged_run({1: 0.5, 2: 1.0, 3: 1.5}, others={"colourfulness": guard}, **GUARDED)

    outcomes = [promoted(run, epoch) for epoch in (1, 2, 3)]

    assert [outcome["promoted"] for outcome in outcomes] == [True, False, True]
    assert "against the pretrained model, colourfulness on train changes by -0.3" in outcomes[1]["reason"]
    assert "Against epoch 1: " in outcomes[2]["reason"]


def test_a_run_that_starts_from_a_champion_is_compared_with_the_pretrained_model_too(nudged_run, run_config):
    start = nudged_run({1: 0.5}, name="start", others={"colourfulness": {1: -0.2}}, **GUARDED)
    warm_start = {"run_directory": start.uri, "epoch": 1, "reference": "pretrained"}
    run = nudged_run({1: 1.0}, name="next", others={"colourfulness": {1: 0.0}}, warm_start=warm_start, **GUARDED)
    champion = champion_of(start, 1)

    decision = judge(run, policy_of_epoch(run, 1), champion)

    assert decision.objections == (
        "its guard rewards cannot be compared with the pretrained model: it was not evaluated",
    )


@pytest.mark.slow
def test_the_registry_holds_the_winners_their_reasons_and_one_alias(
    nudged_run, promoted, mlflow_store, monkeypatch, tmp_path
):
    run = nudged_run({1: 0.5, 2: 0.9}, model={"trainable": "lora"}, **MANY)

    outcomes = [promoted(run, epoch)["champion"] for epoch in (1, 2, 1)]

    client = MlflowClient(MlflowTracker(run).uri)
    assert outcomes == ["models:/tiny/1", "models:/tiny/2", "version 2 of tiny"]
    champion = client.get_model_version_by_alias("tiny", "champion")
    assert champion.version == 2
    assert champion.tags["weights_sha256"] == weights_sha256(policy_of_epoch(run, 2))
    assert champion.tags["epoch"] == "2"
    assert "Against version 1 of tiny: Epoch 2 is better" in champion.description
    monkeypatch.setenv("MLFLOW_TRACKING_URI", MlflowTracker(run).uri)
    folder = download_artifacts("models:/tiny@champion", dst_path=str(tmp_path))
    assert (tmp_path / "model_index.json").is_file(), folder
    model = client.get_logged_model(champion.tags["logged_model"])
    assert model.tags["weights_sha256"] == champion.tags["weights_sha256"]


@pytest.mark.slow
def test_a_server_that_does_not_answer_asks_for_a_retry(nudged_run, promoted):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    run = nudged_run({1: 0.5}, model={"trainable": "lora"}, tracking={"uri": uri, "timeout_seconds": 2}, **MANY)

    with pytest.raises(RetryableError, match=f"MLflow at {uri}, model tiny: "):
        promoted(run, 1)

    assert json.loads(run.config.model_dump_json())["tracking"]["uri"] == uri


LAST = {"loop": {"epochs": 1, "evaluate_every": 1}, "evaluation": {"images_per_prompt": 8}}
AFTER = {"promotion": {"after_training": True, "keep_on": []}}


@pytest.mark.usefixtures("mlflow_store")
def test_the_last_policy_of_a_run_is_registered_once_if_the_run_asks_for_it(nudged_run, capsys):
    asks, silent = nudged_run({1: 0.5}, **LAST, **AFTER), nudged_run({1: 0.5}, name="silent", **LAST)

    for _ in range(2):
        promote_last(asks)
        promote_last(silent)

    client = MlflowClient(MlflowTracker(asks).uri)
    assert [str(version.version) for version in client.search_model_versions("name='tiny'")] == ["1"]
    assert client.get_model_version_by_alias("tiny", "champion").tags["epoch"] == "1"
    assert client.search_model_versions("name='silent'") == []


@pytest.mark.usefixtures("mlflow_store")
def test_a_last_policy_that_is_not_better_is_judged_once(nudged_run, capsys):
    run = nudged_run({1: -0.5}, **LAST, **AFTER)

    for _ in range(2):
        promote_last(run)

    assert capsys.readouterr().out.count("not promoted") == 1
    assert MlflowClient(MlflowTracker(run).uri).search_model_versions("name='tiny'") == []


def test_an_unfinished_run_registers_nothing(nudged_run):
    run = nudged_run(
        {1: 0.5}, **LAST | {"loop": {"epochs": 2, "evaluate_every": 1}}, **AFTER, tracking={"enabled": False}
    )

    promote_last(run)

    assert run.store.read_json(CHAMPION) is None


def test_a_server_that_is_down_leaves_the_policy_for_later(nudged_run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        tracking = {"uri": f"http://127.0.0.1:{closed.getsockname()[1]}", "timeout_seconds": 1}
    run = nudged_run({1: 0.5}, **LAST, **AFTER, tracking=tracking)

    promote_last(run)

    output = "".join(capsys.readouterr())
    assert "the last policy is not registered" in output
    assert "run rft sync to do it later" in output

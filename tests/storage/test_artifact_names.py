import pytest

from reward_finetuning.storage import RunDirectory, artifact_names
from reward_finetuning.storage.artifact_names import Kind, kind_of

SETTINGS = "0123456789abcdef"


def test_names_are_those_that_earlier_versions_wrote():
    rollouts = artifact_names.rollouts(3, 0, 4)

    assert artifact_names.policy(3) == "epochs/0003/policy"
    assert rollouts == "epochs/0003/rollouts-00000-00004"
    assert artifact_names.rewards(rollouts) == "epochs/0003/rewards-00000-00004"
    assert artifact_names.scores(rollouts) == "scores-00000-00004-"
    assert artifact_names.evaluated("policies/a/01", SETTINGS, 2, 10) == "policies/a/01/evaluated-01234567-00002-00010"
    assert artifact_names.report("epochs/0000", SETTINGS) == "epochs/0000/report-01234567"
    assert artifact_names.policy(12345) == "epochs/12345/policy"


@pytest.mark.parametrize("kind", Kind)
def test_a_name_is_parsed_as_the_kind_that_made_it(kind):
    rollouts = artifact_names.rollouts(1, 0, 4)
    names = {
        Kind.POLICY: artifact_names.policy(1),
        Kind.ROLLOUTS: rollouts,
        Kind.REWARDS: artifact_names.rewards(rollouts),
        Kind.SCORES: artifact_names.scores(rollouts) + SETTINGS,
        Kind.EVALUATED: artifact_names.evaluated("epochs/0001", SETTINGS, 0, 4),
        Kind.EVALUATION_SCORES: artifact_names.EVALUATION_SCORES + SETTINGS,
        Kind.REPORT: artifact_names.report("epochs/0001", SETTINGS),
    }

    assert kind_of(names[kind]) is kind


@pytest.mark.parametrize("name", ["", "notes", "policy.old", "reporting", "my-report-1", "epochs/0001/policies"])
def test_other_names_have_no_kind(name):
    assert kind_of(name) is None


def test_only_cached_scores_are_a_cache():
    assert {kind for kind in Kind if kind.is_cache} == {Kind.SCORES, Kind.EVALUATION_SCORES}


def test_a_file_of_an_artifact_may_lie_in_a_folder():
    assert artifact_names.split_file("epochs/0001/report-a/pictures/1.png") == (
        "epochs/0001/report-a",
        "pictures/1.png",
    )


def test_a_folder_that_is_no_epoch_is_not_taken_for_one(run_config):
    run = RunDirectory(run_config())
    for name in ("epochs/0002/note.json", "epochs/0010/note.json", "epochs/old/note.json", "epochs/²/note.json"):
        run.store.create_json(name, {})

    assert run.epochs() == [2, 10]


def test_artifacts_of_an_epoch_are_listed_by_kind(run_config):
    run = RunDirectory(run_config())
    for name in ("report-a", "rollouts-00000-00001", "policy"):
        run.store.create_json(f"epochs/0001/{name}/part.json", {})

    assert run.artifacts(1, Kind.REPORT, Kind.POLICY) == ["epochs/0001/policy", "epochs/0001/report-a"]
    assert len(run.artifacts(1)) == 3
    assert run.artifacts(2) == []

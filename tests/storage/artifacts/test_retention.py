import pytest

from reward_finetuning.storage import RunDirectory, artifact_names
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.artifacts.retention import delete_old_artifacts

SETTINGS = "01234567"


@pytest.fixture
def run_of(run_config):
    """A run with every kind of artifact in epochs 1 to 6, and reports in the even ones."""

    def make(**changes):
        run = RunDirectory(run_config(**changes))
        run.begin({}, {})
        for epoch in range(1, 7):
            rollouts = artifact_names.rollouts(epoch, 0, 4)
            scores = run.name(epoch, artifact_names.scores(rollouts) + "a")
            names = [artifact_names.policy(epoch), rollouts, artifact_names.rewards(rollouts), scores]
            if epoch % 2 == 0:
                names.append(artifact_names.report(artifact_names.epoch_folder(epoch), SETTINGS))
            for name in names:
                run.commit(name, run.identity(artifact_names.kind_of(name), epoch, ""), lambda folder: {})
        return run

    return make


def kept(run, kind):
    return [epoch for epoch in run.epochs() if any(run.store.manifest(name) for name in run.artifacts(epoch, kind))]


def test_rollouts_rewards_and_scores_of_epochs_beyond_the_limit_are_deleted(run_of):
    run = run_of(retention={"rollouts": 2, "policies": 0})

    delete_old_artifacts(run, 3)

    for kind in (Kind.ROLLOUTS, Kind.REWARDS, Kind.SCORES):
        assert kept(run, kind) == [2, 3, 4, 5, 6]
    assert kept(run, Kind.POLICY) == [1, 2, 3, 4, 5, 6]


def test_a_deletion_that_was_cut_off_is_completed_an_epoch_later(run_of):
    run = run_of(retention={"rollouts": 2})

    delete_old_artifacts(run, 5)

    assert kept(run, Kind.ROLLOUTS) == [4, 5, 6]


def test_policies_with_a_report_stay(run_of):
    run = run_of(retention={"policies": 1})

    delete_old_artifacts(run, 4)

    assert kept(run, Kind.POLICY) == [2, 4, 5, 6]
    assert kept(run, Kind.REPORT) == [2, 4, 6]


def test_offline_the_rollouts_stay(run_of):
    run = run_of(sampling={"rollouts": "offline"}, retention={"rollouts": 1})

    delete_old_artifacts(run, 6)

    assert kept(run, Kind.ROLLOUTS) == [1, 2, 3, 4, 5, 6]

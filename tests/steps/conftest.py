"""The steps, called one after the other as the components do."""

import shutil

import pytest

from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.sample import sample
from reward_finetuning.steps.shards import shards
from reward_finetuning.steps.train_epoch import train_epoch
from reward_finetuning.storage import RunDirectory, read_reference
from reward_finetuning.tracking import MlflowTracker


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch):
    """These tests are about the steps; the journal is written, and nothing is sent."""
    monkeypatch.setattr(MlflowTracker, "flush", lambda self: False)


class Tasks:
    """Runs steps with a file for each reference, as KFP does."""

    def __init__(self, config, folder):
        self.config, self.folder = config.model_dump_json(), folder
        self.run = RunDirectory(config)

    def path(self, name):
        return str(self.folder / name)

    def begin(self):
        return next_epochs(self.config, self.path("policy"))

    def rollouts(self, plan, offset=0):
        """Sample and score every shard; returns the paths of both."""
        pairs = []
        for number, shard in enumerate(shards(self.config, plan, offset)):
            drawn, scored = self.path(f"rollouts-{number}"), self.path(f"rewards-{number}")
            sample(self.config, shard, self.path("policy"), drawn)
            reward(self.config, drawn, scored)
            pairs.append((drawn, scored))
        self.drawn, self.scored = (list(paths) for paths in zip(*pairs, strict=True))
        return [self.drawn, self.scored]

    def train(self, drawn, scored):
        train_epoch(self.config, self.path("policy"), drawn, scored, self.path("next"))
        return read_reference(self.path("next"))

    def epoch(self, plan, offset=0):
        after = self.train(*self.rollouts(plan, offset))
        shutil.copy(self.path("next"), self.path("policy"))
        return after


@pytest.fixture
def tasks(run_config, tmp_path):
    def make(**changes):
        return Tasks(run_config(**changes), tmp_path)

    return make

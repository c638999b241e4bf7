"""The steps, called one after the other as the components do."""

import shutil

import pytest

from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.sample import sample
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
        return next_epochs(self.config, self.path("policy")).plan

    def rollouts(self, plan, offset=0):
        """Sample and score every shard; returns the paths of both."""
        pairs = []
        for number in range(self.run.config.loop.num_shards):
            drawn, scored = self.path(f"rollouts-{number}"), self.path(f"rewards-{number}")
            sample(self.config, str(Plan.parse(plan).first), str(number), drawn, offset)
            reward(self.config, drawn, scored)
            pairs.append((drawn, scored))
        self.drawn, self.scored = (list(paths) for paths in zip(*pairs, strict=True))
        return [self.drawn, self.scored]

    def train(self, epoch=None):
        """An epoch; the one after the newest where none is given."""
        train_epoch(self.config, str(epoch or self.run.latest().epoch + 1), self.path("next"))
        return read_reference(self.path("next"))

    def epoch(self, plan, offset=0):
        self.rollouts(plan, offset)
        after = self.train()
        shutil.copy(self.path("next"), self.path("policy"))
        return after


@pytest.fixture
def tasks(run_config, tmp_path):
    def make(**changes):
        return Tasks(run_config(**changes), tmp_path)

    return make

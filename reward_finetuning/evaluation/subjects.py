"""Who is evaluated, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_finetuning.policy.warm_start import DIGEST
from reward_finetuning.records import PRETRAINED
from reward_finetuning.storage import Reference, RunDirectory, artifact_names
from reward_finetuning.storage.reference import weights_sha256

if TYPE_CHECKING:
    from reward_finetuning.policy.load import Policy

NOISE = ("num_steps", "guidance_scale", "ddim_eta", "scheduler", "spacing", "min_std", "height", "width")
"""Settings of the section sampling on which it depends what a policy makes of the same noise."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One policy of an evaluation."""

    name: str
    """What to call it, such as "epoch 10"."""

    folder: str
    """Of its artifacts, below the directory that gets the evaluation."""

    source: RunDirectory
    """The run that has its weights, under the evaluation's sampling settings."""

    reference: Reference
    """Which policy of that run; without a name the pretrained model."""

    @classmethod
    def of_run(cls, run: RunDirectory, reference: Reference) -> Subject:
        """A policy of a run in an evaluation by the run itself."""
        return cls(f"epoch {reference.epoch}", artifact_names.epoch_folder(reference.epoch), run, reference)

    @property
    def weights(self) -> str:
        """sha256 of its weights; empty for the pretrained model."""
        return weights_sha256(self.reference)

    @property
    def policy(self) -> str:
        """sha256 of the weights that draw, be they those that the run starts from; or PRETRAINED."""
        described = self.source.describe() or {"fingerprint": {}}
        return self.weights or described["fingerprint"].get(DIGEST, PRETRAINED)

    @property
    def measures_kl(self) -> bool:
        """Whether the reference network is asked too; where it is the policy itself, the KL is zero."""
        config = self.source.config
        return config.evaluation.kl and (bool(self.reference.name) or not config.starts_at_reference)

    def load(self) -> Policy:
        """The policy, with the reference network beside it where its KL is measured."""
        from reward_finetuning.policy.restore import policy_at

        averaged = self.source.config.evaluation.averaged
        return policy_at(self.source, self.reference, keep_reference=self.measures_kl, averaged=averaged)

"""The policies of an evaluation: their weights, and the location of their artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_finetuning.policy.warm_start import DIGEST
from reward_finetuning.records import PRETRAINED
from reward_finetuning.storage import Reference, RunDirectory, artifact_names
from reward_finetuning.storage.reference import weights_sha256

if TYPE_CHECKING:
    from reward_finetuning.policy.load import Policy

NOISE = ("num_steps", "guidance_scale", "ddim_eta", "scheduler", "spacing", "min_std", "flow", "height", "width")
"""Settings of `sampling` that change the images of a policy for the same noise."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One policy of an evaluation."""

    name: str
    """Display name, for example "epoch 10"."""

    folder: str
    """Folder of its artifacts, relative to the directory of the evaluation."""

    source: RunDirectory
    """The run that contains its weights, with the sampling settings of the evaluation."""

    reference: Reference
    """A policy of that run; a reference without a name is the pretrained model."""

    @classmethod
    def of_run(cls, run: RunDirectory, reference: Reference) -> Subject:
        """A policy that its own run evaluates."""
        return cls(f"epoch {reference.epoch}", artifact_names.epoch_folder(reference.epoch), run, reference)

    @classmethod
    def floor_of(cls, run: RunDirectory) -> Subject | None:
        """The pretrained model, if the run's guard rewards are compared with it and epoch 0 is another policy."""
        if run.config.warm_start is None or not run.config.promotion.guard_margins:
            return None
        source = RunDirectory(run.config.model_copy(update={"warm_start": None}))
        return cls(PRETRAINED, f"policies/{PRETRAINED}", source, Reference(epoch=0))

    @property
    def weights(self) -> str:
        """sha256 of its trained weights; empty for the pretrained model."""
        return weights_sha256(self.reference)

    @property
    def policy(self) -> str:
        """sha256 of the weights that sample, which can be the initial weights of the run; or PRETRAINED."""
        if self.source.config.warm_start is None:
            return self.weights or PRETRAINED
        described = self.source.describe() or {"fingerprint": {}}
        return self.weights or described["fingerprint"].get(DIGEST, PRETRAINED)

    @property
    def measures_kl(self) -> bool:
        """Whether the KL is measured with the reference network. If the policy is the reference, the KL is zero."""
        config = self.source.config
        return config.evaluation.kl and (bool(self.reference.name) or not config.starts_at_reference)

    def load(self) -> Policy:
        """The policy, with the reference network if its KL is measured."""
        from reward_finetuning.policy.restore import policy_at

        averaged = self.source.config.evaluation.averaged
        return policy_at(self.source, self.reference, keep_reference=self.measures_kl, averaged=averaged)

"""All that training changes: weights, optimizer, and what the objective has learnt. It is what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.objectives import Objective, build_objective
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.restore import AVERAGED, WEIGHTS, policy_at
from reward_finetuning.policy.save import load_tensors, restore_weights, save_tensors
from reward_finetuning.records import Batch, Rollouts
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.documents import contents_of, entry, from_text
from reward_finetuning.training.engine import Engine
from reward_finetuning.training.moving_average import MovingAverage
from reward_finetuning.training.processes import Processes

OPTIMIZER, OBJECTIVE, STATE = "optimizer.safetensors", "objective.safetensors", "state.json"


class Learner:
    """A policy in training."""

    def __init__(
        self, policy: Policy, engine: Engine, objective: Objective, average: MovingAverage | None = None
    ) -> None:
        self.policy = policy
        self.engine = engine
        self.objective = objective
        self.average = average

    def cells(self, rollouts: Rollouts, batch: Batch) -> CellSource:
        """An epoch's cells, their prompts encoded."""
        texts = list({s.prompt.id: s.prompt.text for s in rollouts.samples}.values())
        return CellSource(
            latents=rollouts.latents,
            prompts=self.policy.encode(texts),
            prompt_index=batch.prompt_index,
            grid=self.policy.grid.stochastic_part(),
            device=self.policy.device,
            x_0=rollouts.x_0,
        )

    def save(self, folder: Path | None, about: dict[str, Any]) -> str:
        """Write the checkpoint's files, with whole tensors; returns the sha256 of the weights file.

        Every process calls it; those without a `folder` give the first process their part of sharded tensors.
        """
        weights = self._save(self.policy.trainable(), folder, WEIGHTS)
        if self.average is not None:
            self._save(self.average.weights, folder, AVERAGED)
        self._save(self.engine.state(), folder, OPTIMIZER)
        if folder is None:
            return ""
        save_tensors(self.objective.state_dict(), folder / OBJECTIVE)
        (folder / STATE).write_text(json.dumps(about, indent=1, sort_keys=True), encoding="utf-8")
        return weights

    def _save(self, tensors: Mapping[str, Tensor], folder: Path | None, name: str) -> str:
        whole = self.engine.processes.whole(tensors)
        return "" if folder is None else save_tensors(whole, folder / name)


def learner_at(
    run: RunDirectory, reference: Reference, *, keep_reference: bool, processes: Processes | None = None
) -> Learner:
    """Go on from a policy of the run, or from the pretrained model.

    Args:
        run: the run.
        reference: a policy of it.
        keep_reference: whether the pretrained network will be evaluated too.
        processes: that learn together; None for this one alone.

    Raises:
        ArtifactError: the checkpoint is damaged or belongs to another epoch.
    """
    objective = build_objective(run.config.objective)
    processes = processes or Processes()
    policy = policy_at(
        run,
        reference,
        keep_reference=keep_reference or objective.needs_reference,
        shards=run.config.training.shards(processes.count),
    )
    engine = Engine(policy, run.config.training, processes)
    decay = run.config.training.ema_decay
    average = None if decay is None else MovingAverage(policy.trainable(), decay)
    if reference.name:
        folder, _ = run.open(reference)
        engine.load_state(load_tensors(folder / OPTIMIZER), folder / OPTIMIZER)
        if average is not None:
            restore_weights(average.weights, load_tensors(folder / AVERAGED), folder / AVERAGED)
        with contents_of(folder / OBJECTIVE, RuntimeError):
            objective.load_state_dict(load_tensors(folder / OBJECTIVE))
        epoch = entry(from_text((folder / STATE).read_bytes(), str(folder / STATE)), "epoch", int, str(folder / STATE))
        if epoch != reference.epoch:
            raise ArtifactError(f"{folder / STATE} is of epoch {epoch}, expected {reference.epoch}")
    return Learner(policy, engine, objective, average)


def surroundings(policy: Policy, processes: Processes) -> dict[str, Any]:
    """What bit-exactness rests on besides the config, recorded with every checkpoint."""
    return {
        "processes": processes.count,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if policy.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "bit_exact": _bit_exact(policy, processes),
    }


def _bit_exact(policy: Policy, processes: Processes) -> str:
    if policy.device.type != "cpu":
        return "no: GPU kernels may sum in another order"
    if processes.count > 1:
        return f"no: {processes.count} processes sum gradients in another order than one does"
    if policy.is_compiled:
        return "yes, with the same thread count, processor, C++ compiler and torch"
    return "yes, with the same thread count"

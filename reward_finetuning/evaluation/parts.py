"""An evaluation in parts: drawn, scored and committed one by one, then read as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.evaluation.objections import combined_scorer
from reward_finetuning.evaluation.reports import noise_of, settings_digest
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.events import Progress
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.prompts import read_prompts, samples_of
from reward_finetuning.records import EvaluatedSamples, Sample, Stream
from reward_finetuning.report.comparison import CLIP_DIVERSITY, DIVERSITY, KL
from reward_finetuning.report.statistics.diversity import diversity, pixel_features
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.protocol import ImageFeatures
from reward_finetuning.rewards.scorer import Scorer, Scorers
from reward_finetuning.rewards.weighted import score
from reward_finetuning.storage import RunDirectory, artifact_names
from reward_finetuning.storage.artifacts.evaluations import (
    PART,
    Part,
    PartScores,
    StoredPictures,
    read_part,
    write_part,
    write_pictures,
)
from reward_finetuning.storage.artifacts.rewards import COMBINED
from reward_finetuning.storage.artifacts.scores import ScoreCache

Spaces = dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]
"""Measure of diversity -> features [M, D] of pictures [M, H, W, 3], between which its distances are."""


def parts_of(run: RunDirectory, subject: Subject) -> list[Part]:
    """The parts of a policy's evaluation, in order; how many tasks draw them makes no difference."""
    size, evaluation = run.config.sampling.micro_batch_size, run.config.evaluation
    num = -(-len(_members(run)) // size)
    unit = run.config.reward.micro_batches_per_unit(evaluation.images_per_prompt, size)
    stride = max(1, evaluation.images_per_part // (size * unit)) * unit
    settings = settings_digest(run)
    edges = [(first, min(first + stride, num)) for first in range(0, num, stride)]
    return [Part(artifact_names.evaluated(subject.folder, settings, *edge), *edge) for edge in edges]


def draw_parts(
    run: RunDirectory, subject: Subject, parts: Sequence[Part], policy: Callable[[], Policy], scorers: Scorers
) -> None:
    """Commit the parts that are not there already.

    Args:
        run: gets the artifacts; its settings are the evaluation's.
        subject: whose images.
        parts: which of them.
        policy: gives the policy; called only where there is something to draw.
        scorers: gives the scorers; called only then, too.
    """
    size, members = run.config.sampling.micro_batch_size, _members(run)
    absent = [part for part in parts if run.store.manifest(part.name) is None]
    total = sum(len(members[part.first * size : part.last * size]) for part in absent)
    # Kept beside the parts: evaluated again with more prompts or images, the old ones cost no scorer anything.
    with (
        ScoreCache(run, subject.reference.epoch, artifact_names.EVALUATION_SCORES) as score_cache,
        Progress("evaluate", subject.name, total, "images") as progress,
    ):
        scorers_with_cache = cache(
            lambda: cached_scorers(scorers(), run.config.reward, run.fingerprinted(), score_cache)
        )
        work = _Work(
            run,
            subject,
            members,
            noise_of(run),
            cache(lambda: policy().sampled_with(run.config.evaluation_sampling)),
            scorers_with_cache,
            cache(lambda: _spaces(scorers())),
            progress,
        )
        for part in parts:
            work.commit(part)


def draw_floor(run: RunDirectory, scorers: Scorers) -> None:
    """Draw and score the pretrained model for the promotion of a run that starts from another policy."""
    floor = Subject.floor_of(run)
    if floor is not None:
        draw_parts(run, floor, parts_of(run, floor), floor.load, scorers)


def join(run: RunDirectory, subject: Subject) -> EvaluatedSamples:
    """All parts as one; pictures are read when they are indexed."""
    parts, members = parts_of(run, subject), _members(run)
    contents = [read_part(run.store.fetch(part.name, [PART])) for part in parts]
    samples = [sample for _, sample in members]
    scores = {name: np.concatenate([part.scores[name] for part in contents]) for name in contents[0].scores}
    combined = scores.pop(COMBINED)
    sets = tuple(prompt_set for prompt_set, _ in members)
    prompts = list(zip(sets, (s.prompt.id for s in samples), strict=True))
    measures = {
        name: diversity(np.concatenate([part.features[name] for part in contents]), prompts)
        for name in contents[0].features
    }
    steps = [part.kl for part in contents if part.kl is not None]
    kl = np.concatenate(steps) if steps else None
    measures[KL] = None if kl is None else kl.sum(axis=1, dtype=np.float64)
    return EvaluatedSamples(
        epoch=subject.reference.epoch,
        policy=subject.policy,
        prompt_sets=sets,
        prompt_ids=tuple(s.prompt.id for s in samples),
        prompts=tuple(s.prompt.text for s in samples),
        categories=tuple(s.prompt.category for s in samples),
        image_indices=tuple(s.image_index for s in samples),
        # Without the column of a scorer that is the combined reward by the settings: two equal curves say no more.
        rewards={COMBINED: combined} | {n: v for n, v in scores.items() if n != combined_scorer(run.config)},
        image_size=contents[0].image_size,
        images=StoredPictures(run.store, run.config.sampling.micro_batch_size, tuple(parts)),
        measures={name: values for name, values in measures.items() if values is not None},
        kl=kl,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    run: RunDirectory
    subject: Subject
    members: Sequence[tuple[str, Sample]]
    noise: int
    policy: Callable[[], Policy]
    scorers: Scorers
    spaces: Callable[[], Spaces]
    progress: Progress

    def commit(self, part: Part) -> None:
        run, subject = self.run, self.subject
        whole = [settings_digest(run), f"{part.first}-{part.last}"]
        identity = run.identity("evaluated", subject.reference.epoch, subject.weights, *whole)
        run.commit(part.name, identity, partial(self._write, part))

    def _write(self, part: Part, folder: Path) -> dict[str, Any]:
        started = time.monotonic()
        drawn: list[_Drawn] = []

        def batches() -> Iterator[tuple[NDArray[np.uint8], Sequence[Sample]]]:
            for micro_batch in range(part.first, part.last):
                samples = self._samples(micro_batch)
                images, kl = self._draw(samples)
                write_pictures(folder, micro_batch, images)
                features = {name: see(images) for name, see in self.spaces().items()}
                drawn.append(_Drawn(features, kl, (images.shape[1], images.shape[2])))
                yield images, samples
                self.progress.advance(len(samples))

        rewards = score(self.scorers(), self.run.config.reward.weights, batches(), self.run.config.reward.groupwise)
        features = {name: np.concatenate([each.features[name] for each in drawn]) for name in self.spaces()}
        kl = np.concatenate([each.kl for each in drawn]) if self.run.config.evaluation.kl else None
        scores = {**rewards.scores, COMBINED: rewards.combined}
        write_part(folder, PartScores(scores, features, kl, drawn[0].size))
        return {"num_images": len(rewards.combined), "seconds": round(time.monotonic() - started, 3)}

    def _samples(self, micro_batch: int) -> list[Sample]:
        size = self.run.config.sampling.micro_batch_size
        return [sample for _, sample in self.members[micro_batch * size : (micro_batch + 1) * size]]

    def _draw(self, samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        config, policy = self.run.config, self.policy()
        trajectories, images = draw_micro_batch(
            policy,
            samples,
            config.evaluation_sampling,
            denoise_ref=policy.reference_denoiser() if self.subject.measures_kl else None,
            seed=config.seed,
            stream=Stream.EVALUATION,
            epoch=self.noise,  # the same for every policy, so differences are paired
        )
        return images, trajectories.kl.numpy()


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is kept of a micro-batch once its pictures are written and scored."""

    features: dict[str, NDArray[np.float32]]
    kl: NDArray[np.float32]
    """[M, T]."""

    size: tuple[int, int]


def _spaces(scorers: Mapping[str, Scorer]) -> Spaces:
    """Pixels always, and CLIP's image features where a scorer has them anyway."""
    seeing = next((scorer for scorer in scorers.values() if isinstance(scorer, ImageFeatures)), None)
    spaces: Spaces = {DIVERSITY: pixel_features}
    return spaces if seeing is None else spaces | {CLIP_DIVERSITY: seeing.image_features}


def _members(run: RunDirectory) -> list[tuple[str, Sample]]:
    """(prompt set, sample) of all S images."""
    evaluation = run.config.evaluation
    return [
        (name, sample)
        for name, source in evaluation.prompt_sets.items()
        for sample in samples_of(read_prompts(source).prompts, evaluation.images_per_prompt)
    ]

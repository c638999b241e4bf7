"""Report artifacts of epochs: names, metrics, and journal entries for MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from reward_finetuning.policy.warm_start import DIGEST as WARM_START
from reward_finetuning.prompts import read_prompts
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.storage import Reference, RunDirectory, artifact_names, open_store
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.documents import entry
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking import Checkpoint, Dataset, Entry, Evaluation

PAGE, METRICS, SUMMARY, GRID = "report.html", "metrics.json", "summary.md", "samples.png"
"""Files of a report artifact."""

_TRAINED = "reward"
"""Name of the combined reward in the metrics."""

_STATISTICS = ("gain", "gain_low", "before", "mean")
_MOST_METRICS = 12


def report_name(run: RunDirectory, epoch: int) -> str:
    """Name of the report artifact of an epoch for the current evaluation settings, which it contains a digest of."""
    return artifact_names.report(artifact_names.epoch_folder(epoch), settings_digest(run))


def settings_digest(run: RunDirectory) -> str:
    """Digest of the evaluation settings: prompts, number of images, measures, kind of weights, and sampler."""
    evaluation = run.config.evaluation
    digests = {name: read_prompts(source).digest for name, source in evaluation.prompt_sets.items()}
    more: list[object] = ["averaged"] if evaluation.averaged else []
    more += [noise] if (noise := noise_of(run)) else []
    sampling = {key: getattr(evaluation, key) for key in ("sampler", "num_steps", "guidance_scale")}
    if sampling != {"sampler": "training", "num_steps": None, "guidance_scale": None}:
        more.append(sampling)
    return sha256(json.dumps([digests, evaluation.images_per_prompt, evaluation.kl, *more]).encode()).hexdigest()


def noise_of(run: RunDirectory) -> int:
    """Position of the evaluation's noise, see `noise_of_fingerprint`; all policies that a run evaluates share it."""
    described = run.describe() if run.config.warm_start is not None else None
    return 0 if described is None else noise_of_fingerprint(described["fingerprint"])


def noise_of_fingerprint(fingerprint: Mapping[str, Any]) -> int:
    """0; for a run that starts from a champion, 32 bits of its fingerprint: of champion, prompts and settings.

    So each contest of a series has fresh noise: a policy that was lucky with one noise is not lucky with the next.
    """
    if WARM_START not in fingerprint:
        return 0
    return int(sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()[:8], 16)


def reported_metrics(run: RunDirectory, epoch: int) -> dict[str, float] | None:
    """Metrics `eval/...` of the report of an epoch; None if it was not evaluated."""
    manifest = run.store.manifest(report_name(run, epoch))
    return None if manifest is None else entry(manifest.facts, "metrics", dict, report_name(run, epoch))


def is_done(run: RunDirectory) -> bool:
    """Whether all epochs are trained and the last one is evaluated."""
    epochs = run.config.loop.epochs
    return run.latest().epoch >= epochs and bool(_reports(run, epochs))


def newest_report(run: RunDirectory) -> tuple[str, str] | None:
    """Report names of the pretrained model and of the newest policy with the same settings; None without a report.

    Reports of the current evaluation settings have priority. If the prompts have changed, older reports are used.
    """
    current = PurePosixPath(report_name(run, 0)).name
    settings = sorted(_reports(run, 0), key=lambda name: name != current)
    for name in settings:
        for epoch in reversed(run.epochs()):
            if epoch and name in _reports(run, epoch):
                return run.name(0, name), run.name(epoch, name)
    return None


def _reports(run: RunDirectory, epoch: int) -> list[str]:
    return [PurePosixPath(name).name for name in run.artifacts(epoch, Kind.REPORT)]


def evaluation_entry(run: RunDirectory, policy: Reference) -> Entry:
    """The journal entry of the report of a policy: headline metrics, samples, page, and evaluation."""
    name = report_name(run, policy.epoch)
    metrics = reported_metrics(run, policy.epoch)
    assert metrics is not None, f"{name} must be committed before it is reported"
    page = {f"reports/epoch_{policy.epoch:05d}.html": f"{name}/{PAGE}"} if policy.epoch else {}
    evaluation = Evaluation(metrics, name, report_name(run, 0), checkpoint_of(run, policy) if policy.epoch else None)
    return Entry(
        "evaluate", policy.epoch, headline(metrics), {"samples": f"{name}/{GRID}"}, files=page, evaluation=evaluation
    )


def headline(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics without categories of prompt sets, which only metrics.json and the page contain."""
    return {key: value for key, value in metrics.items() if "/category/" not in key}


def page_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """At most twelve metrics for the pages of the services, which sort them by name: the trained reward first.

    The names begin with their position and are short: `01 reward gain (heldout)`. Of the trained reward there are gain,
    lower bound of the gain, and both means; of every other reward and measure its gain.
    """
    parts = {key: key.removeprefix("eval/").rsplit("/", 2) for key in headline(metrics)}
    places = list(dict.fromkeys(part[0] for part in parts.values() if len(part) == 3))
    rewards = list(dict.fromkeys(part[1] for part in parts.values() if len(part) == 3))
    wanted = [(place, _TRAINED, statistic) for place in places for statistic in _STATISTICS]
    wanted += [(place, reward, "gain") for reward in rewards if reward != _TRAINED for place in places]
    chosen = [each for each in wanted if f"eval/{'/'.join(each)}" in metrics][:_MOST_METRICS]
    return {
        f"{number:02d} {reward} {statistic.replace('_', ' ')} ({place})": metrics[f"eval/{place}/{reward}/{statistic}"]
        for number, (place, reward, statistic) in enumerate(chosen, start=1)
    }


def checkpoint_of(run: RunDirectory, policy: Reference) -> Checkpoint:
    """Location and digests of a policy of the run."""
    return Checkpoint(policy.epoch, f"{run.uri}/{policy.name}", policy.checksum, weights_sha256(policy))


def prompt_datasets(run: RunDirectory) -> list[Dataset]:
    """The training and evaluation prompt sets of the run."""
    config = run.config
    sources = [("train", config.prompts.train, "training")]
    sources += [(name, source, "evaluation") for name, source in config.evaluation.prompt_sets.items()]
    sets = [(name, read_prompts(source), context) for name, source, context in sources]
    return [
        Dataset(name, prompt_set.digest, prompt_set.source, len(prompt_set.prompts), context)
        for name, prompt_set, context in sets
    ]


def read_scores(run_directory: str, report: str) -> EvaluatedSamples | None:
    """Samples and rewards of a report; None if it does not exist."""
    from reward_finetuning.storage.artifacts.evaluations import read_evaluation

    store = open_store(run_directory)
    return None if store.manifest(report) is None else read_evaluation(store, report)

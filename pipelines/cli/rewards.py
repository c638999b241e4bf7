"""`rft fetch-weights` and `rft verify-rewards`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reward_finetuning.config import UserError, load_config
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.pipelines.cli.run_files import packaged, run_file
from reward_finetuning.policy.pretrained.published_models import PUBLISHED_MODELS
from reward_finetuning.policy.pretrained.source import pinned_revision

if TYPE_CHECKING:
    from rich.console import Console

    from reward_finetuning.storage import RunDirectory

_GIGABYTE = 1e9


def fetch_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCORER | OWNER/NAME]...", help="Scorers, or hub ids of models; default: all scorers."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Output folder; each scorer or model gets a subfolder.")] = Path("weights"),
    *,
    revision: Annotated[
        str | None, typer.Option(help="Commit of a model; common models have a default commit.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Variant of the weight files of a model, e.g. fp16.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download missing files from the hub.")] = False,
) -> None:
    """List the weights of reward models with source, size and licence, and download them.

    Without --download, nothing is downloaded, and files that are already in the folder are converted to safetensors.
    Set `reward.scorers.SCORER.source` to the folder of the scorer. A hub id, OWNER/NAME, is a model to finetune: set
    `model.source` to its folder.

    Example: `rft fetch-weights pickscore image_reward CompVis/stable-diffusion-v1-4 --to weights --download`
    """
    from reward_finetuning.rewards.catalogue import MODELS

    models = [name for name in names or [] if "/" in name]
    scorers = [name for name in names or [] if "/" not in name]
    for name in models:
        _fetch_model(name, revision, variant, to, download=download)
    if models and not scorers:
        return
    selected = scorers or list(MODELS)
    unknown = sorted(set(selected) - MODELS.keys())
    if unknown:
        raise UserError(f"no weights are listed for {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    for name in selected:
        print(_description(name))
    if download:
        print("by downloading you accept these licences; revisions and licences are as reported by third parties")
    for name in selected:
        folder = to / name
        if download or (folder.is_dir() and any(folder.iterdir())):
            from reward_finetuning.rewards.models.fetching import fetch

            fetch(MODELS[name], folder, from_hub=download, report=print)
            print(f"{name}: set reward.scorers.{name}.source to {folder}")
    if not download:
        print(f"to download them to {to}: {' '.join(['rft fetch-weights', *scorers])} --to {to} --download")


def _fetch_model(name: str, revision: str | None, variant: str | None, to: Path, *, download: bool) -> None:
    """Print the commit and licence of a model on the hub; with `download`, copy the model to `to`/NAME.

    Raises:
        UserError: `revision` is missing and the commit is unknown, or the hub refuses the model.
        RetryableError: the hub is not reachable.
    """
    commit = pinned_revision(ModelConfig(source=name, revision=revision))
    model = PUBLISHED_MODELS.get(name)
    licence = model.licence if model and model.commit == commit else "see its model card"
    print(f"{name}@{commit[:12]}  licence: {licence}")
    if not download:
        command = f"rft fetch-weights {name}" + (f" --revision {revision}" if revision else "")
        print(f"to download it to {to}: {command} --to {to} --download")
        return
    from reward_finetuning.policy.pretrained.hub import fetch_pipeline

    folder = fetch_pipeline(name, revision, variant, to)
    print(f"{folder}: set model.source to it")


def verify_rewards(
    subject: Annotated[str, typer.Argument(metavar="CONFIG | SCORER", help="A run file, or the name of a scorer.")],
    images: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 8,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures with prompts in .txt files; default: generated pictures."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Weights of the scorer; not allowed with a run file."),
    ] = None,
    official_python: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Python of the scorer environment; default: RFT_OFFICIAL_PYTHON."),
    ] = None,
) -> None:
    """Compare scorers with the official packages; exit code 3 if scores differ by more than 1e-4.

    Example: `rft verify-rewards hpsv2 --source weights/hpsv2 --official-python .venv-scorer/bin/python`
    """
    from reward_finetuning.rewards import verification
    from reward_finetuning.rewards.verification_pictures import folder_pictures, generated_pictures

    config = _reward_config(subject, source)
    names = [name for name in config.weights if name in verification.VERIFIABLE]
    if not names:
        choices = ", ".join(verification.VERIFIABLE)
        raise UserError(f"{', '.join(config.weights)}: no official package to compare with; choose from {choices}")
    python = verification.official_python(official_python)
    pictures, prompts = folder_pictures(folder, images) if folder else generated_pictures(images)
    for name in names:
        settings = config.scorers.get(name, ScorerConfig())
        comparison = verification.compare(name, settings, pictures, prompts, python)
        verification.require_agreement(comparison)
        print(comparison.table())
        print(f"{name}: largest difference {comparison.largest_difference:.1e}, allowed {verification.TOLERANCE:.0e}")


def verify_before_training(run: RunDirectory, console: Console) -> None:
    """Perform `reward.verify` of a run that has not started.

    Raises:
        TrainingError: a scorer differs from its official package.
    """
    from reward_finetuning.rewards.verification import verify

    if run.describe() is not None:
        return
    for comparison in verify(run.config.reward):
        message = f"{comparison.scorer} agrees with its official package: {comparison.largest_difference:.1e} at most"
        console.print(message, highlight=False)


def _reward_config(subject: str, source: str | None) -> RewardConfig:
    """The reward section of a run file, or a section with one scorer; a name is a scorer's before it is a run's."""
    from reward_finetuning.rewards.verification import VERIFIABLE

    is_file = "/" in subject or subject.endswith((".yaml", ".yml")) or Path(subject).is_file()
    if subject in VERIFIABLE or (subject not in packaged() and not is_file):
        return RewardConfig(weights={subject: 1.0}, scorers={subject: ScorerConfig(source=source)})
    if source is not None:
        raise UserError(f"--source requires the name of a scorer; {subject} defines the source of its weights")
    return load_config(run_file(Path(subject)), []).reward


def _description(name: str) -> str:
    from reward_finetuning.rewards.catalogue import MODELS

    model = MODELS[name]
    size = sum(file.size for file in model.files.values()) / _GIGABYTE
    lines = [f"{name}: {size:.2f} GB" + (f" ({model.note})" if model.note else "")]
    for file in model.files.values():
        revision = "" if file.package else f"@{(file.repository.revision or 'main')[:12]}"
        origin = f"{file.repository.name}{revision}"
        lines.append(f"  {file.name:24} {file.size / _GIGABYTE:6.3f} GB  {origin}  licence: {file.repository.licence}")
    return "\n".join(lines)

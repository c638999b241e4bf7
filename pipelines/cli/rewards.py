"""`rft fetch-weights` and `rft verify-rewards`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.models import fetch_model
from reward_finetuning.config import UserError, load_config
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.storage import RunDirectory

_GIGABYTE = 1e9


def register(app: typer.Typer) -> None:
    """Add the commands about rewards to `rft`."""
    app.command("fetch-weights")(fetch_weights)
    app.command("verify-rewards")(verify_rewards)


def fetch_weights(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCORER | OWNER/NAME]...", help="Scorers, or hub ids of models; all scorers when none is named."
        ),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder that gets a folder of each.")] = Path("weights"),
    *,
    revision: Annotated[str | None, typer.Option(help="Commit of a model; well-known ones have theirs.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant of a model's weight files, e.g. fp16.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download what is missing from the hub.")] = False,
) -> None:
    """Say what weights reward models need, from where, how big, under which licence; download and convert them.

    Without --download nothing is downloaded: files that lie in the folder already are converted to safetensors, once.
    Then set `reward.scorers.SCORER.source` to that scorer's folder. A hub id, OWNER/NAME, is a model to finetune: it is
    copied into a folder for `model.source`.

    Example: `rft fetch-weights pickscore image_reward CompVis/stable-diffusion-v1-4 --to weights --download`
    """
    from reward_finetuning.rewards.catalogue import MODELS

    models = [name for name in what or [] if "/" in name]
    scorers = [name for name in what or [] if "/" not in name]
    for name in models:
        fetch_model(name, revision, variant, to, download=download)
    if models and not scorers:
        return
    names = scorers or list(MODELS)
    if unknown := sorted(set(names) - MODELS.keys()):
        raise UserError(f"no weights are known for {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    for name in names:
        print(_description(name))
    if download:
        print("by downloading you accept these licences; revisions and licences are as third parties report them")
    for name in names:
        folder = to / name
        if download or (folder.is_dir() and any(folder.iterdir())):
            from reward_finetuning.rewards.models.fetching import fetch

            fetch(MODELS[name], folder, from_hub=download, tell=print)
            print(f"{name}: set reward.scorers.{name}.source to {folder}")
    if not download:
        print(f"to download them into {to}: {' '.join(['rft fetch-weights', *scorers])} --to {to} --download")


def verify_rewards(
    what: Annotated[str, typer.Argument(metavar="CONFIG | SCORER", help="A run file, or the name of a scorer.")],
    images: Annotated[int, typer.Option(min=1, help="How many pictures are scored.")] = 8,
    folder: Annotated[
        Path | None,
        typer.Option(help="Pictures to score, prompts in .txt beside them; drawn ones when not given."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Where a scorer's weights lie; a run file says so itself."),
    ] = None,
    official_python: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Python of the scorer environment; else RFT_OFFICIAL_PYTHON."),
    ] = None,
) -> None:
    """Score pictures with our scorers and with the official packages, and fail (3) on a difference above 1e-4.

    Example: `rft verify-rewards hpsv2 --source weights/hpsv2 --official-python .venv-scorer/bin/python`
    """
    from reward_finetuning.rewards import verification
    from reward_finetuning.rewards.pictures import drawn_pictures, folder_pictures

    config = _reward_config(what, source)
    names = [name for name in config.weights if name in verification.VERIFIABLE]
    if not names:
        known = ", ".join(verification.VERIFIABLE)
        raise UserError(
            f"{', '.join(config.weights)}: no official package to compare with; those that have one: {known}"
        )
    python = verification.official_python(official_python)
    pictures, prompts = folder_pictures(folder, images) if folder else drawn_pictures(images)
    for name in names:
        settings = config.scorers.get(name, ScorerConfig())
        comparison = verification.compare(name, settings, pictures, prompts, python)
        verification.require_agreement(comparison)
        print(comparison.table())
        print(f"{name}: largest difference {comparison.largest_difference:.1e}, allowed {verification.TOLERANCE:.0e}")


def verify_before_training(run: RunDirectory, console: Console) -> None:
    """Carry out `reward.verify` of a run that has not begun.

    Raises:
        TrainingError: a scorer differs from its official package.
    """
    from reward_finetuning.rewards.verification import verify

    if run.describe() is not None:
        return
    for comparison in verify(run.config.reward):
        told = f"{comparison.scorer} agrees with its official package: {comparison.largest_difference:.1e} at most"
        console.print(told, highlight=False)


def _reward_config(what: str, source: str | None) -> RewardConfig:
    """The reward section of a run file, or that of one scorer alone."""
    if Path(what).is_file():
        if source is not None:
            raise UserError(f"--source belongs to a scorer's name; {what} says itself where its weights lie")
        return load_config(Path(what), []).reward
    if what.endswith((".yaml", ".yml")) or "/" in what:
        raise UserError(f"there is no run file {what}")
    return RewardConfig(weights={what: 1.0}, scorers={what: ScorerConfig(source=source)})


def _description(name: str) -> str:
    from reward_finetuning.rewards.catalogue import MODELS

    model = MODELS[name]
    size = sum(file.size for file in model.files.values()) / _GIGABYTE
    lines = [f"{name}: {size:.2f} GB" + (f" ({model.note})" if model.note else "")]
    for file in model.files.values():
        where = f"{file.repository.name}@{(file.repository.revision or 'main')[:12]}"
        lines.append(f"  {file.name:24} {file.size / _GIGABYTE:6.3f} GB  {where}  licence: {file.repository.licence}")
    return "\n".join(lines)

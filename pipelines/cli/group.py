"""The commands of `rft`. A command is imported when it is called, so `rft --help` imports none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

COMMANDS = {
    "run": ("run:run", "Run a pipeline on this machine: compile it, and run the package with kfp.local."),
    "status": ("status:status", "Show the progress of a run: its newest epochs and its newest evaluation."),
    "runs": (
        "run_files:runs",
        "List the run files of the package: what `rft run NAME` and the other commands accept by name.",
    ),
    "init": ("files.init:init", "Write a commented run file to start from."),
    "report": (
        "report:report",
        "Write the page of the newest evaluation of a run, or a page that compares several runs.",
    ),
    "tune": (
        "tune:tune",
        "Choose learning rate, updates per epoch and the method's own setting by short runs.",
    ),
    "evaluate": (
        "evaluate:evaluate",
        "Compare the policies of an evaluation file, or the newest policy of a run with the pretrained model.",
    ),
    "export": ("export:export", "Export a policy as a folder that stock diffusers loads, with a model card."),
    "sync": ("sync:sync", "Send everything of a run's journal that MLflow does not have."),
    "estimate": (
        "files.estimate:estimate",
        "Estimate the cost of a run: GPU hours and memory per role, disk, and the assumptions.",
    ),
    "compile": (
        "cluster.compile:compile_",
        "Compile the pipeline of a run or an evaluation to a package for Kubeflow Pipelines or Vertex AI.",
    ),
    "submit": ("cluster.submit:submit", "Submit a run to Kubeflow Pipelines or Vertex AI."),
    "schedule": (
        "cluster.schedule:schedule",
        "Schedule runs at fixed times. One run is active at a time; missed starts are not repeated.",
    ),
    "schema": (
        "files.schema:schema",
        "Print the JSON Schema of a kind of file, with which editors complete and check it.",
    ),
    "fetch-weights": (
        "rewards:fetch_weights",
        "List the weights of reward models with source, size and licence, and download them.",
    ),
    "verify-rewards": (
        "rewards:verify_rewards",
        "Compare scorers with the official packages; exit code 3 if scores differ by more than 1e-4.",
    ),
    "serve-rewards": (
        "serve_rewards:serve_rewards",
        "Serve a scorer over HTTP. Runs use it by setting reward.scorers.NAME.url to its address.",
    ),
}
"""Command -> (module of this package and its function or group, first sentence of its help), in the order of the help.
A test compares the sentences with those of the functions."""

MARKUP: Final = "markdown"


class LazyGroup(TyperGroup):
    """A group that lists COMMANDS by their sentences, and imports one only when it is called or completed."""

    def __init__(self, *, commands: dict[str, Any] | None = None, **attributes: Any) -> None:
        listed = {name: TyperCommand(name=name, help=sentence) for name, (_, sentence) in COMMANDS.items()}
        super().__init__(commands={**listed, **(commands or {})}, **attributes)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """See TyperGroup; the command is the real one."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, imported(name) if name in COMMANDS else command, rest


def imported(name: str) -> Any:
    """The command, with its options and its help."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(import_module(f"reward_finetuning.pipelines.cli.{module}"), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
        target.command(name)(function)
    command = get_command(target)
    command.name = name
    return command

"""The `rft` command."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from reward_finetuning.pipelines.cli.group import MARKUP, LazyGroup
from reward_finetuning.pipelines.cli.terminal import make_encodable

app = typer.Typer(
    cls=LazyGroup,
    epilog="Exit codes: 0 success; 1 a bug; 2 invalid request; 3 training failed and a retry cannot help; "
    "other: run it again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
)


_WINDOWS = (
    "rft: Windows is not supported, because it has no POSIX file locks (fcntl), process groups and signals; "
    "install Python and this package in WSL 2"
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 typer calls it with the option's value
    if asked:
        from importlib.metadata import version

        print(f"rft {version('reward-finetuning')}")
        raise typer.Exit


@app.callback()
def rft(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Finetune text-to-image diffusion models on a reward, as Kubeflow pipelines."""


def main() -> None:
    """Entry point: print an error as one line and exit with its exit code; a bug also prints its traceback."""
    make_encodable()
    if sys.platform == "win32":
        print(_WINDOWS, file=sys.stderr)
        sys.exit(2)
    try:
        app(prog_name="rft")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "reward_finetuning":
            raise
        print(f"rft: this command needs the package {error.name}, which is not installed here", file=sys.stderr)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 whatever it is, the user reads what to do
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Print what the user can do about an error; returns the exit code."""
    from reward_finetuning.config import RetryableError, TrainingError, UserError
    from reward_finetuning.failures import BUG, classify

    failure = classify(error)
    if isinstance(failure, UserError | TrainingError | RetryableError):
        print(f"rft: {failure}", file=sys.stderr)
        return failure.exit_code
    traceback.print_exception(error)
    print(f"rft: {type(error).__name__}: {error}; {BUG}", file=sys.stderr)
    return 1

"""`rft status`: the progress of a run."""

from __future__ import annotations

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from reward_finetuning.pipelines.cli.sync import send_if_done
from reward_finetuning.pipelines.cli.terminal import make_console


def status(config: ConfigFile, override: Override = None) -> None:
    """Show the progress of a run: its newest epochs and its newest evaluation.

    Example: `rft status shapes-prdp`
    """
    from reward_finetuning.pipelines.cli.tables import print_locations, print_status
    from reward_finetuning.storage import RunDirectory

    run_config = load_with_absolute_root(config, override)
    if run_config.retraining is not None:
        from reward_finetuning.pipelines.local.retrain import print_series

        print_series(run_config, make_console())
        return
    directory = RunDirectory(run_config)
    if directory.describe() is None:
        raise UserError(f"{directory.uri} contains no run; start one with: rft run {config}")
    print_status(directory, make_console())
    print_locations(directory, make_console())
    send_if_done(directory)

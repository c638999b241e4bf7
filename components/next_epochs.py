from typing import NamedTuple

from kfp.dsl import Markdown, Model, Output


def next_epochs(
    config: str,
    policy: Output[Model],
    summary: Output[Markdown],
    inputs: str = "",
    options: str = "",
    run: str = "",
) -> NamedTuple("Block", [("run", str), ("plan", str), ("epochs", list), ("first", str)]):  # type: ignore[valid-type]  # kfp copies the source of the function alone
    """Begin or continue the run: its settings with `options`, its epochs, and the newest policy."""
    from reward_finetuning.steps.next_epochs import next_epochs as step

    return tuple(step(config, policy.path, summary.path, inputs, options, run))

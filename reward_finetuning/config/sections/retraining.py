"""Training again, whenever there is a new prompt set."""

from typing import Literal

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.sections.warm_start import Anchor


class RetrainingConfig(Frozen):
    """The run file becomes a series of runs, one for each prompt set that prompts.train leads to.

    prompts.train may be what changes: a file that is written anew, a `.pointer` file that holds the name of the real
    one, or a name with `{date}` (2026-11-30), of which the newest that is not in the future is taken.
    """

    start_from: Literal["champion", "pretrained"] = "champion"
    """The champion of promotion.registered_model, if there is one; or the pretrained model every time."""

    reference: Anchor = "pretrained"
    """See warm_start.reference."""

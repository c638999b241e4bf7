"""Scorers of others, found by name: an entry point or `module:function`. Nothing here has to change for them."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from reward_finetuning.config.errors import RetryableError, TrainingError, UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.function import FunctionScorer
from reward_finetuning.rewards.protocol import ChecksPrompts, Scorer, ScorerModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = "reward_finetuning.scorers"
"""Entry points that name scorers."""

_PARTS = ("check", "digest", "load")


def plugin(name: str, use: str) -> ScorerModule:
    """The scorer called `name` in the config, which `use` points at.

    Args:
        name: as in reward.weights.
        use: `module:function`, `module:object`, `module:` (the module itself), or the name of an entry point. What it
            points at is a function (images, prompts) -> scores, or has check, digest and load as ScorerModule says.

    Raises:
        UserError: there is no such thing, it cannot be imported, or it is neither.
    """
    who = f"plug-in scorer {name!r} (use: {use})"
    target = _resolve(who, use)
    if all(callable(getattr(target, part, None)) for part in _PARTS):
        return _Plugin(who, cast("ScorerModule", target))
    if not callable(target):
        raise UserError(
            f"{who} is a {type(target).__name__}; it must be a function (images, prompts) -> scores, "
            f"or have the functions {', '.join(_PARTS)}"
        )
    return _Plugin(who, FunctionScorer(name, lambda: cast("Scorer", target)))


def _resolve(who: str, use: str) -> object:
    with _blamed(who, UserError, "cannot be imported"):
        if ":" in use:
            return pkgutil.resolve_name(use)
        installed = entry_points(group=GROUP)
        if use in installed.names:
            return installed[use].load()
    names = ", ".join(sorted(installed.names)) or "none"
    raise UserError(f"{who}: {GROUP} has no such entry point (installed: {names}); or write module:function")


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A ScorerModule whose failures say whose they are."""

    who: str
    module: ScorerModule

    def check(self, settings: ScorerConfig) -> None:
        with _blamed(self.who, UserError, "refuses its settings"):
            self.module.check(settings)

    def check_prompt(self, prompt: str) -> None:
        if isinstance(self.module, ChecksPrompts):
            self.module.check_prompt(prompt)

    def digest(self, settings: ScorerConfig) -> str:
        with _blamed(self.who, UserError, "cannot say its digest"):
            digest = self.module.digest(settings)
        if not isinstance(digest, str):
            raise UserError(f"{self.who}: digest must return text, got {digest!r}")
        return digest

    def load(self, settings: ScorerConfig) -> Scorer:
        with _blamed(self.who, UserError, "cannot be loaded"):
            scorer = self.module.load(settings)
        if not callable(scorer):
            raise UserError(f"{self.who}: load must return a function (images, prompts) -> scores, got {scorer!r}")

        def score(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
            with _blamed(self.who, TrainingError, f"failed on {len(prompts)} pictures"):
                return scorer(images, prompts)

        return score


@contextmanager
def _blamed(who: str, kind: Callable[[str], Exception], what: str) -> Iterator[None]:
    try:
        yield
    except (UserError, TrainingError, RetryableError):
        raise
    except Exception as error:
        raise kind(f"{who} {what}: {type(error).__name__}: {error}") from error

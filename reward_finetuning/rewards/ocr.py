"""Text match: how well the text that an OCR engine reads in a picture matches the text in quotes in its prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.function import differing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reward_finetuning.rewards.protocol import Scorer

_ENGINE = "rapidocr"
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')


class OcrScorer:
    """A ScorerModule; the models of the engine come with its package."""

    def check(self, settings: ScorerConfig) -> None:
        """Refuse every setting, and a machine without the engine.

        Raises:
            UserError: naming the setting, or the command that installs the engine.
        """
        if given := differing(settings, ScorerConfig()):
            raise UserError(f"reward.scorers.ocr has no {', '.join(given)}: the engine's models are in its package")
        if find_spec(_ENGINE) is None or find_spec("onnxruntime") is None:
            raise UserError("scorer ocr reads text with rapidocr: pip install 'reward-finetuning[ocr]'")

    def check_prompt(self, prompt: str) -> None:
        """See ChecksPrompts.

        Raises:
            ValueError: the prompt has no text in quotes.
        """
        if not letters(quoted(prompt)):
            raise ValueError(f'{prompt[:80]!r} has no text in double quotes, e.g. a sign that reads "OPEN"')

    def digest(self, settings: ScorerConfig) -> str:
        """sha256 of the version of the engine, whose package contains the models."""
        return sha256(f"{_ENGINE} {version(_ENGINE)}".encode()).hexdigest()

    def load(self, settings: ScorerConfig) -> Scorer:
        """The engine with its models loaded."""
        from rapidocr import RapidOCR

        engine = RapidOCR(params={"Global.log_level": "warning"})
        return _scorer(lambda image: _read(engine, image))


def quoted(prompt: str) -> str:
    """The texts in double quotes, straight or typographic, joined by spaces."""
    return " ".join(straight or curly for straight, curly in _QUOTED.findall(prompt))


def letters(text: str) -> str:
    """The text without spaces and case: engines disagree about both."""
    return "".join(text.split()).casefold()


def text_match(recognised: str, target: str) -> float:
    """Normalised edit distance between the text in a picture and its target.

        r = 1 - min(d(recognised, target), N) / N,  N characters of the target

    d is the Levenshtein distance without spaces and case; it is 0 if the recognised text contains the target.

    Returns:
        0 to 1; 1 if the target can be read.

    Source: Flow-GRPO (arXiv:2505.05470), section 4.1 (visual text rendering), and flow_grpo/ocr.py of its code.
    """
    recognised, target = letters(recognised), letters(target)
    if target in recognised:
        return 1.0
    return 1.0 - min(edit_distance(recognised, target), len(target)) / len(target)


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: the least number of insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def _scorer(read: Callable[[NDArray[np.uint8]], str]) -> Scorer:
    def score(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        import numpy as np

        pairs = zip(images, prompts, strict=True)
        return np.array([text_match(read(image), quoted(prompt)) for image, prompt in pairs], dtype=np.float64)

    return score


def _read(engine: Any, image: NDArray[np.uint8]) -> str:
    """All texts of a picture in reading order; the engine expects BGR."""
    return " ".join(engine(image[:, :, ::-1]).txts or ())

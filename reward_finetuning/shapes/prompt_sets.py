"""All prompts of the built-in world, their split, and the prompt files of this package.

A prompt with a held-out pair of colour and kind is held out. All other prompts are for training. Held-out pairs do not
occur in pretraining and finetuning, but every colour and every kind occurs in other pairs.
`python -m reward_finetuning.shapes.prompt_sets` writes the files.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

from reward_finetuning.shapes.scene import COLOURS, KINDS, MAX_SHAPES, PLACES, Item, Kind, Scene, describe, scene_of

Pair = tuple[str, Kind]
Split = Literal["train", "heldout"]

PROMPTS = Path(__file__).parent / "prompts"

HELDOUT_PAIRS: tuple[Pair, ...] = (
    ("yellow", "circle"),
    ("black", "circle"),
    ("green", "square"),
    ("purple", "square"),
    ("red", "triangle"),
    ("blue", "triangle"),
    ("yellow", "cross"),
    ("purple", "cross"),
)
TRAIN_PAIRS: tuple[Pair, ...] = tuple(pair for pair in product(COLOURS, KINDS) if pair not in HELDOUT_PAIRS)


def split(scene: Scene) -> Split:
    """`heldout` if `scene` contains a held-out pair, else `train`."""
    return "heldout" if any((item.colour, item.kind) in HELDOUT_PAIRS for item in scene.items) else "train"


def world() -> list[Scene]:
    """All scenes that have a prompt, in a fixed order."""
    pairs: list[Pair] = list(product(COLOURS, KINDS))
    return [
        *(scene_of(Item(number, *pair)) for number in range(1, MAX_SHAPES + 1) for pair in pairs),
        *(scene_of(Item(1, *pair, place)) for place in PLACES for pair in pairs),
        *(
            scene_of(Item(m, *first), Item(n, *second))
            for m, n in product(range(1, MAX_SHAPES), repeat=2)
            if m + n <= MAX_SHAPES
            for first, second in product(pairs, repeat=2)
            if first != second
        ),
    ]


def large() -> list[Scene]:
    """All training scenes of the world."""
    return [scene for scene in world() if split(scene) == "train"]


def train() -> list[Scene]:
    """64 training scenes, 16 per category. Each category has every training pair once (compositions: twice)."""
    return _balanced(TRAIN_PAIRS, TRAIN_PAIRS)


def heldout() -> list[Scene]:
    """32 held-out scenes, 8 per category. Compositions combine a held-out pair and a training pair."""
    return _balanced(HELDOUT_PAIRS, TRAIN_PAIRS)


def _balanced(pairs: Sequence[Pair], partners: Sequence[Pair]) -> list[Scene]:
    """One scene per category and pair, with numbers, places and partners in rotation."""
    colour = [scene_of(Item(1, *pair)) for pair in pairs]
    count = [scene_of(Item(2 + index % 3, *pair)) for index, pair in enumerate(pairs)]
    # 5 and 16 have no common factor, so a partner differs from its pair, and no combination repeats.
    composition = [
        scene_of(Item(1, *pair), Item(1, *partners[(index + 5) % len(partners)])) for index, pair in enumerate(pairs)
    ]
    # Consecutive pairs share a colour or a kind. An additional step of the place after every fourth pair mixes them.
    location = [scene_of(Item(1, *pair, PLACES[(index + index // 4) % 4])) for index, pair in enumerate(pairs)]
    return [*colour, *count, *composition, *location]


def lines(scenes: Iterable[Scene]) -> str:
    """JSON Lines: one object per scene, with id, prompt, category and split."""
    return "".join(json.dumps(_record(scene)) + "\n" for scene in scenes)


def files() -> dict[str, str]:
    """The prompt files: name -> text."""
    return {"train.jsonl": lines(train()), "heldout.jsonl": lines(heldout()), "large.jsonl": lines(large())}


def _record(scene: Scene) -> dict[str, str]:
    prompt = describe(scene)
    return {"id": prompt.replace(" ", "-"), "prompt": prompt, "category": scene.category, "split": split(scene)}


def main() -> None:
    """Write the prompt files."""
    for name, text in files().items():
        (PROMPTS / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

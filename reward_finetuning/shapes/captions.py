"""Training data of the pretraining: random scenes, and captions with errors.

Captions on the web are noisy, so a pretrained model follows a prompt only approximately. To reproduce this, a given
share of the captions is wrong. The correct picture stays the most likely picture of a prompt, and finetuning on a
reward can increase its probability.
"""

from dataclasses import replace

import numpy as np

from reward_finetuning.shapes.prompt_sets import TRAIN_PAIRS, Pair
from reward_finetuning.shapes.scene import CATEGORIES, MAX_SHAPES, PLACES, Category, Item, Place, Scene, scene_of

CATEGORY_SHARES: dict[Category, float] = {"colour": 0.15, "count": 0.3, "composition": 0.35, "location": 0.2}
"""Probability of each category; difficult categories are more frequent."""

_PLAIN_COMPOSITIONS = 0.7  # share of compositions with two single shapes


def draw_scene(rng: np.random.Generator) -> Scene:
    """A random training scene, without held-out pairs."""
    category = CATEGORIES[rng.choice(len(CATEGORIES), p=[CATEGORY_SHARES[name] for name in CATEGORIES])]
    first, second = (TRAIN_PAIRS[int(index)] for index in rng.choice(len(TRAIN_PAIRS), size=2, replace=False))
    match category:
        case "colour":
            return scene_of(Item(1, *first))
        case "count":
            return scene_of(Item(int(rng.integers(2, MAX_SHAPES + 1)), *first))
        case "location":
            return scene_of(Item(1, *first, _draw_place(rng)))
        case "composition":
            m = n = 1
            if rng.random() >= _PLAIN_COMPOSITIONS:
                m = int(rng.integers(1, MAX_SHAPES))
                n = int(rng.integers(1, MAX_SHAPES - m + 1))
            return scene_of(Item(m, *first), Item(n, *second))


def misdescribe(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene of a wrong caption of `scene`, which differs in one respect.

    Either a colour, a kind, a number or a place differs, or the caption omits the second item or adds one. The result
    is also a training scene.
    """
    item = scene.items[rng.integers(len(scene.items))]
    errors = ["pair", "number"]
    errors += ["place"] * (scene.category == "location") + ["missing", "missing"] * (scene.category == "composition")
    errors += ["added"] * (scene.category in {"colour", "count"} and scene.num_shapes < MAX_SHAPES)
    match errors[rng.integers(len(errors))]:
        case "pair":
            return _replace_item(scene, item, _with_other_pair(item, scene, rng))
        case "number":
            return _with_other_number(scene, item, rng)
        case "place":
            return scene_of(replace(item, place=_draw_place(rng, exclude=item.place)))
        case "missing":
            return scene_of(item)
        case _:
            added = _with_other_pair(item, scene, rng)
            return scene_of(item, replace(added, number=1))


def _draw_place(rng: np.random.Generator, *, exclude: Place | None = None) -> Place:
    places = [place for place in PLACES if place != exclude]
    return places[rng.integers(len(places))]


def _replace_item(scene: Scene, old: Item, new: Item) -> Scene:
    return scene_of(*(new if item is old else item for item in scene.items))


def _with_other_pair(item: Item, scene: Scene, rng: np.random.Generator) -> Item:
    """`item` with another colour or another kind: a training pair that is not in `scene`."""
    used: set[Pair] = {(other.colour, other.kind) for other in scene.items}
    pairs = [
        (colour, kind)
        for colour, kind in TRAIN_PAIRS
        if (colour == item.colour) != (kind == item.kind) and (colour, kind) not in used
    ]
    colour, kind = pairs[rng.integers(len(pairs))]
    return replace(item, colour=colour, kind=kind)


def _with_other_number(scene: Scene, item: Item, rng: np.random.Generator) -> Scene:
    """`scene` with another possible number of `item`, without its place, which only a single shape can have."""
    room = MAX_SHAPES - scene.num_shapes + item.number
    numbers = [number for number in range(1, room + 1) if number != item.number]
    if not numbers:  # one shape next to three others
        return scene_of(item)
    return _replace_item(scene, item, replace(item, number=numbers[rng.integers(len(numbers))], place=None))

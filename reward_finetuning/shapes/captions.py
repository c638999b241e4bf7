"""The captioned pictures of pretraining: which scenes are drawn, and how a caption errs.

Captions on the web are noisy, and that is why a pretrained model follows its prompt only mostly. So a stated share of
captions here says something that the picture does not show. The right picture stays the largest mode of what the
model learns for a prompt; finetuning on a reward can sharpen it.
"""

from dataclasses import replace

import numpy as np

from reward_finetuning.shapes.catalogue import TRAIN_PAIRS, Pair
from reward_finetuning.shapes.scene import CATEGORIES, MAX_SHAPES, PLACES, Category, Item, Place, Scene, scene_of

CATEGORY_SHARES: dict[Category, float] = {"colour": 0.15, "count": 0.3, "composition": 0.35, "location": 0.2}
"""How often each category is drawn; the hard ones more."""

_PLAIN_COMPOSITIONS = 0.7  # share of compositions that join one shape and one shape


def draw_scene(rng: np.random.Generator) -> Scene:
    """A training scene; held-out pairs never come."""
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
    """What a wrong caption of `scene` says: one thing is off.

    A colour, a kind, a number or a place is another one, or two items are one (the caption misses the second, or the
    picture lacks what the caption adds). The result is a training scene too.
    """
    item = scene.items[rng.integers(len(scene.items))]
    errors = ["pair", "number"]
    errors += ["place"] * (scene.category == "location") + ["missing", "missing"] * (scene.category == "composition")
    errors += ["added"] * (scene.category in {"colour", "count"} and scene.num_shapes < MAX_SHAPES)
    match errors[rng.integers(len(errors))]:
        case "pair":
            return _exchange(scene, item, _exchange_pair(item, scene, rng))
        case "number":
            return _exchange_number(scene, item, rng)
        case "place":
            return scene_of(replace(item, place=_draw_place(rng, but=item.place)))
        case "missing":
            return scene_of(item)
        case _:
            added = _exchange_pair(item, scene, rng)
            return scene_of(item, replace(added, number=1))


def _draw_place(rng: np.random.Generator, *, but: Place | None = None) -> Place:
    places = [place for place in PLACES if place != but]
    return places[rng.integers(len(places))]


def _exchange(scene: Scene, old: Item, new: Item) -> Scene:
    return scene_of(*(new if item is old else item for item in scene.items))


def _exchange_pair(item: Item, scene: Scene, rng: np.random.Generator) -> Item:
    """`item` in another colour, or of another kind; a training pair that `scene` does not hold yet."""
    used: set[Pair] = {(other.colour, other.kind) for other in scene.items}
    pairs = [
        (colour, kind)
        for colour, kind in TRAIN_PAIRS
        if (colour == item.colour) != (kind == item.kind) and (colour, kind) not in used
    ]
    colour, kind = pairs[rng.integers(len(pairs))]
    return replace(item, colour=colour, kind=kind)


def _exchange_number(scene: Scene, item: Item, rng: np.random.Generator) -> Scene:
    """`item` in another number that still fits; without its place, since only a single shape has one."""
    room = MAX_SHAPES - scene.num_shapes + item.number
    numbers = [number for number in range(1, room + 1) if number != item.number]
    if not numbers:  # one shape beside three others
        return scene_of(item)
    return _exchange(scene, item, replace(item, number=numbers[rng.integers(len(numbers))], place=None))

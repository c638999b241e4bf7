"""Scenes and prompts of the built-in world: number, colour, kind and place of shapes."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["circle", "square", "triangle", "cross"]
Place = Literal["left", "right", "top", "bottom"]
Category = Literal["colour", "count", "composition", "location"]
Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 225),
    "yellow": (245, 200, 30),
    "purple": (150, 50, 180),
    "black": (30, 30, 30),
}
"""sRGB values of the colours. They differ enough that a pale pixel still has a unique nearest colour."""

BACKGROUND: Rgb = (248, 248, 248)
"""sRGB value of the background, nearly white."""

KINDS: tuple[Kind, ...] = get_args(Kind)
PLACES: tuple[Place, ...] = get_args(Place)
CATEGORIES: tuple[Category, ...] = get_args(Category)
NUMBERS: dict[str, int] = {"a": 1, "two": 2, "three": 3, "four": 4}
MAX_SHAPES = 4
"""Maximum number of shapes in a picture."""

_PLACE_WORDS: dict[Place, str] = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}
_SINGULAR: dict[str, Kind] = {kind: kind for kind in KINDS}
_PLURAL: dict[str, Kind] = {"circles": "circle", "squares": "square", "triangles": "triangle", "crosses": "cross"}
_NUMBER_WORDS = {number: word for word, number in NUMBERS.items()}
_PLURAL_WORDS = {kind: word for word, kind in _PLURAL.items()}

WORDS: tuple[str, ...] = (
    *NUMBERS,
    *COLOURS,
    *_SINGULAR,
    *_PLURAL,
    *dict.fromkeys(word for phrase in _PLACE_WORDS.values() for word in phrase.split()),
    "and",
)
"""All words of prompts."""


@dataclass(frozen=True, slots=True)
class Item:
    """A number of equal shapes."""

    number: int
    """1 to MAX_SHAPES."""

    colour: str
    """A key of COLOURS."""

    kind: Kind
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """The complete content of a picture."""

    items: tuple[Item, ...]
    category: Category

    @property
    def num_shapes(self) -> int:
        """Number of shapes in the picture."""
        return sum(item.number for item in self.items)


def scene_of(*items: Item) -> Scene:
    """A scene with `items` and their category."""
    if len(items) > 1:
        return Scene(items, "composition")
    if items[0].place is not None:
        return Scene(items, "location")
    return Scene(items, "colour" if items[0].number == 1 else "count")


def parse(prompt: str) -> Scene:
    """The scene of `prompt`, for example "two red circles and a blue square".

    Raises:
        ValueError: `prompt` does not belong to this world.
    """
    items = [_parse_item(phrase, prompt) for phrase in prompt.strip().lower().split(" and ")]
    if len(items) > 2:
        raise _invalid_prompt(prompt, f"it has {len(items)} items; use one or two")
    if len(items) == 2 and (items[0].colour, items[0].kind) == (items[1].colour, items[1].kind):
        raise _invalid_prompt(prompt, "it has the same item twice; use a number, as in 'two red circles'")
    if any(item.place for item in items) and (len(items) > 1 or items[0].number > 1):
        raise _invalid_prompt(prompt, "only a single shape can have a place, as in 'a blue cross on the left'")
    scene = scene_of(*items)
    if scene.num_shapes > MAX_SHAPES:
        raise _invalid_prompt(prompt, f"it has {scene.num_shapes} shapes; the maximum is {MAX_SHAPES}")
    return scene


def describe(scene: Scene) -> str:
    """The prompt of `scene`, the inverse of `parse`."""
    return " and ".join(map(_describe_item, scene.items))


def _describe_item(item: Item) -> str:
    noun = item.kind if item.number == 1 else _PLURAL_WORDS[item.kind]
    phrase = f"{_NUMBER_WORDS[item.number]} {item.colour} {noun}"
    return phrase if item.place is None else f"{phrase} {_PLACE_WORDS[item.place]}"


def _parse_item(phrase: str, prompt: str) -> Item:
    words = phrase.split()
    if len(words) not in {3, 6}:
        raise _invalid_prompt(prompt, f"{phrase!r} must be a number, a colour, a kind and optionally a place")
    number = NUMBERS.get(words[0])
    if number is None:
        raise _invalid_prompt(prompt, f"{words[0]!r} is not a number; choose from {', '.join(NUMBERS)}")
    if words[1] not in COLOURS:
        raise _invalid_prompt(prompt, f"{words[1]!r} is not a colour; choose from {', '.join(COLOURS)}")
    nouns = _SINGULAR if number == 1 else _PLURAL
    if words[2] not in nouns:
        raise _invalid_prompt(prompt, f"{words[2]!r} is not a kind after {words[0]!r}; choose from {', '.join(nouns)}")
    return Item(number, words[1], nouns[words[2]], _parse_place(" ".join(words[3:]), prompt))


def _parse_place(words: str, prompt: str) -> Place | None:
    if not words:
        return None
    for place, phrase in _PLACE_WORDS.items():
        if words == phrase:
            return place
    raise _invalid_prompt(prompt, f"{words!r} is not a place; choose from {', '.join(_PLACE_WORDS.values())}")


def _invalid_prompt(prompt: str, reason: str) -> ValueError:
    return ValueError(f"prompt {prompt!r} does not belong to the world `shapes`: {reason}")

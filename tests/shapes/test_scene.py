import pytest

from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.scene import CATEGORIES, WORDS, Item, Scene, describe, parse


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("a green circle", Scene((Item(1, "green", "circle"),), "colour")),
        ("four red squares", Scene((Item(4, "red", "square"),), "count")),
        ("a red circle and a blue square", Scene((Item(1, "red", "circle"), Item(1, "blue", "square")), "composition")),
        ("a blue cross on the left", Scene((Item(1, "blue", "cross", "left"),), "location")),
        (
            "three black crosses and a red cross",
            Scene((Item(3, "black", "cross"), Item(1, "red", "cross")), "composition"),
        ),
        ("a black triangle at the bottom", Scene((Item(1, "black", "triangle", "bottom"),), "location")),
    ],
)
def test_a_prompt_is_read_as_what_it_says(prompt, scene):
    assert parse(prompt) == scene


def test_every_prompt_of_the_world_reads_back_as_its_scene():
    for scene in prompt_sets.world():
        assert parse(describe(scene)) == scene


def test_every_scene_of_the_world_has_a_prompt_of_its_own():
    scenes = prompt_sets.world()

    assert len({describe(scene) for scene in scenes}) == len(scenes)
    assert {scene.category for scene in scenes} == set(CATEGORIES)


def test_the_vocabulary_is_exactly_the_words_of_all_prompts():
    used = {word for scene in prompt_sets.world() for word in describe(scene).split()}

    assert set(WORDS) == used
    assert len(WORDS) == len(used)


def test_case_and_space_do_not_matter():
    assert parse(" A Green  circle ") == parse("a green circle")


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "must be a number, a colour, a kind"),
        ("a photo of a cat", "must be a number, a colour, a kind"),
        ("five red squares", "'five' is not a number; choose from a, two, three, four"),
        ("a pink circle", "'pink' is not a colour; choose from red, green"),
        ("a red hexagon", "'hexagon' is not a kind after 'a'; choose from circle, square"),
        ("two red square", "'square' is not a kind after 'two'; choose from circles, squares"),
        ("a red circle in the middle", "'in the middle' is not a place; choose from on the left"),
        ("two red circles on the left", "only a single shape can have a place"),
        ("a red circle and a red circle", "has the same item twice"),
        ("four red circles and a blue square", "has 5 shapes; the maximum is 4"),
        ("a red circle and a blue cross and a green cross", "has 3 items"),
    ],
)
def test_a_prompt_of_another_world_is_refused_with_what_would_be_right(prompt, reason):
    with pytest.raises(ValueError, match=reason) as error:
        parse(prompt)

    assert repr(prompt) in str(error.value)

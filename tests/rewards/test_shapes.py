import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from reward_finetuning.rewards.shapes import score, shapes_exact, shapes_reward
from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.render import SIZE, render
from reward_finetuning.shapes.scene import BACKGROUND, COLOURS, describe, parse

WORLD = prompt_sets.world()
PROMPTS = [describe(scene) for scene in WORLD]
PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))


def draw(prompt, seed=0):
    return render(parse(prompt), np.random.default_rng(seed))


def mean_reward(picture_of, prompt, count=50):
    pictures = np.stack([draw(picture_of, seed) for seed in range(count)])
    return shapes_reward(pictures, [prompt] * count).mean()


@pytest.mark.slow
def test_what_the_renderer_draws_is_exactly_what_the_prompt_asks_for():
    rng = np.random.default_rng(0)
    scenes = [WORLD[index] for index in rng.integers(len(PROMPTS), size=2000)]
    pictures = np.stack([render(scene, rng) for scene in scenes])
    prompts = [describe(scene) for scene in scenes]

    assert shapes_exact(pictures, prompts).mean() >= 0.995
    assert shapes_reward(pictures, prompts).mean() >= 0.995


@pytest.mark.parametrize(
    ("drawn", "asked", "part", "value"),
    [
        ("a red circle", "a green circle", "colour", 0),
        ("a red circle", "a red square", "kind", 0),
        ("two red circles", "a red circle", "number", 1 / 2),
        ("two red circles", "four red circles", "number", 1 / 2),
        ("a red circle on the left", "a red circle on the right", "place", 0),
        ("a red circle", "a red circle and a blue square", "number", 1 / 2),
        ("a red circle and a blue square", "a red circle", "kind", 1 / 2),
        ("a red circle", "a red circle", "place", None),
    ],
)
def test_each_fault_costs_its_own_part(drawn, asked, part, value):
    result = score(draw(drawn), asked)

    assert getattr(result, part) == value
    assert result.exact == (drawn == asked)


@pytest.mark.parametrize(
    ("drawn", "asked"),
    [
        ("a red circle", "a green circle"),
        ("a red circle", "a red square"),
        ("two red circles", "a red circle"),
        ("three red circles", "four red circles"),
        ("a red circle on the left", "a red circle on the right"),
        ("a red circle", "a red circle and a blue square"),
        ("a red circle and a blue square", "a red circle"),
    ],
)
def test_a_picture_of_something_else_earns_clearly_less(drawn, asked):
    assert mean_reward(drawn, asked) < 0.7
    assert mean_reward(asked, asked) > 0.98


def test_the_reward_is_the_mean_of_the_parts_squared():
    assert score(draw("a red circle"), "a green circle").reward == pytest.approx((2 / 3) ** 2)
    assert score(draw("two red circles"), "a red circle").reward == pytest.approx((1 / 2) ** 2)
    assert score(draw("a red square and a blue circle"), "a red circle and a blue square").reward == pytest.approx(
        4 / 9
    )
    assert score(draw("a red circle at the top"), "a red circle at the bottom").reward == pytest.approx((3 / 4) ** 2)


def test_more_superfluous_shapes_earn_less():
    rewards = [mean_reward(f"{number} red circles", "a red circle") for number in ("two", "three", "four")]

    assert 0.25 >= rewards[0] > rewards[1] > rewards[2]


def test_drawing_everything_everywhere_earns_next_to_nothing():
    picture = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    for index, rgb in enumerate(COLOURS.values()):
        row, column = divmod(index, 3)
        picture[2 + 15 * row : 12 + 15 * row, 1 + 11 * column : 10 + 11 * column] = rgb

    prompts = PROMPTS[::5]
    rewards = shapes_reward(np.stack([picture] * len(prompts)), prompts)

    assert rewards.max() < 0.5
    assert np.mean([score(picture, f"a {colour} square").reward for colour in COLOURS]) < 0.05


@pytest.mark.parametrize("value", [0, 128, 248, 255])
def test_a_blank_picture_earns_nothing(value):
    picture = np.full((SIZE, SIZE, 3), value, np.uint8)

    assert max(score(picture, prompt).reward for prompt in ("a black square", "four black squares")) == 0


def test_a_picture_filled_with_the_colour_is_no_square():
    picture = np.full((SIZE, SIZE, 3), COLOURS["red"], np.uint8)

    assert score(picture, "a red square").reward == 0


def test_noise_earns_next_to_nothing():
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, (200, SIZE, SIZE, 3)).astype(np.uint8)
    faint = rng.normal(220, 40, (200, SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)

    assert shapes_reward(uniform, ["a black square"] * 200).mean() < 0.02
    assert shapes_reward(faint, ["four red circles"] * 200).mean() < 0.02


def test_a_blurred_and_noisy_picture_is_still_read():
    rng = np.random.default_rng(0)
    scenes = prompt_sets.train() * 4
    pictures = np.stack([render(scene, rng) for scene in scenes]).astype(float)
    blurred = ndimage.gaussian_filter(pictures, (0, 0.6, 0.6, 0)) + rng.normal(0, 10, pictures.shape)
    images = blurred.round().clip(0, 255).astype(np.uint8)

    assert shapes_reward(images, [describe(scene) for scene in scenes]).mean() > 0.95


def test_a_ragged_shape_earns_less_than_a_clean_one_and_more_than_none():
    picture = draw("a red square")
    ragged = picture.copy()
    rows, columns = np.where((picture == COLOURS["red"]).all(axis=-1))
    ragged[: (rows.min() + rows.max()) // 2, : (columns.min() + columns.max()) // 2] = BACKGROUND

    assert 0 < score(ragged, "a red square").reward < score(picture, "a red square").reward


@settings(max_examples=100, deadline=None)
@given(PICTURES, st.sampled_from(PROMPTS))
def test_whatever_the_picture_the_parts_stay_in_bounds_and_only_an_exact_one_earns_all(picture, prompt):
    result = score(picture, prompt)
    parts = [result.number, result.kind, result.colour, *([] if result.place is None else [result.place])]

    assert 0 <= result.reward <= 1
    assert all(0 <= part <= 1 for part in parts)
    assert result.exact or result.reward < 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_a_picture_earns_the_same_alone_and_in_a_batch(prompts, seed):
    rng = np.random.default_rng(seed)
    pictures = np.stack([render(parse(prompt), rng) for prompt in prompts[::-1]])

    rewards = shapes_reward(pictures, prompts)

    assert rewards.dtype == np.float64
    assert rewards.tolist() == [
        score(picture, prompt).reward for picture, prompt in zip(pictures, prompts, strict=True)
    ]


def test_no_pictures_earn_no_rewards():
    assert shapes_reward(np.zeros((0, SIZE, SIZE, 3), np.uint8), []).shape == (0,)


def test_pictures_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"images must be uint8 \[B, H, W, 3\], got float64"):
        shapes_reward(np.zeros((1, 32, 32, 3)), ["a red circle"])
    with pytest.raises(ValueError, match="got 2 images and 1 prompts"):
        shapes_reward(np.zeros((2, 32, 32, 3), np.uint8), ["a red circle"])


def test_a_prompt_of_another_world_is_refused():
    with pytest.raises(ValueError, match="does not belong to the world"):
        shapes_reward(np.zeros((1, 32, 32, 3), np.uint8), ["a photo of a cat"])

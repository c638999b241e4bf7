import numpy as np
import pytest
from scipy import ndimage

from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.render import SIZE, inside, render
from reward_finetuning.shapes.scene import BACKGROUND, COLOURS, KINDS, describe, parse


def covered(picture):
    """[H, W] where the picture is not background."""
    return (picture != np.array(BACKGROUND)).any(axis=-1)


def test_a_picture_is_small_uint8_rgb_on_a_near_white_background():
    picture = render(parse("a red circle"), np.random.default_rng(0))

    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == BACKGROUND).all()


def test_the_same_generator_draws_the_same_picture_and_another_one_another():
    scene = parse("a red circle and a blue square")
    first, again, other = (render(scene, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("colour", COLOURS)
def test_a_shape_has_its_flat_colour_inside(colour):
    picture = render(parse(f"a {colour} square"), np.random.default_rng(0))

    assert (picture == COLOURS[colour]).all(axis=-1).sum() >= 64


def test_shapes_never_touch():
    rng = np.random.default_rng(0)
    for scene in prompt_sets.world()[::7]:
        _, count = ndimage.label(covered(render(scene, rng)), structure=np.ones((3, 3)))

        assert count == scene.num_shapes, describe(scene)


@pytest.mark.parametrize(
    ("phrase", "axis", "first"),
    [("on the left", 1, True), ("on the right", 1, False), ("at the top", 0, True), ("at the bottom", 0, False)],
)
def test_a_shape_is_centred_in_the_third_that_its_place_names(phrase, axis, first):
    rng = np.random.default_rng(0)
    for _ in range(100):
        pixels = np.argwhere(covered(render(parse(f"a red square {phrase}"), rng)))[:, axis]
        centre = (pixels.min() + pixels.max() + 1) / 2

        assert centre <= SIZE / 3 + 1 if first else centre >= SIZE * 2 / 3 - 1


def test_sizes_and_positions_vary():
    rng = np.random.default_rng(0)
    masks = [covered(render(parse("a red square"), rng)) for _ in range(200)]

    assert np.stack(masks).any(axis=0)[4:-4, 4:-4].all()
    assert max(mask.sum() for mask in masks) > 2 * min(mask.sum() for mask in masks)


def test_each_kind_fills_the_share_of_its_box_that_geometry_says():
    points = (np.arange(1000) + 0.5) / 500 - 1
    shares = {kind: inside(kind, points[None, :], points[:, None]).mean() for kind in KINDS}

    assert shares["square"] == 1
    assert shares["circle"] == pytest.approx(np.pi / 4, abs=1e-3)
    assert shares["triangle"] == pytest.approx(0.5, abs=1e-3)
    assert shares["cross"] == pytest.approx(1 - 0.64**2, abs=1e-3)


def test_nothing_is_inside_a_shape_beyond_its_box():
    x = np.array([-1.01, 1.01])

    assert not any(inside(kind, x, np.zeros(2)).any() or inside(kind, np.zeros(2), x).any() for kind in KINDS)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reward_finetuning.rewards.colourfulness import colourfulness

PICTURES = arrays.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 8), st.integers(1, 8), st.just(3)))


def test_a_half_red_half_blue_picture_by_hand():
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    picture[:, 0, :, 0] = 255
    picture[:, 1, :, 2] = 255

    # rg is 1 and 0: mean 1/2, std 1/2. yb is 1/2 and -1: mean -1/4, std 3/4.
    expected = np.hypot(0.5, 0.75) + 0.3 * np.hypot(0.5, 0.25)
    assert colourfulness(picture, ["anything"]) == pytest.approx([expected])


def test_one_flat_colour_earns_its_mean_alone():
    picture = np.full((1, 4, 4, 3), (255, 0, 0), np.uint8)

    assert colourfulness(picture, [""]) == pytest.approx([0.3 * np.hypot(1, 0.5)])


@given(PICTURES)
def test_grey_earns_nothing_and_no_picture_less(pictures):
    grey = np.repeat(pictures[..., :1], 3, axis=-1)

    assert colourfulness(grey, ["", ""]) == pytest.approx([0, 0], abs=1e-12)
    assert (colourfulness(pictures, ["", ""]) >= 0).all()


@given(PICTURES)
def test_the_prompt_and_the_other_pictures_do_not_matter(pictures):
    together = colourfulness(pictures, ["a red circle", "a blue square"])
    alone = [colourfulness(picture[None], ["four green crosses"])[0] for picture in pictures]

    assert together == pytest.approx(alone)
    assert together.dtype == np.float64


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (4, 4, 3), (1, 3, 4, 4)])
def test_pictures_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \[B=1, H, W, 3\].*got"):
        colourfulness(np.zeros(shape, np.uint8), ["a red circle"])

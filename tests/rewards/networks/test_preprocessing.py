import numpy as np
import pytest
import torch

from reward_finetuning.rewards.networks.preprocessing import blip_crop, clip_crop, hps_pad

MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
SIZES = [(224, 224), (512, 512), (300, 200), (201, 302), (96, 128), (223, 225), (225, 640), (17, 400)]


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_white_pixel_becomes_one_minus_mean_over_deviation():
    for preprocess in (clip_crop, blip_crop, hps_pad):
        pixels = preprocess(np.full((224, 224, 3), 255, np.uint8), 224)

        assert pixels.shape == (3, 224, 224)
        assert pixels.dtype == torch.float32
        np.testing.assert_allclose(pixels[:, 5, 7].numpy(), (1 - MEAN) / STD, rtol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_clip_crop_is_bit_equal_to_transformers_pil_processor(size):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    image = picture(*size)

    pixels = clip_crop(image, 224)

    assert torch.equal(pixels, CLIPImageProcessorPil()(image, return_tensors="pt").pixel_values[0])


@pytest.mark.parametrize("size", SIZES)
def test_both_crops_see_the_same_within_rounding_where_the_margin_is_even(size):
    image = picture(*size)
    height, width = (int(224 * side / min(size)) for side in size)
    # An odd margin is halved downward by one, to the even number by the other.
    rows, columns = ((round(m / 2) - m // 2) for m in (height - 224, width - 224))

    one, other = clip_crop(image, 224), blip_crop(image, 224)

    torch.testing.assert_close(one[:, rows:, columns:], other[:, : 224 - rows, : 224 - columns], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "inner"), [((512, 512), (224, 224)), ((300, 200), (224, 149)), ((100, 448), (50, 224))]
)
def test_hps_pads_the_whole_picture_with_black_to_a_square(size, inner):
    pixels = hps_pad(np.full((*size, 3), 255, np.uint8), 224)

    white = torch.tensor((1 - MEAN) / STD, dtype=torch.float32)[:, None, None]
    black = torch.tensor(-MEAN / STD, dtype=torch.float32)[:, None, None]
    top, left = (224 - inner[0]) // 2, (224 - inner[1]) // 2
    expected = black.expand(3, 224, 224).clone()
    expected[:, top : top + inner[0], left : left + inner[1]] = white
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_hps_shrinks_with_antialiasing():
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255

    pixels = hps_pad(stripes, 224) * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]

    inside = pixels[:, 10:-10, 10:-10]
    assert float((inside - 0.5).abs().max()) < 0.1
